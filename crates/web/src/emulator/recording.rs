//! What clients asked and were answered, kept for a while.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        Method,
        header::{self, HeaderMap},
    },
    web,
};
use bytes::Bytes;
use futures_util::Stream;
use iocast_app::credentials;
use iocast_domain::{id::AccountId, time::Timestamp};
use uuid::Uuid;

use super::Emulator;
use crate::extract::address;

/// Clients that are kept: the one that was silent longest goes first.
const CLIENTS: usize = 50;
/// Requests of each client that are kept.
const EACH: usize = 200;
/// Bytes of one body that are kept.
pub(crate) const BODY_MAX: usize = 64 * 1024;
/// Characters of one header that are kept.
const HEADER_MAX: usize = 2_000;
/// Bytes of all that is kept.
const ALL_MAX: usize = 32 * 1024 * 1024;
/// What stands for a secret.
const REDACTED: &str = "redacted";
/// Where clients ask. Calls of the management API are not recorded: their bodies hold secrets.
const PLACES: [&str; 3] = ["/public/", "/feeds/", "/taxii"];
/// Headers whose values are secrets.
const SECRET: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "auth-key",
];

/// A client, as far as it can be told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The account ID that it gave as user.
    pub(crate) account: Option<String>,
    /// The group in the path.
    pub(crate) group: Option<Uuid>,
    pub(crate) address: String,
    pub(crate) user_agent: String,
}

/// A body as far as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    /// All of its bytes.
    pub(crate) size: u64,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        let room = BODY_MAX.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) at: Timestamp,
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) version: String,
    pub(crate) sent: Vec<(String, String)>,
    pub(crate) body: Kept,
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) got: Vec<(String, String)>,
    pub(crate) answer: Kept,
    /// The answer was not sent to its end.
    pub(crate) is_cut: bool,
    pub(crate) fault: Option<Uuid>,
    /// Until the headers of the answer, and from there to its end.
    pub(crate) waited: Duration,
    pub(crate) received: Duration,
}

impl Exchange {
    /// About how much memory it takes.
    fn weight(&self) -> usize {
        let headers = self.sent.iter().chain(&self.got);
        let headers: usize = headers.map(|(name, value)| name.len() + value.len() + 100).sum();
        1_000 + self.url.len() + headers + self.body.bytes.len() + self.answer.bytes.len()
    }
}

/// A client and what it asked, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) id: u64,
    pub(crate) who: Who,
    /// All of its requests, also those that are not kept any more.
    pub(crate) requests: u64,
    pub(crate) exchanges: VecDeque<Exchange>,
}

#[derive(Debug, Default)]
struct All {
    clients: Vec<Recorded>,
    weight: usize,
    next_id: u64,
}

/// The recording of this process.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    all: Mutex<All>,
}

impl Recording {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, who: Who, exchange: Exchange) {
        let mut all = self.all();
        all.weight += exchange.weight();
        // The client that asked last stands last.
        let mut client = match all.clients.iter().position(|of| of.who == who) {
            Some(at) => all.clients.remove(at),
            None => {
                all.next_id += 1;
                let id = all.next_id;
                Recorded { id, who, requests: 0, exchanges: VecDeque::new() }
            }
        };
        client.requests += 1;
        client.exchanges.push_back(exchange);
        if client.exchanges.len() > EACH
            && let Some(oldest) = client.exchanges.pop_front()
        {
            all.weight -= oldest.weight();
        }
        all.clients.push(client);
        if all.clients.len() > CLIENTS {
            let silent = all.clients.remove(0);
            all.weight -= silent.exchanges.iter().map(Exchange::weight).sum::<usize>();
        }
        while all.weight > ALL_MAX {
            let oldest = all.clients.iter_mut().filter(|of| !of.exchanges.is_empty());
            let oldest = oldest.min_by_key(|of| of.exchanges.front().map(|first| first.at));
            let Some(gone) = oldest.and_then(|client| client.exchanges.pop_front()) else { break };
            all.weight -= gone.weight();
        }
    }

    /// The clients that are of interest, the one that asked last first.
    pub(crate) fn clients(&self, is_wanted: impl Fn(&Who) -> bool) -> Vec<Recorded> {
        self.all().clients.iter().rev().filter(|of| is_wanted(&of.who)).cloned().collect()
    }

    /// Who asked, without what.
    pub(crate) fn who(&self) -> Vec<Who> {
        self.all().clients.iter().map(|of| of.who.clone()).collect()
    }

    /// Forgets clients.
    pub(crate) fn forget(&self, is_wanted: impl Fn(&Who) -> bool) {
        let mut all = self.all();
        all.clients.retain(|of| !is_wanted(&of.who));
        all.weight =
            all.clients.iter().flat_map(|of| &of.exchanges).map(Exchange::weight).sum::<usize>();
    }
}

/// A request that is being answered. It is recorded when this is dropped: when the answer is sent, and
/// also where the client did not wait for one.
pub(super) struct Begun {
    who: Who,
    exchange: Exchange,
    body: Arc<Mutex<Kept>>,
    at: Instant,
    is_head: bool,
    emulator: web::Data<Emulator>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut exchange = self.exchange.clone();
        exchange.is_cut |= exchange.status == 0;
        exchange.received = self.at.elapsed().saturating_sub(exchange.waited);
        exchange.body = self.body.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.emulator.recording.add(self.who.clone(), exchange);
    }
}

/// Begins to record a request, if it is one of a client.
pub(super) fn begin(
    request: &mut ServiceRequest,
    now: Timestamp,
    emulator: &web::Data<Emulator>,
) -> Option<Begun> {
    if !PLACES.iter().any(|place| request.path().starts_with(place)) {
        return None;
    }
    let body = Arc::new(Mutex::new(Kept::default()));
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let of = request.take_payload();
        let copied: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> =
            Box::pin(Copied { of, body: Arc::clone(&body) });
        request.set_payload(copied.into());
    }
    let exchange = Exchange {
        at: now,
        method: request.method().to_string(),
        url: url(request.request()),
        version: format!("{:?}", request.version()),
        sent: headers(request.headers()),
        body: Kept::default(),
        status: 0,
        reason: "",
        got: Vec::new(),
        answer: Kept::default(),
        is_cut: false,
        fault: None,
        waited: Duration::ZERO,
        received: Duration::ZERO,
    };
    let is_head = *request.method() == Method::HEAD;
    let (who, at, emulator) = (who(request.request()), Instant::now(), emulator.clone());
    Some(Begun { who, exchange, body, at, is_head, emulator })
}

impl Begun {
    /// Goes on with the answer; the exchange is kept when the body is sent.
    pub(super) fn answered(
        mut self,
        answer: ServiceResponse<BoxBody>,
        fault: Option<Uuid>,
    ) -> ServiceResponse<BoxBody> {
        let exchange = &mut self.exchange;
        exchange.waited = self.at.elapsed();
        exchange.status = answer.status().as_u16();
        exchange.reason = answer.status().canonical_reason().unwrap_or_default();
        exchange.got = headers(answer.headers());
        exchange.fault = fault;
        answer.map_body(|_, body| {
            // Asked now: some bodies tell what is left of them.
            let declared = match body.size() {
                BodySize::Sized(size) if !self.is_head => size,
                BodySize::Stream => u64::MAX,
                _ => 0,
            };
            BoxBody::new(RecordedBody { body, declared, recorded: self, has_ended: false })
        })
    }
}

/// The account that the client names, and where it comes from.
fn who(request: &HttpRequest) -> Who {
    let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let account = credentials(text(header::AUTHORIZATION)).and_then(|(user, _)| user);
    let account = account.filter(|user| user.parse::<AccountId>().is_ok());
    let group = request.path().split('/').find_map(|part| part.parse().ok());
    let user_agent = text(header::USER_AGENT).chars().take(200).collect();
    Who { account, group, address: address(request), user_agent }
}

/// The whole URL, without the keys in it.
fn url(request: &HttpRequest) -> String {
    let place = request.connection_info();
    let mut url = format!("{}://{}{}", place.scheme(), place.host(), request.path());
    let parts = request.query_string().split('&').filter(|part| !part.is_empty());
    for (n, part) in parts.enumerate() {
        url.push(if n == 0 { '?' } else { '&' });
        match part.split_once('=') {
            Some((name, _)) if is_key(name) => {
                url.push_str(name);
                url.push('=');
                url.push_str(REDACTED);
            }
            _ => url.push_str(part),
        }
    }
    url
}

/// Whether a parameter holds a key, however its name is written.
fn is_key(name: &str) -> bool {
    let name = url::form_urlencoded::parse(name.as_bytes()).next();
    name.is_some_and(|(name, _)| {
        matches!(name.to_ascii_lowercase().as_str(), "key" | "api_key" | "apikey")
    })
}

fn headers(of: &HeaderMap) -> Vec<(String, String)> {
    let shown = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text: String = text.chars().take(HEADER_MAX).collect();
        // What passes a URL on, such as Referer, may pass its key on.
        let holds_key = text.contains("key=") || text.contains("KEY=");
        let text = if holds_key { REDACTED.to_owned() } else { text };
        let text = match (SECRET.contains(&name.as_str()), text.split_once(' ')) {
            (false, _) => text,
            // How it was shown is of interest: Basic where Bearer was meant.
            (true, Some((scheme, _))) if name == header::AUTHORIZATION => {
                format!("{scheme} {REDACTED}")
            }
            (true, _) => REDACTED.to_owned(),
        };
        (name.to_string(), text)
    };
    of.iter().map(shown).collect()
}

/// A request's body that is kept as it is read.
struct Copied {
    of: Payload,
    body: Arc<Mutex<Kept>>,
}

impl Stream for Copied {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.of).poll_next(context));
        if let Some(Ok(bytes)) = &item {
            self.body.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        }
        Poll::Ready(item)
    }
}

/// An answer's body that is kept as it is sent.
struct RecordedBody {
    body: BoxBody,
    /// Its bytes, as far as they are known before.
    declared: u64,
    recorded: Begun,
    has_ended: bool,
}

impl MessageBody for RecordedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let item = ready!(Pin::new(&mut self.body).poll_next(context));
        match &item {
            Some(Ok(bytes)) => self.recorded.exchange.answer.add(bytes),
            Some(Err(_)) => {}
            None => self.has_ended = true,
        }
        Poll::Ready(item)
    }
}

impl Drop for RecordedBody {
    /// A body is dropped when it was sent, or when the line broke.
    fn drop(&mut self) {
        let exchange = &mut self.recorded.exchange;
        exchange.is_cut = !self.has_ended && exchange.answer.size < self.declared;
    }
}
