//! The audit log.

use actix_web::{HttpRequest, get, web};
use iocast_app::{App, AuditFilter, AuditLine};
use iocast_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, List};
use crate::{
    extract::{Query, Session, page},
    problem::Problem,
};

/// Which lines are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// By whom: an e-mail address, `operator` or `watchdog`.
    actor: Option<String>,
    /// What: `device.create`, or `device` for everything done to devices.
    action: Option<String>,
    /// To what: an id.
    object: Option<String>,
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A line of the audit log.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditOut {
    /// Id.
    id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who.
    actor: String,
    /// What.
    action: String,
    /// To what.
    object: String,
    /// Before and after.
    pub(crate) detail: serde_json::Value,
    /// From which address.
    address: String,
    /// In which request.
    request_id: String,
}

impl From<AuditLine> for AuditOut {
    fn from(line: AuditLine) -> Self {
        let AuditLine { id, account_id: _, at, actor, action, object, detail, address, request_id } =
            line;
        Self {
            id: id.to_string(),
            at,
            actor,
            action,
            object,
            detail: serde_json::from_str(&detail).unwrap_or_default(),
            address,
            request_id,
        }
    }
}

/// The audit log, newest first.
#[utoipa::path(tag = "audit", params(AuditQuery), responses((status = 200, body = List<AuditOut>), (status = 403, body = Problem)))]
#[get("/audit")]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    query: Query<AuditQuery>,
) -> Answer {
    let AuditQuery { actor, action, object, limit, cursor } = query.0;
    Ok(super::list(
        &request,
        app.ops
            .audit_list(&session.0, &AuditFilter { actor, action, object }, &page(limit, cursor)?)
            .await?
            .map(AuditOut::from),
    ))
}
