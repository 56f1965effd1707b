//! What is said of few subscriptions, as it is stored.

use std::collections::BTreeSet;

use iocast_domain::{
    ioc::Kind,
    source::Confidence,
    subscription::{Schedule, SubscriptionOptions, Takes},
    tlp::Tlp,
};
use serde::{Deserialize, Serialize};

use crate::{StoreResult, error::corrupt};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    kinds: Vec<Kind>,
    only_tags: Vec<String>,
    tlp_most: Option<Tlp>,
    min_confidence: Option<Confidence>,
    max_age_days: Option<u32>,
    tags: BTreeSet<String>,
    token_url: Option<String>,
    scope: Option<String>,
    ca: Option<String>,
    certificate: Option<String>,
    cron: Option<String>,
    time_zone: Option<String>,
    next_field: Option<String>,
    next_parameter: Option<String>,
    columns: Option<String>,
}

pub(super) fn read(text: &str) -> StoreResult<SubscriptionOptions> {
    let Stored {
        kinds,
        only_tags,
        tlp_most,
        min_confidence,
        max_age_days,
        tags,
        token_url,
        scope,
        ca,
        certificate,
        cron,
        time_zone,
        next_field,
        next_parameter,
        columns,
    } = serde_json::from_str(text).map_err(|_| corrupt("subscriptions", "options", text))?;
    let takes = Takes { kinds, tags: only_tags, tlp_most, min_confidence, max_age_days };
    let schedule = cron.map(|cron| {
        // Which times come was checked when it was written.
        Schedule::read(&cron, time_zone.as_deref())
            .map_err(|_| corrupt("subscriptions", "options", cron))
    });
    let schedule = schedule.transpose()?;
    Ok(SubscriptionOptions {
        takes,
        tags,
        token_url,
        scope,
        ca,
        certificate,
        schedule,
        next_field,
        next_parameter,
        columns,
    })
}

pub(super) fn write(options: &SubscriptionOptions) -> StoreResult<String> {
    let SubscriptionOptions {
        takes,
        tags,
        token_url,
        scope,
        ca,
        certificate,
        schedule,
        next_field,
        next_parameter,
        columns,
    } = options.clone();
    let Takes { kinds, tags: only_tags, tlp_most, min_confidence, max_age_days } = takes;
    let stored = Stored {
        kinds,
        only_tags,
        tlp_most,
        min_confidence,
        max_age_days,
        tags,
        token_url,
        scope,
        ca,
        certificate,
        cron: schedule.as_ref().map(|of| of.text().to_owned()),
        time_zone: schedule.as_ref().map(|of| of.zone().to_owned()),
        next_field,
        next_parameter,
        columns,
    };
    serde_json::to_string(&stored).map_err(|error| corrupt("subscriptions", "options", error))
}
