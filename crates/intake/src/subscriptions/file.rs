//! One file, in any form that can be imported, or the pages of one.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufReader, Seek as _},
};

use iocast_fetch::{Answer, Failure, Head, Request};
use iocast_formats::read::{
    Input,
    form::{Stated, of_file_name},
};
use sha2::{Digest as _, Sha256};

use super::{
    bundle::Bundle,
    fetching::plain,
    named::named,
    upstream::{Came, Paging, Upstream, broken},
};
use crate::Spooled;

/// How often a body that broke off is asked for again from there on.
const RESUMED: usize = 5;
/// Pages, at most.
const PAGES: usize = 1_000;
/// Bytes of a page, at most.
const PAGE_BYTES: u64 = 64 << 20;

/// Fetches the file; nothing if it is the one that is known.
pub(super) fn fetch(upstream: &Upstream) -> Result<Option<Came>, Failure> {
    let (spooled, mut file) = upstream.file("body")?;
    let request = Request {
        url: upstream.url.to_string(),
        gzip: upstream.paging.field.is_none(),
        etag: upstream.known.etag.clone(),
        last_modified: upstream.known.last_modified.clone(),
        most: upstream.most,
        ..Request::default()
    };
    let Answer::Body(head) = whole(upstream, request, &mut file)? else { return Ok(None) };
    let content_type = head.content_type.clone();
    let stated = |name: &str| stated(upstream.form.as_deref(), content_type.as_deref(), name);
    if let Some(next) = next_page(upstream, &upstream.url, &head, &mut file)? {
        return pages(upstream, &spooled, next, stated("page.json"));
    }
    let (sha256, _) = crate::imports::digest(spooled.0.clone()).map_err(broken)?;
    if upstream.known.sha256.as_deref() == Some(sha256.as_str()) {
        return Ok(None);
    }
    let stated = stated(upstream.url.as_str());
    Ok(Some(Came {
        etag: head.etag,
        last_modified: head.last_modified,
        sha256: Some(sha256),
        ..Came::new(Some(spooled), head.bytes, stated)
    }))
}

/// Fetches a body; one that breaks off is asked for from there on, where its server can do that.
fn whole(upstream: &Upstream, request: Request, file: &mut File) -> Result<Answer, Failure> {
    let mut failure = match upstream.get(request.clone(), file) {
        Err(failure) => failure,
        answer => return answer,
    };
    for _ in 0..RESUMED {
        let had = file.stream_position().map_err(broken)?;
        // A weak one does not say that bytes are the same.
        let etag = failure.cut.clone().filter(|etag| had > 0 && !etag.starts_with("W/"));
        let Some(etag) = etag.filter(|_| upstream.has_time() && had < request.most) else { break };
        let rest = Request {
            headers: vec![
                ("range".to_owned(), format!("bytes={had}-")),
                // Of another version no part is sent.
                ("if-range".to_owned(), etag),
            ],
            etag: None,
            last_modified: None,
            most: request.most - had,
            part_from: Some(had),
            ..request.clone()
        };
        match upstream.get(rest, file) {
            Ok(Answer::Body(head)) => {
                let bytes = file.stream_position().map_err(broken)?;
                return Ok(Answer::Body(Head { bytes, ..head }));
            }
            Err(again) if again.cut.is_some() => failure = again,
            // It can't go on from there: what is said is that it broke off.
            Ok(Answer::NotModified) | Err(_) => break,
        }
    }
    Err(failure)
}

/// The address of the page behind this one, where there is one.
fn next_page(
    upstream: &Upstream,
    at: &url::Url,
    head: &Head,
    page: &mut File,
) -> Result<Option<url::Url>, Failure> {
    let Paging { field, parameter } = &upstream.paging;
    let Some(field) = field else {
        // What else a server links to is no page of a list.
        let is_json = head.content_type.as_deref().is_some_and(|of| of.contains("json"));
        let next = head.next.as_deref().filter(|_| is_json);
        return next.map(|next| joined(upstream, at, next)).transpose();
    };
    page.rewind().map_err(broken)?;
    let names: Vec<&str> = field.split('.').collect();
    let Ok(next) = named(&names, &mut BufReader::new(page)) else {
        return Err(plain("The page is no JSON, in which the next one could be named."));
    };
    let Some(next) = next else { return Ok(None) };
    let Some(parameter) = parameter else { return joined(upstream, at, &next).map(Some) };
    let mut url = upstream.url.clone();
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != parameter)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(parameter, &next);
    Ok(Some(url))
}

/// An address that a page names: on the same server, which alone is given the key.
fn joined(upstream: &Upstream, at: &url::Url, next: &str) -> Result<url::Url, Failure> {
    let Ok(mut url) = at.join(next) else {
        return Err(plain("The address of the next page can't be read."));
    };
    // A server behind a proxy may not know that it is reached by TLS.
    if url.host() == at.host() && url.port().is_none() && at.port().is_none() {
        let _ = url.set_scheme(at.scheme());
    }
    if url.origin() != at.origin() {
        return Err(plain("The next page is on another server, which is not asked."));
    }
    if let Some((name, key)) = &upstream.key
        && url.query_pairs().all(|(known, _)| known != *name)
    {
        url.query_pairs_mut().append_pair(name, key);
    }
    Ok(url)
}

/// Fetches the pages behind the first one.
fn pages(
    upstream: &Upstream,
    first: &Spooled,
    second: url::Url,
    stated: Stated,
) -> Result<Option<Came>, Failure> {
    let (mut bundle, mut hasher) = (Bundle::create(upstream)?, Sha256::new());
    let mut bytes = 0_u64;
    let mut keep = |number: usize, path: &Spooled| {
        let body = File::open(&path.0).map_err(broken)?;
        bytes += bundle.copy(&format!("page-{number:05}"), body, upstream.most, &mut hasher)?;
        Ok::<_, Failure>(bytes)
    };
    keep(1, first)?;
    let mut seen: HashSet<url::Url> = [upstream.url.clone()].into();
    let mut next = Some(second);
    let mut number = 1;
    while let Some(at) = next.take() {
        number += 1;
        if !seen.insert(at.clone()) {
            return Err(plain("The server names the same page again and again."));
        }
        if number > PAGES || !upstream.has_time() {
            return Err(plain(format!(
                "There are more pages than {PAGES}, or than come within ten minutes; ask for larger ones."
            )));
        }
        let (spooled, mut file) = upstream.file("page")?;
        let request = Request {
            url: at.to_string(),
            most: upstream.most.min(PAGE_BYTES),
            ..Request::default()
        };
        let Answer::Body(head) = whole(upstream, request, &mut file)? else {
            return Err(plain("The server said of a page that it is known."));
        };
        next = next_page(upstream, &at, &head, &mut file)?;
        if keep(number, &spooled)? > upstream.most {
            return Err(plain(format!(
                "The pages are larger than {} bytes, the most that is taken; import_max_bytes says how many.",
                upstream.most
            )));
        }
    }
    let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if upstream.known.sha256.as_deref() == Some(sha256.as_str()) {
        return Ok(None);
    }
    // The `ETag` of the first page says nothing of the others.
    Ok(Some(Came { sha256: Some(sha256), ..Came::new(Some(bundle.finish()?), bytes, stated) }))
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
