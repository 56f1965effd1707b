//! The account itself, and the people in it.

use actix_web::{HttpResponse, get, http::StatusCode, patch, post, web};
use iocast_app::{App, UserPatch};
use iocast_domain::{
    account::{Account, Role, User},
    id::UserId,
    staleness::SILENT_AFTER,
    time::{HOUR, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{Answer, List, given, whole};
use crate::{
    extract::{ANYBODY_MAX, Body, Id, Session},
    problem::Problem,
};

/// An account.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountOut {
    /// Account ID: the user name of every device.
    id: String,
    /// Name.
    name: String,
    /// Hours without a pull after which a device is silent.
    silent_after_hours: i64,
    /// Where messages go: `smtp HOST:PORT`, `folder DIR` or `off`.
    mail: String,
    /// How many people get messages about silent devices; with none, no message is sent.
    alerted_people: usize,
    /// A program that is told of silence, recovery and full groups by signed POSTs (Standard
    /// Webhooks); null for none. Shown to administrators, as such addresses often carry a secret.
    webhook_url: Option<String>,
    /// The secret by which it knows us; shown to administrators.
    webhook_secret: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// What may be changed of an account.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountPatchIn {
    /// 1 to 720 hours; null goes back to 48.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    silent_after_hours: Option<Option<i64>>,
    /// An http or https URL; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    webhook_url: Option<Option<String>>,
}

/// A person of the account.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserOut {
    /// Id.
    id: String,
    /// E-mail address.
    email: String,
    /// `admin` or `analyst`.
    #[schema(value_type = String)]
    role: Role,
    /// A disabled person can't sign in.
    active: bool,
    /// Gets messages about silent devices and full groups.
    mail_alerts: bool,
}

impl From<User> for UserOut {
    fn from(user: User) -> Self {
        let User { id, account_id: _, email, role, active, mail_alerts } = user;
        Self { id: id.to_string(), email, role, active, mail_alerts }
    }
}

/// A person to be invited.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserIn {
    /// E-mail address; the invitation goes there.
    email: String,
    /// `admin` or `analyst`.
    #[schema(value_type = String)]
    role: Role,
}

/// What may be changed of a person.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserPatchIn {
    /// New role.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// Disable or enable.
    #[serde(default)]
    active: Option<bool>,
    /// Messages about silent devices and full groups.
    #[serde(default)]
    mail_alerts: Option<bool>,
}

/// Who forgot a password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordResetIn {
    /// E-mail address.
    email: String,
}

/// A password chosen by means of a message.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordIn {
    /// From the message's link.
    token: String,
    /// 8 to 256 characters.
    password: String,
}

async fn out(app: &App, session: &Session, account: Account) -> Answer {
    let alerted_people = app.accounts.alerted_people(&session.0).await?;
    Ok(HttpResponse::Ok().json(AccountOut {
        id: account.id.to_string(),
        name: account.name,
        silent_after_hours: account.silent_after.unwrap_or(SILENT_AFTER) / HOUR,
        webhook_secret: account
            .webhook_url
            .as_deref()
            .and_then(|url| app.accounts.webhook_secret(&session.0, url).ok()),
        webhook_url: account.webhook_url.filter(|_| session.0.may_administer().is_ok()),
        mail: app.watch.mail_goes_to(),
        alerted_people,
        created_at: account.created_at,
    }))
}

/// The account.
#[utoipa::path(tag = "account", responses((status = 200, body = AccountOut)))]
#[get("/account")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session) -> Answer {
    out(&app, &session, app.accounts.account_fetch(&session.0).await?).await
}

/// Change the account.
#[utoipa::path(tag = "account", request_body = AccountPatchIn, responses((status = 200, body = AccountOut), (status = 422, body = Problem)))]
#[patch("/account")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    body: Body<AccountPatchIn>,
) -> Answer {
    out(
        &app,
        &session,
        app.accounts
            .account_update(&session.0, body.value.silent_after_hours, body.value.webhook_url)
            .await?,
    )
    .await
}

/// The people of the account, by age.
#[utoipa::path(tag = "account", responses((status = 200, body = List<UserOut>)))]
#[get("/users")]
pub(crate) async fn users(app: web::Data<App>, session: Session) -> Answer {
    Ok(whole(app.accounts.user_list(&session.0).await?.into_iter().map(UserOut::from).collect()))
}

/// Invite a person: a message says where to choose a password.
#[utoipa::path(tag = "account", request_body = UserIn, params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = UserOut), (status = 403, body = Problem), (status = 422, body = Problem)))]
#[post("/users")]
pub(crate) async fn invite(
    request: actix_web::HttpRequest,
    app: web::Data<App>,
    session: Session,
    body: Body<UserIn>,
) -> Answer {
    let UserIn { email, role } = body.value;
    let make =
        async { Ok(UserOut::from(app.accounts.user_invite(&session.0, &email, role).await?)) };
    let made = async |id| {
        let people = app.accounts.user_list(&session.0).await?;
        let person = people
            .into_iter()
            .find(|user| user.id == UserId(id))
            .ok_or(iocast_app::AppError::NotFound("person"))?;
        Ok(UserOut::from(person))
    };
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// Change a person.
#[utoipa::path(tag = "account", request_body = UserPatchIn, params(("id" = Uuid, Path)), responses((status = 200, body = UserOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[patch("/users/{id}")]
pub(crate) async fn user_update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<UserPatchIn>,
) -> Answer {
    let UserPatchIn { role, active, mail_alerts } = body.value;
    Ok(HttpResponse::Ok().json(UserOut::from(
        app.accounts
            .user_update(&session.0, UserId(id.0), UserPatch { role, active, mail_alerts })
            .await?,
    )))
}

/// Ask for a message by which to choose a new password. The answer is the same whether or not there
/// is such a person.
#[utoipa::path(tag = "account", request_body = PasswordResetIn, responses((status = 202), (status = 429, body = Problem)), security(()))]
#[post("/password-resets")]
pub(crate) async fn password_reset(
    request: actix_web::HttpRequest,
    app: web::Data<App>,
    body: Body<PasswordResetIn, ANYBODY_MAX>,
) -> Answer {
    app.accounts.password_forgotten(&body.value.email, &crate::extract::caller(&request)).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// Choose a password with the token of a message. It works once.
#[utoipa::path(tag = "account", request_body = PasswordIn, responses((status = 204), (status = 401, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)), security(()))]
#[post("/passwords")]
pub(crate) async fn password(
    request: actix_web::HttpRequest,
    app: web::Data<App>,
    body: Body<PasswordIn, ANYBODY_MAX>,
) -> Answer {
    let PasswordIn { token, password } = body.value;
    app.accounts.password_choose(&token, password, &crate::extract::caller(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
