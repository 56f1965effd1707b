//! The outbox: messages and what became of them.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use iocast_app::{App, MessageRow};
use iocast_domain::{
    id::MessageId,
    message::{MessageKind, MessageState},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{Answer, List};
use crate::{
    extract::{Body, Id, Query, Session, page},
    problem::Problem,
};

/// Which messages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OutboxQuery {
    /// In this state only: `due`, `claimed`, `sent`, `dead`, `superseded` or `discarded`.
    #[param(value_type = Option<String>)]
    state: Option<MessageState>,
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A message.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageOut {
    /// Id.
    id: String,
    /// Why it was written.
    #[schema(value_type = String)]
    kind: MessageKind,
    /// To whom.
    to: String,
    /// Subject.
    subject: String,
    /// Carried by every try.
    message_id: String,
    /// `due`, `claimed` (on its way), `sent`, `dead` (given up), `superseded` (not needed any more)
    /// or `discarded`.
    #[schema(value_type = String)]
    state: MessageState,
    /// Tries so far.
    attempts: u32,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// While it is due: when it is tried next.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// When nothing more happened to it.
    #[schema(value_type = Option<String>, format = DateTime)]
    settled_at: Option<Timestamp>,
    /// What the mail server said last.
    last_answer: Option<String>,
    /// A try ended without an answer: it may have arrived, whatever its state.
    maybe_sent: bool,
    /// It is a digest that still gathers: its subject and words are written when it goes out.
    gathers: bool,
}

impl From<MessageRow> for MessageOut {
    fn from(row: MessageRow) -> Self {
        let MessageRow {
            message,
            state,
            attempts,
            next_at,
            settled_at,
            last_answer,
            maybe_sent,
            gathers,
        } = row;
        // Its words stay out of the list: an invitation holds a secret.
        Self {
            id: message.id.to_string(),
            kind: message.kind,
            to: message.recipient,
            subject: message.subject,
            message_id: message.message_id,
            state,
            attempts,
            created_at: message.created_at,
            next_at: (!state.is_settled()).then_some(next_at),
            settled_at,
            last_answer,
            maybe_sent,
            gathers,
        }
    }
}

/// To whom to send a test message.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailTestIn {
    /// E-mail address; your own unless given.
    #[serde(default)]
    to: Option<String>,
}

/// What the mail server said.
#[derive(Serialize, ToSchema)]
pub(crate) struct MailTestOut {
    /// To whom.
    to: String,
    /// Its answer.
    answer: String,
}

/// The messages of the account, newest first.
#[utoipa::path(tag = "mail", params(OutboxQuery), responses((status = 200, body = List<MessageOut>), (status = 403, body = Problem)))]
#[get("/outbox")]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    query: Query<OutboxQuery>,
) -> Answer {
    let OutboxQuery { state, limit, cursor } = query.0;
    Ok(super::list(
        &request,
        app.watch
            .message_list(&session.0, state, &page(limit, cursor)?)
            .await?
            .map(MessageOut::from),
    ))
}

/// Try a message again at once that is due or dead.
#[utoipa::path(tag = "mail", params(("id" = Uuid, Path)), responses((status = 200, body = MessageOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/outbox/{id}/retry")]
pub(crate) async fn retry(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok()
        .json(MessageOut::from(app.watch.message_retry(&session.0, MessageId(id.0)).await?)))
}

/// Throw a message away that is due or dead; it stays in the list.
#[utoipa::path(tag = "mail", params(("id" = Uuid, Path)), responses((status = 200, body = MessageOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[delete("/outbox/{id}")]
pub(crate) async fn discard(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok()
        .json(MessageOut::from(app.watch.message_discard(&session.0, MessageId(id.0)).await?)))
}

/// Send a test message at once, and show what the mail server said.
#[utoipa::path(tag = "mail", request_body = MailTestIn, responses((status = 200, body = MailTestOut), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/mail/test")]
pub(crate) async fn test(app: web::Data<App>, session: Session, body: Body<MailTestIn>) -> Answer {
    let to = body.value.to.unwrap_or_else(|| session.0.name().to_owned());
    let answer = app.watch.mail_test(&session.0, &to).await?;
    Ok(HttpResponse::Ok().json(MailTestOut { to, answer }))
}
