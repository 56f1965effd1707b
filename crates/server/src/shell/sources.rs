//! Sources that fetch by themselves, from the shell.

use std::sync::Arc;

use iocast_app::{
    Actor, App, AppError, AppResult, Loss, RatedSource, SourcePatch, SubscriptionView,
};
use iocast_domain::{id::SourceId, quality::SourceCounts, source::Source};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is done with sources.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "sources")]
pub(crate) enum SourcesCommand {
    /// List those of the account, and how fresh they are.
    List,
    /// List public feeds.
    Feeds,
    /// Make a source that follows a public feed.
    Follow { feed: String, url: Option<String>, secret: Option<String> },
    /// Have one fetch by itself, as the body of the API says; it is made where it is not there.
    Subscribe { source: String, body: String },
    /// End the subscription of one.
    Unsubscribe { source: String },
    /// Say what one may claim, and for how long its IOCs stay, as the API does.
    Limit { source: String, body: String },
    /// Say how good they are, after counting them where that is asked.
    Quality { count: bool },
    /// Fetch one now, or say what fetching it would do.
    Fetch { source: String, accept_loss: bool, dry_run: bool },
}

pub(super) async fn execute(
    app: &Arc<App>,
    actor: &Actor,
    command: SourcesCommand,
) -> AppResult<Value> {
    match command {
        SourcesCommand::List => {
            let subscriptions = app.intake.subscription_list(actor).await?;
            let sources = app.intake.source_list(actor).await?;
            let line = |source: &Source| {
                let of = subscriptions.iter().find(|of| of.subscription.source_id == source.id);
                json!({
                    "id": source.id, "name": source.name, "enabled": source.enabled,
                    "subscription": of.map(subscription),
                })
            };
            Ok(json!({ "items": sources.iter().map(line).collect::<Vec<_>>() }))
        }
        SourcesCommand::Feeds => {
            let feeds = app.intake.public_feed_list(actor).await?;
            let line = |of: &iocast_app::PublicFeedView| {
                json!({
                    "id": of.feed.id, "name": of.feed.name, "provider": of.feed.provider,
                    "holds": of.feed.holds, "licence": of.feed.licence, "page": of.feed.page,
                    "needs_key": !of.feed.access_name.is_empty(), "source_id": of.source,
                })
            };
            Ok(json!({ "items": feeds.iter().map(line).collect::<Vec<_>>() }))
        }
        SourcesCommand::Follow { feed, url, secret } => {
            let made = app.intake.public_feed_follow(actor, &feed, secret, url).await?;
            Ok(json!({ "source_id": made.subscription.source_id, "url": made.subscription.url }))
        }
        SourcesCommand::Subscribe { source, body } => {
            let new = iocast_web::subscription_of(&body)?;
            let of = app.intake.source_named(actor, &source, 2).await?;
            let made = app.intake.subscription_put(actor, of.id, new).await?;
            Ok(json!({ "source_id": of.id, "subscription": subscription(&made) }))
        }
        SourcesCommand::Unsubscribe { source } => {
            let source = named(app, actor, &source).await?;
            app.intake.subscription_delete(actor, source).await?;
            Ok(json!({ "source_id": source }))
        }
        SourcesCommand::Limit { source, body } => {
            let limits = Some(iocast_web::limits_of(&body)?);
            let source = named(app, actor, &source).await?;
            let patch = SourcePatch { limits, ..SourcePatch::default() };
            let changed = app.intake.source_update(actor, source, patch).await?;
            Ok(json!({ "source_id": source, "limits": changed.limits }))
        }
        SourcesCommand::Quality { count } => quality(app, actor, count).await,
        SourcesCommand::Fetch { source, accept_loss, dry_run } => {
            let source = named(app, actor, &source).await?;
            if dry_run {
                let report = app.intake.subscription_try(actor, source).await?;
                return serde_json::to_value(report).map_err(|e| AppError::Internal(Box::new(e)));
            }
            let loss = if accept_loss { Loss::Accept } else { Loss::Refuse };
            let done = app.intake.subscription_fetch_now(actor, source, loss).await?;
            Ok(json!({
                "outcome": done.outcome, "new": done.added, "changed": done.changed,
                "gone": done.gone, "refused": done.refused, "listed": done.listed,
                "error": done.error,
            }))
        }
    }
}

/// How good sources are, counted first where that is asked.
async fn quality(app: &Arc<App>, actor: &Actor, count: bool) -> AppResult<Value> {
    let found = if count {
        app.intake.sources_count_now(actor).await?
    } else {
        app.intake.source_quality(actor).await?
    };
    let line = |of: &RatedSource| {
        let SourceCounts { iocs, only, timed, first, never_sent, kept_back, in_groups, fetched } =
            of.counts;
        json!({
            "id": of.source_id, "name": of.name, "enabled": of.enabled, "iocs": iocs,
            "only_here": only, "timed": timed, "first_here": first,
            "never_sent": never_sent, "kept_back": kept_back, "in_groups": in_groups, "fetched": fetched,
            "handled": of.handled.handled, "refused": of.handled.refused,
        })
    };
    let pair = |(a, b, iocs): &(SourceId, SourceId, u64)| json!({ "source_a": a, "source_b": b, "iocs": iocs });
    Ok(json!({
        "counted_at": found.counted_at,
        "items": found.sources.iter().map(line).collect::<Vec<_>>(),
        "overlaps": found.overlaps.iter().map(pair).collect::<Vec<_>>(),
    }))
}

fn subscription(of: &SubscriptionView) -> Value {
    let progress = &of.subscription.progress;
    json!({
        "url": of.subscription.url, "protocol": of.subscription.protocol,
        "freshness": of.freshness, "ok_at": progress.ok_at, "next_at": progress.next_at,
        "listed": progress.listed, "error": progress.error,
    })
}

/// The source of this name or id.
async fn named(app: &App, actor: &Actor, name: &str) -> AppResult<SourceId> {
    let wanted = name.trim().to_lowercase();
    let sources = app.intake.source_list(actor).await?;
    let is_meant = |of: &&Source| of.name.to_lowercase() == wanted || of.id.to_string() == wanted;
    let found = sources.iter().find(is_meant).map(|of| of.id);
    found.ok_or_else(|| {
        AppError::Malformed(format!(
            "There is no source `{name}`; `iocast sources list` names them."
        ))
    })
}
