//! `application/json`: our own list, or MISP events, told apart by the first key of each object.

use std::{
    cell::Cell,
    fmt,
    io::{BufRead, BufReader, Seek},
    sync::Arc,
};

use iocast_domain::{
    ioc::{Kind, Severity, Sighting, Whitelist, label},
    normalise,
    source::Confidence,
    time::Timestamp,
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{Item, Options, Raw, ReadError, Rejected, Sink, guard, misp};

const SHAPES: &str = "send a list of IOCs, a MISP event {\"Event\": …}, {\"response\": […]} or a list of MISP events";

/// An element of a list.
#[derive(Debug)]
pub(super) enum Piece {
    /// A bare value.
    Bare(u64, String),
    /// An IOC of our own list, as JSON.
    Own(u64, Vec<u8>),
    /// An attribute of a MISP event.
    Attribute(misp::Attribute),
}

impl Piece {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Bare(_, text) => text.len(),
            Self::Own(_, json) => json.len(),
            Self::Attribute(attribute) => attribute.weight,
        }
    }

    pub(super) fn items(self, sink: &mut dyn FnMut(Item)) {
        match self {
            Self::Bare(place, text) => sink(match normalise::detect(&text) {
                Ok(indicator) => Item::Sighting(Box::new(Sighting {
                    indicator: Some(indicator),
                    ..Sighting::default()
                })),
                Err(reason) => Rejected::item(place, &text, reason),
            }),
            Self::Own(place, json) => sink(own(place, &json)),
            Self::Attribute(attribute) => attribute.items(sink),
        }
    }
}

/// One pass over our own list. Where MISP events are met another one comes first, which learns what
/// holds for each whole event.
pub(super) fn split<R: BufRead + Seek>(
    from: &mut R,
    options: Options,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    let mut heads: Option<Vec<Arc<misp::Head>>> = None;
    let mut given = 0;
    loop {
        let so_far = SoFar::default();
        let mut give = Give {
            events: heads.as_deref(),
            next_event: 0,
            given,
            options,
            sink: &mut *sink,
            so_far: &so_far,
        };
        let walked = walk(from, &mut Pass::Give(&mut give));
        if so_far.stopped.get() {
            return Err(ReadError::Stopped);
        }
        if !so_far.unlearnt.get() {
            return walked;
        }
        // What stands before the first event was given already.
        given = so_far.place.get();
        let mut events = Vec::new();
        guard::rewind(from)?;
        walk(from, &mut Pass::Learn(&mut events))?;
        guard::rewind(from)?;
        heads = Some(events.into_iter().map(Arc::new).collect());
    }
}

fn walk<R: BufRead>(from: &mut R, pass: &mut Pass<'_, '_>) -> Result<(), ReadError> {
    skip_bom(from)?;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(
        64 * 1024,
        guard::Quoted::json(from),
    ));
    Level { pass, top: true }.deserialize(&mut json)?;
    json.end()?;
    Ok(())
}

fn skip_bom<R: BufRead>(from: &mut R) -> Result<(), ReadError> {
    if from.fill_buf().map_err(ReadError::Io)?.starts_with(&[0xef, 0xbb, 0xbf]) {
        from.consume(3);
    }
    Ok(())
}

/// What is done with the things met on the way.
pub(super) enum Pass<'a, 's> {
    /// Collect the events' heads.
    Learn(&'a mut Vec<misp::Head>),
    /// Hand out pieces.
    Give(&'a mut Give<'a, 's>),
}

pub(super) struct Give<'a, 's> {
    /// Of all events, once it is known that there are any.
    pub(super) events: Option<&'a [Arc<misp::Head>]>,
    pub(super) next_event: usize,
    /// Up to which place pieces were given by a pass before.
    given: u64,
    pub(super) options: Options,
    sink: Sink<'s>,
    so_far: &'a SoFar,
}

/// How far a pass came.
#[derive(Default)]
struct SoFar {
    /// Where in the list: a place each element.
    place: Cell<u64>,
    /// The receiver gave up.
    stopped: Cell<bool>,
    /// It met an event of which nothing is known yet.
    unlearnt: Cell<bool>,
}

impl Give<'_, '_> {
    /// The next element: what it is at its place.
    pub(super) fn send<E: serde::de::Error>(
        &mut self,
        piece: impl FnOnce(u64) -> Piece,
    ) -> Result<(), E> {
        let place = self.so_far.place.get() + 1;
        self.so_far.place.set(place);
        if place <= self.given || (self.sink)(Raw(super::Piece::Json(piece(place)))) {
            return Ok(());
        }
        self.so_far.stopped.set(true);
        Err(E::custom("stopped"))
    }

    /// An event begins.
    pub(super) fn meet_event<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.events.is_some() {
            return Ok(());
        }
        self.so_far.unlearnt.set(true);
        Err(E::custom("events are to be learnt first"))
    }
}

/// A list of things, or one thing.
struct Level<'p, 'a, 's> {
    pass: &'p mut Pass<'a, 's>,
    top: bool,
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPES)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Level { pass: &mut *self.pass, top: false })?.is_some() {}
        Ok(())
    }

    /// A bare value in our own list.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.top {
            return Err(E::custom(SHAPES));
        }
        if let Pass::Give(give) = self.pass {
            give.send(|place| Piece::Bare(place, text.to_owned()))?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(first) = map.next_key::<String>()? else {
            return if self.top {
                Err(A::Error::custom(SHAPES))
            } else {
                give_own(self.pass, b"{}".to_vec())
            };
        };
        match first.as_str() {
            "Event" => {
                if let Pass::Give(give) = &*self.pass {
                    give.meet_event()?;
                }
                map.next_value_seed(misp::Event { pass: &mut *self.pass })?;
                ignore_rest(map)
            }
            "response" | "iocs" | "items" if self.top => {
                map.next_value_seed(Level { pass: &mut *self.pass, top: false })?;
                ignore_rest(map)
            }
            _ if self.top => Err(A::Error::custom(format!(
                "there is no reading an object that begins with `{}`; {SHAPES}",
                iocast_domain::time::clip(&first, 40)
            ))),
            _ if matches!(self.pass, Pass::Learn(_)) => {
                map.next_value::<IgnoredAny>()?;
                ignore_rest(map)
            }
            _ => {
                let mut written = guard::Written::new();
                written.object(&first, map)?;
                give_own(self.pass, written.into_json())
            }
        }
    }
}

fn ignore_rest<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn give_own<E: serde::de::Error>(pass: &mut Pass<'_, '_>, json: Vec<u8>) -> Result<(), E> {
    let Pass::Give(give) = pass else { return Ok(()) };
    give.send(|place| Piece::Own(place, json))
}

fn own(place: u64, json: &[u8]) -> Item {
    let read = match serde_json::from_slice::<IocIn>(json) {
        Ok(read) => read.sighting(),
        // Once more, for a reason that speaks of no line and column: they are not those of the
        // import.
        Err(_) => serde_json::from_slice::<Value>(json)
            .and_then(serde_json::from_value::<IocIn>)
            .map_err(|e| e.to_string())
            .and_then(IocIn::sighting),
    };
    match read {
        Ok(sighting) => Item::Sighting(Box::new(sighting)),
        Err(reason) => {
            let object: Value = serde_json::from_slice(json).unwrap_or_default();
            Rejected::item(
                place,
                object.get("value").and_then(Value::as_str).unwrap_or_default(),
                reason,
            )
        }
    }
}

/// One IOC of our own list, with all its enrichment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IocIn {
    value: String,
    #[serde(default, alias = "type")]
    kind: Option<String>,
    #[serde(default)]
    first_seen: Option<Timestamp>,
    #[serde(default)]
    last_seen: Option<Timestamp>,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    confidence: Option<u8>,
    #[serde(default)]
    alert_id: Option<String>,
    #[serde(default, alias = "tags")]
    user_tags: Vec<String>,
    #[serde(default)]
    system_tags: Vec<String>,
    #[serde(default)]
    threat_actors: Vec<String>,
    #[serde(default)]
    campaigns: Vec<String>,
    #[serde(default)]
    malware_families: Vec<String>,
    #[serde(default)]
    whitelist: Option<Whitelist>,
    /// What our own listing adds is passed over: an export can be imported.
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    #[serde(default, rename = "state")]
    _state: IgnoredAny,
    #[serde(default, rename = "severity_rated")]
    _severity_rated: IgnoredAny,
    #[serde(default, rename = "reports")]
    _reports: IgnoredAny,
    #[serde(default, rename = "comments")]
    _comments: IgnoredAny,
}

impl IocIn {
    fn sighting(self) -> Result<Sighting, String> {
        let Self {
            value,
            kind,
            first_seen,
            last_seen,
            severity,
            score: given,
            confidence,
            alert_id,
            user_tags,
            system_tags,
            threat_actors,
            campaigns,
            malware_families,
            whitelist,
            ..
        } = self;
        if value.contains('\0') {
            return Err("it holds a NUL byte".to_owned());
        }
        let kind = kind.as_deref().map(kind_word).transpose()?.flatten();
        let labels = |list: Vec<String>| list.iter().filter_map(|t| label(t)).collect();
        let mut sighting = Sighting {
            first_seen,
            last_seen,
            whitelist,
            confidence: confidence.map(Confidence::try_from).transpose()?,
            ..Sighting::default()
        };
        sighting.indicator = Some(match kind {
            Some(kind) => normalise::of_kind(kind, &value)?,
            None => normalise::detect(&value)?,
        });
        if let (Some(first), Some(last)) = (first_seen, last_seen)
            && first > last
        {
            return Err("first_seen is later than last_seen".to_owned());
        }
        let enrichment = &mut sighting.enrichment;
        enrichment.reported_severity = severity.map(|s| s.parse::<Severity>()).transpose()?;
        enrichment.score = given.map(score).transpose()?;
        enrichment.alert_id = alert_id.as_deref().and_then(label);
        enrichment.user_tags = labels(user_tags);
        enrichment.system_tags = labels(system_tags);
        enrichment.threat_actors = labels(threat_actors);
        enrichment.campaigns = labels(campaigns);
        enrichment.malware_families = labels(malware_families);
        Ok(sighting)
    }
}

/// The kind that a word names; `None` for words that leave it to the value (`ip`, `hash`).
pub(super) fn kind_word(word: &str) -> Result<Option<Kind>, String> {
    let folded = word.trim().to_ascii_lowercase();
    Ok(match folded.as_str() {
        "ip" | "ip-dst" | "ip-src" | "cidr" | "address" | "ipaddresses" => Some(Kind::Ipv4),
        "hostname" | "host" | "fqdn" | "domains" => Some(Kind::Domain),
        "urls" | "uri" => Some(Kind::Url),
        "e-mail" | "email-src" | "email-dst" | "emails" => Some(Kind::Email),
        "sha-1" => Some(Kind::Sha1),
        "sha-256" => Some(Kind::Sha256),
        "hash" | "hashes" | "" => None,
        other => Some(other.parse()?),
    })
}

/// A score of 0 to 100.
pub(super) fn score(score: f64) -> Result<f64, String> {
    if (0.0..=100.0).contains(&score) {
        Ok(score)
    } else {
        Err("score is a number of 0 to 100".to_owned())
    }
}

#[cfg(test)]
mod tests;
