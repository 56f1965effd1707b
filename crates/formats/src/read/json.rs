//! JSON in every shape that products export: lists and objects of our own, MISP events in all their
//! wrappings, STIX bundles, pulses and tables of other products, one object a line.
//!
//! Objects are met in the order in which they stand; what the keys say is decided on the way, so
//! that no more than one element is in memory.

use std::{
    cell::Cell,
    fmt,
    io::{BufRead, BufReader, Seek},
    sync::Arc,
};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::{Item, Options, Raw, ReadError, Sink, fields, guard, misp, stix};

mod element;
mod under;

use self::under::{Meaning, Under, is_pulse, meaning};

pub(super) const SHAPES: &str = "send a list of IOCs, a MISP event {\"Event\": …}, {\"response\": […]} or a list of MISP events, a STIX bundle, or one IOC a line";

/// An element of a list.
#[derive(Debug)]
pub(super) enum Piece {
    /// A bare value.
    Bare(u64, String),
    /// An object, as JSON.
    Object(element::Element),
    /// An attribute of a MISP event.
    Attribute(misp::Attribute),
}

impl Piece {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Bare(_, text) => text.len(),
            Self::Object(element) => element.weight(),
            Self::Attribute(attribute) => attribute.weight,
        }
    }

    /// The id of the STIX object that it is.
    pub(super) fn object_id(&self) -> Option<String> {
        match self {
            Self::Object(element) => element.object_id(),
            Self::Bare(..) | Self::Attribute(_) => None,
        }
    }

    pub(super) fn items(self, sink: &mut dyn FnMut(Item)) {
        match self {
            Self::Bare(place, text) => element::bare(place, &text, sink),
            Self::Object(element) => element.items(sink),
            Self::Attribute(attribute) => attribute.items(sink),
        }
    }
}

/// What is known of whole events and bundles before their elements are given.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    pub(super) events: Vec<Arc<misp::Head>>,
    pub(super) graph: Arc<stix::Graph>,
    pulses: Vec<Arc<element::Labels>>,
}

/// One pass over our own list. Where MISP events or STIX bundles are met another one comes first,
/// which learns what holds for each whole event, and what objects say of each other.
pub(super) fn split<R: BufRead + Seek>(
    from: &mut R,
    options: Options,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    let mut learnt: Option<Learnt> = None;
    let mut given = 0;
    loop {
        let so_far = SoFar::default();
        let mut give = Give {
            learnt: learnt.as_ref(),
            next_event: 0,
            next_pulse: 0,
            pulse: None,
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
        let mut learning = Learning::default();
        guard::rewind(from)?;
        walk(from, &mut Pass::Learn(&mut learning))?;
        guard::rewind(from)?;
        learnt = Some(Learnt {
            events: learning.events.into_iter().map(Arc::new).collect(),
            graph: Arc::new(learning.graph),
            pulses: learning.pulses.into_iter().map(Arc::new).collect(),
        });
    }
}

/// Values one after the other: usually one, or one a line.
fn walk<R: BufRead>(from: &mut R, pass: &mut Pass<'_, '_>) -> Result<(), ReadError> {
    skip_bom(from)?;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(
        64 * 1024,
        guard::Quoted::json(from),
    ));
    loop {
        Level { pass, place: Place::Top }.deserialize(&mut json)?;
        match json.end() {
            Ok(()) => return Ok(()),
            // Another value follows; if it is none, reading it says so.
            Err(error) if error.is_syntax() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn skip_bom<R: BufRead>(from: &mut R) -> Result<(), ReadError> {
    if from.fill_buf().map_err(ReadError::Io)?.starts_with(&[0xef, 0xbb, 0xbf]) {
        from.consume(3);
    }
    Ok(())
}

/// The number of a pulse, and what the pulse around it says.
type Begun = (usize, Option<Arc<element::Labels>>);

/// What is done with the things met on the way.
pub(super) enum Pass<'a, 's> {
    /// Collect what holds for whole events and bundles.
    Learn(&'a mut Learning),
    /// Hand out pieces.
    Give(&'a mut Give<'a, 's>),
}

/// What the first of two passes collects.
#[derive(Default)]
pub(super) struct Learning {
    pub(super) events: Vec<misp::Head>,
    graph: stix::Graph,
    /// What pulses say of all their indicators.
    pulses: Vec<element::Labels>,
}

pub(super) struct Give<'a, 's> {
    /// Once it is known that there is something to learn.
    pub(super) learnt: Option<&'a Learnt>,
    pub(super) next_event: usize,
    next_pulse: usize,
    /// What the pulse says whose indicators are being read.
    pulse: Option<Arc<element::Labels>>,
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
    /// It met an event or a bundle of which nothing is known yet.
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
}

impl Pass<'_, '_> {
    /// An event or a bundle begins.
    fn meet_whole<E: serde::de::Error>(&self) -> Result<(), E> {
        match self {
            Pass::Give(give) if give.learnt.is_none() => {
                give.so_far.unlearnt.set(true);
                Err(E::custom("what holds for the whole is to be learnt first"))
            }
            _ => Ok(()),
        }
    }

    /// An object that stands for itself.
    fn meet_object<E: serde::de::Error>(&mut self, json: Vec<u8>) -> Result<(), E> {
        match self {
            Pass::Learn(learning) => {
                learning.graph.learn(&json);
                Ok(())
            }
            Pass::Give(give) => {
                let graph = give.learnt.map(|learnt| Arc::clone(&learnt.graph));
                let (options, labels) = (give.options, give.pulse.clone());
                give.send(|place| {
                    Piece::Object(element::Element { place, json, graph, options, labels })
                })
            }
        }
    }

    /// The indicators of a pulse begin: what holds for all of them may stand behind them. Gives its
    /// number.
    fn pulse_begins<E: serde::de::Error>(&mut self) -> Result<Begun, E> {
        Ok(match self {
            Pass::Learn(learning) if learning.pulses.len() >= misp::EVENTS_MAX => {
                let most = misp::EVENTS_MAX;
                return Err(E::custom(format!(
                    "there are more than {most} pulses; send them in several imports"
                )));
            }
            Pass::Learn(learning) => {
                learning.pulses.push(element::Labels::new());
                (learning.pulses.len() - 1, None)
            }
            Pass::Give(give) => {
                let number = give.next_pulse;
                give.next_pulse += 1;
                let labels = give.learnt.and_then(|learnt| learnt.pulses.get(number)).cloned();
                (number, std::mem::replace(&mut give.pulse, labels))
            }
        })
    }

    /// They end; `own` is what the pulse says, if it was one.
    fn pulse_ends(
        &mut self,
        number: usize,
        outer: Option<Arc<element::Labels>>,
        own: Option<&guard::Written>,
    ) {
        match self {
            Pass::Learn(learning) => {
                if let (Some(labels), Some(own)) = (learning.pulses.get_mut(number), own) {
                    *labels = element::labels(&own.to_value());
                }
            }
            Pass::Give(give) => give.pulse = outer,
        }
    }

    fn meet_bare<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        match self {
            Pass::Learn(_) => Ok(()),
            Pass::Give(give) => give.send(|place| Piece::Bare(place, text.to_owned())),
        }
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is the whole import, or a line of it.
    Top,
    /// Under a key of a wrapping.
    Wrapped,
    /// In a list.
    Listed,
}

/// A list of things, or one thing. Gives whether there was any.
struct Level<'p, 'a, 's> {
    pass: &'p mut Pass<'a, 's>,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPES)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        each(self.pass, seq)
    }

    /// A bare value in a list.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        if self.place == Place::Top {
            return Err(E::custom(SHAPES));
        }
        self.pass.meet_bare(text).map(|()| true)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        if self.place == Place::Top { Err(E::custom(SHAPES)) } else { Ok(false) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { pass, place } = self;
        let named = place != Place::Listed;
        let mut own = guard::Written::object_begins();
        let (mut lists, mut pulse) = (0, None);
        while let Some(key) = map.next_key::<String>()? {
            match meaning(&key, named, &own) {
                Meaning::Event => {
                    pass.meet_whole()?;
                    map.next_value_seed(misp::Event { pass: &mut *pass, before: None })?;
                    return ignore_rest(map).map(|()| true);
                }
                // An event without its wrapping: it goes on in the same object.
                Meaning::Unwrapped => {
                    pass.meet_whole()?;
                    let before = Some((key, own.into_value()));
                    return misp::Event { pass, before }.visit_map(map).map(|()| true);
                }
                what => {
                    if what == Meaning::Bundle {
                        pass.meet_whole()?;
                    }
                    if what == Meaning::Things && pulse.is_none() && is_pulse(&key, &own) {
                        pass.meet_whole()?;
                        pulse = Some(pass.pulse_begins()?);
                    }
                    let under = Under { pass: &mut *pass, own: &mut own, key: &key, what };
                    lists += usize::from(map.next_value_seed(under)?);
                }
            }
        }
        if let Some((number, outer)) = pulse {
            pass.pulse_ends(number, outer, (lists > 0).then_some(&own));
        }
        if lists > 0 {
            return Ok(true);
        }
        let holds_value = |key: &str| {
            fields::role(key).is_some_and(fields::Role::is_value) || element::is_known(key)
        };
        if named && !own.names(holds_value) {
            return match (place, own.first_key()) {
                (Place::Wrapped, _) => Ok(false),
                (_, None) => Err(A::Error::custom(SHAPES)),
                (_, Some(first)) => Err(A::Error::custom(format!(
                    "there is no reading an object that begins with `{}`; {SHAPES}",
                    iocast_domain::time::clip(first, 40)
                ))),
            };
        }
        pass.meet_object(own.into_json()).map(|()| true)
    }
}

/// The elements of a list.
fn each<'de, A: SeqAccess<'de>>(pass: &mut Pass<'_, '_>, mut seq: A) -> Result<bool, A::Error> {
    while seq.next_element_seed(Level { pass: &mut *pass, place: Place::Listed })?.is_some() {}
    Ok(true)
}

fn ignore_rest<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
