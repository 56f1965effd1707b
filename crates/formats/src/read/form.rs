//! What an import is, found from its bytes. Its name and the form that a client states are hints.

use super::{Input, document::Document, list, plain, table::Layout};

/// Something around the text that is taken off first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// gzip.
    Gzip,
    /// ZIP.
    Zip,
    /// A document. One of an office program may also look like ZIP: see
    /// [`office`](super::unpack::office).
    Document(Document),
    /// Text that is not UTF-8.
    Text(Encoding),
}

/// Encodings other than UTF-8 that are told by their bytes. Windows-1252 is read line by line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16, low byte first, as Windows writes it.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

/// What somebody said about the form of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stated {
    /// Nothing.
    #[default]
    Nothing,
    /// A `Content-Type` or a file's name says so; the bytes may say otherwise.
    Hint(Input),
    /// A person chose it.
    Chosen(Input),
}

/// Longest beginning that [`wrapping`] and [`recognise`] look at, in bytes.
pub const HEAD: usize = plain::SAMPLE;

/// What must be taken off before the text can be read.
///
/// # Errors
/// What the file is, where it is nothing that holds text, and what to do.
pub fn wrapping(head: &[u8]) -> Result<Option<Wrapping>, String> {
    let is = |magic: &[u8]| head.starts_with(magic);
    if is(&[0x1f, 0x8b]) {
        return Ok(Some(Wrapping::Gzip));
    }
    if is(b"PK\x03\x04") {
        return Ok(Some(Wrapping::Zip));
    }
    if let Some(document) = document(head) {
        return Ok(Some(Wrapping::Document(document)));
    }
    let (what, how) = if is(b"{\\rtf") {
        ("an RTF document", "save it as text")
    } else if is(b"7z\xbc\xaf\x27\x1c") || is(b"Rar!") || is(b"\xfd7zXZ") || is(b"BZh") {
        ("an archive of a kind that is not unpacked", "unpack it, or pack it as ZIP or gzip")
    } else if is(&[0x28, 0xb5, 0x2f, 0xfd]) {
        ("compressed with Zstandard", "unpack it, or compress it with gzip")
    } else if is(b"MZ") || is(b"\x7fELF") || is(b"\xcf\xfa\xed\xfe") {
        ("a program", "import its hash instead")
    } else if is(b"\x89PNG") || is(b"\xff\xd8\xff") || is(b"GIF8") {
        ("a picture", "copy its text into the box")
    } else if is(b"SQLite format 3") {
        ("a database", "export the indicators as CSV or JSON")
    } else {
        return Ok(encoding(head).map(Wrapping::Text));
    };
    Err(format!("The file is {what}; {how}."))
}

fn document(head: &[u8]) -> Option<Document> {
    // Some write a few bytes before the mark.
    let early = head.get(..head.len().min(1_024)).unwrap_or_default();
    if head.starts_with(b"%PDF-") || early.windows(6).any(|bytes| bytes == b"\n%PDF-") {
        return Some(Document::Pdf);
    }
    if head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Some(Document::Sheet);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(Document::Tar);
    }
    is_mail(head).then_some(Document::Mail)
}

/// Lines of a header come first, and what only a mail server or program writes is among them.
fn is_mail(head: &[u8]) -> bool {
    let mut certain = 0;
    for line in head.split(|byte| *byte == b'\n').take(300) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let name = line.get(..colon).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        {
            return false;
        }
        let name = name.to_ascii_lowercase();
        certain += u32::from(matches!(
            name.as_slice(),
            b"received" | b"message-id" | b"mime-version" | b"return-path" | b"delivered-to"
        ));
    }
    certain >= 2
}

fn encoding(head: &[u8]) -> Option<Encoding> {
    if head.starts_with(&[0xff, 0xfe]) {
        return Some(Encoding::Utf16Le);
    }
    if head.starts_with(&[0xfe, 0xff]) {
        return Some(Encoding::Utf16Be);
    }
    // Without a mark: every other byte of Latin text is zero.
    let pairs = head.get(..head.len().min(512)).unwrap_or_default().chunks_exact(2);
    let all = pairs.len();
    let (mut low, mut high) = (0, 0);
    for pair in pairs {
        high += usize::from(pair.first() == Some(&0) && pair.get(1) != Some(&0));
        low += usize::from(pair.get(1) == Some(&0) && pair.first() != Some(&0));
    }
    match all {
        0..2 => None,
        _ if low * 10 >= all * 9 => Some(Encoding::Utf16Le),
        _ if high * 10 >= all * 9 => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// The form of a text, from its beginning.
#[must_use]
pub fn recognise(head: &[u8], stated: Stated) -> Input {
    let text = plain::beginning(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let hint = match stated {
        // A report may be a page.
        Stated::Chosen(Input::Report) if is_html(text) => return Input::Html,
        Stated::Chosen(input) => return input,
        Stated::Hint(input) => Some(input),
        Stated::Nothing => None,
    };
    if is_json(text) {
        return Input::Json;
    }
    if text.starts_with('<') {
        if text.contains("<ioc ") || text.contains("<OpenIOC") || text.contains("mandiant") {
            return Input::OpenIoc;
        }
        if is_html(text) {
            return Input::Html;
        }
    }
    let layout = Layout::find(text, head.len() < HEAD, None);
    let named = layout.is_some_and(|layout| layout.named && layout.columns() > 1);
    match hint {
        Some(Input::Table | Input::Report) => hint.unwrap_or(Input::List),
        _ if named => Input::Table,
        // What claims to be JSON and is not gets the reason of the JSON reader.
        Some(Input::Json) => Input::Json,
        _ if is_prose(text) => Input::Report,
        _ => Input::List,
    }
}

/// An object or a list, as opposed to `[Adblock Plus 2.0]` and `[1] evil.example`.
fn is_json(text: &str) -> bool {
    let Some(inner) = text.strip_prefix(['{', '[']) else { return false };
    let next = inner.trim_start();
    match text.as_bytes().first() {
        Some(b'{') => next.starts_with(['"', '}']) || next.is_empty(),
        _ => next.is_empty() || next.starts_with(['{', '[', '"', ']']),
    }
}

fn is_html(text: &str) -> bool {
    let begin =
        text.get(..text.floor_char_boundary(4_096)).unwrap_or_default().to_ascii_lowercase();
    begin.starts_with("<!doctype html")
        || ["<html", "<head", "<body", "<table", "<div", "<p>", "<ul", "<meta"]
            .iter()
            .any(|tag| begin.contains(tag))
            && begin.starts_with('<')
}

/// Sentences, as opposed to a list with remarks: more lines of words than lines that begin with an
/// indicator or a label.
fn is_prose(text: &str) -> bool {
    let (mut prose, mut entries) = (0, 0);
    for line in text.lines().map(str::trim).take(400) {
        let words = line.split_whitespace().count();
        let remark = line.starts_with(['#', ';', '!']) || line.starts_with("//");
        if line.is_empty() || remark || list::is_directive(line) {
            // Headings of Markdown look like remarks.
            prose += usize::from(line.starts_with("## ") && words > 1);
            continue;
        }
        let mut any = false;
        list::values(line, &mut |found| any |= found.is_ok());
        if any {
            entries += 1;
        } else if words >= 5 {
            prose += 1;
        }
    }
    prose > 0 && prose * 2 > entries
}

/// The form that a file's name suggests.
#[must_use]
pub fn of_file_name(name: &str) -> Stated {
    let name = name.to_ascii_lowercase();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zip");
    match name.rsplit('.').next().unwrap_or_default() {
        "json" | "ndjson" | "jsonl" | "stix" | "stix2" | "misp" => Stated::Hint(Input::Json),
        "csv" | "tsv" => Stated::Hint(Input::Table),
        "md" | "adoc" | "markdown" | "rst" => Stated::Hint(Input::Report),
        "html" | "htm" => Stated::Hint(Input::Html),
        "ioc" => Stated::Hint(Input::OpenIoc),
        _ => Stated::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_decide() {
        for (text, stated, expected) in [
            ("[{\"value\":\"a.example\"}]", Stated::Hint(Input::List), Input::Json),
            ("[Adblock Plus 2.0]\n||a.example^\n", Stated::Nothing, Input::List),
            ("value,type\na.example,domain\n", Stated::Nothing, Input::Table),
            ("value,type\na.example,domain\n", Stated::Chosen(Input::List), Input::List),
            ("a.example\nb.example\n", Stated::Hint(Input::Table), Input::Table),
            ("a.example # first\n203.0.113.7 9\n", Stated::Nothing, Input::List),
            ("<!DOCTYPE html><p>a</p>", Stated::Chosen(Input::Report), Input::Html),
            (
                "The group used several servers in May of this year.\nThey were reached at a[.]example first.\n",
                Stated::Hint(Input::List),
                Input::Report,
            ),
        ] {
            assert_eq!(recognise(text.as_bytes(), stated), expected, "{text}");
        }
    }

    #[test]
    fn what_holds_no_text_is_named() {
        assert!(wrapping(b"{\\rtf1").unwrap_err().contains("RTF"));
        assert_eq!(wrapping(b"%PDF-1.7"), Ok(Some(Wrapping::Document(Document::Pdf))));
        let mail = b"Received: from a\r\n by b\r\nMessage-ID: <1@a.example>\r\nSubject: c\r\n\r\nd";
        assert_eq!(wrapping(mail), Ok(Some(Wrapping::Document(Document::Mail))));
        assert_eq!(wrapping(b"SHA256: ab\nMD5: cd\n\nSubject: x\n"), Ok(None));
        assert_eq!(wrapping(&[0x1f, 0x8b, 8]), Ok(Some(Wrapping::Gzip)));
        assert_eq!(wrapping(&[0xff, 0xfe, b'a', 0]), Ok(Some(Wrapping::Text(Encoding::Utf16Le))));
        assert_eq!(wrapping(b"e\0v\0i\0l\0"), Ok(Some(Wrapping::Text(Encoding::Utf16Le))));
        assert_eq!(wrapping(b"evil.example"), Ok(None));
    }

    #[test]
    fn names_of_columns_make_no_table_of_one_column() {
        assert_eq!(recognise(b"domain\na.example\n", Stated::Nothing), Input::List);
        assert!(super::super::fields::role("domain").is_some());
    }
}
