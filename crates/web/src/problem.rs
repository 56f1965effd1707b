//! How things that went wrong are told: RFC 9457 problem details with a stable code and the request
//! id.
//!
//! The status of every outcome is decided here and nowhere else.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{Method, StatusCode, header},
};
use iocast_app::AppError;
use iocast_domain::problem::FieldError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::trace::request_id;

/// One field that broke a rule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProblemField {
    /// The field, as in the request.
    pub(crate) field: String,
    /// Stable code.
    pub(crate) code: String,
    /// A sentence that says what to do.
    pub(crate) message: String,
}

impl From<FieldError> for ProblemField {
    fn from(error: FieldError) -> Self {
        let FieldError { field, code, message } = error;
        Self { field, code, message }
    }
}

/// Problem details (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The status, in words.
    pub(crate) title: String,
    /// The status.
    pub(crate) status: u16,
    /// Stable code, for programs.
    pub(crate) code: String,
    /// A sentence for people.
    pub(crate) detail: String,
    /// The id under which the log has more.
    pub(crate) request_id: String,
    /// The fields that broke a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<ProblemField>,
    #[serde(skip)]
    retry_after: Option<u64>,
    #[serde(skip)]
    allow: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:iocast:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            request_id: request_id(),
            errors: Vec::new(),
            retry_after: None,
            allow: None,
        }
    }

    pub(crate) fn fields(errors: Vec<ProblemField>) -> Self {
        let detail = match errors.as_slice() {
            [one] => one.message.clone(),
            _ => "Several fields break a rule; see errors.".to_owned(),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
    }

    /// The path is there, the method is not.
    pub(crate) fn wrong_method(method: &Method, allowed: String) -> Self {
        let detail = format!("This address takes {allowed}, not {method}.");
        Self { allow: Some(allowed), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail) }
    }

    fn retry(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(allowed) = &self.allow {
            answer.insert_header((header::ALLOW, allowed.as_str()));
        }
        if self.status == 401 {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"iocast\""));
        }
        answer.body(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let detail = error.to_string();
        match error {
            AppError::Invalid(errors) => {
                Self::fields(errors.into_iter().map(ProblemField::from).collect())
            }
            AppError::Malformed(_) => Self::new(StatusCode::BAD_REQUEST, "malformed", detail),
            AppError::NotFound(what) => Self::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("There is no such {what} in this account."),
            ),
            AppError::Conflict { code, .. } => Self::new(StatusCode::CONFLICT, code, detail),
            AppError::Unauthenticated(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            }
            AppError::Forbidden => Self::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "Only an administrator of the account may do this.",
            ),
            AppError::NoModule(module) => Self::new(
                StatusCode::FORBIDDEN,
                "module_missing",
                format!(
                    "This account does not have the {} module. The operator can switch it on: iocast admin modules.",
                    module.name()
                ),
            ),
            AppError::Throttled { retry_after } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                format!("Too many tries; try again in {retry_after} seconds."),
            )
            .retry(retry_after),
            AppError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail),
            AppError::Unavailable(_) | AppError::OtherSecrets => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry(5)
            }
            AppError::Internal(cause) => {
                let id = request_id();
                tracing::error!(request.id = %id, error = &*cause as &dyn std::error::Error, "A request failed by a fault of ours");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "Something went wrong on our side; the log has more under the request id.",
                )
            }
        }
    }
}
