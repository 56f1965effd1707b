//! Settings: service tokens.

use actix_web::http::StatusCode;
use iocast_app::{AppError, AppResult, MadeServiceToken, NewServiceToken};
use iocast_domain::{id::ServiceTokenId, service_token::Scope};
use minijinja::{Value, context};

use super::{
    settings::unknown,
    view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::api::service_tokens::ServiceTokenOut;

pub(crate) async fn show(visitor: PageContext) -> PageResult {
    page(&visitor, StatusCode::OK, Value::from(()), context! {}, None).await
}

async fn page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
    made: Option<MadeServiceToken>,
) -> PageResult {
    let (app, actor) = (&visitor.app, &visitor.actor);
    let mut tokens = Vec::new();
    for of in app.accounts.service_token_list(actor).await? {
        let only = match of.token.limit {
            Some(limit) => Some(app.accounts.limit_name(actor, limit).await?),
            None => None,
        };
        let token = view::value(ServiceTokenOut::from(of));
        tokens.push(context! { only, token });
    }
    let made = made.map(|made| {
        context! { name => made.view.token.name.clone(), secret => made.secret.clone() }
    });
    let public_url = app.context.settings.public_url.clone();
    let of_page = context! { tokens, problem, sent, made, public_url };
    Ok(visitor.page(status, "pages/service_tokens.html", of_page))
}

/// The token that a form asks for.
async fn asked(form: &Form) -> AppResult<NewServiceToken> {
    let (accounts, actor) = (&form.visitor.app.accounts, &form.visitor.actor);
    let scope = Scope::from_word(form.text("scope"))
        .ok_or_else(|| AppError::field("scope", "not_a_choice", "Choose what it may do."))?;
    let (device, source) = (form.maybe("device"), form.maybe("source"));
    Ok(NewServiceToken {
        name: form.text("name").to_owned(),
        scope,
        limit: accounts.limit_named(actor, device.as_deref(), source.as_deref()).await?,
        days: form.number("expires_in_days")?,
    })
}

pub(crate) async fn act(form: Form) -> PageResult {
    let (visitor, actor) = (&form.visitor, &form.visitor.actor);
    let accounts = &visitor.app.accounts;
    let outcome = match form.text("do") {
        "make" => match asked(&form).await {
            Ok(new) => accounts.service_token_create(actor, new).await.map(Some),
            Err(error) => Err(error),
        },
        "rotate" => {
            let id = ServiceTokenId(form.id("id")?);
            match form.number("overlap_hours") {
                Ok(hours) => accounts.service_token_rotate(actor, id, hours).await.map(Some),
                Err(error) => Err(error),
            }
        }
        "revoke" => {
            let id = ServiceTokenId(form.id("id")?);
            accounts.service_token_revoke(actor, id).await.map(|()| None)
        }
        _ => Err(unknown()),
    };
    match outcome {
        Ok(None) => visitor.done(
            "/settings/service-tokens",
            "The service token is revoked: it opens nothing any more.",
        ),
        Ok(made) => page(visitor, StatusCode::OK, Value::from(()), context! {}, made).await,
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, status, problem, form.again(), None).await
        }
    }
}
