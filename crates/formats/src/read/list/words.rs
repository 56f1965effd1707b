//! What one word of a list is, and what stands around it.

use iocast_domain::{ioc::Kind, normalise};

use super::super::kinds::{self, KindWord};

/// Signs at the beginning of an entry of a list.
const BULLETS: &[char] = &['-', '*', '•', '·', '▪', '‣', '–', '—', '+', '>', '○', '◦', '→'];

/// An entry without its bullet or number: `- evil.example`, `2) evil.example`.
pub(in super::super) fn unbulleted(text: &str) -> &str {
    let mut text = text;
    while let Some(rest) = text.strip_prefix(BULLETS) {
        text = rest.trim_start();
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if (1..=4).contains(&digits)
        && let Some(rest) = text.get(digits..).and_then(|rest| rest.strip_prefix(['.', ')']))
        && rest.starts_with(char::is_whitespace)
    {
        // `203 . 0 . 113 . 7` begins with a number, too.
        return rest.trim_start();
    }
    text
}

/// Reads one word: an indicator, a range, or one in an encoding that our own lists use.
pub(in super::super) fn word(
    text: &str,
    give: &mut dyn FnMut((Kind, String)),
) -> Result<(), String> {
    if let Some(range) = normalise::range(text) {
        range?.into_iter().for_each(give);
        return Ok(());
    }
    let why = match normalise::certain(text) {
        Ok(found) => {
            give(found);
            return Ok(());
        }
        Err(why) => why,
    };
    let unlabelled = text
        .split_once(['=', ':'])
        .filter(|(label, _)| kinds::is_word(label))
        .and_then(|(_, value)| normalise::certain(value).ok());
    match unlabelled.or_else(|| decoded(text)) {
        Some(found) => {
            give(found);
            Ok(())
        }
        None => Err(why),
    }
}

/// A name or URL in Base64, as Suricata's data sets hold it.
fn decoded(text: &str) -> Option<(Kind, String)> {
    use base64::Engine as _;
    if text.len() < 8 || !text.len().is_multiple_of(4) || text.contains('.') {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let plain = String::from_utf8(bytes).ok()?;
    normalise::certain(&plain).ok().filter(|(kind, _)| class(*kind) != Class::Hash)
}

/// Kinds that stand beside each other in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Class {
    Host,
    Url,
    Hash,
}

pub(in super::super) fn class(kind: Kind) -> Class {
    match kind {
        Kind::Domain | Kind::Email | Kind::Ipv4 | Kind::Ipv6 => Class::Host,
        Kind::Url => Class::Url,
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 => Class::Hash,
    }
}

/// Whether a word is an indicator that may stand beside one of this kind.
pub(super) fn is(kind: Kind, text: &str) -> bool {
    normalise::certain(text.trim_end_matches([',', ';']))
        .is_ok_and(|(found, _)| class(found) == class(kind))
}

/// What follows a label: `SHA256: …`, `MD5 (a.exe) = …`, `Domain - evil.example`.
pub(super) fn labelled(text: &str) -> Option<&str> {
    let is_kind = |word: &str| !matches!(kinds::word(word), KindWord::Any | KindWord::Untaken);
    // `SHA256 hash: …` or `MD5 …`.
    let by_sign = text
        .find([':', '='])
        .map(|at| text.split_at(at))
        .filter(|(label, _)| label.split_whitespace().take(4).any(is_kind));
    let (_, rest) = by_sign.or_else(|| {
        Some(text.split_at(text.find([' ', '\t'])?)).filter(|(label, _)| is_kind(label))
    })?;
    let mut rest = rest.trim_start();
    if rest.starts_with('(') {
        rest = rest.split_once(')')?.1;
    }
    let value = rest.trim_start_matches([':', '=', '-', '–', ' ', '\t']);
    value.split_whitespace().next()
}

/// The hash of a line that holds one, and no more: `invoice.exe 9f86d0…`.
pub(super) fn only_hash(text: &str) -> Option<&str> {
    let mut hashes = text
        .split(|c: char| c.is_whitespace() || matches!(c, ':' | '=' | ',' | '|'))
        .map(|word| word.trim_matches(['(', ')', '*', '"', '\'']))
        .filter(|word| {
            matches!(word.len(), 32 | 40 | 64) && word.bytes().all(|b| b.is_ascii_hexdigit())
        });
    let only = hashes.next()?;
    hashes.next().is_none().then_some(only)
}

/// The pieces between commas and semicolons. In a URL they are part of it, unless a blank or
/// another URL follows.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    if !text.contains([',', ';']) {
        return vec![text];
    }
    let mut out = Vec::new();
    let mut begin = 0;
    for (at, _) in text.match_indices([',', ';']) {
        if at < begin {
            continue;
        }
        let piece = text.get(begin..at).unwrap_or_default();
        let rest = text.get(at + 1..).unwrap_or_default();
        let next = rest.trim_start();
        let in_url = piece.contains('/')
            && !rest.is_empty()
            && !rest.starts_with(char::is_whitespace)
            && !["http", "hxxp", "ftp", "www."].iter().any(|begin| next.starts_with(begin));
        if !in_url {
            out.push(piece);
            begin = at + 1;
        }
    }
    out.push(text.get(begin..).unwrap_or_default());
    out
}
