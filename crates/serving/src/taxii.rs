//! The TAXII servers: an API root per account, a collection per IOC group. Pages are cut from the
//! shards of the group's publication, so that a page costs what is on it and shows what was
//! published.

use std::sync::Arc;

use bytes::Bytes;
use iocast_domain::{
    device_type::{DeviceType, Taxii},
    id::{AccountId, DeviceId, GroupId},
    key::Key,
    time::{Timestamp, clip},
};
use iocast_formats::{
    gzip,
    taxii::{self as shape, Filter, Object, Position},
};
use quick_cache::Weighter;
use serde_json::{Value, json};

use crate::{AppError, AppResult, Credentials, Pulled, Serving, feed::GroupFeed, shown};

mod pages;

/// Most objects on a page.
pub const PAGE_MAX: usize = 5_000;
/// Longest body that is taken: none is, as nothing can be written.
const BODY_MAX: u32 = 1;

/// A piece of a collection, inflated and ordered.
pub(crate) struct Piece {
    text: String,
    objects: Vec<Object>,
}

#[derive(Clone)]
pub(crate) struct ByText;

impl Weighter<String, Arc<Piece>> for ByText {
    fn weight(&self, _: &String, piece: &Arc<Piece>) -> u64 {
        (piece.text.len() + piece.objects.len() * 200) as u64
    }
}

/// A request of a TAXII client.
#[derive(Clone, Copy)]
pub struct TaxiiRequest<'a> {
    /// Whose server it came to.
    pub version: Taxii,
    /// What stands behind it in the path, cut at slashes, without empty pieces.
    pub path: &'a [&'a str],
    /// The parameters of the URL.
    pub parameters: &'a [(&'a str, &'a str)],
    /// The `Range` header: TAXII 2.0 pages by it.
    pub range: Option<&'a str>,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-API-Key` header.
    pub api_key: Option<&'a str>,
}

impl std::fmt::Debug for TaxiiRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaxiiRequest")
            .field("version", &self.version)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An answer to a TAXII client.
#[derive(Debug)]
pub struct TaxiiAnswer {
    /// Status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The document.
    pub body: Bytes,
    /// When the first and the last object of the page were added.
    pub added: Option<(Timestamp, Timestamp)>,
    /// `Content-Range`, where TAXII 2.0 answers in part.
    pub range: Option<String>,
    /// To be noted as a pull once the last byte is handed over.
    pub pull: Option<Pulled>,
    /// The known device that was refused, with the sentence, for its pull history.
    pub refused: Option<(DeviceId, GroupId, String)>,
}

/// The URL of an account's API root.
pub(crate) fn root(public_url: &str, version: Taxii, account: &AccountId) -> String {
    format!("{}{account}/", discovery(public_url, version))
}

/// The URL at which a client finds the API root.
pub(crate) fn discovery(public_url: &str, version: Taxii) -> String {
    format!("{public_url}/{}/", if version == Taxii::V20 { "taxii" } else { "taxii2" })
}

/// What a page is of.
enum Of<'a> {
    Objects,
    Object(&'a str),
    Versions(&'a str),
    Manifest,
}

/// How a page is asked for.
struct Asked {
    after: Option<Position>,
    /// Only what was added after a date, or from an item on.
    since: bool,
    skip: usize,
    limit: usize,
    count_all: bool,
    filter: Filter,
}

struct Refusal {
    status: u16,
    title: &'static str,
    description: String,
}

fn refuse(status: u16, title: &'static str, description: impl Into<String>) -> Refusal {
    Refusal { status, title, description: description.into() }
}

impl Serving {
    /// Answers a TAXII client.
    pub async fn taxii(&self, request: &TaxiiRequest<'_>) -> TaxiiAnswer {
        let answer = match self.taxii_key(request) {
            Ok(key) => self.taxii_answer(request, &key).await,
            Err((sentence, account)) => {
                let group = request.path.get(2).and_then(|id| id.parse().ok()).map(GroupId);
                let refused = group
                    .and_then(|id| self.feed.group(id).map(|g| (id, g)))
                    .filter(|(_, g)| account.as_deref() == Some(g.account_id.as_str()));
                let refused = refused.map(|(id, g)| (g.device_id, id, sentence.clone()));
                let refusal = refuse(401, "Unauthorized", sentence);
                return TaxiiAnswer { refused, ..self.taxii_refusal(request.version, &refusal) };
            }
        };
        answer.unwrap_or_else(|refusal| self.taxii_refusal(request.version, &refusal))
    }

    /// Where the groups of a device of this type are collections: the discovery URL and the
    /// account's API root; nothing where they are none.
    #[must_use]
    pub fn taxii_urls(
        &self,
        account: &AccountId,
        device_type: &DeviceType,
    ) -> Option<(String, String)> {
        let version = device_type.format.taxii()?;
        Some((
            discovery(&self.context.settings.public_url, version),
            root(&self.context.settings.public_url, version, account),
        ))
    }

    /// A body as gzip.
    ///
    /// # Errors
    /// If the compressor fails.
    pub async fn gzip(&self, body: Bytes) -> AppResult<Bytes> {
        let press = move || {
            gzip::segment(&body).map(|s| gzip::join([(s.data.as_slice(), s.crc, s.raw_len)]))
        };
        Ok(Bytes::from(
            tokio::task::spawn_blocking(press)
                .await
                .map_err(AppError::internal)?
                .map_err(AppError::internal)?,
        ))
    }

    fn taxii_refusal(&self, version: Taxii, refusal: &Refusal) -> TaxiiAnswer {
        let Refusal { status, title, description } = refusal;
        let id = self.context.entropy.uuid().to_string();
        TaxiiAnswer {
            status: *status,
            ..document(version, &shape::error(*status, title, description, &id))
        }
    }

    fn taxii_key(&self, request: &TaxiiRequest<'_>) -> Result<Arc<Key>, (String, Option<String>)> {
        let shown: Result<Credentials, &'static str> =
            shown(request.authorization, request.api_key, request.parameters);
        self.feed_key(shown)
    }

    async fn taxii_answer(
        &self,
        request: &TaxiiRequest<'_>,
        key: &Key,
    ) -> Result<TaxiiAnswer, Refusal> {
        let version = request.version;
        let nothing = || {
            refuse(
                404,
                "Not found",
                "There is nothing at this address. Copy API root and collection from the device's page in iocast again.",
            )
        };
        let Some((account, below)) = request.path.split_first() else {
            return Ok(document(
                version,
                &shape::discovery(
                    "iocast",
                    &root(&self.context.settings.public_url, version, &key.account_id),
                ),
            ));
        };
        if *account != key.account_id.as_str() {
            return Err(nothing());
        }
        let collection = |id: &str| {
            let id = id.parse().ok().map(GroupId)?;
            let group = self.feed.group(id)?;
            (group.is_collection(version) && group.visible_to(key)).then_some((id, group))
        };
        match below {
            [] => Ok(document(version, &shape::api_root(version, "iocast", PAGE_MAX, BODY_MAX))),
            ["collections"] => {
                let mut all: Vec<_> =
                    self.feed.groups_where(|g| g.is_collection(version) && g.visible_to(key));
                all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
                let all: Vec<Value> = all.iter().map(|(id, g)| describe(version, *id, g)).collect();
                Ok(document(
                    version,
                    &if all.is_empty() { json!({}) } else { json!({ "collections": all }) },
                ))
            }
            ["collections", id] => collection(id)
                .map(|(id, group)| document(version, &describe(version, id, &group)))
                .ok_or_else(nothing),
            ["collections", id, rest @ ..] => {
                let (id, group) = collection(id).ok_or_else(nothing)?;
                let of = match rest {
                    ["objects"] => Of::Objects,
                    ["objects", object] => Of::Object(object),
                    ["objects", object, "versions"] if version == Taxii::V21 => {
                        Of::Versions(object)
                    }
                    ["manifest"] => Of::Manifest,
                    _ => return Err(nothing()),
                };
                let (answer, fetched) = self.taxii_page(request, key, &group, &of).await?;
                let pull = matches!(of, Of::Objects).then_some(Pulled {
                    device_id: group.device_id,
                    group_id: id,
                    key_id: key.id,
                    fetched,
                });
                Ok(TaxiiAnswer { pull, ..answer })
            }
            _ => Err(nothing()),
        }
    }
}

fn document(version: Taxii, value: &Value) -> TaxiiAnswer {
    let body = Bytes::from(value.to_string());
    TaxiiAnswer {
        status: 200,
        content_type: shape::content_type(version),
        body,
        added: None,
        range: None,
        pull: None,
        refused: None,
    }
}

fn describe(version: Taxii, id: GroupId, group: &GroupFeed) -> Value {
    let description = format!("IOC group {} of the device {}", group.name, group.device_name);
    shape::collection(version, &id.to_string(), &group.name, &description)
}

/// Reads the parameters of a page.
fn asked(request: &TaxiiRequest<'_>) -> Result<Asked, Refusal> {
    let bad = |description: String| refuse(400, "Bad request", description);
    let named = |wanted: &str| {
        request.parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
    };
    let added_after = named("added_after")
        .map(Timestamp::parse)
        .transpose()
        .map_err(|why| bad(format!("`added_after` must be a timestamp: {why}")))?;
    let next = named("next")
        .map(|next| {
            Position::of_cursor(next)
                .ok_or_else(|| bad("`next` is none of ours; begin again without it.".to_owned()))
        })
        .transpose()?;
    let limit = match named("limit") {
        None => PAGE_MAX,
        Some(text) => match text.parse::<usize>() {
            Ok(0) | Err(_) => {
                return Err(bad(format!(
                    "`limit` must be a number from 1 on, not `{}`.",
                    clip(text, 40)
                )));
            }
            Ok(limit) => limit.min(PAGE_MAX),
        },
    };
    let filter = Filter::parse(request.parameters.iter().copied()).map_err(bad)?;
    // A cursor stands where the last page ended, even where the client moves `added_after` along.
    let after = next.or(added_after.map(Position::after));
    let (skip, limit) = match (request.version, request.range) {
        (Taxii::V20, Some(range)) => items(range).ok_or_else(|| {
            bad(format!("The range must be `items FIRST-LAST`, not `{}`.", clip(range, 40)))
        })?,
        _ => (0, limit),
    };
    Ok(Asked {
        after,
        since: (added_after.is_some() && next.is_none()) || skip > 0,
        skip,
        limit: limit.min(PAGE_MAX),
        count_all: request.version == Taxii::V20,
        filter,
    })
}

/// `items 0-99`, or as some clients write it `items=0-99`: how many to skip and to give.
fn items(range: &str) -> Option<(usize, usize)> {
    let (first, last) =
        range.trim().strip_prefix("items")?.trim_start_matches([' ', '=']).split_once('-')?;
    let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (last >= first).then_some((first, (last - first).saturating_add(1)))
}
