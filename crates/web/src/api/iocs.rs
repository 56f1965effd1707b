//! IOCs.

use actix_web::{HttpRequest, HttpResponse, delete, get, patch, web};
use iocast_app::{App, IocPatch, IocQuery, IocView};
use iocast_domain::{
    id::{IocId, SourceId},
    ioc::{Comment, Severity, Whitelist},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use super::{Answer, List, given, warninglists::OnListOut};
use crate::{
    extract::{Body, Id, Query, Session, page},
    problem::{Problem, ProblemField},
};

/// What to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct IocFilterQuery {
    /// This value exactly, in its normal form or defanged.
    value: Option<String>,
    /// Values that begin so.
    prefix: Option<String>,
    /// Domains, URLs and addresses under this domain.
    domain: Option<String>,
    /// This kind.
    kind: Option<String>,
    /// `low`, `medium` or `high`.
    severity: Option<String>,
    /// `active` or `retired`.
    state: Option<String>,
    /// Reported by this source.
    source_id: Option<Uuid>,
    /// `default`, `never_sent` or `always_sent`.
    whitelist: Option<String>,
    /// Carrying this tag, threat actor, campaign or malware family: an id of `/api/v1/search`. They come
    /// by id then.
    name_id: Option<Uuid>,
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What people may change of an IOC.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IocPatchIn {
    /// `low`, `medium` or `high`; null goes back to what sources say.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    severity: Option<Option<Severity>>,
    /// User tags, whole.
    #[serde(default)]
    #[validate(length(max = 100, code = "too_many", message = "Give at most 100 tags."))]
    user_tags: Option<Vec<String>>,
    /// `default`, `never_sent` or `always_sent`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    whitelist: Option<Whitelist>,
    /// A remark to be added.
    #[serde(default)]
    comment: Option<String>,
}

/// Who reported an IOC.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReportOut {
    /// The source.
    source_id: String,
    /// Its name.
    source: String,
    /// Confidence of this report: 1 to 3.
    confidence: u8,
    /// Whether the source is on.
    enabled: bool,
    /// When it was last received.
    #[schema(value_type = String, format = DateTime)]
    reported_at: Timestamp,
}

/// A remark.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommentOut {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// By whom.
    author: String,
    /// The remark.
    text: String,
}

/// An IOC with all its enrichment.
#[derive(Serialize, ToSchema)]
pub(crate) struct IocOut {
    /// Id.
    id: String,
    /// Kind.
    kind: &'static str,
    /// Normalised value.
    value: String,
    /// First seen.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// Last seen.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// `active` or `retired`.
    state: &'static str,
    /// The severity that counts.
    severity: &'static str,
    /// Whether anybody gave a severity.
    severity_rated: bool,
    /// 0 to 100, where a source gave one.
    score: Option<f64>,
    /// What rules with `min_score` go by: 0 to 100. It falls evenly from the day last seen to 0 at
    /// the end of the lifetime.
    score_today: u8,
    /// The alert it came up in.
    alert_id: Option<String>,
    /// Tags set by users.
    user_tags: Vec<String>,
    /// Tags set by sources.
    system_tags: Vec<String>,
    /// Threat actors.
    threat_actors: Vec<String>,
    /// Campaigns.
    campaigns: Vec<String>,
    /// Malware families.
    malware_families: Vec<String>,
    /// `default`, `never_sent` or `always_sent`.
    whitelist: &'static str,
    /// Who reported it.
    reports: Vec<ReportOut>,
    /// The warninglists that it is on.
    warninglists: Vec<OnListOut>,
    /// Remarks, oldest first.
    comments: Vec<CommentOut>,
}

impl From<IocView> for IocOut {
    fn from(view: IocView) -> Self {
        let IocView { ioc, sources, lists, score } = view;
        let (severity, severity_rated) = (ioc.severity().word(), ioc.rated());
        let e = ioc.enrichment;
        let reports = e.reports.iter().filter_map(|r| {
            let source = sources.get(&r.source_id)?;
            Some(ReportOut {
                source_id: r.source_id.to_string(),
                source: source.name.clone(),
                confidence: r.confidence.into(),
                enabled: source.enabled,
                reported_at: Timestamp::from_micros(r.reported_at),
            })
        });
        Self {
            id: ioc.id.to_string(),
            kind: ioc.kind.word(),
            value: ioc.value,
            first_seen: ioc.first_seen,
            last_seen: ioc.last_seen,
            state: ioc.state.word(),
            severity,
            severity_rated,
            score: e.score,
            score_today: score,
            alert_id: e.alert_id,
            user_tags: e.user_tags.into_iter().collect(),
            system_tags: e.system_tags.into_iter().collect(),
            threat_actors: e.threat_actors.into_iter().collect(),
            campaigns: e.campaigns.into_iter().collect(),
            malware_families: e.malware_families.into_iter().collect(),
            whitelist: ioc.whitelist.word(),
            reports: reports.collect(),
            warninglists: lists.into_iter().map(OnListOut::from).collect(),
            comments: e
                .comments
                .into_iter()
                .map(|Comment { at, author, text }| CommentOut { at, author, text })
                .collect(),
        }
    }
}

fn word<T: std::str::FromStr<Err = String>>(
    field: &str,
    text: Option<String>,
) -> Result<Option<T>, Problem> {
    let wrong = |message| {
        Problem::fields(vec![ProblemField {
            field: field.to_owned(),
            code: "unknown_word".to_owned(),
            message,
        }])
    };
    text.map(|t| t.parse()).transpose().map_err(wrong)
}

/// The IOCs, last changed first; those that begin so in order of value, those under a domain in
/// order of host; those of one source with nothing new, if they are many, in order of id.
#[utoipa::path(tag = "iocs", params(IocFilterQuery), responses((status = 200, body = List<IocOut>), (status = 422, body = Problem)))]
#[get("/iocs")]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    query: Query<IocFilterQuery>,
) -> Answer {
    let IocFilterQuery {
        value,
        prefix,
        domain,
        kind,
        severity,
        state,
        source_id,
        whitelist,
        name_id,
        limit,
        cursor,
    } = query.0;
    let filter = IocQuery {
        value: value.map(|v| iocast_domain::normalise::detect(&v).map_or(v, |(_, normal)| normal)),
        prefix: prefix.map(|p| iocast_domain::normalise::prefix(&p)),
        domain_suffix: domain,
        kinds: word("kind", kind)?.into_iter().collect(),
        severities: word("severity", severity)?.into_iter().collect(),
        state: word("state", state)?,
        sources: source_id.map(SourceId).into_iter().collect(),
        whitelist: word("whitelist", whitelist)?.into_iter().collect(),
        ..IocQuery::default()
    };
    let page = page(limit, cursor)?;
    let found = match name_id {
        Some(name) => app.intake.ioc_list_named(&session.0, name, &filter, &page).await?.1,
        None => app.intake.ioc_list(&session.0, &filter, &page).await?,
    };
    Ok(super::list(&request, found.map(IocOut::from)))
}

/// One IOC.
#[utoipa::path(tag = "iocs", params(("id" = Uuid, Path)), responses((status = 200, body = IocOut), (status = 404, body = Problem)))]
#[get("/iocs/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok().json(IocOut::from(app.intake.ioc_fetch(&session.0, IocId(id.0)).await?)))
}

/// Change what people say of an IOC. Whitelisted, it leaves the feeds at once.
#[utoipa::path(tag = "iocs", request_body = IocPatchIn, params(("id" = Uuid, Path)), responses((status = 200, body = IocOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[patch("/iocs/{id}")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<IocPatchIn>,
) -> Answer {
    let IocPatchIn { severity, user_tags, whitelist, comment } = body.value;
    Ok(HttpResponse::Ok().json(IocOut::from(
        app.intake
            .ioc_update(
                &session.0,
                IocId(id.0),
                IocPatch { severity, user_tags, whitelist, comment },
            )
            .await?,
    )))
}

/// Delete an IOC: it leaves every list and group, until somebody reports it again.
#[utoipa::path(tag = "iocs", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/iocs/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.intake.ioc_delete(&session.0, IocId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}
