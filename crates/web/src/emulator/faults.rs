//! Faults on demand, for those who build a client: an answer that is late, refused, cut off or slow.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    Error, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
};
use bytes::Bytes;
use iocast_domain::time::Timestamp;
use tokio::time::Sleep;
use uuid::Uuid;

/// Most faults at once.
pub(crate) const MOST: usize = 100;
/// How often a slow body goes on.
const BEAT: Duration = Duration::from_millis(100);

/// A fault that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) id: Uuid,
    /// A path, or what paths begin with where it ends with `*`.
    pub(crate) path: String,
    /// One method, in capitals; every one without it.
    pub(crate) method: Option<String>,
    /// How many requests it still meets; all without it.
    pub(crate) times: Option<u32>,
    /// Until when, by the product's clock.
    pub(crate) until: Option<Timestamp>,
    pub(crate) what: What,
    /// Requests that it met.
    pub(crate) met: u64,
}

/// What happens to an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct What {
    /// It waits so long first.
    pub(crate) delay: Duration,
    /// It is this status with this body, and nothing is done.
    pub(crate) status: Option<StatusCode>,
    pub(crate) body: String,
    pub(crate) content_type: Option<String>,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<u32>,
    /// The line breaks after so many bytes of the body.
    pub(crate) drop_after: Option<u64>,
    /// The body comes with so many bytes a second.
    pub(crate) rate: Option<u32>,
}

/// The faults of this process.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    all: Mutex<VecDeque<Fault>>,
    /// How many there are: looked at by every request.
    count: AtomicUsize,
}

impl Faults {
    fn all(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault; false if there are as many as there may be.
    pub(crate) fn add(&self, fault: Fault, now: Timestamp) -> bool {
        let mut all = self.all();
        if all.len() >= MOST {
            // What can meet nothing any more makes room.
            all.retain(|of| of.times != Some(0) && of.until.is_none_or(|until| now < until));
        }
        if all.len() >= MOST {
            return false;
        }
        all.push_back(fault);
        self.count.store(all.len(), Ordering::Relaxed);
        true
    }

    /// All of them, in the order in which they were asked for.
    pub(crate) fn list(&self) -> Vec<Fault> {
        self.all().iter().cloned().collect()
    }

    /// Ends one, or all. Gives how many.
    pub(crate) fn clear(&self, id: Option<Uuid>) -> usize {
        let mut all = self.all();
        let before = all.len();
        all.retain(|fault| id.is_some_and(|id| fault.id != id));
        self.count.store(all.len(), Ordering::Relaxed);
        before - all.len()
    }

    /// The first one that a request meets. One that met as many as it should stays listed, and
    /// meets no more. What ends faults meets none.
    pub(super) fn meet(&self, method: &str, path: &str, now: Timestamp) -> Option<(Uuid, What)> {
        let is_spared = ["/api/v1/emulator/", "/api/v1/sessions", "/emulator"];
        if self.count.load(Ordering::Relaxed) == 0
            || is_spared.iter().any(|of| path.starts_with(of))
        {
            return None;
        }
        let mut all = self.all();
        let fault = all.iter_mut().find(|fault| {
            let is_path = match fault.path.strip_suffix('*') {
                Some(begin) => path.starts_with(begin),
                None => path == fault.path,
            };
            is_path
                && fault.method.as_deref().is_none_or(|wanted| wanted == method)
                && fault.times != Some(0)
                && fault.until.is_none_or(|until| now < until)
        })?;
        fault.met += 1;
        fault.times = fault.times.map(|times| times - 1);
        Some((fault.id, fault.what.clone()))
    }
}

/// Answers a request as a fault has it, or as usual without one.
pub(super) async fn apply<B: MessageBody + 'static>(
    fault: Option<(Uuid, What)>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some((id, what)) = fault else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let What { delay, status, body, content_type, retry_after, drop_after, rate } = what;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let mut answer = match status {
        None => next.call(request).await?.map_into_boxed_body(),
        Some(status) => {
            let mut answer = HttpResponse::build(status);
            if let Some(seconds) = retry_after {
                answer.insert_header((header::RETRY_AFTER, seconds));
            }
            let kind = content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
            request.into_response(answer.content_type(kind).body(body)).map_into_boxed_body()
        }
    };
    let name = header::HeaderName::from_static("x-fault");
    if let Ok(value) = header::HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(name, value);
    }
    if drop_after.is_none() && rate.is_none() {
        return Ok(answer);
    }
    Ok(answer.map_body(|_, body| {
        let rest = Bytes::new();
        BoxBody::new(Limited { body, rest, drop_after, rate, pause: None })
    }))
}

/// A body that comes slowly, or not to its end.
struct Limited {
    body: BoxBody,
    /// What came and was not sent yet.
    rest: Bytes,
    drop_after: Option<u64>,
    rate: Option<u32>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl MessageBody for Limited {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.drop_after == Some(0) {
            return Poll::Ready(Some(Err("a fault that was asked for".into())));
        }
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(context)) {
                Some(Ok(bytes)) => self.rest = bytes,
                other => return Poll::Ready(other),
            }
        }
        let mut most = self.rest.len();
        if let Some(rate) = self.rate {
            most = most.min((rate / 10).max(1) as usize);
            self.pause = Some(Box::pin(tokio::time::sleep(BEAT)));
        }
        if let Some(left) = self.drop_after {
            most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.drop_after = Some(left.saturating_sub(most as u64));
        }
        let some = self.rest.split_to(most);
        Poll::Ready(Some(Ok(some)))
    }
}
