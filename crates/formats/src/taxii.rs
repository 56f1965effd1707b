//! TAXII 2.1 and 2.0: the order of a collection, its cursors, and the shapes of the answers (OASIS
//! TAXII 2.1 sections 3 to 5).
//!
//! A collection is ordered by the date on which each object was added, then by the indicator that
//! it belongs to: an order that does not depend on where an object is stored, so that a cursor
//! stays good while the collection changes.

use std::{cmp::Ordering, collections::HashSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use iocast_domain::{device_type::Taxii, time::Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Where an object stands in its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// When it was added, in UTC microseconds.
    pub added: i64,
    /// The indicator that it belongs to; nil where it belongs to none.
    owner: Uuid,
    /// An indicator comes before what points from it.
    behind: bool,
    object: Uuid,
}

impl Position {
    /// As an opaque `next`.
    #[must_use]
    pub fn cursor(&self) -> String {
        let Self { added, owner, behind, object } = self;
        URL_SAFE_NO_PAD.encode(format!(
            "1|{added}|{}|{}|{}",
            owner.simple(),
            u8::from(*behind),
            object.simple()
        ))
    }

    /// Reads a `next`; nothing if it is none of ours.
    #[must_use]
    pub fn of_cursor(cursor: &str) -> Option<Self> {
        let text =
            String::from_utf8(URL_SAFE_NO_PAD.decode(cursor.trim_end_matches('=')).ok()?).ok()?;
        let fields: Vec<&str> = text.split('|').collect();
        let ["1", added, owner, behind, object] = fields.as_slice() else { return None };
        Some(Self {
            added: added.parse().ok()?,
            owner: owner.parse().ok()?,
            behind: *behind == "1",
            object: object.parse().ok()?,
        })
    }

    /// The last position of everything added up to `at`: what comes behind was added after it.
    #[must_use]
    pub const fn after(at: Timestamp) -> Self {
        Self { added: at.micros(), owner: Uuid::max(), behind: true, object: Uuid::max() }
    }
}

/// An object of a collection.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it stands.
    pub position: Position,
    /// Its id, `<type>--<UUID>`.
    pub id: String,
    /// Its version: `modified`, or `created` where it has no other.
    pub version: String,
    /// The same, as a time.
    version_at: Option<Timestamp>,
    /// Where its JSON lies in the text.
    pub range: std::ops::Range<usize>,
}

impl Object {
    /// The type of the object.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.id.split_once("--").map_or("", |(kind, _)| kind)
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    created: Option<&'a str>,
    modified: Option<&'a str>,
    source_ref: Option<&'a str>,
}

/// The objects in a piece of a bundle that stands an object a line, in their order. What has no
/// `modified` (markings have none) counts as added at `floor`.
#[must_use]
pub fn objects(text: &str, floor: Timestamp) -> Vec<Object> {
    let uuid = |id: &str| id.split_once("--").and_then(|(_, uuid)| uuid.parse::<Uuid>().ok());
    let mut start = 0;
    let mut found: Vec<Object> = text
        .split_inclusive('\n')
        .filter_map(|line| {
            let at = start;
            start += line.len();
            let json = line.trim_end().trim_end_matches(',');
            let parsed: Line<'_> = serde_json::from_str(json).ok()?;
            let object = uuid(&parsed.id)?;
            let owner = match parsed.source_ref {
                Some(source) => uuid(source)?,
                None if parsed.id.starts_with("indicator--") => object,
                None => Uuid::nil(),
            };
            let added = parsed.modified.and_then(|m| Timestamp::parse(m).ok()).unwrap_or(floor);
            let position = Position {
                added: added.micros(),
                owner,
                behind: parsed.source_ref.is_some(),
                object,
            };
            let version = parsed.modified.or(parsed.created).unwrap_or_default().to_owned();
            let version_at = Timestamp::parse(&version).ok();
            Some(Object {
                position,
                id: parsed.id.into_owned(),
                version,
                version_at,
                range: at..at + json.len(),
            })
        })
        .collect();
    found.sort_unstable_by_key(|o| o.position);
    spread(&mut found);
    found
}

/// What belongs to one indicator, and what belongs to none, was added together: each gets a
/// microsecond of its own, in their order, so that a client may go on after any of them.
fn spread(sorted: &mut [Object]) {
    let mut last: Option<(i64, Uuid, i64)> = None;
    for object in sorted {
        let Position { added, owner, .. } = object.position;
        let nth = match last {
            Some((before, of, nth)) if (before, of) == (added, owner) => (nth + 1).min(BESIDE_MAX),
            _ => 0,
        };
        last = Some((added, owner, nth));
        object.position.added = added + nth;
    }
}

/// How far the date of what belongs to an indicator is moved at most, in microseconds: the next
/// indicator comes behind it.
const BESIDE_MAX: i64 = 63;

/// Most values of one field of a filter.
const VALUES_MAX: usize = 100;

/// What a client asks for in `match[…]`. Lists are joined by commas; all fields must match. It is
/// read once, so that each object costs the same whatever is asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    ids: HashSet<String>,
    types: HashSet<String>,
    /// Every version: a collection holds one of each object, which is its first and its last.
    any_version: bool,
    versions: HashSet<Timestamp>,
    spec_versions: HashSet<String>,
}

impl Filter {
    /// Whether every indicator passes.
    #[must_use]
    pub fn takes_indicators(&self, spec_version: &str) -> bool {
        let Self { ids, types, any_version: _, versions, spec_versions } = self;
        ids.is_empty()
            && versions.is_empty()
            && (types.is_empty() || types.contains("indicator"))
            && (spec_versions.is_empty() || spec_versions.contains(spec_version))
    }

    /// Reads parameters; others are left alone.
    ///
    /// # Errors
    /// A sentence on the parameter that can't be.
    pub fn parse<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, value) in parameters {
            let list = || value.split(',').map(str::trim).filter(|v| !v.is_empty());
            match name {
                "match[id]" => filter.ids.extend(list().map(str::to_owned)),
                "match[type]" => filter.types.extend(list().map(str::to_owned)),
                "match[version]" => {
                    for word in list() {
                        if matches!(word, "all" | "first" | "last") {
                            filter.any_version = true;
                        } else {
                            let bad = |_why| {
                                format!(
                                    "`match[version]` takes all, first, last or a timestamp, not `{}`.",
                                    iocast_domain::time::clip(word, 40)
                                )
                            };
                            filter.versions.insert(Timestamp::parse(word).map_err(bad)?);
                        }
                    }
                }
                "match[spec_version]" => filter.spec_versions.extend(list().map(str::to_owned)),
                _ if name.starts_with("match[") => {
                    return Err(format!(
                        "There is no filter `{}`; there are id, type, version and spec_version.",
                        iocast_domain::time::clip(name, 40)
                    ));
                }
                _ => {}
            }
            let most = [
                filter.ids.len(),
                filter.types.len(),
                filter.versions.len(),
                filter.spec_versions.len(),
            ]
            .into_iter()
            .max()
            .unwrap_or(0);
            if most > VALUES_MAX {
                return Err(format!(
                    "A filter takes at most {VALUES_MAX} values of a field; ask for them in several requests."
                ));
            }
        }
        Ok(filter)
    }

    /// The same, for one object.
    #[must_use]
    pub fn of_object(self, id: &str) -> Self {
        Self { ids: HashSet::from([id.to_owned()]), ..self }
    }

    /// Whether an object matches.
    #[must_use]
    pub fn fits(&self, object: &Object, spec_version: &str) -> bool {
        let any = |set: &HashSet<String>, value: &str| set.is_empty() || set.contains(value);
        let version = self.any_version
            || self.versions.is_empty()
            || object.version_at.is_some_and(|at| self.versions.contains(&at));
        version
            && any(&self.ids, &object.id)
            && any(&self.types, object.kind())
            && any(&self.spec_versions, spec_version)
    }
}

/// `Content-Type` of TAXII's own documents.
#[must_use]
pub const fn content_type(version: Taxii) -> &'static str {
    match version {
        Taxii::V20 => "application/vnd.oasis.taxii+json; version=2.0",
        Taxii::V21 => "application/taxii+json;version=2.1",
    }
}

/// The media type of STIX objects.
#[must_use]
pub const fn media_type(version: Taxii) -> &'static str {
    match version {
        Taxii::V20 => "application/vnd.oasis.stix+json; version=2.0",
        Taxii::V21 => "application/stix+json;version=2.1",
    }
}

/// Where the API roots are.
#[must_use]
pub fn discovery(title: &str, default: &str) -> Value {
    json!({ "title": title, "description": "Indicators of compromise, a collection per IOC group.", "default": default, "api_roots": [default] })
}

/// What an API root is. `longest` is the longest body that is taken, in bytes.
#[must_use]
pub fn api_root(version: Taxii, title: &str, page: usize, longest: u32) -> Value {
    let description =
        format!("The IOC groups of this account. A page holds at most {page} objects.");
    let versions = match version {
        Taxii::V20 => "taxii-2.0",
        Taxii::V21 => "application/taxii+json;version=2.1",
    };
    json!({ "title": title, "description": description, "versions": [versions], "max_content_length": longest })
}

/// What a collection is.
#[must_use]
pub fn collection(version: Taxii, id: &str, title: &str, description: &str) -> Value {
    json!({ "id": id, "title": title, "description": description, "can_read": true, "can_write": false, "media_types": [media_type(version)] })
}

/// A failure in TAXII's own shape.
#[must_use]
pub fn error(status: u16, title: &str, description: &str, id: &str) -> Value {
    json!({ "title": title, "description": description, "error_id": id, "http_status": status.to_string() })
}

/// A page of objects, given as JSON texts. `bundle` is the id of the bundle that TAXII 2.0 wraps
/// them in.
#[must_use]
pub fn page<'a>(
    version: Taxii,
    objects: impl Iterator<Item = &'a str>,
    next: Option<&str>,
    bundle: Uuid,
) -> String {
    let objects: Vec<&str> = objects.collect();
    let list = objects.join(",");
    match (version, next) {
        (Taxii::V20, _) if objects.is_empty() => {
            // Clients look for the list, although a bundle may be without one.
            format!(
                "{{\"type\":\"bundle\",\"id\":\"bundle--{bundle}\",\"spec_version\":\"2.0\",\"objects\":[]}}"
            )
        }
        (Taxii::V20, _) => format!(
            "{{\"type\":\"bundle\",\"id\":\"bundle--{bundle}\",\"spec_version\":\"2.0\",\"objects\":[{list}]}}"
        ),
        (Taxii::V21, _) if objects.is_empty() => "{}".to_owned(),
        (Taxii::V21, Some(next)) => {
            format!("{{\"more\":true,\"next\":\"{next}\",\"objects\":[{list}]}}")
        }
        (Taxii::V21, None) => format!("{{\"more\":false,\"objects\":[{list}]}}"),
    }
}

/// A page of the manifest.
#[must_use]
pub fn manifest<'a>(
    version: Taxii,
    objects: impl Iterator<Item = &'a Object>,
    next: Option<&str>,
) -> Value {
    let added = |o: &Object| Timestamp::from_micros(o.position.added).to_string();
    let entries: Vec<Value> = objects
        .map(|o| match version {
            Taxii::V20 => json!({ "id": o.id, "date_added": added(o), "versions": [o.version], "media_types": [media_type(version)] }),
            Taxii::V21 => json!({ "id": o.id, "date_added": added(o), "version": o.version, "media_type": media_type(version) }),
        })
        .collect();
    match (version, next) {
        _ if entries.is_empty() => json!({}),
        (Taxii::V20, _) => json!({ "objects": entries }),
        (Taxii::V21, Some(next)) => json!({ "more": true, "next": next, "objects": entries }),
        (Taxii::V21, None) => json!({ "more": false, "objects": entries }),
    }
}

/// The objects of several sorted lists from `after` on, in their order.
pub fn merge<'a, T>(
    lists: Vec<&'a [T]>,
    after: Option<Position>,
    position: impl Fn(&T) -> Position + Copy + 'a,
) -> impl Iterator<Item = (usize, &'a T)> {
    let mut rest: Vec<&'a [T]> = lists
        .into_iter()
        .map(|list| {
            after.map_or(list, |after| {
                list.get(list.partition_point(|o| position(o) <= after)..).unwrap_or_default()
            })
        })
        .collect();
    std::iter::from_fn(move || {
        let least = |a: &(usize, Position), b: &(usize, Position)| -> Ordering { a.1.cmp(&b.1) };
        let (i, _) = rest
            .iter()
            .enumerate()
            .filter_map(|(i, list)| list.first().map(|o| (i, position(o))))
            .min_by(least)?;
        let list = rest.get_mut(i)?;
        let (first, others) = list.split_first()?;
        *list = others;
        Some((i, first))
    })
}

#[cfg(test)]
mod tests;
