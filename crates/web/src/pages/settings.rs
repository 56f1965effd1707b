//! Settings: subscription, users, mail, audit log.

use actix_web::http::StatusCode;
use iocast_app::{AppError, NewKey, Page, UserPatch};
use iocast_domain::{
    account::Role,
    id::{KeyId, MessageId, UserId},
    key::KeyKind,
    message::MessageState,
    time::HOUR,
};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::api::{account::UserOut, keys::KeyOut, outbox::MessageOut};

mod audit;
use self::audit::LINES;
pub(crate) use self::audit::changes;
pub(crate) use self::audit::{audit, audit_csv};

pub(super) fn unknown() -> AppError {
    AppError::Malformed("This page does not know what to do with that form.".to_owned())
}

pub(crate) async fn subscription(visitor: PageContext) -> PageResult {
    subscription_page(&visitor, StatusCode::OK, Value::from(()), context! {}, None).await
}

async fn subscription_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
    made: Option<NewKey>,
) -> PageResult {
    visitor.actor.may_write()?;
    let keys: Vec<Value> = visitor
        .app
        .accounts
        .key_list(&visitor.actor, None)
        .await?
        .into_iter()
        .map(|k| view::value(KeyOut::from(k)))
        .collect();
    let account = &visitor.account;
    let webhook_secret = account
        .webhook_url
        .as_deref()
        .map(|url| visitor.app.accounts.webhook_secret(&visitor.actor, url))
        .transpose()?;
    let of_page = context! {
        keys, problem, sent,
        made => made.map(|m| context! { kind => view::value(m.view.key.kind), secret => m.secret.clone() }),
        account => context! {
            created_at => account.created_at.to_string(),
            silent_after_hours => account.silent_after.map(|m| m / HOUR),
            webhook_url => account.webhook_url.clone(),
            webhook_secret,
        },
        public_url => visitor.app.context.settings.public_url.clone(),
    };
    Ok(visitor.page(status, "pages/subscription.html", of_page))
}

pub(crate) async fn subscription_act(form: Form) -> PageResult {
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let made = match form.text("do") {
        "make" => match key_kind(&form) {
            Ok(kind) => app.accounts.key_create(actor, kind, None).await.map(Some),
            Err(error) => Err(error),
        },
        "rotate" => match form.number("overlap_hours") {
            Ok(hours) => app
                .accounts
                .key_rotate(actor, KeyId(form.id("id")?), hours.map(|h| h.saturating_mul(HOUR)))
                .await
                .map(Some),
            Err(error) => Err(error),
        },
        "revoke" => {
            app.accounts.key_revoke(actor, None, KeyId(form.id("id")?)).await.map(|()| None)
        }
        "alerts" => match form.number("silent_after_hours") {
            Ok(hours) => app
                .accounts
                .account_update(actor, Some(hours), Some(form.maybe("webhook_url")))
                .await
                .map(|_| None),
            Err(error) => Err(error),
        },
        _ => Err(unknown()),
    };
    match made {
        Ok(Some(made)) => {
            subscription_page(visitor, StatusCode::OK, Value::from(()), context! {}, Some(made))
                .await
        }
        Ok(None) => {
            let said = if form.text("do") == "revoke" {
                "The key is revoked: it opens nothing any more."
            } else {
                "The changes are saved."
            };
            visitor.done("/settings/subscription", said)
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            subscription_page(visitor, status, problem, form.again(), None).await
        }
    }
}

pub(crate) async fn users(visitor: PageContext) -> PageResult {
    users_page(&visitor, StatusCode::OK, Value::from(()), context! {}).await
}

async fn users_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    visitor.actor.may_write()?;
    let users: Vec<Value> = visitor
        .app
        .accounts
        .user_list(&visitor.actor)
        .await?
        .into_iter()
        .map(|u| view::value(UserOut::from(u)))
        .collect();
    let nobody_told = visitor.app.accounts.alerted_people(&visitor.actor).await? == 0;
    let of_page =
        context! { users, problem, sent, nobody_told, mail => visitor.app.watch.mail_goes_to() };
    Ok(visitor.page(status, "pages/users.html", of_page))
}

fn role(form: &Form) -> Result<Role, AppError> {
    match form.text("role") {
        "admin" => Ok(Role::Admin),
        "analyst" => Ok(Role::Analyst),
        _ => Err(AppError::field("role", "not_a_choice", "Choose administrator or analyst.")),
    }
}

fn key_kind(form: &Form) -> Result<KeyKind, AppError> {
    match form.text("kind") {
        "api" => Ok(KeyKind::Api),
        "appliance" => Ok(KeyKind::Appliance),
        _ => Err(AppError::field("kind", "not_a_choice", "Choose an API key or an appliance key.")),
    }
}

pub(crate) async fn users_act(form: Form) -> PageResult {
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let outcome = match form.text("do") {
        "invite" => match role(&form) {
            Ok(role) => app
                .accounts
                .user_invite(actor, form.text("email"), role)
                .await
                .map(|u| format!("An invitation is on its way to {}.", u.email)),
            Err(error) => Err(error),
        },
        "change" => match (UserId(form.id("id")?), role(&form)) {
            (id, Ok(role)) => {
                let patch = UserPatch {
                    role: Some(role),
                    active: Some(form.on("active")),
                    mail_alerts: Some(form.on("mail_alerts")),
                };
                app.accounts
                    .user_update(actor, id, patch)
                    .await
                    .map(|u| format!("The changes to {} are saved.", u.email))
            }
            (_, Err(error)) => Err(error),
        },
        _ => Err(unknown()),
    };
    match outcome {
        Ok(said) => visitor.done("/settings/users", &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            users_page(visitor, status, problem, form.again()).await
        }
    }
}

pub(crate) async fn mail(visitor: PageContext) -> PageResult {
    mail_page(&visitor, StatusCode::OK, Value::from(()), context! {}, Value::from(())).await
}

async fn mail_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
    answer: Value,
) -> PageResult {
    let wanted: Option<MessageState> =
        visitor.query("state").and_then(|s| serde_json::from_value(s.into()).ok());
    let messages = visitor
        .app
        .watch
        .message_list(
            &visitor.actor,
            wanted,
            &Page { limit: LINES, after: visitor.query("cursor") },
        )
        .await?
        .map(MessageOut::from);
    let of_page = context! {
        messages => view::value(&messages.items),
        next => messages.next.map(|c| view::with_query(&visitor.request, "cursor", &c)),
        state => visitor.query("state"),
        mail => visitor.app.watch.mail_goes_to(),
        problem, sent, answer,
    };
    Ok(visitor.page(status, "pages/mail.html", of_page))
}

pub(crate) async fn mail_act(form: Form) -> PageResult {
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let outcome = match form.text("do") {
        "test" => {
            let to = form.maybe("to").unwrap_or_else(|| actor.name().to_owned());
            match app.watch.mail_test(actor, &to).await {
                Ok(answer) => {
                    return mail_page(
                        visitor,
                        StatusCode::OK,
                        Value::from(()),
                        form.again(),
                        context! { to, answer },
                    )
                    .await;
                }
                Err(error) => Err(error),
            }
        }
        "retry" => app
            .watch
            .message_retry(actor, MessageId(form.id("id")?))
            .await
            .map(|_| "The message is tried again now."),
        "discard" => app
            .watch
            .message_discard(actor, MessageId(form.id("id")?))
            .await
            .map(|_| "The message is thrown away."),
        _ => Err(unknown()),
    };
    match outcome {
        Ok(said) => visitor.done("/settings/mail", said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            mail_page(visitor, status, problem, form.again(), Value::from(())).await
        }
    }
}
