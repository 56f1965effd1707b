//! The body of a list comes into the spool.

use std::{fs::File, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use iocast_domain::subscription::{Access, Subscription};
use iocast_fetch::{Answer, Failure, Request};
use iocast_formats::read::{
    Input,
    form::{Stated, of_file_name},
};

use super::{fetching::plain, purpose};
use crate::{Intake, Spooled};

/// How long a fetch may take, without taking what it brought.
const TOTAL: Duration = Duration::from_secs(600);

/// A list that came.
pub(super) struct Came {
    pub(super) spooled: Spooled,
    pub(super) bytes: u64,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) stated: Stated,
    pub(super) sha256: String,
}

impl Intake {
    /// Fetches the body to the spool; nothing if it is the one that is known.
    pub(super) async fn download(
        &self,
        of: &Subscription,
        compare: bool,
    ) -> Result<Option<Came>, Failure> {
        let broken =
            |error: std::io::Error| plain(format!("The list could not be put aside: {error}."));
        tokio::fs::create_dir_all(self.spool()).await.map_err(broken)?;
        let spooled = Spooled(self.spool_path());
        let path = spooled.0.clone();
        let (asked, secrets) = self.asked(of, compare)?;
        let fetching = self.context.spawn_blocking(move || {
            let mut file = File::create(&path).map_err(broken)?;
            let answer = iocast_fetch::get(&asked, &mut file)
                .map_err(|failure| Failure { why: without(&failure.why, &secrets), ..failure })?;
            Ok::<_, Failure>((answer, path))
        });
        let (answer, path) = fetching.await.map_err(|error| plain(error.to_string()))??;
        let Answer::Body { bytes, etag, last_modified, content_type } = answer else {
            return Ok(None);
        };
        let (url, form) = (of.url.clone(), of.form.clone());
        let look = self.context.spawn_blocking(move || {
            let stated = stated(form.as_deref(), content_type.as_deref(), &url);
            let (sha256, _) = crate::imports::digest(path).map_err(broken)?;
            Ok::<_, Failure>((stated, sha256))
        });
        let (stated, sha256) = look.await.map_err(|error| plain(error.to_string()))??;
        Ok(Some(Came { spooled, bytes, etag, last_modified, stated, sha256 }))
    }

    fn asked(&self, of: &Subscription, compare: bool) -> Result<(Request, Vec<String>), Failure> {
        let secret = match of.access {
            Access::None => String::new(),
            _ => self.context.secrets.open(&purpose(of.source_id), &of.secret).ok_or_else(|| {
                plain("The secret of this subscription was encrypted under another secrets file; give it again.")
            })?,
        };
        let mut url = url::Url::parse(&of.url).map_err(|error| plain(error.to_string()))?;
        let mut headers = Vec::new();
        // As they may come back in what a server says.
        let mut secrets = vec![secret.clone()];
        match of.access {
            Access::None => {}
            Access::Basic => {
                let pair = STANDARD.encode(format!("{}:{secret}", of.access_name));
                headers.push(("authorization".to_owned(), format!("Basic {pair}")));
                secrets.push(pair);
            }
            Access::Bearer => {
                headers.push(("authorization".to_owned(), format!("Bearer {secret}")));
            }
            Access::Header => headers.push((of.access_name.clone(), secret)),
            Access::Query => {
                url.query_pairs_mut().append_pair(&of.access_name, &secret);
                secrets.extend(
                    url::form_urlencoded::byte_serialize(secret.as_bytes())
                        .map(str::to_owned)
                        .reduce(|all, part| all + &part),
                );
            }
        }
        let known = |text: &Option<String>| text.clone().filter(|_| compare);
        let request = Request {
            url: url.to_string(),
            headers,
            etag: known(&of.progress.etag),
            last_modified: known(&of.progress.last_modified),
            allowed: self.context.settings.fetch_networks.clone(),
            most: self.context.settings.import_max,
            total: TOTAL,
        };
        Ok((request, secrets))
    }
}

/// The last part of an address, or its host.
pub(super) fn name_of(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else { return String::new() };
    let last = url.path_segments().and_then(|mut parts| parts.next_back().map(str::to_owned));
    last.filter(|name| !name.is_empty())
        .or_else(|| url.host_str().map(str::to_owned))
        .unwrap_or_default()
}

/// What is said of the form: a person's choice, what the server says, what the name says.
fn stated(form: Option<&str>, content_type: Option<&str>, url: &str) -> Stated {
    if let Some(form) = form.and_then(Input::from_word) {
        return Stated::Chosen(form);
    }
    match content_type.and_then(Input::from_content_type) {
        // Many servers say so of every file.
        Some(Stated::Hint(Input::List)) | None | Some(Stated::Nothing) => {
            of_file_name(&name_of(url))
        }
        Some(said) => said,
    }
}

/// A sentence without the secrets that may be in it.
fn without(why: &str, secrets: &[String]) -> String {
    let known = secrets.iter().filter(|secret| !secret.is_empty());
    known.fold(why.to_owned(), |why, secret| why.replace(secret.as_str(), "…"))
}
