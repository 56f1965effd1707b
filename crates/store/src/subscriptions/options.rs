//! What is said of few subscriptions, as it is stored.

use std::collections::BTreeSet;

use iocast_domain::{
    ioc::Kind,
    subscription::{SubscriptionOptions, Takes},
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
    max_age_days: Option<u32>,
    tags: BTreeSet<String>,
    token_url: Option<String>,
    scope: Option<String>,
    ca: Option<String>,
    certificate: Option<String>,
}

pub(super) fn read(text: &str) -> StoreResult<SubscriptionOptions> {
    let Stored {
        kinds,
        only_tags,
        tlp_most,
        max_age_days,
        tags,
        token_url,
        scope,
        ca,
        certificate,
    } = serde_json::from_str(text).map_err(|_| corrupt("subscriptions", "options", text))?;
    let takes = Takes { kinds, tags: only_tags, tlp_most, max_age_days };
    Ok(SubscriptionOptions { takes, tags, token_url, scope, ca, certificate })
}

pub(super) fn write(options: &SubscriptionOptions) -> StoreResult<String> {
    let SubscriptionOptions { takes, tags, token_url, scope, ca, certificate } = options.clone();
    let Takes { kinds, tags: only_tags, tlp_most, max_age_days } = takes;
    let stored = Stored {
        kinds,
        only_tags,
        tlp_most,
        max_age_days,
        tags,
        token_url,
        scope,
        ca,
        certificate,
    };
    serde_json::to_string(&stored).map_err(|error| corrupt("subscriptions", "options", error))
}
