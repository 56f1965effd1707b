//! A device asks for a feed: who it is, what it has, what it gets.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use iocast_domain::{
    account::Module,
    device_type::Format,
    id::{DeviceId, GroupId, KeyId},
    key::{Key, KeyKind},
    receipt::{EventBody, Fetched},
};
use iocast_formats::view::View;
use subtle::ConstantTimeEq as _;

use super::{File, GroupFeed, bodies::view_etag};
use crate::{Actor, AppError, AppResult, Credentials, Memory, Pulled, Serving, shown};

/// A request of a device.
#[derive(Clone, Copy)]
pub struct FeedRequest<'a> {
    /// The group in the URL.
    pub group: &'a str,
    /// The path below the group URL, without outer slashes.
    pub path: &'a str,
    /// The parameters of the URL.
    pub parameters: &'a [(&'a str, &'a str)],
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-API-Key` header.
    pub api_key: Option<&'a str>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<&'a str>,
}

impl fmt::Debug for FeedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedRequest")
            .field("group", &self.group)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a device is told.
#[derive(Debug)]
pub enum FeedAnswer {
    /// 304.
    NotModified {
        /// As it was asked with.
        etag: String,
        /// To be noted as a pull, if it is one.
        pull: Option<Pulled>,
    },
    /// 200.
    File(FeedFile),
    /// 200 with a page for people: heading and lines.
    Page {
        /// What stands here.
        lines: Vec<String>,
    },
    /// 400, 401, 404 or 503 with one plain sentence, most useful words first.
    Refused {
        /// Status.
        status: u16,
        /// The sentence.
        sentence: String,
        /// The known device it concerns, for its pull history.
        device: Option<(DeviceId, GroupId)>,
    },
}

/// A file that a device gets.
#[derive(Clone, Debug)]
pub struct FeedFile {
    /// The file.
    pub file: Arc<File>,
    /// In another shape.
    pub view: Option<View>,
    /// Of the shape that was asked for, without quotes; the gzip form has `-gzip` behind.
    pub etag: String,
    /// `Content-Type` of it.
    pub content_type: &'static str,
    /// To be noted as a pull once the last byte is handed over.
    pub pull: Option<Pulled>,
    /// The key it was asked with.
    pub key: KeyId,
}

/// A body ready to be sent.
#[derive(Clone, Debug)]
pub struct FeedBody {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether they are gzip.
    pub gzip: bool,
    /// How many values a view left out because its shape can't take them.
    pub left_out: u64,
}

fn refuse(status: u16, sentence: &str, device: Option<(DeviceId, GroupId)>) -> FeedAnswer {
    FeedAnswer::Refused { status, sentence: sentence.to_owned(), device }
}

/// What to do about a path below a group's URL that leads nowhere.
fn no_such_file(format: Format, path: &str) -> String {
    match format.entry() {
        "manifest.json" if path.ends_with("manifest.json/manifest.json") => {
            "End the feed URL before /manifest.json: MISP adds it by itself.".to_owned()
        }
        "" => "Nothing lies below this IOC group's URL: the list is the URL itself.".to_owned(),
        entry => format!("No such file in this IOC group; the entry is {entry}."),
    }
}

impl Serving {
    /// Answers a device. Never waits.
    #[must_use]
    pub fn feed_open(&self, request: &FeedRequest<'_>) -> FeedAnswer {
        if self.memory() == Memory::Stale {
            return refuse(
                503,
                "iocast has had no database for too long to know which keys still work; keep what you have and try again.",
                None,
            );
        }
        // A feed's checksum lies beside it.
        let (name, path) = match request.group.strip_suffix(".md5") {
            Some(name) if request.path.is_empty() => (name, "md5"),
            _ => (request.group, request.path),
        };
        let id = name.parse().ok().map(GroupId);
        let groups = id.map(|id| self.feed.groups_like(id).load());
        let group = id.zip(groups.as_ref()).and_then(|(id, groups)| groups.get(&id));
        let key = match self.feed_key(request.credentials()) {
            Ok(key) => key,
            Err((sentence, account)) => {
                // A failure is written to the device's history only where the client knew the
                // account: by a key of it, dead as that is, or by its ID.
                let known = account
                    .zip(group)
                    .zip(id)
                    .filter(|((account, g), _)| account == g.account_id.as_str());
                return refuse(401, &sentence, known.map(|((_, g), id)| (g.device_id, id)));
            }
        };
        let (Some(id), Some(group)) = (id, group.filter(|g| g.visible_to(&key))) else {
            let of_another_device = group.is_some_and(|g| g.account_id == key.account_id);
            let sentence = if of_another_device {
                "This key is another device's: use a key of the device that the IOC group belongs to."
            } else {
                "Unknown IOC group: copy the group URL from iocast again."
            };
            return refuse(404, sentence, None);
        };
        self.open_file((id, group), path, &key, request)
    }

    /// A file of a group that the key opens.
    fn open_file(
        &self,
        (id, group): (GroupId, &GroupFeed),
        path: &str,
        key: &Key,
        request: &FeedRequest<'_>,
    ) -> FeedAnswer {
        if group.publication == 0 {
            return refuse(
                503,
                "This IOC group is being built; try again in a few seconds.",
                Some((group.device_id, id)),
            );
        }
        let format = group.device_type.format;
        let Some(file) = group.files.get(path) else {
            if path.is_empty() {
                return FeedAnswer::Page {
                    lines: group.page(&self.context.settings.public_url, id),
                };
            }
            return refuse(404, &no_such_file(format, path), None);
        };
        let view = match if path == format.entry() {
            View::parse(format, request.parameters.iter().copied())
        } else {
            Ok(None)
        } {
            Ok(view) => view,
            Err(why) => return refuse(400, &why, Some((group.device_id, id))),
        };
        let etag = view.as_ref().map_or_else(|| file.etag.clone(), |view| view_etag(file, view));
        let matching = request.if_none_match.and_then(|header| matching_etag(header, &etag));
        let fetched = if path != format.entry() {
            file.event.map(|(event, version)| Fetched::Event {
                event,
                version,
                publication: group.serves,
                body: if file.first.is_some() { EventBody::Whole } else { EventBody::Only },
            })
        } else if view.as_ref().is_some_and(View::is_slice) {
            Some(Fetched::Part)
        } else if matching.is_some() {
            Some(Fetched::Same(group.serves))
        } else {
            Some(Fetched::Whole(group.serves))
        };
        let pull = fetched.map(|fetched| Pulled {
            device_id: group.device_id,
            group_id: id,
            key_id: key.id,
            fetched,
        });
        match matching {
            Some(etag) => FeedAnswer::NotModified { etag, pull },
            None => {
                let content_type =
                    view.as_ref().map_or(file.content_type, |view| view.content_type(format));
                let file = Arc::clone(file);
                FeedAnswer::File(FeedFile { file, view, etag, content_type, pull, key: key.id })
            }
        }
    }

    /// The working key that a device shows, or a sentence and the account that is meant.
    pub(crate) fn feed_key(
        &self,
        shown: Result<Credentials, &'static str>,
    ) -> Result<Arc<Key>, (String, Option<String>)> {
        let (account, secret) = shown.map_err(|sentence| (sentence.to_owned(), None))?;
        let hash = self.context.secrets.hash(&secret);
        let keys = self.feed.keys_like(&hash).load();
        let found = keys.get(&hash).filter(|key| {
            bool::from(key.hash.ct_eq(&hash))
                && account.as_deref().is_none_or(|a| a == key.account_id.as_str())
        });
        let Some(key) = found else {
            return Err(("Key rejected: account ID or key is wrong; make a new key in iocast if it was lost.".to_owned(), account));
        };
        if key.kind == KeyKind::Api {
            let sentence = "Key rejected: this is an API key, which opens the REST API; group URLs take an appliance or device key.";
            return Err((sentence.to_owned(), Some(key.account_id.to_string())));
        }
        match key.refusal(self.context.now()) {
            None => Ok(Arc::clone(key)),
            Some(refusal) => Err((
                format!("Key rejected: {refusal}; paste the new key into the device."),
                Some(key.account_id.to_string()),
            )),
        }
    }

    /// The files that a group of the actor serves now, by path; none before its first publication.
    ///
    /// # Errors
    /// If the group is not there.
    pub fn group_files(
        &self,
        actor: &Actor,
        id: GroupId,
    ) -> AppResult<BTreeMap<String, Arc<File>>> {
        actor.may_read(Module::Automation)?;
        let groups = self.feed.groups_like(id).load();
        let group = groups
            .get(&id)
            .filter(|g| g.account_id == actor.account_id)
            .ok_or(AppError::NotFound("group"))?;
        Ok(group.files.iter().map(|(path, file)| (path.clone(), Arc::clone(file))).collect())
    }
}

impl FeedRequest<'_> {
    fn credentials(&self) -> Result<Credentials, &'static str> {
        shown(self.authorization, self.api_key, self.parameters)
    }
}

/// The ETag in an `If-None-Match` list that names this file, in whatever form a proxy left it.
pub(super) fn matching_etag(header: &str, etag: &str) -> Option<String> {
    header.split(',').map(str::trim).find_map(|candidate| {
        if candidate == "*" {
            return Some(format!("\"{etag}\""));
        }
        let opaque = candidate.trim_start_matches("W/").trim_matches('"');
        let plain = opaque.strip_suffix("-gzip").unwrap_or(opaque);
        (plain == etag).then(|| format!("\"{opaque}\""))
    })
}
