//! A mail: its text, and the files with it.

use std::io::{Read, Write};

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

use super::{Outputs, whole};
use crate::read::{Input, ReadError, unpack::Unpacked};

pub(super) fn extract<W: Write>(
    from: &mut impl Read,
    outputs: &mut Outputs<'_, W>,
) -> Result<Vec<String>, ReadError> {
    let bytes = whole(from)?;
    let Some(mail) = MessageParser::default().parse(&bytes) else {
        return Err(ReadError::Malformed(
            "The mail can't be read; copy its text into the box.".to_owned(),
        ));
    };
    body(&mail, outputs)?;
    for (at, part) in mail.attachments().enumerate() {
        let name =
            part.attachment_name().map_or_else(|| format!("attachment {}", at + 1), str::to_owned);
        let mut to = outputs.open(Unpacked { name: Some(name), form: None })?;
        match &part.body {
            PartType::Message(inner) => to.write_all(inner.raw_message())?,
            _ => to.write_all(part.contents())?,
        }
        to.flush()?;
    }
    Ok(Vec::new())
}

/// The text that was written as text, or, where there is none, the page.
fn body<W: Write>(mail: &Message<'_>, outputs: &mut Outputs<'_, W>) -> Result<(), ReadError> {
    let written = mail.text_bodies().any(|part| matches!(part.body, PartType::Text(_)));
    let form = if written { Input::Report } else { Input::Html };
    let mut to = outputs.open(Unpacked { name: None, form: Some(form) })?;
    if let (true, Some(subject)) = (written, mail.subject()) {
        writeln!(to, "{subject}\n")?;
    }
    let parts: Vec<_> =
        if written { mail.text_bodies().collect() } else { mail.html_bodies().collect() };
    for part in parts {
        if let PartType::Text(text) | PartType::Html(text) = &part.body {
            to.write_all(text.as_bytes())?;
            to.write_all(b"\n")?;
        }
    }
    Ok(to.flush()?)
}
