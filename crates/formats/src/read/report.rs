//! `text/vnd.iocast.report`: an analyst's prose, Markdown or AsciiDoc. Every indicator that stands
//! in it.

use std::{io::BufRead, sync::LazyLock};

use iocast_domain::{
    ioc::{Kind, Sighting},
    normalise,
    refang::refang,
};
use regex::Regex;

use super::{Item, Line, Piece, ReadError, Rejected, Sink, each_line, send, unclean};

/// Top-level domains that are also the endings of files: a bare `setup.py` is a file, a defanged
/// `setup[.]py` a name.
const FILE_ENDINGS: &[&str] = &["md", "mov", "pl", "pm", "ps", "py", "rs", "sh", "so", "zip"];

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

/// Words before an indicator, as in `MD5:…` and `ip=…`.
const LABELS: &[&str] = &[
    "c2", "cc", "domain", "email", "hash", "host", "hostname", "ioc", "ip", "ipv4", "ipv6", "md5",
    "sha1", "sha-1", "sha256", "sha-256", "uri", "url",
];

const LIVE: &str =
    "a live link is taken for a reference; if it is an indicator, defang it (hxxp, [.])";

const NO_SUFFIX: &str = "no public suffix ends like this, so prose does not count it as a domain; import it as a list if it is one";

/// Marks of a pattern: a range, a class, an escaped dot, a star.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\{\d+,\d*\}|\{[^}]*,[^}]*\}|\[[^\].:@/]{2,}\][+*{]|\\[.dw]|\.\*|\.\+|\(\?|^\*(\.|\[\.\])|\|\)").ok()
});

/// A line of prose.
#[derive(Debug)]
pub(super) struct Prose {
    line: Line,
    /// It stands in a block of code.
    code: bool,
}

pub(super) fn split(from: &mut impl BufRead, sink: Sink<'_>) -> Result<(), ReadError> {
    let mut code: Option<String> = None;
    each_line(from, |line| {
        if let Some(fence) = fence(line.text.trim()).filter(|_| !line.overlong) {
            code = match code.take() {
                Some(open) if open == fence => None,
                Some(open) => Some(open),
                None => Some(fence.to_owned()),
            };
            return Ok(());
        }
        send(sink, Piece::Report(Prose { line, code: code.is_some() }))
    })
}

impl Prose {
    /// By what it may become: an IOC every few messages.
    pub(super) fn weight(&self) -> usize {
        self.line.text.len() * 64
    }

    pub(super) fn items(&self, sink: &mut dyn FnMut(Item)) {
        let Line { number, text, overlong } = &self.line;
        if *overlong {
            return sink(Rejected::item(*number, text, "the line is too long for prose"));
        }
        words(text).iter().filter_map(|word| meaning(word, self.code, *number)).for_each(sink);
    }
}

/// A line that opens or closes a block of code: AsciiDoc's `----` and `....`, Markdown's three
/// backticks.
fn fence(line: &str) -> Option<&str> {
    if line.starts_with("```") {
        return Some("```");
    }
    let all = |c: char| line.len() >= 4 && line.chars().all(|l| l == c);
    (all('-') || all('.')).then_some(line)
}

struct Word<'l> {
    text: &'l str,
    /// Between backticks: set as code.
    quoted: bool,
    /// Followed by `[`, as links are in AsciiDoc, or within `](…)`, as in Markdown.
    link: bool,
}

/// The words of a line, without the punctuation and mark-up around them.
fn words(line: &str) -> Vec<Word<'_>> {
    let mut out = Vec::new();
    for (i, span) in line.split('`').enumerate() {
        let quoted = i % 2 == 1;
        for raw in span.split(|c: char| {
            c.is_whitespace()
                || matches!(
                    c,
                    '|' | '"' | '<' | '>' | ';' | '“' | '”' | '‘' | '’' | '«' | '»' | '→'
                )
        }) {
            for piece in split_commas(raw) {
                let mut text = piece
                    .trim_matches(|c: char| matches!(c, ',' | '!' | '\'' | '+' | '_' | '='))
                    .trim_end_matches([':', '.', '?']);
                let mut link = false;
                if let Some((target, _)) =
                    text.split_once("](").and_then(|(_, rest)| rest.split_once(')'))
                {
                    (text, link) = (target, true);
                } else if let Some(open) = link_text(text) {
                    (text, link) = (text.get(..open).unwrap_or_default(), true);
                }
                text = unlabelled(unwrapped(text));
                text = unbalanced(text);
                if text.contains(['.', ']', ')', '}', '@', ':']) || text.len() >= 32 {
                    out.push(Word { text, quoted, link });
                }
            }
        }
    }
    out
}

/// Commas separate words, except inside the braces of a range such as `{1,30}` and inside URLs.
fn split_commas(text: &str) -> Vec<&str> {
    if text.contains('{') || text.contains("//") { vec![text] } else { text.split(',').collect() }
}

/// Without emphasis and whole brackets around it: `**evil.example**`, `[evil.example]`.
fn unwrapped(text: &str) -> &str {
    let mut text = text.trim_end_matches('*');
    let bare = text.trim_start_matches('*');
    // The star of a wildcard (`*.evil.example`) is not emphasis.
    let stars = text.len() - bare.len();
    text = text
        .get(if bare.starts_with(['.', '[']) && stars == 1 { 0 } else { stars }..)
        .unwrap_or_default();
    for (open, close) in [('[', ']'), ('{', '}'), ('<', '>')] {
        if let Some(inner) = text.strip_prefix(open).and_then(|t| t.strip_suffix(close))
            && !inner.contains([open, close])
        {
            text = inner;
        }
    }
    text
}

/// Without the word before it that says what it is.
fn unlabelled(text: &str) -> &str {
    match text.split_once(['=', ':']) {
        Some((label, rest))
            if !rest.is_empty() && LABELS.contains(&label.to_ascii_lowercase().as_str()) =>
        {
            rest
        }
        _ => text,
    }
}

/// Where the text of an AsciiDoc link begins: `https://host/path[text`, but not the `[` of `[.]`.
fn link_text(text: &str) -> Option<usize> {
    text.contains("://").then(|| {
        text.char_indices().filter(|(_, c)| *c == '[').map(|(at, _)| at).find(|at| {
            let inner = text.get(at + 1..).unwrap_or_default();
            at.checked_sub(1).and_then(|b| text.as_bytes().get(b)).is_some_and(|b| *b != b'/')
                && !inner.starts_with(['.', ':', '@'])
                && !inner.get(..4).is_some_and(|d| d.eq_ignore_ascii_case("dot]"))
        })
    })?
}

/// Drops brackets that were opened or closed outside the word: `(evil.example)`.
fn unbalanced(text: &str) -> &str {
    let text = match text.strip_prefix('(') {
        Some(inner) if !inner.starts_with('.') => inner,
        _ => text,
    };
    let opens = text.matches('(').count();
    if text.matches(')').count() > opens { text.trim_end_matches([')', '.', ',']) } else { text }
}

fn meaning(word: &Word<'_>, in_code: bool, line: u64) -> Option<Item> {
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
    let found = |kind: Kind, value: String| {
        Some(Item::Sighting(Box::new(Sighting {
            indicator: Some((kind, value)),
            ..Sighting::default()
        })))
    };
    let refused = |reason: String| defanged.then(|| Rejected::item(line, text, reason));
    if plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        return match plain.len() {
            32 | 40 | 64 => {
                normalise::detect(&plain).ok().and_then(|(kind, value)| found(kind, value))
            }
            _ => None,
        };
    }
    if let Some((scheme, rest)) = plain.split_once("://") {
        if !matches!(
            scheme.to_ascii_lowercase().as_str(),
            "http" | "https" | "ftp" | "ftps" | "tcp" | "udp"
        ) {
            return None;
        }
        let by_address =
            normalise::ip(rest.split(['/', ':', '?']).next().unwrap_or_default()).is_ok();
        if word.link || !(defanged || in_code || word.quoted || by_address) {
            return Some(Rejected::item(line, text, LIVE));
        }
        return match normalise::url(&plain) {
            Ok(value) => found(Kind::Url, value),
            Err(reason) => refused(reason),
        };
    }
    if plain.contains('@') {
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
    match normalise::detect(&plain) {
        Ok((kind @ (Kind::Ipv4 | Kind::Ipv6), value)) if is_address(&plain, defanged) => {
            found(kind, value)
        }
        Ok((Kind::Domain, value))
            if normalise::has_public_suffix(&value) && (defanged || !is_file_name(&value)) =>
        {
            found(Kind::Domain, value)
        }
        // Defanged, so somebody meant it.
        Ok((Kind::Domain, _)) if defanged => refused(NO_SUFFIX.to_owned()),
        Ok((Kind::Url, value)) if defanged => found(Kind::Url, value),
        Ok((Kind::Url, _)) if is_host_with_path(&plain) => Some(Rejected::item(line, text, LIVE)),
        Ok(_) => None,
        Err(reason) => refused(reason).filter(|_| looks_like_host(&plain)),
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
            && !is_file_name(host))
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

fn is_file_name(value: &str) -> bool {
    NO_DOMAINS.contains(&value)
        || value.rsplit_once('.').is_some_and(|(before, last)| {
            FILE_ENDINGS.contains(&last)
                && !before.starts_with("www.")
                && !normalise::has_public_suffix(before)
        })
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::tests::values;

    #[test]
    fn indicators_in_prose_tables_and_code() {
        let text = "The post is at https://www.blog.example.com/2020/x.pdf. See link:event.json[`event.json`].\n\
            |`+nododru[.]ru+` |`+N/A+` |2023-12-20\n| `38.180.76[.]31` | `recsecas[.]com` (first)\n\
            Run setup.py, read readme.md; mail to team.x@outlook[.]com or (evil-site.com).\n\
            ----\nserver-{1,30}[.]ostdownload.xyz\nhttp://45.9.239[.]50/a.msi\nplain-domain.space\nhttp://live.evil-site.com/x\n----\n\
            hash `DA39A3EE5E6B4B0D3255BFEF95601890AFD80709` time 10:11:12, JS/Agent.SVE Win32/Filecoder.B\n\
            https://gitlab[.]com/a/b/README.md and c2-[a-z]{3}\\.evil\\.com\n5[.]101.6.132 hxxps://bad[.]example[.]com/p(1)\n";
        let (found, rejected) = values(Input::Report, text);
        assert_eq!(
            found,
            [
                "domain nododru.ru",
                "ipv4 38.180.76.31",
                "domain recsecas.com",
                "email team.x@outlook.com",
                "domain evil-site.com",
                "url http://45.9.239.50/a.msi",
                "domain plain-domain.space",
                "url http://live.evil-site.com/x",
                "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "url https://gitlab.com/a/b/README.md",
                "ipv4 5.101.6.132",
                "url https://bad.example.com/p(1)",
            ]
        );
        assert_eq!(
            rejected.iter().map(|r| (r.line, r.value.as_str())).collect::<Vec<_>>(),
            [
                (1, "https://www.blog.example.com/2020/x.pdf"),
                (6, "server-{1,30}[.]ostdownload.xyz"),
                (12, "c2-[a-z]{3}\\.evil\\.com"),
            ]
        );
    }

    #[test]
    fn nothing_is_lost_in_mark_up() {
        let text = "**evil-a.com** [evil-b.com] {evil-c.com} SHA1=DA39A3EE5E6B4B0D3255BFEF95601890AFD80709 ip=5.6.7.8 domain: evil-d.com\n\
            url=hxxp://evil-e[.]org/a,b md5:d41d8cd98f00b204e9800998ecf8427e evil-site.cc c2.evil-f.cc `panel.badguys.app` uses ASP.NET and user.name\n\
            45.9.239.50:443/a evil-g.com/path 1.1.1.1-1.1.1.9 JS/Agent.A and/or\n\
            *.evil-h.com *[.]evil-i[.]com evil-j[.]example x@evil-k[.]lan *evil-l.com* plain.example\n";
        let (found, rejected) = values(Input::Report, text);
        assert_eq!(
            found,
            [
                "domain evil-a.com",
                "domain evil-b.com",
                "domain evil-c.com",
                "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "ipv4 5.6.7.8",
                "domain evil-d.com",
                "url http://evil-e.org/a,b",
                "md5 d41d8cd98f00b204e9800998ecf8427e",
                "domain evil-site.cc",
                "domain c2.evil-f.cc",
                "domain panel.badguys.app",
                "domain evil-l.com",
            ]
        );
        assert_eq!(
            rejected.iter().map(|r| r.value.as_str()).collect::<Vec<_>>(),
            [
                "45.9.239.50:443/a",
                "evil-g.com/path",
                "1.1.1.1-1.1.1.9",
                "*.evil-h.com",
                "*[.]evil-i[.]com",
                "evil-j[.]example",
                "x@evil-k[.]lan"
            ]
        );
    }
}
