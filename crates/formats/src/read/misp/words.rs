//! What the words of a MISP event mean.

use iocast_domain::{
    ioc::{Enrichment, Severity, label},
    source::Confidence,
    time::Timestamp,
};
use serde_json::Value;

pub(super) fn text<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get(key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty())
}

pub(super) fn flag(object: &Value, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Bool(b)) => *b,
        Some(Value::Number(n)) => n.as_i64() == Some(1),
        Some(Value::String(s)) => s == "1" || s == "true",
        _ => false,
    }
}

pub(super) fn is_deleted(object: &Value) -> bool {
    flag(object, "deleted")
}

/// Epoch seconds as number or string, or a written time.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    let secs = match value {
        Value::Number(n) => n.as_i64(),
        Value::String(s) => s.split('.').next().and_then(|s| s.parse().ok()),
        _ => None,
    };
    match (secs, value) {
        (Some(secs), _) if (1..=253_402_300_799).contains(&secs) => {
            Some(Timestamp::from_secs(secs))
        }
        (Some(_), _) => None,
        (None, Value::String(s)) => Timestamp::parse(s).ok(),
        _ => None,
    }
}

pub(super) fn threat_level(value: &Value) -> Option<Severity> {
    let level = value.as_str().map_or_else(|| value.as_i64(), |s| s.parse().ok())?;
    match level {
        1 => Some(Severity::High),
        2 => Some(Severity::Medium),
        3 => Some(Severity::Low),
        _ => None,
    }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter(|tag| !is_deleted(tag))
        .filter_map(|tag| text(tag, "name"))
}

/// The worst of the severities that tags name.
pub(super) fn severity_tag(list: &Value) -> Option<Severity> {
    names(list)
        .filter_map(|name| match name.to_ascii_lowercase().as_str() {
            "iocast:severity=\"high\""
            | "priority-level:high"
            | "misp:threat-level=\"high-risk\"" => Some(Severity::High),
            "iocast:severity=\"medium\""
            | "priority-level:medium"
            | "misp:threat-level=\"medium-risk\"" => Some(Severity::Medium),
            "iocast:severity=\"low\"" | "priority-level:low" | "misp:threat-level=\"low-risk\"" => {
                Some(Severity::Low)
            }
            _ => None,
        })
        .max()
}

/// Sorts tags into actors, families, campaigns, our own vocabulary, and system tags for the rest.
pub(super) fn tags(list: &Value, enrichment: &mut Enrichment, confidence: &mut Option<Confidence>) {
    for name in names(list) {
        let (predicate, value) = match name.split_once("=\"") {
            Some((predicate, value)) => {
                (predicate.to_ascii_lowercase(), value.trim_end_matches('"'))
            }
            None => (String::new(), name),
        };
        let clean = label(value);
        match predicate.as_str() {
            "iocast:severity" | "iocast:source" | "iocast:group" => {}
            "iocast:alert-id" => enrichment.alert_id = enrichment.alert_id.take().or(clean),
            "iocast:user-tag" => enrichment.user_tags.extend(clean),
            "iocast:system-tag" => enrichment.system_tags.extend(clean),
            "iocast:campaign" | "campaign" => enrichment.campaigns.extend(clean),
            "misp:confidence-level" => *confidence = confidence_word(value).or(*confidence),
            other => {
                match other.strip_prefix("misp-galaxy:").map(|galaxy| (galaxy, galaxy_role(galaxy)))
                {
                    Some((_, Role::Actor)) => enrichment.threat_actors.extend(cluster(value)),
                    Some((_, Role::Family)) => enrichment.malware_families.extend(cluster(value)),
                    Some((_, Role::Campaign)) => enrichment.campaigns.extend(cluster(value)),
                    _ => enrichment.system_tags.extend(tag(name)),
                }
            }
        }
    }
}

/// Galaxies as MISP writes them out in full.
pub(super) fn galaxies(list: &Value, enrichment: &mut Enrichment) {
    for galaxy in list.as_array().into_iter().flatten() {
        let kind = text(galaxy, "type").unwrap_or_default();
        for cluster_value in galaxy
            .get("GalaxyCluster")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|c| text(c, "value"))
        {
            match galaxy_role(kind) {
                Role::Actor => enrichment.threat_actors.extend(cluster(cluster_value)),
                Role::Family => enrichment.malware_families.extend(cluster(cluster_value)),
                Role::Campaign => enrichment.campaigns.extend(label(cluster_value)),
                Role::Other => {}
            }
        }
    }
}

enum Role {
    Actor,
    Family,
    Campaign,
    Other,
}

fn galaxy_role(galaxy: &str) -> Role {
    match galaxy {
        "threat-actor" | "microsoft-activity-group" | "360net-threat-actor" => Role::Actor,
        g if g.ends_with("intrusion-set") => Role::Actor,
        "malpedia" | "tool" | "ransomware" | "banker" | "rat" | "botnet" | "stealer"
        | "backdoor" | "exploit-kit" | "cryptominers" | "android" => Role::Family,
        g if g.ends_with("malware") || (g.starts_with("mitre-") && g.ends_with("-tool")) => {
            Role::Family
        }
        g if g.ends_with("campaign") || g.ends_with("campaigns") => Role::Campaign,
        _ => Role::Other,
    }
}

/// A cluster's name without the ATT&CK number behind: `APT28 - G0007` is `APT28`.
fn cluster(value: &str) -> Option<String> {
    let name = match value.rsplit_once(" - ") {
        Some((name, number))
            if number.len() >= 4
                && number.starts_with(['G', 'S'])
                && number.bytes().skip(1).all(|b| b.is_ascii_digit()) =>
        {
            name
        }
        _ => value,
    };
    label(name)
}

/// A foreign tag, kept with its quotes as MISP spells it.
pub(super) fn tag(name: &str) -> Option<String> {
    let clean: String =
        name.chars().filter(|c| !c.is_control()).take(iocast_domain::ioc::LABEL_MAX).collect();
    (!clean.is_empty()).then_some(clean)
}

fn confidence_word(word: &str) -> Option<Confidence> {
    match word {
        "completely-confident" | "usually-confident" => Some(Confidence::HIGH),
        "fairly-confident" => Some(Confidence::MEDIUM),
        "rarely-confident" | "unconfident" => Some(Confidence::LOW),
        _ => None,
    }
}

/// The alert ID in one of our own comments.
pub(super) fn alert_id(comment: &str) -> Option<String> {
    comment.split("Alert ID: ").nth(1)?.split("; ").next().and_then(label)
}
