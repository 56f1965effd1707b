//! Automation → Policy: the rules that say which IOCs go into which groups.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use iocast_app::{AppError, Chosen, DeviceView, NewRule, RulePatch};
use iocast_domain::{
    alert::{AlertCriteria, AlertKind},
    id::{GroupId, RuleId, SourceId},
    ioc::Kind,
    rule::{Criteria, Rule, StateFilter},
    source::Confidence,
    time::{DAY, Timestamp},
    tlp::Tlp,
};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::api::{rules::RuleOut, sources::SourceOut};

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    let all = visitor.app.accounts.rule_list(&visitor.actor).await?;
    let count = all.len();
    let (q, group) = (visitor.query("q"), visitor.query("group"));
    let named = q.as_ref().map(|q| q.to_lowercase());
    let is_wanted = |rule: &Rule| {
        named.as_ref().is_none_or(|q| rule.name.folded().contains(q.as_str()))
            && group.as_ref().is_none_or(|id| rule.group_ids.iter().any(|of| of.to_string() == *id))
    };
    let rules: Vec<Value> =
        all.into_iter().filter(is_wanted).map(|r| view::value(RuleOut::from(r))).collect();
    let devices = visitor.app.accounts.device_list_all(&visitor.actor).await?;
    let groups: BTreeMap<String, String> = devices
        .iter()
        .flat_map(|d| {
            d.groups.iter().map(|g| {
                (g.row.group.id.to_string(), format!("{} > {}", d.device.name, g.row.group.name))
            })
        })
        .collect();
    let source_names: BTreeMap<String, String> =
        match visitor.app.intake.source_list(&visitor.actor).await {
            Err(AppError::NoModule(_)) => BTreeMap::new(),
            found => found?.into_iter().map(|s| (s.id.to_string(), s.name)).collect(),
        };
    visitor.show("pages/policy.html", context! { rules, q, group, count, groups => view::value(groups), source_names => view::value(source_names) })
}

async fn sources(visitor: &PageContext) -> Result<Vec<Value>, AppError> {
    // An account without the TIP module has rules, but sees no sources.
    match visitor.app.intake.source_list(&visitor.actor).await {
        Err(AppError::NoModule(_)) => Ok(Vec::new()),
        found => Ok(found?.into_iter().map(|s| view::value(SourceOut::from(s))).collect()),
    }
}

/// How the wizard is filled in.
struct Draft {
    rule: Option<RuleId>,
    /// What was typed into its fields, where it could not be read.
    typed: Value,
    name: String,
    enabled: bool,
    criteria: Criteria,
    group_ids: Vec<GroupId>,
}

pub(crate) async fn new(visitor: PageContext) -> PageResult {
    visitor.actor.may_write()?;
    let group_ids =
        visitor.query("group").and_then(|g| g.parse().ok()).map(GroupId).into_iter().collect();
    let draft = Draft {
        rule: None,
        typed: context! {},
        name: String::new(),
        enabled: true,
        criteria: Criteria::default(),
        group_ids,
    };
    page(&visitor, StatusCode::OK, &draft, Value::from(()), Value::from(())).await
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    let rule = visitor.app.accounts.rule_fetch(&visitor.actor, RuleId(id.0)).await?;
    let draft = Draft {
        rule: Some(rule.id),
        typed: context! {},
        name: rule.name.to_string(),
        enabled: rule.enabled,
        criteria: rule.criteria,
        group_ids: rule.group_ids,
    };
    page(&visitor, StatusCode::OK, &draft, Value::from(()), Value::from(())).await
}

async fn page(
    visitor: &PageContext,
    status: StatusCode,
    draft: &Draft,
    problem: Value,
    chosen: Value,
) -> PageResult {
    let Draft { rule, typed, name, enabled, criteria, group_ids } = draft;
    let devices = visitor.app.accounts.device_list_all(&visitor.actor).await?;
    let group = |view: &DeviceView| {
        let groups = view
            .groups
            .iter()
            .map(|g| context! { id => g.row.group.id.to_string(), name => g.row.group.name.as_str(), on => group_ids.contains(&g.row.group.id) });
        context! { id => view.device.id.to_string(), name => view.device.name.as_str(), groups => groups.collect::<Vec<_>>() }
    };
    let stamp = match rule {
        Some(id) => stamp(&visitor.app.accounts.rule_fetch(&visitor.actor, *id).await?),
        None => String::new(),
    };
    let sources = sources(visitor).await?;
    let known: Vec<String> =
        sources.iter().filter_map(|s| s.get_attr("id").ok()).map(|id| id.to_string()).collect();
    let of_page = context! {
        stamp, typed,
        rule => rule.map(|r| r.to_string()), name, enabled,
        criteria => view::value(criteria),
        alerts => view::value(criteria.alerts.clone().unwrap_or_default()),
        alert_types => AlertKind::ALL.iter().map(|k| k.word()).collect::<Vec<_>>(),
        alerts_since => criteria.alerts.as_ref().and_then(|a| a.since).map(|at| at.to_string()),
        kinds => Kind::ALL.iter().map(|k| k.word()).collect::<Vec<_>>(),
        first_seen_from => criteria.first_seen_from.map(day_or_time),
        first_seen_to => criteria.first_seen_to.map(day_or_time),
        devices => devices.iter().map(group).collect::<Vec<_>>(),
        // What can't be shown by name is kept all the same: without it a rule of one source would
        // take all of them.
        unknown_sources => criteria.source_ids.iter().map(ToString::to_string).filter(|id| !known.contains(id)).collect::<Vec<_>>(),
        sources,
        chosen,
        problem,
    };
    Ok(visitor.page(status, "pages/rule.html", of_page))
}

fn stamp(of: &Rule) -> String {
    view::stamp(&(of.name.as_str(), of.enabled, &of.criteria, &of.group_ids))
}

/// A day, or where it is not its first moment the time.
fn day_or_time(at: Timestamp) -> String {
    if at.micros() % DAY == 0 { at.day() } else { at.to_string() }
}

/// What the wizard's fields ask for, and the first that can't be read. What can be read stands: a
/// form that is shown again must ask for no more than it did.
fn criteria(form: &Form) -> (Criteria, Option<AppError>) {
    let mut wrong = None;
    let criteria = Criteria {
        kinds: readable(form.parsed_all("kinds"), &mut wrong),
        severities: readable(form.parsed_all("severities"), &mut wrong),
        source_ids: readable(form.parsed_all::<uuid::Uuid>("source_ids"), &mut wrong)
            .into_iter()
            .map(SourceId)
            .collect(),
        min_confidence: readable(form.number("min_confidence"), &mut wrong)
            .and_then(|n| u8::try_from(n).ok())
            .and_then(|n| Confidence::try_from(n).ok()),
        tags: form
            .text("tags")
            .split('\n')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect(),
        state: match form.text("state") {
            "retired" => StateFilter::Retired,
            "any" => StateFilter::Any,
            _ => StateFilter::Active,
        },
        first_seen_from: readable(day(form, "first_seen_from"), &mut wrong),
        first_seen_to: readable(day(form, "first_seen_to"), &mut wrong),
        tlp_most: readable(tlp(form), &mut wrong),
        // Too many are refused with the bounds.
        min_sources: readable(form.number("min_sources"), &mut wrong)
            .map(|n| u8::try_from(n).unwrap_or(u8::MAX)),
        max_age_days: readable(form.number("max_age_days"), &mut wrong)
            .map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
        min_score: readable(form.number("min_score"), &mut wrong)
            .map(|n| u8::try_from(n).unwrap_or(u8::MAX)),
        blocklist: !form.text("blocklist").is_empty(),
        alerts: form.on("alerts").then(|| alerts(form, &mut wrong)),
    };
    (criteria, wrong)
}

/// What was read, or nothing; the first error is kept.
fn readable<T: Default>(read: Result<T, AppError>, wrong: &mut Option<AppError>) -> T {
    read.unwrap_or_else(|error| {
        wrong.get_or_insert(error);
        T::default()
    })
}

fn day(form: &Form, name: &str) -> Result<Option<Timestamp>, AppError> {
    let read = |text: String| {
        Timestamp::parse(&text).map_err(|message| AppError::field(name, "not_a_day", message))
    };
    form.maybe(name).map(read).transpose()
}

fn tlp(form: &Form) -> Result<Option<Tlp>, AppError> {
    let read = |word: String| {
        word.parse().map_err(|why: String| AppError::field("tlp_most", "word_unknown", why))
    };
    form.maybe("tlp_most").map(read).transpose()
}

/// Which alerts the wizard's fields ask for.
fn alerts(form: &Form, wrong: &mut Option<AppError>) -> AlertCriteria {
    AlertCriteria {
        types: readable(form.parsed_all("alert_types"), wrong),
        severities: readable(form.parsed_all("alert_severities"), wrong),
        past: form.on("alerts_past"),
        // Since when it acts on them stays as it is when something else of the rule is changed.
        since: form.maybe("alerts_since").and_then(|text| Timestamp::parse(&text).ok()),
    }
}

/// Whom the wizard would affect as it is filled in now: a piece of its page.
pub(crate) async fn count(form: Form) -> PageResult {
    let outcome = match criteria(&form) {
        (criteria, None) => affected(&form, &criteria).await,
        (_, Some(error)) => Err(error),
    };
    let (chosen, said) = match outcome {
        Ok(chosen) => (Some(chosen), None),
        Err(error) => {
            let (_, problem) = problem(error)?;
            (None, problem.get_attr("detail").ok())
        }
    };
    form.visitor.show("parts/count.html", context! { chosen, said })
}

/// How many IOCs the form chooses, how many the rule chooses as it is saved, and which groups get
/// them and got them.
async fn affected(form: &Form, criteria: &Criteria) -> Result<Value, AppError> {
    let (accounts, actor) = (&form.visitor.app.accounts, &form.visitor.actor);
    let Chosen { iocs, at_least } = accounts.rule_count(actor, criteria).await?;
    let saved = form.maybe("rule").and_then(|id| id.parse().ok()).map(RuleId);
    let saved = match saved {
        Some(id) => Some(accounts.rule_fetch(actor, id).await?),
        None => None,
    };
    let before = match &saved {
        Some(rule) => Some(accounts.rule_count(actor, &rule.criteria).await?),
        None => None,
    };
    let now: BTreeSet<GroupId> =
        form.parsed_all::<uuid::Uuid>("group_ids")?.into_iter().map(GroupId).collect();
    let was: BTreeSet<GroupId> =
        saved.iter().flat_map(|rule| rule.group_ids.iter().copied()).collect();
    let names = accounts.group_names(actor, &now.union(&was).copied().collect::<Vec<_>>()).await?;
    let named = |ids: Vec<&GroupId>| -> Vec<String> {
        ids.into_iter().filter_map(|id| names.get(id).cloned()).collect()
    };
    Ok(context! {
        iocs, at_least,
        before => before.map(|of| context! { iocs => of.iocs, at_least => of.at_least }),
        groups => named(now.iter().collect()),
        joins => named(now.difference(&was).collect()),
        leaves => named(was.difference(&now).collect()),
        is_on => form.on("enabled"),
    })
}

pub(crate) async fn add(form: Form) -> PageResult {
    write(&form, None).await
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = RuleId(id.0);
    let (visitor, actor) = (&form.visitor, &form.visitor.actor);
    match form.text("do") {
        "switch" => {
            let enabled = form.text("to") == "on";
            let rule = visitor
                .app
                .accounts
                .rule_update(
                    actor,
                    id,
                    RulePatch { enabled: Some(enabled), ..RulePatch::default() },
                )
                .await?;
            visitor.done(
                "/automation/policy",
                &format!("The rule {} is {}.", rule.name, if enabled { "on" } else { "off" }),
            )
        }
        "delete" => {
            let name = visitor.app.accounts.rule_fetch(actor, id).await?.name;
            visitor.app.accounts.rule_delete(actor, id).await?;
            visitor.done("/automation/policy", &format!("The rule {name} is deleted. IOCs that only it chose are removed from the groups."))
        }
        _ => write(&form, Some(id)).await,
    }
}

async fn write(form: &Form, rule: Option<RuleId>) -> PageResult {
    let (visitor, actor) = (&form.visitor, &form.visitor.actor);
    let name = form.text("name").to_owned();
    let enabled = form.on("enabled");
    let groups = form.parsed_all::<uuid::Uuid>("group_ids");
    let mut wrong = None;
    let group_ids: Vec<GroupId> = readable(groups, &mut wrong).into_iter().map(GroupId).collect();
    let (criteria, unread) = criteria(form);
    let draft = Draft {
        rule,
        typed: form.again(),
        name: name.clone(),
        enabled,
        criteria: criteria.clone(),
        group_ids: group_ids.clone(),
    };
    let read = match wrong.or(unread) {
        Some(error) => Err(error),
        None => Ok(criteria),
    };
    let outcome = match (read, rule) {
        (Err(error), _) => Err(error),
        (Ok(criteria), _) if form.text("do") == "count" => {
            let chosen = affected(form, &criteria).await?;
            return page(visitor, StatusCode::OK, &draft, Value::from(()), chosen).await;
        }
        (Ok(criteria), None) => {
            visitor
                .app
                .accounts
                .rule_create(actor, NewRule { name, enabled, criteria, group_ids })
                .await
        }
        (Ok(criteria), Some(id)) => {
            match form.of_version(&stamp(&visitor.app.accounts.rule_fetch(actor, id).await?)) {
                Err(error) => Err(error),
                Ok(()) => {
                    let patch = RulePatch {
                        name: Some(name),
                        enabled: Some(enabled),
                        criteria: Some(criteria),
                        group_ids: Some(group_ids),
                    };
                    visitor.app.accounts.rule_update(actor, id, patch).await
                }
            }
        }
    };
    match outcome {
        Ok(rule) if rule.group_ids.is_empty() => visitor.done(
            "/automation/policy",
            &format!(
                "The rule {} is saved. It is not assigned to a group yet: choose one in step 3.",
                rule.name
            ),
        ),
        Ok(rule) => visitor.done(
            "/automation/policy",
            &format!(
                "The rule {} is saved. IOCs that it chooses are on their way into its groups.",
                rule.name
            ),
        ),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, status, &draft, problem, Value::from(())).await
        }
    }
}
