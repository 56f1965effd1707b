//! One question to everything, from every page.

use actix_web::http::StatusCode;
use iocast_app::Hits;
use minijinja::{Value, context};

use super::{
    help, view,
    visit::{PageContext, PageResult},
};

/// Hits of each kind beside a search field, and on the page of its own.
const FEW: u64 = 5;
const MANY: u64 = 25;
/// Longest text that is looked for.
const TEXT_MAX: usize = 2_048;

/// Places in the product that are found by their name.
const PLACES: [(&str, &str, bool); 19] = [
    ("Overview", "/", false),
    ("Integrations", "/automation/integrations", false),
    ("Add a device", "/automation/integrations/new", true),
    ("Policy", "/automation/policy", false),
    ("Add a rule", "/automation/policy/new", true),
    ("IOCs", "/tip/iocs", false),
    ("Sources", "/tip/sources", false),
    ("Public feeds", "/tip/sources/public", false),
    ("Compare the sources", "/tip/sources/quality", false),
    ("Imports", "/tip/imports", false),
    ("Alerts", "/tip/alerts", false),
    ("Remediation blocklist", "/tip/blocklist", false),
    ("Subscription: keys, alerts, webhook", "/settings/subscription", true),
    ("Service tokens", "/settings/service-tokens", true),
    ("Users", "/settings/users", true),
    ("Guards and allow list", "/settings/guards", true),
    ("Warninglists", "/settings/warninglists", true),
    ("Mail and outbox", "/settings/mail", true),
    ("Audit log", "/settings/audit", true),
];

/// Some hits of one kind.
fn part(title: &str, items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then(|| context! { title, items })
}

fn item(href: String, name: &str, about: &str) -> Value {
    context! { href, name, about }
}

async fn parts(
    visitor: &PageContext,
    text: &str,
    limit: u64,
) -> Result<Vec<Value>, super::visit::Failure> {
    let text: String = text.chars().take(TEXT_MAX).collect();
    let Hits { iocs, threats, named } = visitor.app.search(&visitor.actor, &text, limit).await?;
    let many = usize::try_from(limit).unwrap_or(usize::MAX);
    let ioc = |of: &iocast_app::IocView| {
        let ioc = &of.ioc;
        let about = format!("{}, {}, {}", ioc.kind.word(), ioc.severity().word(), ioc.state.word());
        item(format!("/tip/iocs/{}", ioc.id), &ioc.value, &about)
    };
    let threat = |of: &iocast_app::ThreatName| {
        item(format!("/tip/iocs?name={}", of.id), &of.name, of.what.in_words())
    };
    let lower = text.trim().to_lowercase();
    let may_write = visitor.actor.may_write().is_ok();
    let places = PLACES
        .iter()
        .filter(|(name, _, writes)| (!writes || may_write) && name.to_lowercase().contains(&lower))
        .map(|(name, href, _)| item((*href).to_owned(), name, ""));
    let handbook = help::search(&text)
        .into_iter()
        .map(|found| item(found.href.clone(), found.heading(), found.page))
        .take(many);
    let of = |place: &str, id: &dyn std::fmt::Display, name: &str| {
        item(format!("{place}/{id}"), name, "")
    };
    Ok([
        part("IOCs", iocs.iter().map(ioc).collect()),
        part("Tags, actors, campaigns, families", threats.iter().map(threat).collect()),
        part(
            "Devices",
            named
                .devices
                .iter()
                .map(|(id, name)| of("/automation/integrations", id, name))
                .collect(),
        ),
        part(
            "IOC groups",
            named.groups.iter().map(|(id, name)| of("/automation/groups", id, name)).collect(),
        ),
        part(
            "Rules",
            named.rules.iter().map(|(id, name)| of("/automation/policy", id, name)).collect(),
        ),
        part(
            "Sources",
            named.sources.iter().map(|(id, name)| of("/tip/sources", id, name)).collect(),
        ),
        part(
            "People",
            named
                .people
                .iter()
                .map(|email| {
                    item(
                        format!("/settings/audit?actor={}", view::query_encoded(email)),
                        email,
                        "what they changed",
                    )
                })
                .collect(),
        ),
        part("Pages", places.collect()),
        part("Handbook", handbook.collect()),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// The page of all hits.
pub(crate) async fn show(visitor: PageContext) -> PageResult {
    let text = visitor.query("q");
    let parts = match &text {
        Some(text) => parts(&visitor, text, MANY).await?,
        None => Vec::new(),
    };
    visitor.show("pages/search.html", context! { q => text, parts })
}

/// The first hits, for the field in the frame of every page.
pub(crate) async fn hits(visitor: PageContext) -> PageResult {
    let text = visitor.query("q").unwrap_or_default();
    let parts = parts(&visitor, &text, FEW).await?;
    Ok(view::page(StatusCode::OK, "parts/hits.html", context! { q => text, parts }))
}
