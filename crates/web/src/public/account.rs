//! The account, as the Threat Command REST API shows it.

use actix_web::{HttpRequest, HttpResponse, get, head, http::StatusCode, web};
use iocast_app::App;
use iocast_domain::account::{Module, Role};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Answer, Params, Program, Refusal};

/// Whether account ID and API key are right.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200), (status = 401)), security(("basic" = [])))]
#[head("/v1/test-credentials")]
pub(crate) async fn test_credentials(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().finish())
}

/// The same, as some clients ask.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200), (status = 401)), security(("basic" = [])))]
#[get("/v1/test-credentials")]
pub(crate) async fn test_credentials_read(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().finish())
}

/// Whether there is a version of this API.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200), (status = 401)), security(("basic" = [])))]
#[head("/v1/api/version")]
pub(crate) async fn version_asked(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().finish())
}

/// The version of this API.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/api/version")]
pub(crate) async fn version(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(
        json!({ "version": "3.0", "product": concat!("iocast ", env!("CARGO_PKG_VERSION")) }),
    ))
}

/// Which modules the account has.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/account/system-modules")]
pub(crate) async fn system_modules(program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(modules(&program)))
}

/// `Discovery` finds alerts, `VirtualAppliance` is what sends IOCs to devices, `IOC` the intelligence
/// platform.
pub(super) fn modules(program: &Program) -> Value {
    let has = |module| program.0.modules.has(module);
    json!({
        "Discovery": has(Module::Tip), "Remediation": has(Module::Automation), "IOC": has(Module::Tip),
        "VirtualAppliance": has(Module::Automation), "InvestigationPage": false, "ThreatLibrary": false,
        "IntelliFind": false, "Cve": false,
    })
}

/// A person of the account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ThreatCommandUser {
    #[serde(rename = "_id")]
    id: String,
    email: String,
    /// `Admin` or `Analyst`.
    role: &'static str,
    first_name: String,
    last_name: String,
    is_active: bool,
    is_deleted: bool,
}

/// The people of the account.
#[utoipa::path(
    tag = "Threat Command: account",
    params(("userType" = Option<String>, Query, description = "Admin or Analyst"), ("userEmail" = Option<String>, Query), ("userId" = Option<String>, Query)),
    responses((status = 200, body = Vec<ThreatCommandUser>), (status = 400, description = "InvaliduserEmail or InvaliduserId: there is no such person"), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/account/users-details")]
pub(crate) async fn users_details(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    people(&request, &app, &program).await
}

/// The people that the parameters ask for.
pub(super) async fn people(request: &HttpRequest, app: &App, program: &Program) -> Answer {
    let params = Params::of(request)?;
    let fits = |name: &str, value: &str| {
        params.one(name).is_none_or(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let is_asked = |name| params.one(name).is_some();
    let role = |role| if role == Role::Admin { "Admin" } else { "Analyst" };
    let people = app.accounts.user_list(&program.0).await?.into_iter().map(|u| ThreatCommandUser {
        id: u.id.to_string(),
        email: u.email.clone(),
        role: role(u.role),
        // People are known by their addresses.
        first_name: u.email.split('@').next().unwrap_or_default().to_owned(),
        last_name: String::new(),
        is_active: u.active,
        is_deleted: false,
    });
    let people: Vec<ThreatCommandUser> = people
        .filter(|u| {
            fits("userType", u.role) && fits("userEmail", &u.email) && fits("userId", &u.id)
        })
        .collect();
    // Clients take the first one without looking.
    if people.is_empty() && (is_asked("userEmail") || is_asked("userId")) {
        let code = if is_asked("userEmail") { "InvaliduserEmail" } else { "InvaliduserId" };
        return Err(Refusal::text(StatusCode::BAD_REQUEST, code));
    }
    Ok(HttpResponse::Ok().json(people))
}
