//! Bodies in JSON: read within bounds, with a reason for each that is refused.

use std::time::Duration;

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::{StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use validator::{Validate, ValidationErrors};

use super::{BODY_MAX, Extracting, caller};
use crate::problem::{Problem, ProblemField};

/// How long a JSON body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// An over-long body is read and thrown away up to this, so that its sender gets to see the answer.
const DRAIN_MAX: u64 = 1 << 30;

/// How long the rest of a body that nobody wants is read.
const DRAIN_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// A JSON body, read within bounds, parsed without unknown fields, and checked.
pub(crate) struct Body<T, const MAX: usize = BODY_MAX> {
    pub(crate) value: T,
    /// As it came, for the idempotency key.
    pub(crate) bytes: Bytes,
}

impl<T: DeserializeOwned + Validate + 'static, const MAX: usize> FromRequest for Body<T, MAX> {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            caller(&request);
            // Where every field may be left out, so may the body.
            let declared = request.headers().get(header::CONTENT_LENGTH).is_some_and(|l| l != "0")
                || request.headers().contains_key(header::TRANSFER_ENCODING);
            if declared && request.content_type() != "application/json" {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "media_type",
                    "Send the body as application/json.",
                ));
            }
            uncompressed(&request)?;
            let bytes = if declared {
                read_small(&request, payload, MAX).await?
            } else {
                Bytes::from_static(b"{}")
            };
            if bytes.windows(6).any(|w| w == br"\u0000") {
                return Err(Problem::fields(vec![ProblemField {
                    field: "body".to_owned(),
                    code: "nul".to_owned(),
                    message: "Text can't hold NUL characters; take them out.".to_owned(),
                }]));
            }
            let value: T = serde_json::from_slice(&bytes).map_err(|error| json_problem(&error))?;
            value.validate().map_err(|errors| field_problem(&errors))?;
            Ok(Self { value, bytes })
        })
    }
}

/// Compressed bodies are not taken: a small one may hold a very large one.
pub(crate) fn uncompressed(request: &HttpRequest) -> Result<(), Problem> {
    match request.headers().get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or_default()) {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_encoding",
            "Send the body uncompressed, without Content-Encoding.",
        )),
    }
}

pub(crate) async fn read_small(
    request: &HttpRequest,
    mut payload: Payload,
    max: usize,
) -> Result<Bytes, Problem> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!(
                "The body is larger than {max} bytes; IOCs are imported at POST /api/v1/sources/{{id}}/iocs."
            ),
        )
    };
    let mut body = BytesMut::new();
    let reading = async {
        if declared.is_some_and(|d| d > max as u64) {
            drain(&mut payload, 0).await;
            return Err(too_large());
        }
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_cut| cut_off())?;
            if body.len() + chunk.len() > max {
                drain(&mut payload, max as u64).await;
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(())
    };
    tokio::time::timeout(BODY_DEADLINE, reading).await.map_err(|_elapsed| too_slow())??;
    Ok(body.freeze())
}

/// Reads the rest of a body and throws it away, within bounds: a client that is still sending hears
/// no answer.
pub(crate) async fn drain(payload: &mut Payload, mut read: u64) {
    let rest = async {
        while let Some(Ok(chunk)) = payload.next().await {
            read += chunk.len() as u64;
            if read > DRAIN_MAX {
                return;
            }
        }
    };
    // One that sends slowly is not waited for.
    let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
}

pub(crate) fn cut_off() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body_cut_off",
        "The body ended before it was whole; nothing was written. Send it again.",
    )
}

pub(crate) fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "The body took too long to arrive; nothing was written. Send it again.",
    )
}

fn json_problem(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if error.is_data() {
        // A known field of a wrong type, or an unknown one.
        let field = text
            .split('`')
            .nth(1)
            .filter(|_| text.starts_with("unknown field") || text.starts_with("missing field"))
            .unwrap_or("body")
            .to_owned();
        let code = if text.starts_with("unknown field") {
            "unknown_field"
        } else if text.starts_with("missing field") {
            "missing_field"
        } else {
            "wrong_type"
        };
        return Problem::fields(vec![ProblemField {
            field,
            code: code.to_owned(),
            message: format!("Invalid request body: {text}."),
        }]);
    }
    Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("The body is not JSON: {text}."))
}

fn field_problem(errors: &ValidationErrors) -> Problem {
    let fields = errors.field_errors().into_iter().flat_map(|(field, errors)| {
        errors.iter().map(move |e| ProblemField {
            field: field.to_string(),
            code: e.code.to_string(),
            message: e
                .message
                .as_ref()
                .map_or_else(|| "This value is not valid.".to_owned(), ToString::to_string),
        })
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|a, b| a.field.cmp(&b.field));
    Problem::fields(fields)
}
