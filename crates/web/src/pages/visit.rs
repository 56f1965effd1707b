//! What pages ask for in their signatures: a signed-in visitor, and a form that the visitor sent.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError,
    cookie::{Cookie, SameSite, time::Duration},
    dev::Payload,
    http::{StatusCode, header},
    web,
};
use iocast_app::{Actor, App, AppError, MailWay};
use iocast_domain::account::Account;
use minijinja::{Value, context};

use super::{
    kept::{KEPT_MAX, Kept},
    view::{self, Flash},
};
use crate::{
    extract::{app, cookie_name, is_https, path_id},
    problem::Problem,
};

mod form;
pub(crate) use self::form::{Fields, Form};

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

/// Why a page can't be shown, as a page.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: Problem,
    /// Where to go on once signed in.
    path: String,
    /// A page asked for it by itself: it says that the session ended, and stays.
    background: bool,
    /// The sign-in page that keeps what was sent, and the cookie that goes with it.
    sign_in: Option<Box<(Value, Option<Cookie<'static>>)>>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.problem.fmt(f)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem, path: String::new(), background: false, sign_in: None }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Problem::from(error).into()
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.problem.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        if let Some(sign_in) = &self.sign_in {
            let (of_page, cookie) = &**sign_in;
            let mut answer =
                view::page(StatusCode::UNAUTHORIZED, "pages/sign_in.html", of_page.clone());
            if let Some(cookie) = cookie {
                set_cookie(&mut answer, cookie);
            }
            return answer;
        }
        if self.problem.status == 401 && self.background {
            return HttpResponse::Unauthorized().finish();
        }
        if self.problem.status == 401 {
            return see_other(&format!("/sign-in?next={}", view::query_encoded(&self.path)));
        }
        view::page(
            self.status_code(),
            "pages/problem.html",
            context! { problem => view::value(&self.problem) },
        )
    }
}

impl Failure {
    /// What a page says of it; nothing where the sign-in page is shown instead.
    pub(crate) fn shown(&self) -> Option<Value> {
        let is_shown = self.sign_in.is_none() && self.problem.status != 401;
        is_shown.then(|| view::value(&self.problem))
    }

    /// The same for a form that was sent without a session: the sign-in page keeps it, if it is
    /// short and holds no password.
    async fn keeping(self, request: &HttpRequest, payload: &mut Payload) -> Self {
        // Another site can send a form, but not with our cookie: a browser that shows the one of
        // the session that ended was on our page.
        if !app(request).is_ok_and(|app| request.cookie(cookie_name(&app)).is_some()) {
            return self;
        }
        let fields = Fields::read(request, payload, KEPT_MAX).await;
        let (Ok(fields), Ok(app)) = (fields, app(request)) else { return self };
        let Some(kept) = Kept::of(&self.path, fields) else { return self };
        let (frame, cookie) = super::sign_in::frame(request, &app, false);
        let of_page = context! { next => self.path.clone(), kept => kept.text(), ended => false, changed => false, sent => context! {}, problem => () };
        Self { sign_in: Some(Box::new((context! { ..of_page, ..frame }, cookie))), ..self }
    }
}

/// Adds a cookie to an answer.
pub(crate) fn set_cookie(answer: &mut HttpResponse, cookie: &Cookie<'_>) {
    if let Err(error) = answer.add_cookie(cookie) {
        tracing::warn!(error = &error as &dyn std::error::Error, "A cookie could not be set");
    }
}

/// The answer of a page.
pub(crate) type PageResult = Result<HttpResponse, Failure>;

/// Sends the browser on with a GET.
pub(crate) fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, path)).finish()
}

/// What the list of devices asks for by itself, to keep its dots fresh.
const STATES: &str = "/automation/integrations/states";
/// The header of other requests that a page makes by itself.
const IN_THE_BACKGROUND: &str = "x-iocast-background";

/// Who looks at a page: signed in, by the cookie.
pub(crate) struct PageContext {
    pub(crate) actor: Actor,
    pub(crate) account: Account,
    pub(crate) app: web::Data<App>,
    pub(crate) request: HttpRequest,
}

impl FromRequest for PageContext {
    type Error = Failure;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let app = app(&request)?;
            let from = |problem: Problem| Failure {
                problem,
                sign_in: None,
                background: request.headers().contains_key(IN_THE_BACKGROUND),
                path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            };
            let Some(cookie) = request.cookie(cookie_name(&app)) else {
                return Err(from(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "unauthenticated",
                    "Sign in first.",
                )));
            };
            let actor = app
                .accounts
                .authenticate(cookie.value(), crate::extract::caller(&request))
                .await
                .map_err(|e| from(e.into()))?;
            let account = app.accounts.account_fetch(&actor).await?;
            // What a page asks for by itself is nobody's work.
            if request.path() != STATES && !request.headers().contains_key(IN_THE_BACKGROUND) {
                app.accounts.session_used(&actor).await?;
            }
            Ok(Self { actor, account, app, request })
        })
    }
}

impl PageContext {
    /// A page with everything around it: who is signed in, what was just done, the product's time.
    pub(crate) fn page(&self, status: StatusCode, name: &str, of_page: Value) -> HttpResponse {
        let https = is_https(&self.app);
        let flash = Flash::of(&self.request, https);
        let frame = context! {
            me => context! {
                email => self.actor.name(),
                may_write => self.actor.may_write().is_ok(),
                account_id => self.account.id.to_string(),
                account_name => self.account.name.clone(),
                automation => self.account.modules.automation,
                tip => self.account.modules.tip,
            },
            hidden => Value::from_safe_string(format!("<input type=\"hidden\" name=\"token\" value=\"{}\">", self.app.accounts.form_token(&self.actor))),
            now => self.app.context.now().to_string(),
            emulator => self.app.context.settings.emulator,
            no_mail => match self.app.watch.mail_way() {
                MailWay::Off => Some("Nobody gets mail: mail is switched off."),
                MailWay::Folder => Some("Nobody gets mail: no mail server is set, messages are written into a folder."),
                MailWay::Smtp => None,
            },
            path => self.request.path(),
            help => super::help::explains(self.request.path()),
            here => self.request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            said => flash.as_ref().map(|f| f.0.clone()),
        };
        let mut answer = view::page(status, name, context! { ..of_page, ..frame });
        if flash.is_some() {
            Flash::clear(&mut answer, https);
        }
        answer
    }

    /// The page as it is asked for.
    pub(crate) fn show(&self, name: &str, of_page: Value) -> PageResult {
        Ok(self.page(StatusCode::OK, name, of_page))
    }

    /// Goes on to a page, which says first what was done.
    pub(crate) fn done(&self, path: &str, said: &str) -> PageResult {
        let mut answer = see_other(path);
        Flash(said.to_owned()).set(&mut answer, is_https(&self.app));
        Ok(answer)
    }

    /// A parameter of the query, unless it is empty.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let wanted = |(key, value): (String, String)| {
            (key == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
        };
        pairs(self.request.query_string().as_bytes()).into_iter().find_map(wanted)
    }
}

/// The names and values of an encoded form, in order.
pub(crate) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).map(|(k, v)| (k.into_owned(), v.replace('\0', ""))).collect()
}

/// The id in a path.
pub(crate) struct Id(pub(crate) uuid::Uuid);

impl FromRequest for Id {
    type Error = Failure;
    type Future = std::future::Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(path_id(request, "id").map(Self).map_err(Failure::from))
    }
}

/// What is wrong, for a page that shows its form again: the sentence, and the fields with their
/// messages.
pub(crate) fn problem(error: AppError) -> Result<(StatusCode, Value), Failure> {
    let problem = Problem::from(error);
    let status = problem.status_code();
    if !matches!(status.as_u16(), 400 | 409 | 413 | 422 | 429 | 503)
        && status != StatusCode::UNAUTHORIZED
    {
        return Err(problem.into());
    }
    let fields: BTreeMap<&str, &str> =
        problem.errors.iter().map(|e| (e.field.as_str(), e.message.as_str())).collect();
    Ok((status, context! { detail => problem.detail, fields => view::value(fields) }))
}

/// A cookie that lives for a moment.
pub(crate) fn brief_cookie(name: &'static str, value: String, https: bool) -> Cookie<'static> {
    Cookie::build(name, value)
        .path("/")
        .http_only(true)
        .secure(https)
        .same_site(SameSite::Strict)
        .max_age(Duration::minutes(10))
        .finish()
}
