//! What a service token may call, by method and path. What is not named is for administrators.

use actix_web::{
    HttpRequest,
    http::{Method, StatusCode},
};
use iocast_app::{Actor, App};
use iocast_domain::{
    id::{DeviceId, GroupId, ImportId, SourceId},
    service_token::{Limit, Scope, ServiceToken},
};
use uuid::Uuid;

use crate::problem::Problem;

/// Whose calls a path belongs to.
fn needed(noun: &str) -> Scope {
    match noun {
        "devices" | "groups" | "rules" => Scope::Devices,
        "sources" | "imports" | "public-feeds" | "iocs" => Scope::Intake,
        _ => Scope::Admin,
    }
}

/// What only administrators may read, too.
const ADMIN_READS: [&str; 7] =
    ["audit", "configuration", "emulator", "outbox", "recordings", "scenarios", "users"];

/// Lets a request with a service token through if the token's scope and limit allow it.
///
/// # Errors
/// With what the token may do.
pub(crate) async fn check(request: &HttpRequest, app: &App, actor: &Actor) -> Result<(), Problem> {
    let Some(token) = actor.service_token() else { return Ok(()) };
    let pattern = request.match_pattern().unwrap_or_default();
    let path = pattern.strip_prefix("/api/v1/").unwrap_or_default();
    let noun = path.split('/').next().unwrap_or_default();
    match path {
        "service-tokens/current" | "device-types" => return Ok(()),
        _ if matches!(noun, "me" | "sessions" | "service-tokens") => return Err(of_people()),
        _ => {}
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if noun == "users" && !reads {
        return Err(of_people());
    }
    let needed = needed(noun);
    let may_read = reads && !ADMIN_READS.contains(&noun);
    if !(may_read || token.scope == Scope::Admin || token.scope == needed) {
        let or = if needed == Scope::Admin { "" } else { " or `admin`" };
        return Err(refused(format!(
            "This service token has the scope `{}`; this call needs `{}`{or}.",
            token.scope.word(),
            needed.word()
        )));
    }
    let id = request.match_info().get("id").and_then(|id| id.parse().ok());
    // What a source may claim is not for the one who fills it.
    if !reads && path == "sources/{id}" && token.limit.is_some() {
        return Err(outside(token));
    }
    if is_within_limit(app, actor, token, noun, id).await? { Ok(()) } else { Err(outside(token)) }
}

async fn is_within_limit(
    app: &App,
    actor: &Actor,
    token: &ServiceToken,
    noun: &str,
    id: Option<Uuid>,
) -> Result<bool, Problem> {
    Ok(match (token.limit, noun, id) {
        (None, ..) => true,
        (Some(Limit::Device(device)), "devices", Some(id)) => device == DeviceId(id),
        (Some(Limit::Device(_)), "groups", Some(id)) => {
            app.accounts.limit_has_group(actor, GroupId(id)).await?
        }
        (Some(Limit::Source(source)), "sources", Some(id)) => source == SourceId(id),
        (Some(Limit::Source(_)), "imports", Some(id)) => {
            app.accounts.limit_has_import(actor, ImportId(id)).await?
        }
        _ => false,
    })
}

fn of_people() -> Problem {
    refused("This call is for people who sign in; a service token can't make it.".to_owned())
}

fn outside(token: &ServiceToken) -> Problem {
    let what = match token.limit {
        Some(Limit::Device(id)) => format!("the device {id}, its groups and its keys"),
        Some(Limit::Source(id)) => format!("imports of the source {id} and its subscription"),
        None => "its account".to_owned(),
    };
    refused(format!("This service token is for {what} only."))
}

fn refused(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "scope", detail)
}
