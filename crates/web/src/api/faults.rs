//! Faults on demand: only with `--emulator`.

use std::time::Duration;

use actix_web::{
    HttpResponse, delete, get,
    http::{StatusCode, header::HeaderValue},
    post, web,
};
use iocast_app::{Actor, App, AppError};
use iocast_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::{Answer, List, whole};
use crate::{
    emulator::{Emulator, Fault, MOST, What},
    extract::{Body, Id, Session},
    problem::Problem,
};

/// Longest delay, in milliseconds.
const DELAY_MAX: u64 = 600_000;
/// Longest body, in characters.
const BODY_MAX: usize = 65_536;

/// A fault to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultIn {
    /// The path that it meets, such as `/public/v3/iocs`; with `*` at the end, all that begin so. Calls
    /// under `/api/v1/emulator/` and of `/api/v1/sessions` meet none.
    pub(crate) path: String,
    /// One method, such as `GET`; every one unless given.
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// How many requests it meets; all unless given.
    #[serde(default)]
    pub(crate) times: Option<u32>,
    /// Until when it meets them, by the product's clock.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) until: Option<Timestamp>,
    /// The answer is this status, and nothing is done: 200 to 599.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// The body of that answer.
    #[serde(default)]
    pub(crate) body: String,
    /// Its `Content-Type`; text unless given.
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    /// Seconds in its `Retry-After`.
    #[serde(default)]
    pub(crate) retry_after: Option<u32>,
    /// Milliseconds that the request waits first: 0 to 600,000.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// The line breaks after so many bytes of the body.
    #[serde(default)]
    pub(crate) drop_after_bytes: Option<u64>,
    /// The body comes with so many bytes a second, 10 or more. `rate` is taken for the same.
    #[serde(default, alias = "rate")]
    pub(crate) bytes_per_second: Option<u32>,
}

/// A fault.
#[derive(Serialize, ToSchema)]
pub(crate) struct FaultOut {
    /// Its id: answers that met it bear it as `X-Fault`.
    id: Uuid,
    /// The path that it meets.
    path: String,
    /// The method; every one if it is null.
    method: Option<String>,
    /// How many requests it will still meet; all if it is null.
    times: Option<u32>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The status that it answers.
    status: Option<u16>,
    /// Milliseconds that requests wait.
    delay_ms: u64,
    /// Bytes after which the line breaks.
    drop_after_bytes: Option<u64>,
    /// Bytes a second.
    bytes_per_second: Option<u32>,
    /// Requests that it met.
    met: u64,
}

impl From<Fault> for FaultOut {
    fn from(fault: Fault) -> Self {
        let Fault { id, path, method, times, until, what, met } = fault;
        Self {
            id,
            path,
            method,
            times,
            until,
            status: what.status.map(|status| status.as_u16()),
            delay_ms: u64::try_from(what.delay.as_millis()).unwrap_or(u64::MAX),
            drop_after_bytes: what.drop_after,
            bytes_per_second: what.rate,
            met,
        }
    }
}

pub(crate) fn allowed(app: &App, actor: &Actor) -> Result<(), AppError> {
    if !app.context.settings.emulator {
        return Err(AppError::NotFound("endpoint"));
    }
    actor.may_write()
}

pub(crate) fn checked(given: FaultIn, id: Uuid) -> Result<Fault, AppError> {
    let FaultIn {
        path,
        method,
        times,
        until,
        status,
        body,
        content_type,
        retry_after,
        delay_ms,
        drop_after_bytes,
        bytes_per_second,
    } = given;
    let wrong = |field: &str, why: &str| Err(AppError::field(field, "fault_invalid", why));
    if !path.starts_with('/') || path.chars().count() > 500 {
        return wrong("path", "Give a path such as /public/v3/iocs, or /public/* for all of them.");
    }
    let known = |status: u16| StatusCode::from_u16(status).ok().filter(|_| status >= 200);
    let status = match status.map(known) {
        None => None,
        Some(Some(status)) if status.as_u16() < 600 => Some(status),
        Some(_) => return wrong("status", "Give a status of 200 to 599."),
    };
    if delay_ms > DELAY_MAX {
        return wrong("delay_ms", "Give 0 to 600,000 milliseconds.");
    }
    if body.chars().count() > BODY_MAX {
        return wrong("body", "Give at most 65,536 characters.");
    }
    if bytes_per_second.is_some_and(|rate| rate < 10) {
        return wrong("bytes_per_second", "Give 10 bytes a second or more.");
    }
    if content_type.as_ref().is_some_and(|text| HeaderValue::from_str(text).is_err()) {
        return wrong("content_type", "Give a type such as application/json.");
    }
    if status.is_none() && delay_ms == 0 && drop_after_bytes.is_none() && bytes_per_second.is_none()
    {
        return wrong(
            "status",
            "Say what goes wrong: a status, delay_ms, drop_after_bytes or bytes_per_second.",
        );
    }
    let what = What {
        delay: Duration::from_millis(delay_ms),
        status,
        body,
        content_type,
        retry_after,
        drop_after: drop_after_bytes,
        rate: bytes_per_second,
    };
    let method = method.map(|method| method.trim().to_ascii_uppercase());
    Ok(Fault { id, path, method, times, until, what, met: 0 })
}

/// Have requests meet a fault, so that a client can be tried. The first one that a request meets
/// counts.
#[utoipa::path(tag = "emulator", request_body = FaultIn, responses((status = 201, body = FaultOut), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/emulator/faults")]
pub(crate) async fn add(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
    body: Body<FaultIn>,
) -> Answer {
    allowed(&app, &session.0)?;
    let fault = checked(body.value, app.context.entropy.uuid())?;
    if !emulator.faults.add(fault.clone(), app.context.now()) {
        return Err(AppError::Conflict {
            code: "too_many_faults",
            detail: format!("There are {MOST} faults already; clear them first."),
        }
        .into());
    }
    Ok(HttpResponse::Created().json(FaultOut::from(fault)))
}

/// The faults of this process, and how many requests met each.
#[utoipa::path(tag = "emulator", responses((status = 200, body = List<FaultOut>), (status = 404, body = Problem)))]
#[get("/emulator/faults")]
pub(crate) async fn list(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
) -> Answer {
    allowed(&app, &session.0)?;
    Ok(whole(emulator.faults.list().into_iter().map(FaultOut::from).collect()))
}

/// End all faults.
#[utoipa::path(tag = "emulator", responses((status = 204), (status = 404, body = Problem)))]
#[delete("/emulator/faults")]
pub(crate) async fn clear(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
) -> Answer {
    allowed(&app, &session.0)?;
    emulator.faults.clear(None);
    Ok(HttpResponse::NoContent().finish())
}

/// End one fault.
#[utoipa::path(tag = "emulator", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/emulator/faults/{id}")]
pub(crate) async fn end(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
    id: Id,
) -> Answer {
    allowed(&app, &session.0)?;
    if emulator.faults.clear(Some(id.0)) == 0 {
        return Err(AppError::NotFound("fault").into());
    }
    Ok(HttpResponse::NoContent().finish())
}
