//! What a word of prose is.

use std::sync::LazyLock;

use iocast_domain::{host::is_file_or_domain, ioc::Kind, normalise, refang::refang};
use regex::Regex;

use super::{
    super::{Item, Rejected, unclean},
    Context,
    words::Word,
};

/// Names of products and fields that look like domains.
const NO_DOMAINS: &[&str] = &[
    "ado.net",
    "asp.net",
    "host.name",
    "process.name",
    "socket.io",
    "system.io",
    "user.name",
    "vb.net",
];

/// Endings of files that prose is full of.
const PLAIN_FILES: &[&str] = &["md", "mov", "pl", "pm", "ps", "py", "rs", "sh", "so"];

const LIVE: &str = "a live link is taken for a reference; if it is an indicator, defang it (hxxp, [.]), or import with live links";

const REDIRECT: &str =
    "this link leads through one site to another; give the one that is the indicator";

const CERTIFICATE: &str = "this is the thumbprint or serial number of a certificate, not the hash of a file; devices block files";

const HEADING: &str =
    "a name in a heading is often that of the victim; if it is an indicator, defang it (`[.]`)";

const NO_SUFFIX: &str = "no public suffix ends like this, so prose does not count it as a domain; import it as a list if it is one";

const IS_FILE: &str =
    "this may be a domain or the name of a file; if it is a domain, defang it (`[.]`)";

/// Endings of files that are put into archives and get another ending behind: `offer.pdf.zip`.
const PACKED_FILES: &[&str] = &[
    "apk", "bat", "dll", "doc", "docx", "exe", "jar", "jpg", "js", "lnk", "pdf", "png", "ps1",
    "rtf", "scr", "txt", "vbs", "xls", "xlsx",
];

/// Marks of a pattern: a range, a class, an escaped dot, a star.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\{\d+,\d*\}|\{[^}]*,[^}]*\}|\[[^\].:@/]{2,}\][+*{]|\\[dw]|\.\*|\.\+|\(\?|^\*(\.|\[\.\])|\|\)").ok()
});

/// Schemes of URLs that prose counts.
const SCHEMES: &[&str] =
    &["http", "https", "ftp", "ftps", "sftp", "ws", "wss", "ldap", "ldaps", "smb", "tcp", "udp"];

pub(super) fn meaning(word: &Word<'_>, context: Context, line: u64) -> Option<Item> {
    let text = word.text;
    if let Some(reason) = unclean(text).filter(|_| text.contains('.')) {
        return Some(Rejected::item(line, text, reason));
    }
    let plain = refang(text);
    let defanged = plain != text;
    if is_range(&plain) {
        return Some(Rejected::item(
            line,
            text,
            "this is a range of addresses; list those that were seen, or give a CIDR block",
        ));
    }
    if looks_like_host(&plain) && PATTERN.as_ref().is_some_and(|p| p.is_match(text)) {
        return Some(Rejected::item(
            line,
            text,
            "this is a pattern, not one indicator; list the names that were seen",
        ));
    }
    let found = |kind: Kind, value: String| Some(Item::found((kind, value)));
    let refused = |reason: String| defanged.then(|| Rejected::item(line, text, reason));
    if plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        return hash(text, &plain, context, line);
    }
    if let Some((scheme, rest)) = plain.split_once("://") {
        let is_known = SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
        return is_known.then(|| url(word, &plain, rest, context, line)).flatten();
    }
    // The rest of a path of Windows.
    if word.link || plain.contains('\\') {
        return None;
    }
    if plain.contains('@') && !plain.contains('/') {
        return match normalise::email(&plain) {
            Ok(value)
                if normalise::has_public_suffix(value.rsplit('@').next().unwrap_or_default()) =>
            {
                found(Kind::Email, value)
            }
            Ok(_) => refused(NO_SUFFIX.to_owned()),
            Err(reason) => refused(reason),
        };
    }
    let marked = word.marked || context.listed || context.in_code;
    match normalise::certain(&plain) {
        Ok((kind @ (Kind::Ipv4 | Kind::Ipv6), value)) if is_address(&plain, defanged) => {
            found(kind, value)
        }
        // Defanged, so somebody meant it: `.onion`, `.example`.
        Ok((Kind::Domain, value)) if !normalise::has_public_suffix(&value) => {
            if defanged {
                found(Kind::Domain, value)
            } else {
                None
            }
        }
        Ok((Kind::Domain, value)) => match file_or_domain(&value) {
            _ if defanged => found(Kind::Domain, value),
            Name::Domain if context.heading => Some(Rejected::item(line, text, HEADING)),
            Name::Domain => found(Kind::Domain, value),
            Name::Either if marked => found(Kind::Domain, value),
            Name::Either => Some(Rejected::item(line, text, IS_FILE)),
            Name::File => None,
        },
        Ok((Kind::Url, value)) if defanged => found(Kind::Url, value),
        Ok((Kind::Url, value)) if is_host_with_path(&plain) => {
            if context.listed || context.live_links {
                found(Kind::Url, value)
            } else {
                Some(Rejected::item(line, text, LIVE))
            }
        }
        Ok(_) => None,
        Err(reason) => refused(reason).filter(|_| looks_like_host(&plain) || plain.contains('/')),
    }
}

/// A word of hexadecimal digits alone.
fn hash(text: &str, plain: &str, context: Context, line: u64) -> Option<Item> {
    match plain.len() {
        32 | 40 | 64 if context.certificate => Some(Rejected::item(line, text, CERTIFICATE)),
        32 | 40 | 64 => normalise::certain(plain).ok().map(Item::found),
        _ => None,
    }
}

/// A URL, whose rest behind the scheme this is: an indicator, or a reference.
fn url(word: &Word<'_>, plain: &str, rest: &str, context: Context, line: u64) -> Option<Item> {
    let defanged = plain != word.text;
    let by_address = normalise::ip(rest.split(['/', ':', '?']).next().unwrap_or_default()).is_ok();
    let meant = defanged || context.in_code || word.quoted || by_address;
    if word.link && !defanged || !(meant || context.listed || context.live_links) {
        return Some(Rejected::item(line, word.text, LIVE));
    }
    if rest.contains("hxxp") {
        return Some(Rejected::item(line, word.text, REDIRECT));
    }
    match normalise::certain(plain) {
        Ok(found) => Some(Item::found(found)),
        Err(reason) => defanged.then(|| Rejected::item(line, word.text, reason)),
    }
}

/// What a dotted name that is under a public suffix may be.
enum Name {
    Domain,
    Either,
    File,
}

fn file_or_domain(value: &str) -> Name {
    let (before, last) = value.rsplit_once('.').unwrap_or((value, ""));
    // A name under another one, or with `www`, is that of a host.
    let below = before.starts_with("www.") || normalise::has_public_suffix(before);
    // No registry gives out a name with an underscore.
    if NO_DOMAINS.contains(&value) || before.rsplit('.').next().is_some_and(|l| l.contains('_')) {
        Name::File
    } else if below || !is_file_or_domain(value) {
        Name::Domain
    } else if PLAIN_FILES.contains(&last)
        || before.rsplit('.').next().is_some_and(|label| PACKED_FILES.contains(&label))
    {
        Name::File
    } else if before.contains('.') {
        Name::Domain
    } else {
        Name::Either
    }
}

/// Whether a pattern's word is about hosts at all: it has a dot and a message behind it.
fn looks_like_host(plain: &str) -> bool {
    !plain.contains(['\\', '/'])
        && plain.rsplit_once('.').is_some_and(|(before, last)| {
            !before.is_empty() && last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic())
        })
        || plain.contains("\\.")
}

/// `evil.example/path` and `203.0.113.7:443/path`, but not `JS/Agent.A` and `and/or`.
fn is_host_with_path(plain: &str) -> bool {
    let host = plain.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    normalise::ip(host).is_ok()
        || (normalise::domain(host).is_ok()
            && normalise::has_public_suffix(host)
            && !matches!(file_or_domain(host), Name::File))
}

/// Two addresses with a hyphen between them.
fn is_range(plain: &str) -> bool {
    plain
        .split_once('-')
        .is_some_and(|(from, to)| normalise::ip(from).is_ok() && normalise::ip(to).is_ok())
}

/// Version numbers such as `1.2.3.4` can't be told from addresses; times such as `10:11:12` can.
fn is_address(plain: &str, defanged: bool) -> bool {
    defanged
        || plain.contains("::")
        || plain.matches('.').count() >= 3
        || plain.matches(':').count() >= 4
}
