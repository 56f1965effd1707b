//! Outages: stretches of silence that were noticed.

use actix_web::{HttpRequest, get, web};
use iocast_app::{App, OutageMessage, OutageRow};
use iocast_domain::{
    id::DeviceId,
    message::{MessageKind, MessageState},
    time::Timestamp,
    watch::EndedBy,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Answer, List};
use crate::{
    extract::{Query, Session, page},
    problem::Problem,
};

/// Which outages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OutageQuery {
    /// Of this device only.
    device_id: Option<Uuid>,
    /// Only open ones, or only ended ones.
    open: Option<bool>,
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A message about an outage.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutageMessageOut {
    /// The message.
    id: String,
    /// `warning` or `recovery`.
    #[schema(value_type = String)]
    kind: MessageKind,
    /// To whom.
    to: String,
    /// What became of it.
    #[schema(value_type = String)]
    state: MessageState,
}

/// A stretch of silence of one device.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutageOut {
    /// Id.
    id: String,
    /// The device.
    device_id: String,
    /// When silence began: the last pull, or the creation.
    #[schema(value_type = String, format = DateTime)]
    began_at: Timestamp,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    noticed_at: Timestamp,
    /// When it ended; null while it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// `pull` or `pause`.
    #[schema(value_type = Option<String>)]
    ended_by: Option<EndedBy>,
    /// The messages that were written about it.
    messages: Vec<OutageMessageOut>,
}

impl From<OutageMessage> for OutageMessageOut {
    fn from(message: OutageMessage) -> Self {
        let OutageMessage { id, kind, recipient, state, maybe_sent: _, gathers: _ } = message;
        Self { id: id.to_string(), kind, to: recipient, state }
    }
}

impl From<OutageRow> for OutageOut {
    fn from(row: OutageRow) -> Self {
        let OutageRow { outage, messages } = row;
        Self {
            id: outage.id.to_string(),
            device_id: outage.device_id.to_string(),
            began_at: outage.began_at,
            noticed_at: outage.noticed_at,
            ended_at: outage.ended.map(|(at, _)| at),
            ended_by: outage.ended.map(|(_, by)| by),
            messages: messages.into_iter().map(OutageMessageOut::from).collect(),
        }
    }
}

/// The outages of the account, newest first.
#[utoipa::path(tag = "outages", params(OutageQuery), responses((status = 200, body = List<OutageOut>), (status = 404, body = Problem)))]
#[get("/outages")]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    query: Query<OutageQuery>,
) -> Answer {
    let OutageQuery { device_id, open, limit, cursor } = query.0;
    let outages = app
        .watch
        .outage_list(&session.0, device_id.map(DeviceId), open, &page(limit, cursor)?)
        .await?;
    Ok(super::list(&request, outages.map(OutageOut::from)))
}
