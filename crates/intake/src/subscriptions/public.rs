//! Public feeds: a source that follows one is made in one step.

use std::sync::Arc;

use iocast_domain::{
    feeds::{PUBLIC_FEEDS, PublicFeed, public_feed},
    id::SourceId,
    subscription::{Access, SubscriptionOptions},
    time::MINUTE,
};

use super::{NewSubscription, SubscriptionView};
use crate::{Actor, AppError, AppResult, Intake, NewSource};

/// Confidence of a source that follows a public feed, unless a person says otherwise.
const CONFIDENCE: i64 = 2;

/// A public feed, and the source that follows it.
#[derive(Clone, Copy, Debug)]
pub struct PublicFeedView {
    /// The feed.
    pub feed: &'static PublicFeed,
    /// The source of the account that follows it, if one does.
    pub source: Option<SourceId>,
}

impl Intake {
    /// The public feeds, and which of them the account follows.
    ///
    /// # Errors
    /// If the actor may not read.
    pub async fn public_feed_list(&self, actor: &Actor) -> AppResult<Vec<PublicFeedView>> {
        let followed = self.subscription_list(actor).await?;
        let source = |feed: &PublicFeed| {
            let of = followed.iter().find(|of| of.subscription.url == feed.url)?;
            Some(of.subscription.source_id)
        };
        Ok(PUBLIC_FEEDS.iter().map(|feed| PublicFeedView { feed, source: source(feed) }).collect())
    }

    /// Makes a source that follows a public feed. `url` is that of a mirror, where it is not fetched
    /// from its owner.
    ///
    /// # Errors
    /// If there is no such feed, a source has its name, or its key is missing.
    pub async fn public_feed_follow(
        self: &Arc<Self>,
        actor: &Actor,
        id: &str,
        secret: Option<String>,
        url: Option<String>,
    ) -> AppResult<SubscriptionView> {
        let feed = public_feed(id).ok_or(AppError::NotFound("public feed"))?;
        let has_secret = secret.as_deref().is_some_and(|secret| !secret.trim().is_empty());
        if feed.access != Access::None && !has_secret {
            let why = format!("{} asks for a key: {}.", feed.provider, feed.page);
            return Err(AppError::field("secret", "secret_missing", why));
        }
        let new = NewSource::feed(feed.name.to_owned(), CONFIDENCE);
        let source = self.source_create(actor, new).await?.id;
        let new = NewSubscription {
            protocol: feed.protocol,
            url: url.unwrap_or_else(|| feed.url.to_owned()),
            form: None,
            every: feed.every_minutes * MINUTE,
            coverage: feed.coverage,
            grace: 0,
            access: feed.access,
            access_name: Some(feed.access_name.to_owned()),
            secret,
            certificate_key: None,
            paused: false,
            cron: None,
            time_zone: None,
            options: SubscriptionOptions::default(),
        };
        let made = self.subscription_put(actor, source, new).await;
        if made.is_err() {
            self.source_delete(actor, source).await?;
        }
        made
    }
}
