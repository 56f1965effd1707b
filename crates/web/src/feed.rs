//! What devices poll. One call to the app that never waits; only a body that is not in memory costs
//! a read.

use std::time::{Duration, Instant};

use actix_web::{
    Error, HttpRequest, HttpResponse, HttpResponseBuilder,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{ConnectionType, Method, StatusCode, header},
    middleware::Next,
    web,
};
use bytes::Bytes;
use iocast_app::{App, AppError, Client, FeedAnswer, FeedFile, FeedRequest, PullNote, Pulled};

use crate::{connections::Connection, extract::address, pages, trace::answered};

mod tracked;
use self::tracked::{Note, TrackedBody};

/// Bytes handed over at once: most files whole, of very large ones no more than this is copied for
/// each line at a time.
const CHUNK: usize = 256 * 1024;
/// Bytes of an entry document that are held back to the end.
const LAST: usize = 1024;
/// How many values of the list are missing in the shape that was asked for, because it can't take
/// them.
const LEFT_OUT: header::HeaderName = header::HeaderName::from_static("iocast-left-out");
/// How long to wait before a full socket is asked again.
const PATIENCE: Duration = Duration::from_millis(20);

/// Most of all requests are polls of devices that are answered 304 or with a file. They are
/// answered before anything else is looked at: no routes, no request id, no headers for browsers.
/// Whatever is not such a poll goes on as it came.
pub(crate) async fn feed_fast_path<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let begun = Instant::now();
    let found = open(&request);
    if let Some((app, answer)) = found {
        let mut answer = respond(request.request(), app, answer).await;
        if is_in_the_way(request.request()) {
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        answered(request.request(), answer.status().as_u16(), begun.elapsed(), "");
        return Ok(request.into_response(answer).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// The user agent of the command that a set-up form shows: a person tries whether the feed answers,
/// and the device has not pulled.
pub(crate) const TEST: &str = "iocast-test";

fn is_test(request: &HttpRequest) -> bool {
    request
        .headers()
        .get(header::USER_AGENT)
        .is_some_and(|agent| agent.as_bytes() == TEST.as_bytes())
}

/// Whether the connection should be closed after this answer.
pub(crate) fn is_in_the_way(request: &HttpRequest) -> bool {
    request.conn_data::<Connection>().is_some_and(Connection::is_in_the_way)
}

fn open(request: &ServiceRequest) -> Option<(web::Data<App>, FeedAnswer)> {
    let rest = request
        .path()
        .strip_prefix("/feeds/")
        .filter(|_| request.method() == Method::GET && request.query_string().is_empty())?;
    let app = request.app_data::<web::Data<App>>().filter(|app| !app.context.is_closing())?;
    let (group, path) = rest.split_once('/').unwrap_or((rest, ""));
    let answer = app.serving.feed_open(&asked(request.request(), group, path, &[]));
    matches!(answer, FeedAnswer::NotModified { .. } | FeedAnswer::File { .. })
        .then(|| (app.clone(), answer))
}

fn asked<'a>(
    request: &'a HttpRequest,
    group: &'a str,
    path: &'a str,
    parameters: &'a [(&'a str, &'a str)],
) -> FeedRequest<'a> {
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    FeedRequest {
        group,
        path,
        parameters,
        authorization: text(header::AUTHORIZATION),
        api_key: text(API_KEY),
        if_none_match: text(header::IF_NONE_MATCH),
    }
}

pub(crate) async fn pull(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    let path = request
        .match_info()
        .get("path")
        .unwrap_or_default()
        .trim_matches('/')
        .split('/')
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join("/");
    let parameters = parameters(request.query_string());
    let pairs: Vec<(&str, &str)> =
        parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = app.serving.feed_open(&asked(
        &request,
        request.match_info().get("group").unwrap_or_default(),
        &path,
        &pairs,
    ));
    respond(&request, app, answer).await
}

/// The answer as HTTP.
async fn respond(request: &HttpRequest, app: web::Data<App>, answer: FeedAnswer) -> HttpResponse {
    let head = request.method() == Method::HEAD;
    let is_no_pull = head || is_test(request);
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let client = || client(request);
    match answer {
        FeedAnswer::NotModified { etag, pull } => {
            if let Some(pulled) = pull.filter(|_| !is_no_pull) {
                app.watch.pull_note(PullNote::Done(pulled), client(), 304, 0);
            }
            feed_headers(HttpResponse::NotModified(), &etag).finish()
        }
        FeedAnswer::Page { lines } => {
            let mut answer = if text(header::ACCEPT).is_some_and(|a| a.contains("text/html")) {
                pages::feed(&lines)
            } else {
                HttpResponse::Ok()
                    .content_type("text/plain; charset=utf-8")
                    .body(lines.join("\n") + "\n")
            };
            answer.headers_mut().insert(
                header::CACHE_CONTROL,
                header::HeaderValue::from_static("private, no-cache"),
            );
            answer
        }
        FeedAnswer::Refused { status, sentence, device } => {
            if let Some((device, group)) = device {
                app.watch.pull_note(
                    PullNote::Failed(device, group, sentence.clone()),
                    client(),
                    status,
                    0,
                );
            }
            app.watch.pull_refused(status);
            if status == 401 {
                tracing::info!(client.address = %address(request), "A device was refused: {sentence}");
            }
            refusal(status, sentence)
        }
        FeedAnswer::File(file) => respond_file(request, app, file).await,
    }
}

/// A file as HTTP.
async fn respond_file(
    request: &HttpRequest,
    app: web::Data<App>,
    FeedFile { mut file, view, mut etag, content_type, mut pull, key }: FeedFile,
) -> HttpResponse {
    let head = request.method() == Method::HEAD;
    if let Some(pulled) = pull.as_mut().filter(|_| file.first.is_some()) {
        file = app.event_file(pulled, &client(request), &file).await;
        etag.clone_from(&file.etag);
    }
    let encodings = request.headers().get(header::ACCEPT_ENCODING);
    let gzip = accepts_gzip(encodings.and_then(|v| v.to_str().ok()));
    let etag = if gzip { format!("\"{etag}-gzip\"") } else { format!("\"{etag}\"") };
    let mut answer = feed_headers(HttpResponse::Ok(), &etag);
    answer.content_type(content_type).insert_header((
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    ));
    if gzip {
        answer.insert_header((header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip")));
    }
    if head && view.is_none() {
        let length = if gzip { file.gzip_len() } else { file.raw_len };
        return deliver(request, answer, app, Delivery::Head(length), None);
    }
    let view = view.as_ref().map(|view| (view, key));
    let body = match app.serving.feed_body(&file, view, gzip).await {
        Ok(body) => body,
        Err(error) => return unreadable(request, &app, pull, &error),
    };
    if body.left_out > 0 {
        answer.insert_header((LEFT_OUT, body.left_out.to_string()));
    }
    let delivery =
        if head { Delivery::Head(body.bytes.len() as u64) } else { Delivery::Whole(body.bytes) };
    let is_no_pull = head || is_test(request);
    deliver(request, answer, app, delivery, pull.filter(|_| !is_no_pull))
}

/// The answer where a file can't be read: never an empty list.
fn unreadable(
    request: &HttpRequest,
    app: &App,
    pull: Option<Pulled>,
    error: &AppError,
) -> HttpResponse {
    tracing::error!(error = error as &dyn std::error::Error, "A feed file could not be read");
    let sentence = "This file can't be read now; try again in a few seconds.".to_owned();
    if let Some(pulled) = pull {
        let what = PullNote::Failed(pulled.device_id, pulled.group_id, sentence.clone());
        app.watch.pull_note(what, client(request), 503, 0);
    }
    app.watch.pull_refused(503);
    refusal(503, sentence)
}

/// What is sent behind the headers.
pub(crate) enum Delivery {
    /// Nothing; a GET would have sent this many bytes.
    Head(u64),
    /// All of it.
    Whole(Bytes),
}

/// Sends an answer whose length is known, and notes the pull when the last byte is handed over.
pub(crate) fn deliver(
    request: &HttpRequest,
    mut answer: HttpResponseBuilder,
    app: web::Data<App>,
    delivery: Delivery,
    pull: Option<Pulled>,
) -> HttpResponse {
    let bytes = match delivery {
        Delivery::Head(length) => return answer.body(TrackedBody::new(Bytes::new(), length, None)),
        Delivery::Whole(bytes) => bytes,
    };
    if bytes.is_empty() {
        // Of an empty body nothing is asked for: it is handed over with the headers.
        if let Some(pulled) = pull {
            app.watch.pull_note(PullNote::Done(pulled), client(request), 200, 0);
        }
        return answer.body(TrackedBody::new(bytes, 0, None));
    }
    let length = bytes.len() as u64;
    let socket = request.conn_data::<Connection>().and_then(Connection::socket);
    let deadline = socket.as_ref().and_then(|socket| socket.deadline(length));
    let note = pull.map(|pulled| {
        if let Some(socket) = &socket {
            socket.tell_when_drained(true);
        }
        Note {
            _under_way: app.watch.pull_begins(),
            app,
            pulled: PullNote::Done(pulled),
            client: client(request),
            socket,
        }
    });
    answer.body(TrackedBody { _deadline: deadline, ..TrackedBody::new(bytes, length, note) })
}

/// Who asks, for the pull history.
pub(crate) fn client(request: &HttpRequest) -> Client {
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    Client {
        address: address(request),
        user_agent: text(header::USER_AGENT).unwrap_or_default().to_owned(),
        misp_version: text(header::HeaderName::from_static("misp-version")).map(str::to_owned),
        misp_uuid: text(header::HeaderName::from_static("misp-uuid")).map(str::to_owned),
    }
}

/// The parameters of a URL, decoded; what is no pair is left out.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    if query.is_empty() {
        Vec::new()
    } else {
        web::Query::from_query(query).map(web::Query::into_inner).unwrap_or_default()
    }
}

/// For devices that know only a header of their own.
pub(crate) const API_KEY: header::HeaderName = header::HeaderName::from_static("x-api-key");
/// What a 401 asks for.
pub(crate) const CHALLENGE: &str = "Basic realm=\"iocast\", charset=\"UTF-8\"";

fn feed_headers(mut answer: HttpResponseBuilder, etag: &str) -> HttpResponseBuilder {
    answer
        .insert_header((header::ETAG, etag))
        .insert_header((
            header::CACHE_CONTROL,
            header::HeaderValue::from_static("private, no-cache"),
        ))
        .insert_header((
            header::VARY,
            header::HeaderValue::from_static("Accept-Encoding, Authorization"),
        ));
    answer
}

fn refusal(status: u16, sentence: String) -> HttpResponse {
    let mut answer = HttpResponse::build(
        StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
    );
    match status {
        401 => answer.insert_header((header::WWW_AUTHENTICATE, CHALLENGE)),
        503 => answer.insert_header((header::RETRY_AFTER, 5)),
        _ => &mut answer,
    };
    answer.content_type("text/plain; charset=utf-8").body(sentence + "\n")
}

/// Whether the client takes gzip: named, or meant by `*`, and not with a weight of zero.
pub(crate) fn accepts_gzip(header: Option<&str>) -> bool {
    let weight = |name: &str| {
        header?.split(',').find_map(|part| {
            let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
            coding.trim().eq_ignore_ascii_case(name).then(|| {
                weight
                    .trim()
                    .strip_prefix("q=")
                    .and_then(|q| q.trim().parse::<f32>().ok())
                    .unwrap_or(1.0)
            })
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|q| q > 0.0)
}
