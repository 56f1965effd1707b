//! A MISP, as far as it pulls a feed: what its source and its database do (`misp-source.md`). It
//! keeps what it was told, forgets nothing, and asks for nothing that it believes to have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use ureq::Agent;

use super::{agent, basic, text};

/// An attribute in its database.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    stamp: i64,
    pub(crate) value: String,
    kind: (String, String),
    pub(crate) deleted: bool,
    /// In lower case: its database compares so.
    pub(crate) tags: BTreeSet<String>,
    /// Tags that its first import attached although they were listed as deleted.
    pub(crate) attached: BTreeSet<String>,
    /// An analyst deleted it.
    pub(crate) rejected: bool,
}

/// An event in its database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    stamp: i64,
    pub(crate) attributes: BTreeMap<String, Attribute>,
}

type Events = BTreeMap<String, Event>;

/// Where a pull ends before its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// After so many events.
    pub(crate) after: usize,
    /// The last of them was being written.
    pub(crate) halfway: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Misp {
    pub(crate) uuid: String,
    url: String,
    key: String,
    agent: Agent,
    pub(crate) events: Events,
    /// Events that an analyst deleted.
    pub(crate) blocked: BTreeSet<String>,
    /// The manifest that it was given last, with its ETag.
    manifest: Option<(String, Vec<(String, i64)>)>,
    backup: Option<(Events, BTreeSet<String>)>,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: i64,
    /// Its feed rules skip events whose UUID begins with a digit below this.
    pub(crate) skips: char,
    /// How many events it asked for.
    pub(crate) asked: usize,
}

impl Misp {
    pub(crate) fn new(uuid: &str, url: &str, (user, password): (&str, &str)) -> Self {
        Self {
            uuid: uuid.to_owned(),
            url: url.to_owned(),
            key: basic(user, password),
            agent: agent(),
            events: Events::new(),
            blocked: BTreeSet::new(),
            manifest: None,
            backup: None,
            ahead: 0,
            skips: '0',
            asked: 0,
        }
    }

    /// The feed is at another address now; what was cached for the old one is not asked for again.
    pub(crate) fn moved_to(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// The values that it holds.
    pub(crate) fn values(&self) -> BTreeSet<&str> {
        let all = self.events.values().flat_map(|event| event.attributes.values());
        all.filter(|attribute| !attribute.deleted)
            .map(|attribute| attribute.value.as_str())
            .collect()
    }

    fn get(&self, path: &str, etag: Option<&str>) -> (u16, String, Option<Value>) {
        let mut request = self
            .agent
            .get(format!("{}/{path}", self.url))
            .header("authorization", &self.key)
            .header("user-agent", "MISP")
            .header("misp-uuid", &self.uuid);
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let mut answer = request.call().unwrap();
        let status = answer.status().as_u16();
        let etag = answer.headers().get("etag").map(|e| e.to_str().unwrap().to_owned());
        let body = answer.body_mut().read_to_vec().unwrap();
        (status, etag.unwrap_or_default(), serde_json::from_slice(&body).ok())
    }

    /// Fetches the manifest: what it lists, in order. The preview of a feed does the same.
    pub(crate) fn index(&mut self) -> Vec<(String, i64)> {
        let (status, etag, body) =
            self.get("manifest.json", self.manifest.as_ref().map(|(etag, _)| etag.as_str()));
        if status != 304 {
            assert_eq!(status, 200);
            let listed = body.unwrap().as_object().unwrap().clone().into_iter();
            let stamp = |entry: &Value| entry["timestamp"].as_i64().unwrap();
            let mut listed: Vec<(String, i64)> =
                listed.map(|(id, entry)| (id, stamp(&entry))).collect();
            listed.sort_by_key(|(_, stamp)| *stamp);
            self.manifest = Some((etag, listed));
        }
        self.manifest.clone().unwrap().1
    }

    /// A person looks at an event of the feed; nothing is stored.
    pub(crate) fn preview(&mut self, nth: usize) {
        let listed = self.index();
        if let Some((id, _)) = listed.get(nth % listed.len().max(1)) {
            self.get(&format!("{id}.json"), None);
        }
    }

    /// Pulls the feed.
    pub(crate) fn pull(&mut self, kill: Option<Kill>) {
        let listed = self.index();
        let wanted = |id: &String| id.chars().next().unwrap() >= self.skips;
        let (known, new): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .filter(|(id, _)| wanted(id))
            .partition(|(id, _)| self.events.contains_key(id));
        // New ones first, then changed ones, in the order of its database.
        let changed = known.into_iter().filter(|(id, stamp)| self.events[id].stamp < *stamp);
        let queue: Vec<String> = new.into_iter().chain(changed).map(|(id, _)| id).collect();
        let mut added = false;
        for (nth, id) in queue.iter().enumerate() {
            if kill.is_some_and(|kill| kill.after == nth) {
                return;
            }
            let (status, _, body) = self.get(&format!("{id}.json"), None);
            assert_eq!(status, 200);
            self.asked += 1;
            // It is asked after the download whether the event may be stored.
            if self.blocked.contains(id) {
                continue;
            }
            let file = body.unwrap()["Event"].take();
            println!("  {} asks for {id} at {}", self.uuid, stamp(&file));
            // What breaks off with nothing behind it can't be seen from outside.
            let halfway = kill.is_some_and(|kill| kill.halfway && kill.after == nth + 1)
                && nth + 1 < queue.len();
            if self.events.contains_key(id) {
                self.edit(id, &file, added, halfway);
            } else {
                self.add(id, &file, halfway);
                added = true;
            }
        }
    }

    /// A new event. Tags are attached whether or not they are listed as deleted.
    fn add(&mut self, id: &str, file: &Value, halfway: bool) {
        let mut event = Event { stamp: stamp(file), attributes: BTreeMap::new() };
        let entries = file["Attribute"].as_array().unwrap();
        let stored = if halfway { entries.len() / 2 } else { entries.len() };
        for (nth, entry) in entries[..stored].iter().enumerate() {
            let mut attribute = read(entry);
            let twin = |other: &Attribute| {
                !other.deleted && (&other.value, &other.kind) == (&attribute.value, &attribute.kind)
            };
            if !attribute.deleted && event.attributes.values().any(twin) {
                continue;
            }
            // What was being written when it broke off lacks its tags.
            if !halfway || nth + 1 < stored {
                attribute.tags.extend(tags(entry).map(|(name, _)| name));
                let gone = tags(entry).filter(|(_, gone)| *gone).map(|(name, _)| name);
                attribute.attached = gone.collect();
            }
            event.attributes.insert(text(entry, "uuid"), attribute);
        }
        self.events.insert(id.to_owned(), event);
    }

    /// Updates an event that it stores. All attributes are one transaction.
    fn edit(&mut self, id: &str, file: &Value, added: bool, halfway: bool) {
        let event = self.events.get_mut(id).unwrap();
        if stamp(file) <= event.stamp {
            return;
        }
        event.stamp = stamp(file);
        if halfway {
            return;
        }
        let before: Vec<(String, Attribute)> =
            event.attributes.iter().map(|(id, a)| (id.clone(), a.clone())).collect();
        for entry in file["Attribute"].as_array().unwrap() {
            let new = read(entry);
            let uuid = text(entry, "uuid");
            match event.attributes.get_mut(&uuid) {
                Some(old) if new.stamp <= old.stamp => continue,
                Some(old) => {
                    (old.stamp, old.value) = (new.stamp, new.value);
                    old.deleted |= new.deleted;
                }
                None => {
                    // Compared without case, with what was there before; not at all in a pull that
                    // added an event.
                    let twin = |(_, other): &(String, Attribute)| {
                        !other.deleted
                            && other.kind == new.kind
                            && other.value.to_lowercase() == new.value.to_lowercase()
                    };
                    if !new.deleted && !added && before.iter().any(twin) {
                        continue;
                    }
                    event.attributes.insert(uuid.clone(), new);
                }
            }
            let attribute = event.attributes.get_mut(&uuid).unwrap();
            let (gone, here): (Vec<_>, Vec<_>) = tags(entry).partition(|(_, gone)| *gone);
            attribute.tags.extend(here.into_iter().map(|(name, _)| name));
            for (name, _) in gone {
                attribute.tags.remove(&name);
            }
        }
    }

    /// An analyst changes an attribute: its timestamp, and the event's, are this MISP's now.
    pub(crate) fn analyst(&mut self, nth: usize, now: i64, deletes: bool) {
        let now = now + self.ahead;
        let all = self.events.values().map(|event| event.attributes.len()).sum::<usize>();
        let mut nth = nth % all.max(1);
        for event in self.events.values_mut() {
            if let Some(attribute) = event.attributes.values_mut().nth(nth) {
                (event.stamp, attribute.stamp) = (now, now);
                if deletes && !attribute.deleted {
                    (attribute.deleted, attribute.rejected) = (true, true);
                }
                return;
            }
            nth -= event.attributes.len();
        }
    }

    pub(crate) fn delete_event(&mut self, nth: usize) {
        let id = self.events.keys().nth(nth % self.events.len().max(1)).cloned();
        if let Some(id) = id {
            self.events.remove(&id);
            self.blocked.insert(id);
        }
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = Some((self.events.clone(), self.blocked.clone()));
    }

    pub(crate) fn forget_backup(&mut self) {
        self.backup = None;
    }

    /// Puts the last backup back, and gives whether it did. One that lacks a whole event is not put
    /// back: where that event changed since, its import looks like an update.
    pub(crate) fn restore(&mut self) -> bool {
        let Some((events, blocked)) = self.backup.clone() else { return false };
        if !self.events.keys().all(|id| events.contains_key(id)) {
            return false;
        }
        (self.events, self.blocked) = (events, blocked);
        true
    }
}

fn stamp(of: &Value) -> i64 {
    text(of, "timestamp").parse().unwrap()
}

fn read(entry: &Value) -> Attribute {
    Attribute {
        stamp: stamp(entry),
        value: text(entry, "value"),
        kind: (text(entry, "type"), text(entry, "category")),
        deleted: entry["deleted"] == true,
        tags: BTreeSet::new(),
        attached: BTreeSet::new(),
        rejected: false,
    }
}

/// The tags of an entry, in lower case, and whether they are listed as deleted.
pub(crate) fn tags(entry: &Value) -> impl Iterator<Item = (String, bool)> {
    let all = entry["Tag"].as_array().into_iter().flatten();
    all.map(|tag| (text(tag, "name").to_lowercase(), tag["deleted"] == true))
}
