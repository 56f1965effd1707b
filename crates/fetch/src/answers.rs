//! What servers answer, and sentences about it.

use std::io::Read as _;

use ureq::{
    Body, Error, Timeout,
    http::{Response, Uri, header},
};

use crate::{ANSWER, CONNECT, Failure, Request, SHOWN, judge::NotAllowed, text};

/// Where a server redirects to: on the same server only.
pub(crate) fn redirected(from: &Uri, answer: &Response<Body>) -> Result<Uri, Failure> {
    let status = Some(answer.status().as_u16());
    let wrong = |why: String| Failure { status, ..Failure::new(why) };
    let location = text(answer, header::LOCATION).unwrap_or_default();
    let unreadable = || wrong("The server redirected to an address that can't be read.".to_owned());
    let base = url::Url::parse(&from.to_string()).map_err(|_| unreadable())?;
    let mut to = base.join(&location).map_err(|_| unreadable())?;
    to.set_fragment(None);
    let safer = base.scheme() == "http"
        && to.scheme() == "https"
        && base.host() == to.host()
        && base.port().is_none()
        && to.port().is_none();
    if base.origin() != to.origin() && !safer {
        // What stands behind the path may be a key.
        to.set_query(None);
        return Err(wrong(format!(
            "The server redirects to {to}. iocast follows redirects on the same server only; if that is where the list is now, change the address of this subscription."
        )));
    }
    to.as_str().parse().map_err(|_| unreadable())
}

/// What is said of an answer that is no list.
pub(crate) fn refused(mut answer: Response<Body>) -> Failure {
    let status = answer.status();
    let retry_after = text(&answer, header::RETRY_AFTER);
    let mut beginning = Vec::new();
    // What can't be read is not shown.
    let _ = answer.body_mut().as_reader().take(SHOWN).read_to_end(&mut beginning);
    let said = String::from_utf8_lossy(&beginning);
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let is_page = said.trim_start().starts_with('<');
    let said = if is_page || said.trim().is_empty() {
        String::new()
    } else {
        format!(" It says: {}", said.trim())
    };
    let hint = match status.as_u16() {
        401 | 403 => " Check the access of this subscription.",
        404 | 410 => " Check the address.",
        429 => " It is asked too often.",
        _ => "",
    };
    let name = status.canonical_reason().unwrap_or_default();
    let why = format!("The server answered {} {name}.{hint}{said}", status.as_u16());
    Failure { status: Some(status.as_u16()), retry_after, ..Failure::new(why) }
}

/// Whether an answer is all that stands behind a byte of the body that broke off.
pub(crate) fn is_the_rest(answer: &Response<Body>, from: u64, request: &Request) -> bool {
    let range = text(answer, header::CONTENT_RANGE).unwrap_or_default();
    let part = range.strip_prefix("bytes ").and_then(|part| {
        let (span, total) = part.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    let is_rest = part.is_some_and(|(first, last, total)| first == from && last + 1 == total);
    // A server may know no `If-Range`.
    let asked = request.headers.iter().find(|(name, _)| name == "if-range");
    let same =
        text(answer, header::ETAG).is_none_or(|etag| asked.is_none_or(|(_, known)| *known == etag));
    is_rest && same
}

/// The address of the next page, as `Link` headers say it.
pub(crate) fn next_page(answer: &Response<Body>) -> Option<String> {
    let links = answer.headers().get_all(header::LINK).iter();
    links.filter_map(|links| links.to_str().ok()).find_map(next_of)
}

/// The address of the next page in one `Link` header.
fn next_of(links: &str) -> Option<String> {
    let mut rest = links;
    // Addresses may hold commas; what stands between them says what each one is.
    while let Some((_, link)) = rest.split_once('<') {
        let (target, behind) = link.split_once('>')?;
        let parameters = behind.split('<').next().unwrap_or_default();
        let is_next = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or_default();
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value.split_whitespace().any(|word| word.eq_ignore_ascii_case("next"))
        };
        if parameters.split(';').any(is_next) {
            return Some(target.to_owned());
        }
        rest = behind;
    }
    None
}

/// What is said where no answer came.
pub(crate) fn sentence(error: &Error) -> String {
    match error {
        Error::Other(other) if other.is::<NotAllowed>() => other.to_string(),
        Error::HostNotFound => "The name of the server is not known to DNS.".to_owned(),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            format!("The server could not be reached within {} seconds.", CONNECT.as_secs())
        }
        Error::Timeout(Timeout::RecvResponse) => {
            format!("The server did not answer within {} seconds.", ANSWER.as_secs())
        }
        Error::Timeout(_) => "The server took too long.".to_owned(),
        Error::Io(error) => format!("The server could not be reached: {error}."),
        other => format!("The server could not be reached: {other}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        for (links, next) in [
            ("<https://h/p?page=2>; rel=\"next\"", Some("https://h/p?page=2")),
            ("<a>; rel=\"prev\", <b?ids=1,2>; title=x; rel=next", Some("b?ids=1,2")),
            ("<a>; rel=\"last next\",<b>; rel=prev", Some("a")),
            ("<https://h/wp-json/>; rel=\"https://api.w.org/\"", None),
            ("next", None),
            ("", None),
        ] {
            assert_eq!(next_of(links).as_deref(), next, "{links}");
        }
    }
}
