//! MISP events as analysts publish them: attributes and objects, tags and galaxies, composite
//! types.

use std::{fmt, sync::Arc};

use iocast_domain::{
    ioc::{Enrichment, Kind, Severity, Sighting, label},
    normalise,
    source::Confidence,
    time::Timestamp,
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    Item, Options, Rejected,
    guard::Element,
    json::{Pass, Piece},
};

/// Most events of one import: what is known of each whole event is kept in memory.
const EVENTS_MAX: usize = 20_000;

/// What holds for every attribute of an event.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    date: Option<Timestamp>,
    timestamp: Option<Timestamp>,
    enrichment: Enrichment,
    confidence: Option<Confidence>,
}

/// The value behind `"Event"`.
pub(super) struct Event<'p, 'a, 's> {
    pub(super) pass: &'p mut Pass<'a, 's>,
}

impl<'de> DeserializeSeed<'de> for Event<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Event<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MISP event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut head = Head::default();
        let index = match self.pass {
            Pass::Learn(events) => events.len(),
            Pass::Give(give) => give.next_event,
        };
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "Attribute" => map.next_value_seed(Attributes {
                    pass: &mut *self.pass,
                    head: &mut head,
                    index,
                    objects: false,
                })?,
                "Object" => map.next_value_seed(Attributes {
                    pass: &mut *self.pass,
                    head: &mut head,
                    index,
                    objects: true,
                })?,
                "date" => head.date = time(&map.next_value()?),
                "timestamp" => head.timestamp = time(&map.next_value()?),
                "threat_level_id" => {
                    head.enrichment.reported_severity = threat_level(&map.next_value()?);
                }
                "Tag" => tags(
                    &map.next_value_seed(&mut Element::new())?,
                    &mut head.enrichment,
                    &mut head.confidence,
                ),
                "Galaxy" => {
                    galaxies(&map.next_value_seed(&mut Element::new())?, &mut head.enrichment);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match self.pass {
            Pass::Learn(events) if events.len() >= EVENTS_MAX => {
                return Err(serde::de::Error::custom(format!(
                    "there are more than {EVENTS_MAX} events; send them in several imports"
                )));
            }
            Pass::Learn(events) => events.push(head),
            Pass::Give(give) => give.next_event += 1,
        }
        Ok(())
    }
}

/// The list behind `"Attribute"`, or behind `"Object"`, whose members hold such lists.
struct Attributes<'p, 'a, 's> {
    pass: &'p mut Pass<'a, 's>,
    head: &'p mut Head,
    index: usize,
    objects: bool,
}

impl<'de> DeserializeSeed<'de> for Attributes<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Attributes<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of MISP attributes or objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let mut element = Element::new();
            let Some(mut entry) = seq.next_element_seed(&mut element)? else { break };
            if self.objects {
                if is_deleted(&entry) {
                    continue;
                }
                let Some(Value::Array(list)) = entry.get_mut("Attribute").map(Value::take) else {
                    continue;
                };
                let weight = element.weight() / list.len().max(1);
                for attribute in list {
                    self.pass.meet(attribute, weight, self.head, self.index)?;
                }
            } else {
                self.pass.meet(entry, element.weight(), self.head, self.index)?;
            }
        }
        Ok(())
    }
}

impl Pass<'_, '_> {
    fn meet<E: serde::de::Error>(
        &mut self,
        attribute: Value,
        weight: usize,
        head: &mut Head,
        index: usize,
    ) -> Result<(), E> {
        match self {
            Pass::Learn(_) if is_deleted(&attribute) => Ok(()),
            Pass::Learn(_) => {
                // Attribution of the whole event, written as an attribute.
                let name = text(&attribute, "value").and_then(label);
                match text(&attribute, "type") {
                    Some("threat-actor") => head.enrichment.threat_actors.extend(name),
                    Some("campaign-name") => head.enrichment.campaigns.extend(name),
                    Some("malware-type") => head.enrichment.malware_families.extend(name),
                    _ => {}
                }
                Ok(())
            }
            Pass::Give(give) => {
                let head = give
                    .events
                    .and_then(|events| events.get(index))
                    .map(Arc::clone)
                    .unwrap_or_default();
                let options = give.options;
                give.send(|place| {
                    Piece::Attribute(Attribute { place, attribute, weight, head, options })
                })
            }
        }
    }
}

/// An attribute, and what holds for its whole event.
#[derive(Debug)]
pub(super) struct Attribute {
    place: u64,
    attribute: Value,
    pub(super) weight: usize,
    head: Arc<Head>,
    options: Options,
}

impl Attribute {
    pub(super) fn items(self, sink: &mut dyn FnMut(Item)) {
        let Self { place, attribute, head, options, .. } = &self;
        if is_deleted(attribute) || (options.only_to_ids && !flag(attribute, "to_ids")) {
            return;
        }
        let (Some(kind), Some(value)) = (text(attribute, "type"), text(attribute, "value")) else {
            return sink(Rejected::item(*place, "", "the attribute lacks a type or a value"));
        };
        let indicators = match indicators(
            kind,
            text(attribute, "category").unwrap_or_default(),
            flag(attribute, "to_ids"),
            value,
        ) {
            Meaning::Context => return,
            Meaning::Untaken => {
                return sink(Rejected::item(
                    *place,
                    value,
                    format!("`{kind}` is not a kind of IOC that devices take"),
                ));
            }
            Meaning::Indicators(indicators) => indicators,
        };
        let mut sighting = Sighting {
            enrichment: head.enrichment.clone(),
            confidence: head.confidence,
            ..Sighting::default()
        };
        let mut own_severity = None;
        if let Some(list) = attribute.get("Tag") {
            tags(list, &mut sighting.enrichment, &mut sighting.confidence);
            own_severity = severity_tag(list);
        }
        if let Some(list) = attribute.get("Galaxy") {
            galaxies(list, &mut sighting.enrichment);
        }
        if own_severity.is_some() {
            sighting.enrichment.reported_severity = own_severity;
        }
        if sighting.enrichment.alert_id.is_none() {
            sighting.enrichment.alert_id = text(attribute, "comment").and_then(alert_id);
        }
        let changed = attribute.get("timestamp").and_then(time);
        sighting.last_seen = attribute.get("last_seen").and_then(time);
        sighting.first_seen = attribute
            .get("first_seen")
            .and_then(time)
            .or_else(|| [changed, head.date, head.timestamp].into_iter().flatten().min());
        for (kind, part) in indicators {
            sink(match normalise::of_kind(kind, &part) {
                Ok(indicator) => Item::Sighting(Box::new(Sighting {
                    indicator: Some(indicator),
                    ..sighting.clone()
                })),
                Err(reason) => Rejected::item(*place, value, reason),
            });
        }
    }
}

enum Meaning {
    Indicators(Vec<(Kind, String)>),
    /// Reference, attribution, description: never an indicator.
    Context,
    /// An indicator of a kind that we don't distribute.
    Untaken,
}

/// What an attribute of this type and category stands for. Composite types are split.
fn indicators(kind: &str, category: &str, to_ids: bool, value: &str) -> Meaning {
    // Where somebody wrote about it, who did it, whom it hit; unless the analyst says that it is to
    // be detected.
    let reference = !to_ids
        && matches!(
            category,
            "External analysis"
                | "Internal reference"
                | "Attribution"
                | "Targeting data"
                | "Person"
        );
    let one = |kind| Meaning::Indicators(vec![(kind, value.to_owned())]);
    let half = |kind, second: bool| {
        let (a, b) = value.split_once('|').unwrap_or((value, value));
        Meaning::Indicators(vec![(kind, if second { b } else { a }.to_owned())])
    };
    match kind {
        "link"
        | "text"
        | "comment"
        | "other"
        | "datetime"
        | "port"
        | "size-in-bytes"
        | "counter"
        | "float"
        | "boolean"
        | "hex"
        | "attachment"
        | "threat-actor"
        | "campaign-name"
        | "campaign-id"
        | "malware-type"
        | "vulnerability"
        | "weakness"
        | "cpe"
        | "target-user"
        | "target-email"
        | "target-machine"
        | "target-org"
        | "target-location"
        | "target-external"
        | "whois-registrant-email"
        | "whois-registrant-name"
        | "whois-registrar"
        | "github-repository" => Meaning::Context,
        "md5" | "malware-sample-md5" => one(Kind::Md5),
        "sha1" => one(Kind::Sha1),
        "sha256" => one(Kind::Sha256),
        "filename|md5" | "malware-sample" => half(Kind::Md5, true),
        "filename|sha1" => half(Kind::Sha1, true),
        "filename|sha256" => half(Kind::Sha256, true),
        "domain" | "hostname" | "url" | "ip-src" | "ip-dst" | "ip-src|port" | "ip-dst|port"
        | "hostname|port" | "domain|ip" | "email" | "email-src" | "email-dst"
        | "email-reply-to"
            if reference =>
        {
            Meaning::Context
        }
        "domain" | "hostname" => one(Kind::Domain),
        "hostname|port" => half(Kind::Domain, false),
        "url" => one(Kind::Url),
        "ip-src" | "ip-dst" => one(Kind::Ipv4),
        "ip-src|port" | "ip-dst|port" => match value.split_once('|') {
            Some((ip, _)) => Meaning::Indicators(vec![(Kind::Ipv4, ip.to_owned())]),
            // MISP takes a colon, too.
            None => normalise::detect(value)
                .map_or_else(|_| one(Kind::Ipv4), |found| Meaning::Indicators(vec![found])),
        },
        "domain|ip" => match value.split_once('|') {
            Some((domain, ip)) => Meaning::Indicators(vec![
                (Kind::Domain, domain.to_owned()),
                (Kind::Ipv4, ip.to_owned()),
            ]),
            None => one(Kind::Domain),
        },
        "email" | "email-src" | "email-dst" | "email-reply-to" => one(Kind::Email),
        _ => Meaning::Untaken,
    }
}

fn text<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get(key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty())
}

fn flag(object: &Value, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Bool(b)) => *b,
        Some(Value::Number(n)) => n.as_i64() == Some(1),
        Some(Value::String(s)) => s == "1" || s == "true",
        _ => false,
    }
}

fn is_deleted(object: &Value) -> bool {
    flag(object, "deleted")
}

/// Epoch seconds as number or string, or a written time.
fn time(value: &Value) -> Option<Timestamp> {
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

fn threat_level(value: &Value) -> Option<Severity> {
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
fn severity_tag(list: &Value) -> Option<Severity> {
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
fn tags(list: &Value, enrichment: &mut Enrichment, confidence: &mut Option<Confidence>) {
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
fn galaxies(list: &Value, enrichment: &mut Enrichment) {
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
fn tag(name: &str) -> Option<String> {
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
fn alert_id(comment: &str) -> Option<String> {
    comment.split("Alert ID: ").nth(1)?.split("; ").next().and_then(label)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::tests::{sightings, values};
    use super::super::{Input, Options, read};

    const EVENT: &str = r#"{"response":[{"Event":{"Attribute":[
        {"type":"domain|ip","category":"Network activity","value":"Evil.example|203.0.113.9","timestamp":"1700000000","to_ids":false},
        {"type":"link","category":"External analysis","value":"https://blog.example/x"},
        {"type":"url","category":"External analysis","value":"https://blog.example/y"},
        {"type":"threat-actor","category":"Attribution","value":"Sandworm"},
        {"type":"filename|sha1","category":"Payload delivery","value":"a.exe|DA39A3EE5E6B4B0D3255BFEF95601890AFD80709","to_ids":true,
         "Tag":[{"name":"misp:confidence-level=\"fairly-confident\""},{"name":"priority-level:high"}]},
        {"type":"regkey","category":"Persistence mechanism","value":"HKLM\\x"},
        {"type":"md5","value":"zz","category":"Payload delivery"},
        {"type":"domain","value":"gone.example","deleted":true},
        {"type":"ip-dst|port","value":"203.0.113.7|444","category":"Network activity","first_seen":"2021-02-03T00:00:00Z","last_seen":"2021-03-04"}],
        "Object":[{"name":"file","Attribute":[{"type":"sha256","value":"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855","category":"Payload delivery","timestamp":1600000000}]}],
        "info":"x","date":"2023-11-01","timestamp":1700000001,"threat_level_id":"2",
        "Tag":[{"name":"tlp:white"},{"name":"misp-galaxy:mitre-intrusion-set=\"APT28 - G0007\""},{"name":"misp-galaxy:malpedia=\"Emotet\""}]}}]}"#;

    #[test]
    fn an_event_with_objects_galaxies_and_composites() {
        let (found, rejected) = sightings(Input::Json, EVENT).unwrap();
        let value = |i: usize| found[i].indicator.clone().unwrap().1;
        assert_eq!(
            (0..found.len()).map(value).collect::<Vec<_>>(),
            [
                "evil.example",
                "203.0.113.9",
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "203.0.113.7",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            ]
        );
        let first = &found[0];
        assert_eq!(first.first_seen.unwrap().day(), "2023-11-01");
        assert_eq!(first.last_seen, None);
        assert_eq!(
            first.enrichment.threat_actors.iter().collect::<Vec<_>>(),
            ["APT28", "Sandworm"]
        );
        assert_eq!(first.enrichment.malware_families.iter().collect::<Vec<_>>(), ["Emotet"]);
        assert_eq!(first.enrichment.system_tags.iter().collect::<Vec<_>>(), ["tlp:white"]);
        assert_eq!(first.enrichment.reported_severity.unwrap().word(), "medium");
        assert_eq!(
            (
                found[2].confidence.map(u8::from),
                found[2].enrichment.reported_severity.unwrap().word()
            ),
            (Some(2), "high")
        );
        assert_eq!(found[3].last_seen.unwrap().day(), "2021-03-04");
        assert_eq!(found[4].first_seen.unwrap().day(), "2020-09-13");
        assert_eq!(
            rejected.iter().map(|r| r.value.as_str()).collect::<Vec<_>>(),
            ["HKLM\\x", "zz"]
        );
    }

    #[test]
    fn only_to_ids_when_asked() {
        let mut found = 0;
        read(Input::Json, &mut Cursor::new(EVENT), Options { only_to_ids: true }, &mut |_| {
            found += 1;
            true
        })
        .unwrap();
        assert_eq!(found, 1);
        assert_eq!(values(Input::Json, r#"[{"Event":{"Attribute":[{"type":"domain","value":"a.example"}]}},{"Event":{"Attribute":null}}]"#).0.len(), 1);
    }
}
