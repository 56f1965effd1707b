//! Automation → Policy: the rules that say which IOCs go into which groups.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use iocast_app::{AppError, Chosen, DeviceView, NewRule, RulePatch};
use iocast_domain::{
    alert::{AlertCriteria, AlertKind},
    id::{GroupId, RuleId, SourceId},
    ioc::{Kind, Severity},
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
    let rules: Vec<Value> = visitor
        .app
        .accounts
        .rule_list(&visitor.actor)
        .await?
        .into_iter()
        .map(|r| view::value(RuleOut::from(r)))
        .collect();
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
    visitor.show("pages/policy.html", context! { rules, groups => view::value(groups), source_names => view::value(source_names) })
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
        name: String::new(),
        enabled: true,
        criteria: Criteria::default(),
        group_ids,
    };
    page(&visitor, StatusCode::OK, &draft, Value::from(()), None).await
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    let rule = visitor.app.accounts.rule_fetch(&visitor.actor, RuleId(id.0)).await?;
    let draft = Draft {
        rule: Some(rule.id),
        name: rule.name.to_string(),
        enabled: rule.enabled,
        criteria: rule.criteria,
        group_ids: rule.group_ids,
    };
    page(&visitor, StatusCode::OK, &draft, Value::from(()), None).await
}

async fn page(
    visitor: &PageContext,
    status: StatusCode,
    draft: &Draft,
    problem: Value,
    chosen: Option<Chosen>,
) -> PageResult {
    let Draft { rule, name, enabled, criteria, group_ids } = draft;
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
        stamp,
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
        chosen => chosen.map(|c| context! { iocs => c.iocs, at_least => c.at_least }),
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

/// What the wizard's fields ask for.
fn criteria(form: &Form) -> Result<Criteria, AppError> {
    let day = |name: &str| {
        form.maybe(name)
            .map(|text| {
                Timestamp::parse(&text)
                    .map_err(|message| AppError::field(name, "not_a_day", message))
            })
            .transpose()
    };
    let state = match form.text("state") {
        "retired" => StateFilter::Retired,
        "any" => StateFilter::Any,
        _ => StateFilter::Active,
    };
    let level = |n: i64| u8::try_from(n).ok().and_then(|n| Confidence::try_from(n).ok());
    Ok(Criteria {
        kinds: form.parsed_all::<Kind>("kinds")?,
        severities: form.parsed_all::<Severity>("severities")?,
        source_ids: form
            .parsed_all::<uuid::Uuid>("source_ids")?
            .into_iter()
            .map(SourceId)
            .collect(),
        min_confidence: form.number("min_confidence")?.and_then(level),
        tags: form
            .text("tags")
            .split('\n')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect(),
        state,
        first_seen_from: day("first_seen_from")?,
        first_seen_to: day("first_seen_to")?,
        tlp_most: form
            .maybe("tlp_most")
            .map(|word| word.parse::<Tlp>())
            .transpose()
            .map_err(|why| AppError::field("tlp_most", "word_unknown", why))?,
        // Too many are refused with the bounds.
        min_sources: form.number("min_sources")?.map(|n| u8::try_from(n).unwrap_or(u8::MAX)),
        max_age_days: form.number("max_age_days")?.map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
        min_score: form.number("min_score")?.map(|n| u8::try_from(n).unwrap_or(u8::MAX)),
        blocklist: !form.text("blocklist").is_empty(),
        alerts: if form.on("alerts") { Some(alerts(form)?) } else { None },
    })
}

/// Which alerts the wizard's fields ask for.
fn alerts(form: &Form) -> Result<AlertCriteria, AppError> {
    Ok(AlertCriteria {
        types: form.parsed_all::<AlertKind>("alert_types")?,
        severities: form.parsed_all::<Severity>("alert_severities")?,
        past: form.on("alerts_past"),
        // Since when it acts on them stays as it is when something else of the rule is changed.
        since: form.maybe("alerts_since").and_then(|text| Timestamp::parse(&text).ok()),
    })
}

/// How many IOCs the wizard would choose as it is filled in now: a piece of its page.
pub(crate) async fn count(form: Form) -> PageResult {
    let counted = match criteria(&form) {
        Ok(criteria) => form.visitor.app.accounts.rule_count(&form.visitor.actor, &criteria).await,
        Err(error) => Err(error),
    };
    let (chosen, said) = match counted {
        Ok(Chosen { iocs, at_least }) => (Some(context! { iocs, at_least }), None),
        Err(error) => {
            let (_, problem) = problem(error)?;
            (None, problem.get_attr("detail").ok())
        }
    };
    form.visitor.show("parts/count.html", context! { chosen, said })
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
    let group_ids: Vec<GroupId> = groups
        .as_ref()
        .map_or_else(|_unreadable| Vec::new(), |ids| ids.iter().copied().map(GroupId).collect());
    let read = groups.and_then(|_| criteria(form));
    let draft = Draft {
        rule,
        name: name.clone(),
        enabled,
        criteria: read.as_ref().ok().cloned().unwrap_or_default(),
        group_ids: group_ids.clone(),
    };
    let outcome = match (read, rule) {
        (Err(error), _) => Err(error),
        (Ok(criteria), _) if form.text("do") == "count" => {
            let chosen = visitor.app.accounts.rule_count(actor, &criteria).await?;
            return page(visitor, StatusCode::OK, &draft, Value::from(()), Some(chosen)).await;
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
            page(visitor, status, &draft, problem, None).await
        }
    }
}
