//! One file, in any form that can be imported.

use iocast_fetch::{Answer, Failure, Request};
use iocast_formats::read::{
    Input,
    form::{Stated, of_file_name},
};

use super::upstream::{Came, Upstream, broken};

/// Fetches the file; nothing if it is the one that is known.
pub(super) fn fetch(upstream: &Upstream) -> Result<Option<Came>, Failure> {
    let (spooled, mut file) = upstream.file("body")?;
    let request = Request {
        url: upstream.url.to_string(),
        gzip: true,
        etag: upstream.known.etag.clone(),
        last_modified: upstream.known.last_modified.clone(),
        most: upstream.most,
        ..Request::default()
    };
    let Answer::Body(head) = upstream.get(request, &mut file)? else { return Ok(None) };
    let (sha256, _) = crate::imports::digest(spooled.0.clone()).map_err(broken)?;
    if upstream.known.sha256.as_deref() == Some(sha256.as_str()) {
        return Ok(None);
    }
    let stated =
        stated(upstream.form.as_deref(), head.content_type.as_deref(), upstream.url.as_str());
    Ok(Some(Came {
        etag: head.etag,
        last_modified: head.last_modified,
        sha256: Some(sha256),
        ..Came::new(Some(spooled), head.bytes, stated)
    }))
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
