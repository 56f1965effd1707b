//! Lists are fetched from other servers: one GET, within bounds of size and time, to a file.
//!
//! A name is resolved once, judged, and connected to as it is, so that a name that is public when it
//! is looked at can't lead into the private network afterwards. Redirects are followed on the same
//! server only: a key that is meant for one goes to no other.

use std::{
    io::{Read as _, Write},
    net::IpAddr,
    time::{Duration, Instant},
};

use iocast_domain::special::Networks;
use ureq::{
    Agent, Body, Proxy,
    http::{Response, StatusCode, Uri, header},
    unversioned::transport::DefaultConnector,
};

mod answers;
mod judge;
mod remote;
mod tls;

use self::answers::{is_the_rest, next_page, redirected, refused, sentence};
use self::judge::{Judge, NotAllowed, may_reach};
pub use self::remote::Remote;

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take until it begins to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long nothing may arrive.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that is no list, of which a sentence is made. The caller takes secrets out of
/// it, and shortens it.
const SHOWN: u64 = 4_000;
/// Bytes of an answer to a form.
const FORM_MAX: u64 = 64 * 1024;
/// When the last object of a page was added, in TAXII.
const LAST_ADDED: header::HeaderName = header::HeaderName::from_static("x-taxii-date-added-last");

/// How a server is reached, the same for all that is asked of it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Further headers, each with its value.
    pub headers: Vec<(String, String)>,
    /// Networks that are not public, and may be fetched from all the same.
    pub allowed: Networks,
    /// Certificates, in PEM, of those who sign for the server, in place of the public ones.
    pub ca: Option<String>,
    /// The certificate that is shown to the server, and its key, in PEM.
    pub identity: Option<(String, String)>,
    /// A proxy through which all goes. It resolves names itself.
    pub proxy: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Where.
    pub url: String,
    /// What may come, as `Accept` says it; anything if it is empty.
    pub accept: String,
    /// Whether the body may come in gzip. It is kept as it comes.
    pub gzip: bool,
    /// Further headers of this request.
    pub headers: Vec<(String, String)>,
    /// `ETag` of the body that is known.
    pub etag: Option<String>,
    /// `Last-Modified` of the body that is known.
    pub last_modified: Option<String>,
    /// Most bytes of a body.
    pub most: u64,
    /// How long all of it may take.
    pub total: Duration,
    /// From which byte on it is asked for, after what came before; see [`Failure::cut`].
    pub part_from: Option<u64>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The body is the one that is known.
    NotModified,
    /// The body was written to the file.
    Body(Head),
}

/// What a server says of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its length.
    pub bytes: u64,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub last_modified: Option<String>,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// Its `Content-Range`: it is a part.
    pub range: Option<String>,
    /// When the last object in it was added, as TAXII says it.
    pub last_added: Option<String>,
    /// Where the next page is, as `Link` says it.
    pub next: Option<String>,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// The status, if the server answered.
    pub status: Option<u16>,
    /// `Retry-After`, if it said so.
    pub retry_after: Option<String>,
    /// A sentence for people.
    pub why: String,
    /// Of a body that broke off, its `ETag`: the rest may be asked for.
    pub cut: Option<String>,
}

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self { status: None, retry_after: None, why: why.into(), cut: None }
    }
}

/// Checks that a PEM text holds certificates.
///
/// # Errors
/// If there is none in it.
pub fn check_certificates(pem: &str) -> Result<(), Failure> {
    tls::certificates(pem).map(|_| ())
}

/// Checks that a private key goes with a certificate.
///
/// # Errors
/// If one of them can't be read, or they belong to two.
pub fn check_identity(certificate: &str, key: &str) -> Result<(), Failure> {
    tls::check_identity(certificate, key)
}

/// Asks one server, over the same connections.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    headers: Vec<(String, String)>,
    allowed: Networks,
}

impl Client {
    /// A client of a server that is reached like this.
    ///
    /// # Errors
    /// If a certificate, its key or the proxy can't be read.
    pub fn new(access: Access) -> Result<Self, Failure> {
        let Access { headers, allowed, ca, identity, proxy } = access;
        let proxy = proxy.as_deref().map(Proxy::new).transpose().map_err(|error| {
            Failure::new(format!("The proxy of `fetch_proxy` can't be used: {error}."))
        })?;
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .tls_config(tls::config(ca.as_deref(), identity.as_ref())?)
            .user_agent("iocast");
        let judge = Judge { allowed: allowed.clone(), proxied: proxy.is_some() };
        let config = config.proxy(proxy).build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), judge);
        Ok(Self { agent, headers, allowed })
    }

    /// Fetches a body into `to`. It takes the thread until the end.
    ///
    /// # Errors
    /// A sentence on what went wrong; `to` may hold a part of the body then.
    pub fn get(&self, request: &Request, to: &mut impl Write) -> Result<Answer, Failure> {
        let mut at: Uri = request
            .url
            .parse()
            .map_err(|error| Failure::new(format!("The address can't be read: {error}.")))?;
        self.judge_literal(&at)?;
        let until = Instant::now() + request.total;
        for _ in 0..=REDIRECTS {
            let answer = self.ask(request, &at, until)?;
            match answer.status() {
                StatusCode::NOT_MODIFIED => return Ok(Answer::NotModified),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => at = redirected(&at, &answer)?,
                // Only of what was asked for in parts.
                StatusCode::PARTIAL_CONTENT if request.asks_for_part() => {
                    if request.part_from.is_some_and(|from| !is_the_rest(&answer, from, request)) {
                        let why = "The server sent another part than was asked for.";
                        return Err(Failure::new(why));
                    }
                    return body(request, answer, to);
                }
                StatusCode::OK if request.part_from.is_some() => {
                    return Err(Failure::new(
                        "The answer broke off, and the server has another version by now; it is tried again.",
                    ));
                }
                StatusCode::OK => return body(request, answer, to),
                _ => return Err(refused(answer)),
            }
        }
        Err(Failure::new(format!("The server redirected more than {REDIRECTS} times.")))
    }

    /// An address that is a number is judged here too: a proxy would not ask.
    fn judge_literal(&self, at: &Uri) -> Result<(), Failure> {
        let host = at.host().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(ip) if !may_reach(ip, &self.allowed) => {
                Err(Failure::new(NotAllowed(ip).to_string()))
            }
            _ => Ok(()),
        }
    }

    fn ask(&self, request: &Request, at: &Uri, until: Instant) -> Result<Response<Body>, Failure> {
        let accept = if request.accept.is_empty() { "*/*" } else { &request.accept };
        let encoding = if request.gzip { "gzip" } else { "identity" };
        let mut call = self
            .agent
            .get(at)
            .header(header::ACCEPT_ENCODING, encoding)
            .header(header::ACCEPT, accept);
        for (name, value) in self.headers.iter().chain(&request.headers) {
            call = call.header(name, value);
        }
        if let Some(etag) = &request.etag {
            call = call.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = &request.last_modified {
            call = call.header(header::IF_MODIFIED_SINCE, date);
        }
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let call = call.config().timeout_global(Some(left)).build();
        call.call().map_err(|error| Failure::new(sentence(&error)))
    }

    /// Sends a form, and gives what comes back.
    ///
    /// # Errors
    /// A sentence on what went wrong.
    pub fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        total: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let at: Uri = url
            .parse()
            .map_err(|error| Failure::new(format!("The address can't be read: {error}.")))?;
        self.judge_literal(&at)?;
        let mut call = self.agent.post(&at).header(header::ACCEPT, "application/json");
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        let call = call.config().timeout_global(Some(total)).build();
        let answer =
            call.send_form(form.iter().copied()).map_err(|error| Failure::new(sentence(&error)))?;
        if answer.status() != StatusCode::OK {
            return Err(refused(answer));
        }
        let mut bytes = Vec::new();
        let request = Request { most: FORM_MAX, ..Request::default() };
        body(&request, answer, &mut bytes)?;
        Ok(bytes)
    }
}

impl Request {
    fn asks_for_part(&self) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("range"))
    }
}

fn text(answer: &Response<Body>, name: header::HeaderName) -> Option<String> {
    answer.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn body(
    request: &Request,
    mut answer: Response<Body>,
    to: &mut impl Write,
) -> Result<Answer, Failure> {
    let stated: Option<u64> = text(&answer, header::CONTENT_LENGTH).and_then(|n| n.parse().ok());
    let head = |bytes: u64, answer: &Response<Body>| Head {
        bytes,
        etag: text(answer, header::ETAG),
        last_modified: text(answer, header::LAST_MODIFIED),
        content_type: text(answer, header::CONTENT_TYPE),
        range: text(answer, header::CONTENT_RANGE),
        last_added: text(answer, LAST_ADDED),
        next: next_page(answer),
    };
    let wrong = |why: String| Failure { status: Some(200), ..Failure::new(why) };
    let etag = text(&answer, header::ETAG);
    let cut = |why: String| Failure { cut: etag.clone(), ..wrong(why) };
    let too_large = || {
        wrong(format!(
            "The answer is larger than {} bytes, the most that is taken; of files, import_max_bytes says how many.",
            request.most
        ))
    };
    if stated.is_some_and(|length| length > request.most) {
        return Err(too_large());
    }
    let mut bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    let mut reader = answer.body_mut().with_config().limit(u64::MAX).reader();
    loop {
        let read = reader
            .read(&mut buffer)
            .map_err(|error| cut(format!("The answer broke off after {bytes} bytes: {error}.")))?;
        let Some(some) = buffer.get(..read).filter(|some| !some.is_empty()) else { break };
        bytes += read as u64;
        if bytes > request.most {
            return Err(too_large());
        }
        to.write_all(some).map_err(|error| {
            Failure::new(format!(
                "The list could not be put aside: {error}. The data folder may be full."
            ))
        })?;
    }
    drop(reader);
    match stated {
        Some(length) if length != bytes => {
            Err(cut(format!("The answer broke off after {bytes} of {length} bytes.")))
        }
        _ if bytes == 0 => Err(wrong("The answer is empty.".to_owned())),
        _ => Ok(Answer::Body(head(bytes, &answer))),
    }
}
