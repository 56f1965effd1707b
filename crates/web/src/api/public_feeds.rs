//! Public feeds: what they hold, and sources that follow them.

use actix_web::{HttpResponse, get, post, web};
use iocast_app::{App, PublicFeedView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{Answer, List, subscriptions::SubscriptionOut, whole};
use crate::{
    extract::{Body, Session},
    problem::Problem,
};

/// A public feed.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicFeedOut {
    /// Its word here.
    id: &'static str,
    /// Its name.
    name: &'static str,
    /// Its owner.
    provider: &'static str,
    /// Where its owner says more.
    page: &'static str,
    /// What is fetched.
    url: &'static str,
    /// How: `file` or `misp_feed`.
    protocol: &'static str,
    /// Minutes between two fetches that suit its owner.
    every_minutes: i64,
    /// What it holds.
    holds: &'static str,
    /// Who may use it for what.
    licence: &'static str,
    /// Whether its owner asks for a key.
    needs_key: bool,
    /// The source of this account that follows it.
    source_id: Option<String>,
}

impl From<PublicFeedView> for PublicFeedOut {
    fn from(PublicFeedView { feed, source }: PublicFeedView) -> Self {
        Self {
            id: feed.id,
            name: feed.name,
            provider: feed.provider,
            page: feed.page,
            url: feed.url,
            protocol: feed.protocol.word(),
            every_minutes: feed.every_minutes,
            holds: feed.holds,
            licence: feed.licence,
            needs_key: !feed.access_name.is_empty(),
            source_id: source.map(|id| id.to_string()),
        }
    }
}

/// How a public feed is to be followed.
#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FollowIn {
    /// The key that its owner gave, where it asks for one.
    secret: Option<String>,
    /// The address of a mirror, where it is not to be fetched from its owner.
    #[validate(length(
        max = 2_000,
        code = "url_invalid",
        message = "Give an address of at most 2,000 characters."
    ))]
    url: Option<String>,
}

/// Public feeds, by name.
#[utoipa::path(tag = "sources", responses((status = 200, body = List<PublicFeedOut>)))]
#[get("/public-feeds")]
pub(crate) async fn list(app: web::Data<App>, session: Session) -> Answer {
    let found = app.intake.public_feed_list(&session.0).await?;
    Ok(whole(found.into_iter().map(PublicFeedOut::from).collect::<Vec<_>>()))
}

/// Make a source that follows a public feed. The first fetch follows at once.
#[utoipa::path(tag = "sources", request_body = FollowIn, params(("id" = String, Path)), responses((status = 201, body = SubscriptionOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[post("/public-feeds/{id}/follow")]
pub(crate) async fn follow(
    app: web::Data<App>,
    session: Session,
    id: web::Path<String>,
    body: Body<FollowIn>,
) -> Answer {
    let FollowIn { secret, url } = body.value;
    let made = app.intake.public_feed_follow(&session.0, &id, secret, url).await?;
    Ok(HttpResponse::Created().json(SubscriptionOut::from(made)))
}
