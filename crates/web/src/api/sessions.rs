//! Signing in and out.

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite, time::Duration},
    delete, get, post, web,
};
use iocast_app::{App, SessionKind, SignedIn};
use iocast_domain::{account::Role, time::SECOND};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::Answer;
use crate::{
    extract::{ANYBODY_MAX, Body, Session, caller, cookie_name, is_https, known_browser_name},
    problem::Problem,
};

/// Who signs in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionIn {
    /// E-mail address.
    #[validate(length(
        min = 1,
        max = 254,
        code = "email_invalid",
        message = "Give the e-mail address you sign in with."
    ))]
    email: String,
    /// Password.
    #[validate(length(
        min = 1,
        max = 256,
        code = "password_length",
        message = "Give your password, at most 256 characters."
    ))]
    password: String,
    /// Which account, where the address is in several with the same password.
    #[serde(default)]
    account_id: Option<String>,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionOut {
    /// For `Authorization: Bearer`; the same stands in the session cookie.
    token: String,
    /// When it ends.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// The person signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeOut {
    /// Id of the person.
    id: String,
    /// E-mail address.
    email: String,
    /// `admin` or `analyst`.
    role: &'static str,
    /// 24 hexadecimal digits: the user name of devices.
    account_id: String,
    /// The account's name.
    account_name: String,
    /// Modules that are on.
    modules: Vec<&'static str>,
}

/// The cookie of a session.
pub(crate) fn session_cookie(app: &App, signed_in: &SignedIn) -> Cookie<'static> {
    let cookie = Cookie::build(cookie_name(app), signed_in.token.clone())
        .path("/")
        .http_only(true)
        .secure(is_https(app));
    // The session itself says when it ends.
    cookie.same_site(SameSite::Lax).max_age(Duration::days(7)).finish()
}

/// The cookie by which the browser is known at the next sign-in.
pub(crate) fn known_browser_cookie(app: &App, signed_in: &SignedIn) -> Cookie<'static> {
    let cookie = Cookie::build(known_browser_name(app), signed_in.known_browser.clone())
        .path("/")
        .http_only(true)
        .secure(is_https(app));
    cookie.same_site(SameSite::Strict).max_age(Duration::days(365)).finish()
}

/// The cookie that takes the session's cookie away.
pub(crate) fn session_ended(app: &App) -> Cookie<'static> {
    let mut cookie = Cookie::build(cookie_name(app), "")
        .path("/")
        .http_only(true)
        .secure(is_https(app))
        .finish();
    cookie.make_removal();
    cookie
}

/// Sign in.
#[utoipa::path(tag = "sessions", request_body = SessionIn, responses((status = 201, body = SessionOut), (status = 401, body = Problem), (status = 429, body = Problem)), security(()))]
#[post("/sessions")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    body: Body<SessionIn, ANYBODY_MAX>,
) -> Answer {
    let SessionIn { email, password, account_id } = body.value;
    let signed_in = app
        .accounts
        .sign_in(&email, &password, account_id.as_deref(), &caller(&request), SessionKind::Program)
        .await?;
    let cookie = session_cookie(&app, &signed_in);
    // Sessions run on the real clock; seconds are enough.
    let expires_at = iocast_domain::time::Timestamp::from_micros(
        signed_in.expires_at.micros() / SECOND * SECOND,
    );
    Ok(HttpResponse::Created()
        .cookie(cookie)
        .json(SessionOut { token: signed_in.token, expires_at: expires_at.to_string() }))
}

/// Sign out.
#[utoipa::path(tag = "sessions", responses((status = 204), (status = 401, body = Problem)))]
#[delete("/sessions/current")]
pub(crate) async fn delete(app: web::Data<App>, session: Session) -> Answer {
    app.accounts.sign_out(&session.0).await?;
    let cookie = session_ended(&app);
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

/// Who is signed in.
#[utoipa::path(tag = "sessions", responses((status = 200, body = MeOut), (status = 401, body = Problem)))]
#[get("/me")]
pub(crate) async fn me(app: web::Data<App>, session: Session) -> Answer {
    let account = app.accounts.account_fetch(&session.0).await?;
    let Some(user) = session.0.user().cloned() else {
        return Err(iocast_app::AppError::NotFound("person").into());
    };
    let modules = [("automation", account.modules.automation), ("tip", account.modules.tip)]
        .into_iter()
        .filter(|(_, on)| *on)
        .map(|(name, _)| name)
        .collect();
    let role = match user.role {
        Role::Admin => "admin",
        Role::Analyst => "analyst",
    };
    Ok(HttpResponse::Ok().json(MeOut {
        id: user.id.to_string(),
        email: user.email,
        role,
        account_id: account.id.to_string(),
        account_name: account.name,
        modules,
    }))
}
