//! Signing in and out, and what a person does about his or her own access.

use actix_web::{HttpRequest, HttpResponse, cookie::Cookie, http::StatusCode, web};
use iocast_app::{App, AppError, SessionKind};
use iocast_domain::id::SessionId;
use minijinja::{Value, context};

use super::{
    kept::{KEPT_MAX, Kept},
    view,
    visit::{Fields, Form, PageContext, PageResult, brief_cookie, problem, see_other, set_cookie},
};
use crate::{
    api::sessions::{known_browser_cookie, session_cookie, session_ended},
    extract::{ANYBODY_MAX, caller, cookie_name, is_https},
};

/// Longest sign-in form, in bytes: a kept form is encoded once more in it.
const SIGN_IN_MAX: usize = ANYBODY_MAX + 3 * KEPT_MAX;

/// The cookie that ties the sign-in form to the browser that it was shown in, before there is a
/// session.
fn form_cookie(app: &App) -> &'static str {
    if is_https(app) { "__Host-iocast-form" } else { "iocast-form" }
}

/// A place of ours to go on to; nothing that leads elsewhere.
fn onward(next: &str) -> String {
    if view::is_place(next) && !next.starts_with("/sign-") {
        next.to_owned()
    } else {
        "/".to_owned()
    }
}

/// What the sign-in page needs beside what it says, and the cookie to be set with it.
pub(crate) fn frame(
    request: &HttpRequest,
    app: &App,
    first_run: bool,
) -> (Value, Option<Cookie<'static>>) {
    let known =
        request.cookie(form_cookie(app)).map(|c| c.value().to_owned()).filter(|v| v.len() == 36);
    let fresh = known.is_none();
    let token = known.unwrap_or_else(|| app.context.request_id());
    let cookie = fresh.then(|| brief_cookie(form_cookie(app), token.clone(), is_https(app)));
    (
        context! { token, first_run, emulator => app.context.settings.emulator, mail_off => app.watch.mail_goes_to() == "off" },
        cookie,
    )
}

fn form_page(
    request: &HttpRequest,
    app: &App,
    status: StatusCode,
    of_page: Value,
    first_run: bool,
) -> HttpResponse {
    let (frame, cookie) = frame(request, app, first_run);
    let mut answer = view::page(status, "pages/sign_in.html", context! { ..of_page, ..frame });
    if let Some(cookie) = cookie {
        set_cookie(&mut answer, &cookie);
    }
    answer
}

pub(crate) async fn show(request: HttpRequest, app: web::Data<App>) -> PageResult {
    let query =
        web::Query::<std::collections::HashMap<String, String>>::from_query(request.query_string())
            .map(web::Query::into_inner)
            .unwrap_or_default();
    let next = query.get("next").map(String::as_str).unwrap_or_default();
    if let Some(cookie) = request.cookie(cookie_name(&app))
        && app.accounts.authenticate(cookie.value(), caller(&request)).await.is_ok()
    {
        return Ok(see_other(&onward(next)));
    }
    let changed = query.contains_key("changed");
    let ended = !changed && request.cookie(cookie_name(&app)).is_some();
    let first_run = !app.accounts.anybody_signed_in().await?;
    Ok(form_page(
        &request,
        &app,
        StatusCode::OK,
        context! { next, kept => "", ended, changed, sent => context! {}, problem => () },
        first_run,
    ))
}

pub(crate) async fn enter(
    request: HttpRequest,
    app: web::Data<App>,
    payload: web::Payload,
) -> PageResult {
    let fields = Fields::read(&request, &mut payload.into_inner(), SIGN_IN_MAX).await?;
    let next = fields.text("next").to_owned();
    let again = |error: AppError| {
        let (status, problem) = problem(error)?;
        let sent =
            context! { email => fields.text("email"), account_id => fields.text("account_id") };
        Ok(form_page(
            &request,
            &app,
            status,
            context! { next => next.clone(), kept => fields.text("kept"), ended => false, changed => false, sent, problem },
            false,
        ))
    };
    if request
        .cookie(form_cookie(&app))
        .is_none_or(|c| c.value().is_empty() || c.value() != fields.text("token"))
    {
        return again(AppError::Unauthenticated(
            "This form was open for too long, or your browser refuses cookies. Please sign in again.",
        ));
    }
    match app
        .accounts
        .sign_in(
            fields.text("email"),
            fields.untrimmed("password"),
            fields.maybe("account_id").as_deref(),
            &caller(&request),
            SessionKind::Browser,
        )
        .await
    {
        Ok(signed_in) => {
            let mut answer = match Kept::read(fields.text("kept")) {
                Some(kept) => kept.offer(app.clone(), request.clone(), &signed_in.token).await?,
                None => see_other(&onward(&next)),
            };
            set_cookie(&mut answer, &session_cookie(&app, &signed_in));
            set_cookie(&mut answer, &known_browser_cookie(&app, &signed_in));
            if let Some(why) = &signed_in.weak_password {
                let advice = format!("Please change your password under Profile. {why}");
                view::Flash(advice).set(&mut answer, is_https(&app));
            }
            Ok(answer)
        }
        Err(error) => again(error),
    }
}

/// Sends a message to choose a new password, and says the same whether there is such a person or
/// not.
pub(crate) async fn forgotten(
    request: HttpRequest,
    app: web::Data<App>,
    payload: web::Payload,
) -> PageResult {
    let fields = Fields::read(&request, &mut payload.into_inner(), ANYBODY_MAX).await?;
    app.accounts.password_forgotten(fields.text("email"), &caller(&request)).await?;
    Ok(view::page(
        StatusCode::OK,
        "pages/forgotten.html",
        context! { mail_off => app.watch.mail_goes_to() == "off", sent => true },
    ))
}

pub(crate) async fn leave(form: Form) -> PageResult {
    let visitor = &form.visitor;
    visitor.app.accounts.sign_out(&visitor.actor).await?;
    let mut answer = see_other("/sign-in");
    set_cookie(&mut answer, &session_ended(&visitor.app));
    Ok(answer)
}

pub(crate) async fn profile(visitor: PageContext) -> PageResult {
    profile_page(&visitor, StatusCode::OK, Value::from(())).await
}

async fn profile_page(visitor: &PageContext, status: StatusCode, problem: Value) -> PageResult {
    let sessions = visitor.app.accounts.session_list(&visitor.actor).await?.into_iter().map(|s| {
        context! {
            id => s.id.to_string(),
            created_at => s.created_at.to_string(),
            expires_at => s.expires_at.to_string(),
            current => visitor.actor.session == Some(s.id),
        }
    });
    let role = visitor.actor.user().map(|u| view::value(u.role));
    Ok(visitor.page(
        status,
        "pages/profile.html",
        context! { sessions => sessions.collect::<Vec<_>>(), role, problem },
    ))
}

pub(crate) async fn profile_act(form: Form) -> PageResult {
    let visitor = &form.visitor;
    match form.text("do") {
        "end" => {
            visitor.app.accounts.session_end(&visitor.actor, SessionId(form.id("id")?)).await?;
            visitor.done("/settings/profile", "The session is ended.")
        }
        _ => {
            let accounts = &visitor.app.accounts;
            let new = form.untrimmed("password").to_owned();
            let changed = if new == form.untrimmed("again") {
                accounts.password_change(&visitor.actor, form.untrimmed("present"), &new).await
            } else {
                Err(AppError::field(
                    "again",
                    "passwords_differ",
                    "The two new passwords are not the same.",
                ))
            };
            if let Err(error) = changed {
                let (status, problem) = problem(error)?;
                return profile_page(visitor, status, problem).await;
            }
            // All sessions ended with the old password; this one goes on under the new one.
            let Ok(signed_in) = accounts
                .sign_in(
                    visitor.actor.name(),
                    &new,
                    Some(visitor.account.id.as_str()),
                    &visitor.actor.caller,
                    SessionKind::Browser,
                )
                .await
            else {
                return Ok(see_other("/sign-in?changed"));
            };
            let mut answer = visitor.done(
                "/settings/profile",
                "Your password is changed, and your other sessions are ended.",
            )?;
            set_cookie(&mut answer, &session_cookie(&visitor.app, &signed_in));
            Ok(answer)
        }
    }
}
