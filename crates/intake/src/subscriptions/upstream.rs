//! What is fetched comes into the spool, by the protocol of the subscription.

use std::{
    fs::File,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use iocast_domain::{
    subscription::{Access as How, FetchProgress, Protocol, Subscription},
    time::clip,
};
use iocast_fetch::{Access, Answer, Client, Failure, Head, Request};
use iocast_formats::read::form::Stated;
use iocast_store::Section;
use serde::Deserialize;

use super::{
    fetching::{of_app, plain},
    file, folder,
    ledger::Stays,
    misp_feed, purpose, taxii, threat_command,
};
use crate::{AppError, Intake, Spooled};

/// Most characters of what is said of a failure.
const SAID: usize = 600;
/// How long a fetch may take, without taking what it brought.
const TOTAL: Duration = Duration::from_secs(600);

/// What came.
pub(super) struct Came {
    /// Where it lies; nothing where something went and nothing came.
    pub(super) spooled: Option<Spooled>,
    pub(super) bytes: u64,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) stated: Stated,
    /// Of all of it; none while more is to come.
    pub(super) sha256: Option<String>,
    /// Up to where a collection was read.
    pub(super) cursor: Option<String>,
    /// What becomes of what did not come.
    pub(super) stays: Stays,
    /// Sections that came: their names and versions.
    pub(super) versions: Vec<(String, String)>,
    /// Sections that are gone.
    pub(super) gone: Vec<String>,
    /// More is to be fetched at once.
    pub(super) more: bool,
    /// What could not be read, and is tried again next time.
    pub(super) missing: Option<String>,
    /// All of it was asked for, also what is known.
    pub(super) all: bool,
    /// What it says is taken again, also where it said the same before.
    pub(super) renews: bool,
}

impl Came {
    pub(super) fn new(spooled: Option<Spooled>, bytes: u64, stated: Stated) -> Self {
        Self {
            spooled,
            bytes,
            etag: None,
            last_modified: None,
            stated,
            sha256: None,
            cursor: None,
            stays: Stays::Nothing,
            versions: Vec::new(),
            gone: Vec::new(),
            more: false,
            missing: None,
            all: false,
            renews: false,
        }
    }
}

/// How the next page of a JSON file is named.
pub(super) struct Paging {
    /// Where it stands, its names parted by dots; without it, `Link` is asked.
    pub(super) field: Option<String>,
    /// The parameter that takes what stands there.
    pub(super) parameter: Option<String>,
}

/// What is fetched, and by whom.
pub(super) struct Upstream {
    pub(super) protocol: Protocol,
    /// With the secret, where that is a parameter.
    pub(super) url: url::Url,
    pub(super) form: Option<String>,
    /// What is known of it; nothing where all of it is wanted.
    pub(super) known: FetchProgress,
    /// All of it is wanted.
    pub(super) all: bool,
    /// Sections that are known.
    pub(super) sections: Vec<Section>,
    /// Where what comes may lie, and files beside it.
    pub(super) spool: PathBuf,
    /// Most bytes.
    pub(super) most: u64,
    /// How the next page of a file is named.
    pub(super) paging: Paging,
    /// The parameter that is the key of this access, and the key.
    pub(super) key: Option<(String, String)>,
    client: Client,
    /// As they may come back in what a server says.
    secrets: Vec<String>,
    until: Instant,
}

impl Upstream {
    /// Asks the server, and puts its body into a file.
    pub(super) fn get(&self, request: Request, to: &mut File) -> Result<Answer, Failure> {
        let total = self.until.saturating_duration_since(Instant::now());
        if total.is_zero() {
            return Err(plain(format!(
                "The fetch took longer than {} minutes.",
                TOTAL.as_secs() / 60
            )));
        }
        let request = Request { total, ..request };
        self.client.get(&request, to).map_err(|failure| self.without_secrets(failure))
    }

    /// Asks the server for a small body.
    pub(super) fn get_bytes(&self, request: Request) -> Result<Option<(Head, Vec<u8>)>, Failure> {
        let total = self.until.saturating_duration_since(Instant::now());
        let mut bytes = Vec::new();
        let request = Request { total: total.max(Duration::from_millis(1)), ..request };
        let answer = self.client.get(&request, &mut bytes);
        match answer.map_err(|failure| self.without_secrets(failure))? {
            Answer::NotModified => Ok(None),
            Answer::Body(head) => Ok(Some((head, bytes))),
        }
    }

    /// A failure without the secrets that may be in what the server said, and no longer than people
    /// read.
    fn without_secrets(&self, failure: Failure) -> Failure {
        let why = clip(&without(&failure.why, &self.secrets), SAID);
        Failure { why, ..failure }
    }

    /// Whether something may still be asked for.
    pub(super) fn has_time(&self) -> bool {
        Instant::now() + Duration::from_secs(60) < self.until
    }

    /// A fresh file beside the others.
    pub(super) fn file(&self, name: &str) -> Result<(Spooled, File), Failure> {
        let path = self.spool.with_extension(name);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(broken)?;
        Ok((Spooled(path), file))
    }
}

/// What is said where a file can't be written.
pub(super) fn broken(error: std::io::Error) -> Failure {
    plain(format!("The list could not be put aside: {error}."))
}

/// A sentence without the secrets that may be in it.
fn without(why: &str, secrets: &[String]) -> String {
    let known = secrets.iter().filter(|secret| !secret.is_empty());
    known.fold(why.to_owned(), |why, secret| {
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let quoted = serde_json::to_string(secret).unwrap_or_default();
        // Without the quotation marks around it.
        let quoted = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        [secret.as_str(), &encoded, quoted]
            .iter()
            .filter(|form| !form.is_empty())
            .fold(why, |why, form| why.replace(form, "…"))
    })
}

impl Intake {
    /// Fetches what is new to the spool; nothing if it is what is known. With `all`, what is known
    /// is fetched, too.
    pub(super) async fn download(
        &self,
        of: &Subscription,
        all: bool,
    ) -> Result<Option<Came>, Failure> {
        tokio::fs::create_dir_all(self.spool()).await.map_err(broken)?;
        let sections = if of.protocol == Protocol::MispFeed {
            let found = self.context.store.read().subscription_sections(of.source_id).await;
            found.map_err(|error| of_app(error.into()))?
        } else {
            Vec::new()
        };
        let (access, url, secrets) = self.access(of)?;
        let known = if all { FetchProgress::default() } else { of.progress.clone() };
        let (protocol, form) = (of.protocol, of.form.clone());
        let (spool, most) = (self.spool_path(), self.context.settings.import_max);
        let paging = Paging {
            field: of.options.next_field.clone(),
            parameter: of.options.next_parameter.clone(),
        };
        let key = (of.access == How::Query)
            .then(|| secrets.first().map(|secret| (of.access_name.clone(), secret.clone())))
            .flatten();
        let folders = self.context.settings.fetch_folders.clone();
        let (token, now) = (self.token_request(of)?, self.context.now());
        let fetching = self.context.spawn_blocking(move || {
            let mut upstream = Upstream {
                protocol,
                url,
                form,
                known,
                all,
                sections,
                spool,
                most,
                paging,
                key,
                client: Client::new(access.clone())?,
                secrets,
                until: Instant::now() + TOTAL,
            };
            if let Some(token) = token {
                upstream.take_token(access, &token)?;
            }
            match upstream.protocol {
                Protocol::File => file::fetch(&upstream),
                Protocol::Folder => folder::fetch(&upstream, &folders),
                Protocol::MispFeed => misp_feed::fetch(&mut upstream),
                Protocol::Taxii => taxii::fetch(&upstream, now),
                Protocol::ThreatCommand => threat_command::fetch(&upstream, now),
            }
        });
        fetching.await.map_err(|error| of_app(AppError::internal(error)))?
    }

    /// How the server is reached, at which address, and the secrets in that.
    fn access(&self, of: &Subscription) -> Result<(Access, url::Url, Vec<String>), Failure> {
        let secret = match of.access {
            How::None => String::new(),
            _ => self.opened(of, &of.secret)?,
        };
        let mut url = url::Url::parse(&of.url).map_err(|error| plain(error.to_string()))?;
        let mut headers = Vec::new();
        let mut secrets = vec![secret.clone()];
        match of.access {
            How::None | How::OAuth2 => {}
            How::Basic => {
                let pair = STANDARD.encode(format!("{}:{secret}", of.access_name));
                headers.push(("authorization".to_owned(), format!("Basic {pair}")));
                secrets.push(pair);
            }
            How::Bearer => {
                headers.push(("authorization".to_owned(), format!("Bearer {secret}")));
            }
            How::Header => headers.push((of.access_name.clone(), secret)),
            How::Query => {
                url.query_pairs_mut().append_pair(&of.access_name, &secret);
            }
        }
        let identity = match &of.options.certificate {
            None => None,
            Some(certificate) => Some((certificate.clone(), self.opened(of, &of.tls_key)?)),
        };
        let settings = &self.context.settings;
        let access = Access {
            headers,
            allowed: settings.fetch_networks.clone(),
            ca: of.options.ca.clone(),
            identity,
            proxy: settings.fetch_proxy.clone(),
        };
        Ok((access, url, secrets))
    }

    fn opened(&self, of: &Subscription, sealed: &[u8]) -> Result<String, Failure> {
        self.context.secrets.open(&purpose(of.source_id), sealed).ok_or_else(|| {
            plain("The secret of this subscription was encrypted under another secrets file; give it again.")
        })
    }

    /// What is asked for a token.
    fn token_request(&self, of: &Subscription) -> Result<Option<TokenRequest>, Failure> {
        if of.access != How::OAuth2 {
            return Ok(None);
        }
        Ok(Some(TokenRequest {
            url: of.options.token_url.clone().unwrap_or_default(),
            client: of.access_name.clone(),
            secret: self.opened(of, &of.secret)?,
            scope: of.options.scope.clone(),
        }))
    }
}

struct TokenRequest {
    url: String,
    client: String,
    secret: String,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

impl Upstream {
    /// Has a token given, and uses it from then on.
    fn take_token(&mut self, access: Access, request: &TokenRequest) -> Result<(), Failure> {
        let TokenRequest { url, client, secret, scope } = request;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client.as_str()),
            ("client_secret", secret.as_str()),
        ];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let total = Duration::from_secs(60);
        let answer = self.client.post_form(url, &form, total).map_err(|failure| {
            let failure = self.without_secrets(failure);
            Failure { why: format!("No token was given: {}", failure.why), ..failure }
        })?;
        let Ok(Token { access_token }) = serde_json::from_slice(&answer) else {
            return Err(plain("No token was given: the answer holds no access_token."));
        };
        let mut headers = access.headers.clone();
        headers.push(("authorization".to_owned(), format!("Bearer {access_token}")));
        self.secrets.push(access_token);
        self.client = Client::new(Access { headers, ..access })?;
        Ok(())
    }
}

/// The known version of each section.
pub(super) fn versions(sections: &[Section]) -> std::collections::HashMap<&str, &str> {
    sections.iter().map(|section| (section.name.as_str(), section.version.as_str())).collect()
}

/// The name that a section has in an import.
pub(super) fn file_name(section: &str) -> Arc<str> {
    format!("{section}.json").into()
}
