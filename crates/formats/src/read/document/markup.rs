//! The text of documents and slides that are XML in a ZIP archive: Office Open XML, OpenDocument.

use std::io::{BufRead, BufReader, Read, Seek, Write};

use quick_xml::{Reader, events::Event};
use zip::ZipArchive;

use super::{Outputs, SIZE_MAX};
use crate::read::{Input, ReadError, unpack::Unpacked};

pub(super) fn extract<R: Read + Seek, W: Write>(
    from: &mut R,
    outputs: &mut Outputs<'_, W>,
) -> Result<Vec<String>, ReadError> {
    let broken = || {
        ReadError::Malformed(
            "The document is broken; save it again, or copy its text into the box.".to_owned(),
        )
    };
    let mut archive = ZipArchive::new(from).map_err(|_| broken())?;
    let names = archive.file_names().flatten();
    let mut parts: Vec<String> =
        names.filter(|name| is_text(name)).map(std::borrow::Cow::into_owned).collect();
    // Slides by number, and the text before its notes.
    parts.sort_by_key(|name| (name.len(), name.clone()));
    let mut to = outputs.open(Unpacked { name: None, form: Some(Input::Report) })?;
    for part in parts {
        let file = archive.by_name(&part).map_err(|_| broken())?;
        text(BufReader::new(file.take(SIZE_MAX)), &mut to)?;
    }
    to.flush()?;
    Ok(Vec::new())
}

/// Files of such an archive that hold text which people see.
fn is_text(name: &str) -> bool {
    let slide = |folder: &str| name.starts_with(folder) && name.ends_with(".xml");
    matches!(name, "word/document.xml" | "word/footnotes.xml" | "word/endnotes.xml" | "content.xml")
        || slide("ppt/slides/slide")
        || slide("ppt/notesSlides/notesSlide")
}

/// Writes the text of one XML file: a line for each paragraph, and for each row of a table.
fn text(from: impl BufRead, to: &mut impl Write) -> Result<(), ReadError> {
    let mut reader = Reader::from_reader(from);
    let mut buffer = Vec::new();
    // Depth in runs of text, in table cells, and in what was deleted and is still kept.
    let (mut shown, mut cells, mut gone) = (0_u32, 0_u32, 0_u32);
    loop {
        buffer.clear();
        let event = reader
            .read_event_into(&mut buffer)
            .map_err(|error| ReadError::Malformed(format!("The document is broken: {error}.")))?;
        let visible = shown > 0 && gone == 0;
        match event {
            Event::Eof => return Ok(()),
            Event::Start(tag) => match tag.name().as_ref() {
                "w:t" | "a:t" | "text:p" | "text:h" => shown += 1,
                "w:tc" | "a:tc" | "table:table-cell" => cells += 1,
                "text:tracked-changes" => gone += 1,
                _ => {}
            },
            Event::Empty(tag) => match tag.name().as_ref() {
                "w:tab" | "text:tab" => to.write_all(b"\t")?,
                "w:br" | "a:br" | "text:line-break" | "w:cr" => to.write_all(b"\n")?,
                "text:s" => to.write_all(b" ")?,
                "w:noBreakHyphen" => to.write_all(b"-")?,
                _ => {}
            },
            Event::Text(text) if visible => to.write_all(text.as_bytes())?,
            Event::CData(text) if visible => to.write_all(text.as_bytes())?,
            Event::GeneralRef(entity) if visible => to.write_all(resolve(&entity).as_bytes())?,
            Event::End(tag) => {
                let name = tag.name();
                match name.as_ref() {
                    "w:t" | "a:t" => shown = shown.saturating_sub(1),
                    "text:tracked-changes" => gone = gone.saturating_sub(1),
                    "w:p" | "a:p" | "text:p" | "text:h" => {
                        if name.as_ref().starts_with("text:") {
                            shown = shown.saturating_sub(1);
                        }
                        to.write_all(if cells > 0 { b" " } else { b"\n" })?;
                    }
                    "w:tc" | "a:tc" | "table:table-cell" => {
                        cells = cells.saturating_sub(1);
                        to.write_all(b"\t")?;
                    }
                    "w:tr" | "a:tr" | "table:table-row" => to.write_all(b"\n")?,
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// What a reference such as `&amp;` or `&#46;` stands for.
fn resolve(entity: &str) -> String {
    let code =
        |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let character = match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        other => match other.strip_prefix('#') {
            Some(number) => match number.strip_prefix(['x', 'X']) {
                Some(digits) => code(digits, 16),
                None => code(number, 10),
            },
            None => None,
        },
    };
    character.map(String::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(xml: &str) -> String {
        let mut out = Vec::new();
        text(xml.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paragraphs_are_lines_and_cells_are_apart() {
        let word = "<w:document><w:p><w:r><w:t>evil[.]</w:t></w:r><w:r><w:t>example &amp; more&#46;</w:t></w:r></w:p><w:p><w:r><w:delText>gone.example</w:delText><w:instrText>HYPERLINK</w:instrText></w:r></w:p><w:tr><w:tc><w:p><w:t>SHA256</w:t></w:p></w:tc><w:tc><w:p><w:t>ab</w:t></w:p></w:tc></w:tr></w:document>";
        assert_eq!(of(word), "evil[.]example & more.\n\nSHA256 \tab \t\n");
        let open = "<o><text:tracked-changes><text:p>old</text:p></text:tracked-changes><text:p>one<text:s/><text:span>two</text:span></text:p></o>";
        assert_eq!(of(open).trim(), "one two");
    }
}
