//! Imports that wait for a person: looked at, selected, taken.

use actix_web::{HttpResponse, get, post, web};
use iocast_app::{App, ReviewFilter, ReviewIoc, ReviewPage, ReviewRow};
use iocast_domain::{
    id::{ImportId, IocId},
    import::Choice,
    ioc::{Change, Enrichment, State, label},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use super::{ImportOut, imported};
use crate::{
    api::{Answer, warninglists::OnListOut},
    extract::{Body, Id, Query, Session, page},
    problem::Problem,
};

/// Which IOCs of a review.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReviewQuery {
    /// `new`, `changed` or `seen_again`.
    change: Option<String>,
    /// Only those that are left out, or only those that are not.
    left_out: Option<bool>,
    /// Values that begin so.
    prefix: Option<String>,
    /// Entries to skip, for pages behind the first.
    offset: u64,
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
}

/// An IOC of an import in review, as it would be.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReviewRowOut {
    /// Its id.
    id: String,
    /// Its kind.
    kind: String,
    /// Its value.
    value: String,
    /// What the import would do: `new`, `changed` or `seen_again`.
    change: ChangeOut,
    /// It is left out.
    left_out: bool,
    /// It was last seen so long ago that it is retired, and goes to no device.
    retired: bool,
    /// The guard that keeps it from devices, in words.
    withheld: Option<String>,
    /// The warninglists that it is on.
    warninglists: Vec<OnListOut>,
    /// Its severity.
    severity: String,
    /// Its tags.
    tags: Vec<String>,
    /// Its malware families.
    malware_families: Vec<String>,
}

/// What an import would do to an IOC.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeOut {
    New,
    Changed,
    SeenAgain,
}

impl From<ReviewIoc> for ReviewRowOut {
    fn from(ReviewIoc { row, refusal, lists }: ReviewIoc) -> Self {
        let ReviewRow { ioc, change, left_out } = row;
        let tags = ioc.enrichment.user_tags.iter().chain(&ioc.enrichment.system_tags);
        Self {
            id: ioc.id.to_string(),
            kind: ioc.kind.word().to_owned(),
            change: match change {
                Change::Accepted => ChangeOut::New,
                Change::Updated => ChangeOut::Changed,
                Change::Unchanged => ChangeOut::SeenAgain,
            },
            left_out,
            retired: ioc.state == State::Retired,
            withheld: refusal.map(|refusal| refusal.because().to_owned()),
            warninglists: lists.into_iter().map(OnListOut::from).collect(),
            severity: ioc.severity().word().to_owned(),
            tags: tags.cloned().collect(),
            malware_families: ioc.enrichment.malware_families.iter().cloned().collect(),
            value: ioc.value,
        }
    }
}

/// A page of the IOCs of a review.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReviewOut {
    /// The IOCs, by value.
    items: Vec<ReviewRowOut>,
    /// How many there are that the filter finds.
    found: u64,
}

impl From<ReviewPage> for ReviewOut {
    fn from(ReviewPage { rows, found }: ReviewPage) -> Self {
        Self { items: rows.into_iter().map(ReviewRowOut::from).collect(), found }
    }
}

/// The filter of a review.
pub(crate) fn review_filter(
    change: Option<&str>,
    left_out: Option<bool>,
    prefix: Option<String>,
) -> Result<ReviewFilter, Problem> {
    let change = match change {
        None | Some("") => None,
        Some("new") => Some(Change::Accepted),
        Some("changed") => Some(Change::Updated),
        Some("seen_again") => Some(Change::Unchanged),
        Some(_) => {
            return Err(iocast_app::AppError::field(
                "change",
                "change_invalid",
                "change is one of new, changed, seen_again.",
            )
            .into());
        }
    };
    Ok(ReviewFilter { change, left_out, prefix: prefix.filter(|prefix| !prefix.is_empty()) })
}

/// The IOCs of an import that waits for a review.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path), ReviewQuery), responses((status = 200, body = ReviewOut), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[get("/imports/{id}/iocs")]
pub(crate) async fn iocs(
    app: web::Data<App>,
    session: Session,
    id: Id,
    query: Query<ReviewQuery>,
) -> Answer {
    let ReviewQuery { change, left_out, prefix, offset, limit } = query.0;
    let filter = review_filter(change.as_deref(), left_out, prefix)?;
    let limit = page(limit, None)?.limit;
    let found = app.intake.review_list(&session.0, ImportId(id.0), &filter, offset, limit).await?;
    Ok(HttpResponse::Ok().json(ReviewOut::from(found)))
}

/// IOCs of a review to leave out, or to take.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectIn {
    /// What to do with them: `take` or `leave_out`.
    #[schema(value_type = String)]
    choice: Choice,
    /// Which; all without it.
    #[serde(default)]
    ids: Option<Vec<Uuid>>,
}

/// How many were selected.
#[derive(Serialize, ToSchema)]
pub(crate) struct SelectedOut {
    /// IOCs.
    selected: u64,
}

/// Leave IOCs of a review out, or take them in again.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), request_body = SelectIn, responses((status = 200, body = SelectedOut), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/imports/{id}/iocs")]
pub(crate) async fn select(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<SelectIn>,
) -> Answer {
    let (SelectIn { choice, ids }, id) = (body.value, ImportId(id.0));
    let selected = match ids {
        Some(ids) => {
            let ids: Vec<IocId> = ids.into_iter().map(IocId).collect();
            app.intake.review_select(&session.0, id, &ids, choice).await?
        }
        None => {
            let all = ReviewFilter::default();
            app.intake.review_select_all(&session.0, id, &all, choice).await?
        }
    };
    Ok(HttpResponse::Ok().json(SelectedOut { selected }))
}

/// What shall hold for every IOC that is taken.
#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TakeIn {
    /// A user tag.
    tag: Option<String>,
    /// A malware family.
    malware_family: Option<String>,
}

/// Take an import that was reviewed, but for what is left out.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), request_body = TakeIn, responses((status = 200, body = ImportOut), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/imports/{id}/take")]
pub(crate) async fn take(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<TakeIn>,
) -> Answer {
    let TakeIn { tag, malware_family } = body.value;
    let mut also = Enrichment::default();
    also.user_tags.extend(tag.as_deref().and_then(label));
    also.malware_families.extend(malware_family.as_deref().and_then(label));
    let report = app.intake.review_take(&session.0, ImportId(id.0), &also).await?;
    Ok(imported(report))
}
