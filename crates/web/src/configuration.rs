//! Configuration as code: an account as a document, and an account made what a document says.
//!
//! What a document asks for is compared with what is there, which gives the steps of a plan. Each
//! step is done by the service that pages and API use, with its checks and its line in the audit
//! log. A step that fails ends the work; the document can be applied again.

use std::collections::HashSet;

use iocast_app::{Actor, App, AppError, AppResult};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::Problem;

mod allow;
mod current;
mod document;
mod normal;
mod plan;
mod prune;
mod values;
mod work;

pub use self::document::Document;
use self::{
    current::{current, folded},
    document::VERSION,
    normal::Normal,
    plan::{Planner, Step},
    work::Worker,
};

/// Changes that a failure names.
const MADE_SHOWN: usize = 20;

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// Some of its fields change.
    Update,
    /// It is deleted.
    Delete,
}

impl Action {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Delete];
}

/// A field that changes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// What it is; null: nothing.
    pub from: Value,
    /// What it becomes; null: nothing.
    pub to: Value,
}

/// A change to one object.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Change {
    /// `create`, `update` or `delete`.
    #[schema(value_type = String)]
    pub action: Action,
    /// `account`, `guards`, `person`, `source`, `subscription`, `device`, `group` or `rule`.
    pub what: &'static str,
    /// Its name; of a group `Device/Group`.
    pub name: String,
    /// The fields that change.
    pub fields: Vec<FieldChange>,
}

impl Change {
    fn words(&self) -> String {
        let action = match self.action {
            Action::Create => "created",
            Action::Update => "changed",
            Action::Delete => "deleted",
        };
        format!("{} {} {action}", self.what, self.name).replace("  ", " ")
    }
}

/// A group that was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MadeGroup {
    /// `Device/Group`.
    pub name: String,
    /// What the device polls.
    pub url: String,
}

/// A plan, or what came of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Applied {
    /// Whether the changes were made; false for a plan.
    pub applied: bool,
    /// Tells this plan from others: give it as `expected` to have exactly these changes made.
    pub fingerprint: String,
    /// The changes, in the order in which they are made.
    pub changes: Vec<Change>,
    /// Groups that were made.
    pub groups: Vec<MadeGroup>,
}

/// How to apply a document.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// Only say what would change.
    pub plan: bool,
    /// Delete what the parts of the document do not name.
    pub prune: bool,
    /// The plan that is to be carried out; another one is refused.
    pub expected: Option<String>,
}

/// The account as a document.
///
/// # Errors
/// If the database does not answer, or the actor may not see all of it.
pub async fn export(app: &App, actor: &Actor) -> AppResult<Document> {
    actor.may_administer()?;
    let (mut document, ids) = current(app, actor).await?;
    if let Some(sources) = &mut document.sources {
        sources.retain(|source| !ids.document_sources.contains(&folded(&source.name)));
    }
    Ok(document)
}

/// Makes an account what a document says, or says what would change.
///
/// # Errors
/// If the document is wrong, which changes nothing; or if a step fails, which ends the work.
pub async fn apply(
    app: &App,
    actor: &Actor,
    document: Document,
    options: ApplyOptions,
) -> AppResult<Applied> {
    actor.may_administer()?;
    if document.version != VERSION {
        return Err(AppError::field(
            "version",
            "version_unknown",
            format!("Give `version = {VERSION}`: this is the only form that this iocast reads."),
        ));
    }
    let (there, ids) = current(app, actor).await?;
    let mut normal = Normal::of(app, &ids, &there, &document, options.prune);
    let wanted = normal.document(document, &there)?;
    let mut new_secrets = HashSet::new();
    for source in wanted.sources.iter().flatten() {
        let (Some(fields), Some(id)) =
            (&source.subscription, ids.sources.get(&folded(&source.name)))
        else {
            continue;
        };
        let given = |name: &str| fields.get(name).and_then(Value::as_str);
        let (secret, key) = (given("secret"), given("certificate_key"));
        if !app.intake.subscription_has(*id, secret, key).await? {
            new_secrets.insert(folded(&source.name));
        }
    }
    let me = actor.user().map(|user| folded(&user.email));
    let mut planner = Planner::new(&ids, options.prune, me, new_secrets);
    planner.wrong = normal.wrong;
    let steps = planner.plan(&wanted, &there)?;
    let changes: Vec<Change> = steps.iter().map(|step| step.change.clone()).collect();
    if actor.service_token().is_some() && changes.iter().any(|change| change.what == "person") {
        return Err(AppError::field(
            "people",
            "not_for_service_tokens",
            "A service token can't change people. Leave the part out, or apply the document in the shell of the server.",
        ));
    }
    let fingerprint = fingerprint(&changes)?;
    if options.plan {
        return Ok(Applied { applied: false, fingerprint, changes, groups: Vec::new() });
    }
    if options.expected.is_some_and(|expected| expected != fingerprint) {
        return Err(AppError::Conflict {
            code: "plan_outdated",
            detail: "Something was changed since the plan was made; nothing was done. Look at a new plan.".to_owned(),
        });
    }
    let worker = Worker { app, actor, ids, groups: Vec::new() };
    carry_out(worker, steps, fingerprint).await
}

/// What tells a plan from others.
fn fingerprint(changes: &[Change]) -> AppResult<String> {
    let written = serde_json::to_vec(changes).map_err(AppError::internal)?;
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &written);
    Ok(id.simple().to_string())
}

async fn carry_out(
    mut worker: Worker<'_>,
    steps: Vec<Step>,
    fingerprint: String,
) -> AppResult<Applied> {
    let all = steps.len();
    let mut changes = Vec::with_capacity(all);
    for Step { change, work } in steps {
        if let Err(error) = worker.work(work).await {
            let done = changes.len();
            let made: Vec<String> = changes.iter().take(MADE_SHOWN).map(Change::words).collect();
            let made =
                if made.is_empty() { String::new() } else { format!(": {}", made.join(", ")) };
            let name = format!("{} {}", change.what, change.name);
            let problem = Problem::from(error);
            let why = problem.errors.first().map_or(problem.detail, |error| error.message.clone());
            return Err(AppError::Conflict {
                code: "apply_stopped",
                detail: format!(
                    "{}: {why} {done} of {all} changes were made before{made}. Correct the document, and apply it again.",
                    name.trim()
                ),
            });
        }
        changes.push(change);
    }
    Ok(Applied { applied: true, fingerprint, changes, groups: worker.groups })
}
