//! The audit log.

use actix_web::{HttpRequest, get, web};
use iocast_app::{App, AuditLine};
use iocast_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, List};
use crate::{
    extract::{Paging, Query, Session},
    problem::Problem,
};

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
    detail: serde_json::Value,
    /// From which address.
    address: String,
    /// In which request.
    request_id: String,
}

impl From<AuditLine> for AuditOut {
    fn from(line: AuditLine) -> Self {
        let AuditLine { id, account_id: _, at, actor, action, object, detail, address, request_id } = line;
        Self { id: id.to_string(), at, actor, action, object, detail: serde_json::from_str(&detail).unwrap_or_default(), address, request_id }
    }
}

/// The audit log, newest first.
#[utoipa::path(tag = "audit", params(Paging), responses((status = 200, body = List<AuditOut>), (status = 403, body = Problem)))]
#[get("/audit")]
pub(crate) async fn list(request: HttpRequest, app: web::Data<App>, session: Session, paging: Query<Paging>) -> Answer {
    Ok(super::list(&request, app.audit_list(&session.0, &paging.0.page()?).await?.map(AuditOut::from)))
}
