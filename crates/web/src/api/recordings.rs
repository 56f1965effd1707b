//! What clients asked and were answered: only with `--emulator`.

use std::collections::HashSet;

use actix_web::{HttpResponse, delete, get, http::header, web};
use iocast_app::{Actor, App, AppError, AppResult};
use iocast_domain::{id::GroupId, time::Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Answer, List, faults::allowed, whole};
use crate::{
    emulator::{Emulator, Recorded, Who, har},
    extract::Session,
    problem::Problem,
};

/// A client whose requests are recorded.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordingOut {
    /// Its number.
    id: u64,
    /// Its user agent.
    user_agent: String,
    /// Where it asks from.
    address: String,
    /// The group that it asks for; null for calls of the REST API.
    group_id: Option<Uuid>,
    /// All of its requests.
    requests: u64,
    /// Those that are kept: at most 200 of each client.
    kept: usize,
    /// The last one, by the product's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_at: Option<Timestamp>,
    /// The status of its answer.
    last_status: Option<u16>,
}

impl From<&Recorded> for RecordingOut {
    fn from(client: &Recorded) -> Self {
        let last = client.exchanges.back();
        Self {
            id: client.id,
            user_agent: client.who.user_agent.clone(),
            address: client.who.address.clone(),
            group_id: client.who.group,
            requests: client.requests,
            kept: client.exchanges.len(),
            last_at: last.map(|last| last.at),
            last_status: last.map(|last| last.status),
        }
    }
}

/// Tells the clients of an account from those of others.
pub(crate) struct Own {
    account: String,
    groups: HashSet<Uuid>,
    is_alone: bool,
}

impl Own {
    pub(crate) async fn of(app: &App, emulator: &Emulator, actor: &Actor) -> AppResult<Self> {
        let is_alone = app.accounts.account_list().await?.len() == 1;
        let asked = emulator.recording.who().into_iter().filter_map(|who| who.group);
        let mut groups: HashSet<Uuid> = asked.collect();
        for id in groups.clone() {
            if app.accounts.group_fetch(actor, GroupId(id)).await.is_err() {
                groups.remove(&id);
            }
        }
        Ok(Self { account: actor.account_id.to_string(), groups, is_alone })
    }

    /// By the account ID that it gave, or by the group that it asked for. One that named neither
    /// belongs to the account if there is but one.
    pub(crate) fn has(&self, who: &Who) -> bool {
        match (&who.account, who.group) {
            (Some(account), _) => account.eq_ignore_ascii_case(&self.account),
            (None, Some(group)) => self.groups.contains(&group) || self.is_alone,
            (None, None) => self.is_alone,
        }
    }
}

/// The HAR file of a client.
pub(crate) async fn file(
    app: &App,
    emulator: &Emulator,
    actor: &Actor,
    id: &str,
) -> AppResult<HttpResponse> {
    let own = Own::of(app, emulator, actor).await?;
    let clients = emulator.recording.clients(|who| own.has(who));
    let client = clients.iter().find(|client| client.id.to_string() == id);
    let client = client.ok_or(AppError::NotFound("recording"))?;
    let name = format!("attachment; filename=\"iocast-{}.har\"", client.id);
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_DISPOSITION, name)).json(har(client)))
}

/// The clients whose requests under `/public`, `/feeds` and `/taxii` are recorded, the one that asked
/// last first.
#[utoipa::path(tag = "emulator", responses((status = 200, body = List<RecordingOut>), (status = 404, body = Problem)))]
#[get("/emulator/recordings")]
pub(crate) async fn list(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
) -> Answer {
    allowed(&app, &session.0)?;
    let own = Own::of(&app, &emulator, &session.0).await?;
    let clients = emulator.recording.clients(|who| own.has(who));
    Ok(whole(clients.iter().map(RecordingOut::from).collect()))
}

/// The last 200 requests of a client and their answers as an HTTP Archive (HAR 1.2). Secrets are
/// replaced, of bodies the first 64 KiB are kept.
#[utoipa::path(tag = "emulator", params(("id" = u64, Path)), responses((status = 200, body = Object), (status = 404, body = Problem)))]
#[get("/emulator/recordings/{id}")]
pub(crate) async fn fetch(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
    id: web::Path<String>,
) -> Answer {
    allowed(&app, &session.0)?;
    Ok(file(&app, &emulator, &session.0, &id).await?)
}

/// Forget what was recorded.
#[utoipa::path(tag = "emulator", responses((status = 204), (status = 404, body = Problem)))]
#[delete("/emulator/recordings")]
pub(crate) async fn clear(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
) -> Answer {
    allowed(&app, &session.0)?;
    let own = Own::of(&app, &emulator, &session.0).await?;
    emulator.recording.forget(|who| own.has(who));
    Ok(HttpResponse::NoContent().finish())
}
