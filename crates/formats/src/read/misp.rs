//! MISP events as analysts publish them: attributes and objects, tags and galaxies, composite
//! types.

use std::{fmt, sync::Arc};

use iocast_domain::{
    ioc::{Enrichment, Kind, Sighting, label},
    normalise,
    source::Confidence,
    time::Timestamp,
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    Item, Options, Rejected,
    guard::Element,
    json::{Pass, Piece},
};

mod value;
mod words;
use self::value::read;
use self::words::{
    alert_id, flag, galaxies, is_deleted, severity_tag, tags, text, threat_level, time,
};

/// Most events of one import: what is known of each whole event is kept in memory.
pub(super) const EVENTS_MAX: usize = 20_000;

/// What holds for every attribute of an event.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    date: Option<Timestamp>,
    timestamp: Option<Timestamp>,
    enrichment: Enrichment,
    confidence: Option<Confidence>,
}

impl Head {
    /// Takes in a field of the event.
    fn take(&mut self, key: &str, value: &Value) {
        match key {
            "date" => self.date = time(value),
            "timestamp" => self.timestamp = time(value),
            "threat_level_id" => self.enrichment.reported_severity = threat_level(value),
            "Tag" => tags(value, &mut self.enrichment, &mut self.confidence),
            "Galaxy" => galaxies(value, &mut self.enrichment),
            _ => {}
        }
    }
}

/// The value behind `"Event"`, or an object that is one without saying so.
pub(super) struct Event<'p, 'a, 's> {
    pub(super) pass: &'p mut Pass<'a, 's>,
    /// Where its first keys were read already: the last of them, whose value comes next, and those
    /// before it.
    pub(super) before: Option<(String, Value)>,
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
            Pass::Learn(learning) => learning.events.len(),
            Pass::Give(give) => give.next_event,
        };
        let mut first = None;
        if let Some((key, fields)) = self.before {
            for (key, value) in fields.as_object().into_iter().flatten() {
                head.take(key, value);
            }
            first = Some(key);
        }
        loop {
            let key = match first.take() {
                Some(key) => key,
                None => match map.next_key::<String>()? {
                    Some(key) => key,
                    None => break,
                },
            };
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
                "date" | "timestamp" | "threat_level_id" | "Tag" | "Galaxy" => {
                    head.take(&key, &map.next_value_seed(&mut Element::new())?);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match self.pass {
            Pass::Learn(learning) if learning.events.len() >= EVENTS_MAX => {
                return Err(serde::de::Error::custom(format!(
                    "there are more than {EVENTS_MAX} events; send them in several imports"
                )));
            }
            Pass::Learn(learning) => learning.events.push(head),
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
                    .learnt
                    .and_then(|learnt| learnt.events.get(index))
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
    /// One that was found without its event.
    pub(super) fn alone(place: u64, attribute: Map<String, Value>, options: Options) -> Self {
        let attribute = Value::Object(attribute);
        Self { place, attribute, weight: 0, head: Arc::default(), options }
    }

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
            let mut give = |indicator| {
                sink(Item::Sighting(Box::new(Sighting {
                    indicator: Some(indicator),
                    ..sighting.clone()
                })));
            };
            if let Err(reason) = read(kind, &part, &mut give) {
                sink(Rejected::item(*place, value, reason));
            }
        }
    }
}

/// Whether an attribute of this type describes, and is no indicator.
pub(super) fn is_context(kind: &str) -> bool {
    matches!(indicators(kind, "", true, ""), Meaning::Context)
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
            None => normalise::certain(value)
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

#[cfg(test)]
mod tests;
