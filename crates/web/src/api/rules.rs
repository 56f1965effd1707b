//! IOC management rules.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, patch, post, web};
use iocast_app::{App, NewRule, RulePatch};
use iocast_domain::{
    alert::{AlertCriteria, AlertKind},
    id::{GroupId, RuleId, SourceId},
    ioc::{Kind, Severity},
    rule::{Criteria, Rule, StateFilter},
    source::Confidence,
    time::Timestamp,
    tlp::Tlp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::{Answer, List, whole};
use crate::{
    extract::{Body, Id, Session},
    problem::Problem,
};

/// What an IOC must be to be chosen; what is left out asks for nothing.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct CriteriaWire {
    /// One of these kinds.
    #[schema(value_type = Vec<String>)]
    kinds: Vec<Kind>,
    /// One of these severities: `low`, `medium`, `high`.
    #[schema(value_type = Vec<String>)]
    severities: Vec<Severity>,
    /// Reported by one of these sources.
    source_ids: Vec<Uuid>,
    /// By a report at least this sure: 1 to 3.
    #[schema(value_type = Option<u8>)]
    min_confidence: Option<Confidence>,
    /// Carries one of these tags, ignoring case.
    tags: Vec<String>,
    /// `active` (unless given), `retired` or `any`.
    #[schema(value_type = String)]
    state: StateFilter,
    /// First seen at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_seen_from: Option<Timestamp>,
    /// First seen before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_seen_to: Option<Timestamp>,
    /// Marked at most so strictly: `clear`, `green`, `amber`, `amber_strict` or `red`. What is not
    /// marked is chosen.
    #[schema(value_type = Option<String>)]
    tlp_most: Option<Tlp>,
    /// Reported by at least so many sources: 1 to 50; of those in `source_ids`, where it names some,
    /// and by reports as sure as `min_confidence`.
    min_sources: Option<u8>,
    /// Last seen at most so many UTC days ago: 1 to 3,650. An IOC leaves at the midnight (UTC) after
    /// that.
    max_age_days: Option<u16>,
    /// With at least this score today (`score_today` of the IOC): 1 to 100. It begins with the surest
    /// report (40, 60 or 80 points), 5 points for each further source up to 10, and 10 points for
    /// high or 5 for medium severity, or with a lower score that a source gave. It falls evenly from
    /// the day last seen to 0 at the end of the IOC's lifetime.
    min_score: Option<u8>,
    /// And those on the remediation blocklist, of the same kinds, whatever the rest says.
    blocklist: bool,
    /// Came up in one of these alerts: with it the rule is an alert policy.
    alerts: Option<AlertsWire>,
}

/// Alerts that a policy acts on; what is left out asks for nothing.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AlertsWire {
    /// One of these types: `AttackIndication`, `DataLeakage`, `Phishing`, `BrandSecurity`,
    /// `ExploitableData`, `vip`.
    #[schema(value_type = Vec<String>)]
    types: Vec<AlertKind>,
    /// One of these severities: `low`, `medium`, `high`.
    #[schema(value_type = Vec<String>)]
    severities: Vec<Severity>,
    /// Past alerts too, not only new ones.
    past: bool,
    /// Unless past ones count: alerts that came at this time or later; left out, from now on.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

impl From<AlertsWire> for AlertCriteria {
    fn from(wire: AlertsWire) -> Self {
        let AlertsWire { types, severities, past, since } = wire;
        Self { types, severities, past, since }
    }
}

impl From<AlertCriteria> for AlertsWire {
    fn from(criteria: AlertCriteria) -> Self {
        let AlertCriteria { types, severities, past, since } = criteria;
        Self { types, severities, past, since }
    }
}

impl From<CriteriaWire> for Criteria {
    fn from(wire: CriteriaWire) -> Self {
        let CriteriaWire {
            kinds,
            severities,
            source_ids,
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts,
        } = wire;
        Self {
            kinds,
            severities,
            source_ids: source_ids.into_iter().map(SourceId).collect(),
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts: alerts.map(Into::into),
        }
    }
}

impl From<Criteria> for CriteriaWire {
    fn from(criteria: Criteria) -> Self {
        let Criteria {
            kinds,
            severities,
            source_ids,
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts,
        } = criteria;
        Self {
            kinds,
            severities,
            source_ids: source_ids.into_iter().map(|s| s.0).collect(),
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts: alerts.map(Into::into),
        }
    }
}

/// A rule to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleIn {
    /// 1 to 13 letters, digits, spaces and underscores.
    name: String,
    /// Switched on unless said otherwise.
    #[serde(default = "yes")]
    enabled: bool,
    /// What it chooses.
    #[serde(default)]
    criteria: CriteriaWire,
    /// Where to.
    #[serde(default)]
    #[validate(length(max = 1000, code = "too_many", message = "Name at most 1,000 groups."))]
    group_ids: Vec<Uuid>,
}

fn yes() -> bool {
    true
}

/// What may be changed of a rule.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulePatchIn {
    /// New name.
    #[serde(default)]
    name: Option<String>,
    /// On or off.
    #[serde(default)]
    enabled: Option<bool>,
    /// New criteria, whole.
    #[serde(default)]
    criteria: Option<CriteriaWire>,
    /// New groups, whole.
    #[serde(default)]
    #[validate(length(max = 1000, code = "too_many", message = "Name at most 1,000 groups."))]
    group_ids: Option<Vec<Uuid>>,
}

/// An IOC management rule.
#[derive(Serialize, ToSchema)]
pub(crate) struct RuleOut {
    /// Id.
    id: String,
    /// Name.
    name: String,
    /// Switched on.
    enabled: bool,
    /// What it chooses.
    criteria: CriteriaWire,
    /// Where to.
    group_ids: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Rule> for RuleOut {
    fn from(rule: Rule) -> Self {
        let Rule { id, account_id: _, name, enabled, criteria, group_ids, created_at } = rule;
        Self {
            id: id.to_string(),
            name: name.to_string(),
            enabled,
            criteria: criteria.into(),
            group_ids: group_ids.iter().map(ToString::to_string).collect(),
            created_at,
        }
    }
}

/// Make a rule.
#[utoipa::path(tag = "rules", request_body = RuleIn, params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = RuleOut), (status = 422, body = Problem)))]
#[post("/rules")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    body: Body<RuleIn>,
) -> Answer {
    let RuleIn { name, enabled, criteria, group_ids } = body.value;
    let new = NewRule {
        name,
        enabled,
        criteria: criteria.into(),
        group_ids: group_ids.into_iter().map(GroupId).collect(),
    };
    let make = async { Ok(RuleOut::from(app.accounts.rule_create(&session.0, new).await?)) };
    let made = async |id| Ok(RuleOut::from(app.accounts.rule_fetch(&session.0, RuleId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The rules, by name.
#[utoipa::path(tag = "rules", responses((status = 200, body = List<RuleOut>)))]
#[get("/rules")]
pub(crate) async fn list(app: web::Data<App>, session: Session) -> Answer {
    Ok(whole(app.accounts.rule_list(&session.0).await?.into_iter().map(RuleOut::from).collect()))
}

/// One rule.
#[utoipa::path(tag = "rules", params(("id" = Uuid, Path)), responses((status = 200, body = RuleOut), (status = 404, body = Problem)))]
#[get("/rules/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok()
        .json(RuleOut::from(app.accounts.rule_fetch(&session.0, RuleId(id.0)).await?)))
}

/// Change a rule; the groups it feeds are selected again.
#[utoipa::path(tag = "rules", request_body = RulePatchIn, params(("id" = Uuid, Path)), responses((status = 200, body = RuleOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[patch("/rules/{id}")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<RulePatchIn>,
) -> Answer {
    let RulePatchIn { name, enabled, criteria, group_ids } = body.value;
    let patch = RulePatch {
        name,
        enabled,
        criteria: criteria.map(Criteria::from),
        group_ids: group_ids.map(|ids| ids.into_iter().map(GroupId).collect()),
    };
    Ok(HttpResponse::Ok()
        .json(RuleOut::from(app.accounts.rule_update(&session.0, RuleId(id.0), patch).await?)))
}

/// Delete a rule; the groups it fed are selected again.
#[utoipa::path(tag = "rules", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/rules/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.accounts.rule_delete(&session.0, RuleId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}
