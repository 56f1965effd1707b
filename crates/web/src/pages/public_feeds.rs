//! TIP → Sources → public feeds: well-known ones, followed with one click.

use actix_web::http::StatusCode;
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::api::public_feeds::PublicFeedOut;

pub(crate) async fn show(visitor: PageContext) -> PageResult {
    page(&visitor, StatusCode::OK, Value::from(()), context! {}).await
}

async fn page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    let found = visitor.app.intake.public_feed_list(&visitor.actor).await?;
    let feeds: Vec<Value> =
        found.into_iter().map(|feed| view::value(PublicFeedOut::from(feed))).collect();
    Ok(visitor.page(status, "pages/public_feeds.html", context! { feeds, problem, sent }))
}

pub(crate) async fn act(form: Form) -> PageResult {
    let visitor = &form.visitor;
    let (feed, secret) = (form.text("feed"), form.maybe("secret"));
    let made = visitor.app.intake.public_feed_follow(&visitor.actor, feed, secret, None).await;
    match made {
        Ok(of) => {
            let path = format!("/tip/sources/{}/subscription", of.subscription.source_id);
            visitor.done(&path, "The source is made, and its first fetch is under way.")
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, status, problem, form.again()).await
        }
    }
}
