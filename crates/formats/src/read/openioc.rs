//! OpenIOC 1.0 and 1.1: each item of an indicator is a context and a content.

use std::io::BufRead;

use iocast_domain::ioc::Kind;
use quick_xml::{Reader, events::Event};

use super::{
    Item, Piece, ReadError, Rejected, Sink,
    fields::{Role, Said},
    send, table,
};

/// Longest text of an element, in bytes.
const TEXT_MAX: usize = 1 << 20;

/// An item: where to look, and for what.
#[derive(Debug)]
pub(super) struct Entry {
    line: u64,
    search: String,
    content: String,
}

pub(super) fn split(from: &mut impl BufRead, sink: Sink<'_>) -> Result<(), ReadError> {
    let mut reader = Reader::from_reader(from);
    reader.config_mut().trim_text(true);
    let broken = |error: quick_xml::Error| match error {
        quick_xml::Error::Io(error) => ReadError::Io(std::io::Error::new(error.kind(), error)),
        other => ReadError::Malformed(format!("The XML is broken: {other}.")),
    };
    let mut buffer = Vec::new();
    let (mut place, mut search, mut content) = (0, String::new(), String::new());
    let mut negated = false;
    let mut in_content = false;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(broken)? {
            Event::Eof => return Ok(()),
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                "IndicatorItem" => {
                    place += 1;
                    search.clear();
                    content.clear();
                    let attribute = |name: &str| {
                        let value = tag.try_get_attribute(name).ok().flatten()?;
                        Some(value.value.into_owned())
                    };
                    negated = attribute("negate").is_some_and(|value| value == "true")
                        || attribute("condition").is_some_and(|value| value.ends_with("not"));
                }
                "Context" => {
                    if let Some(value) = tag.try_get_attribute("search").ok().flatten() {
                        search = value.value.into_owned();
                    }
                }
                "Content" => in_content = true,
                _ => {}
            },
            Event::Text(text) if in_content => {
                push(&mut content, &text)?;
            }
            Event::CData(text) if in_content => {
                push(&mut content, &text)?;
            }
            Event::GeneralRef(entity) if in_content => push(
                &mut content,
                match &*entity {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => "",
                },
            )?,
            Event::End(tag) => match tag.local_name().as_ref() {
                "Content" => in_content = false,
                "IndicatorItem" if !negated => {
                    let entry =
                        Entry { line: place, search: search.clone(), content: content.clone() };
                    send(sink, Piece::OpenIoc(entry))?;
                }
                _ => {}
            },
            _ => {}
        }
    }
}

fn push(content: &mut String, text: &str) -> Result<(), ReadError> {
    if content.len() + text.len() > TEXT_MAX {
        return Err(ReadError::Malformed(
            "An element of the XML is longer than 1 MiB; an end tag may be missing.".to_owned(),
        ));
    }
    content.push_str(text);
    Ok(())
}

impl Entry {
    pub(super) fn weight(&self) -> usize {
        self.search.len() + self.content.len()
    }

    pub(super) fn items(&self, sink: &mut dyn FnMut(Item)) {
        let Self { line, search, content } = self;
        let Some(role) = role(search) else {
            let reason = format!(
                "`{}` is not a kind of IOC that devices take",
                iocast_domain::time::clip(search, 60)
            );
            return sink(Rejected::item(*line, content, reason));
        };
        let cells = [(role, Said::Cell(content.clone()))];
        table::indicators(*line, &cells, false, sink);
    }
}

/// What the field that a context searches holds.
fn role(search: &str) -> Option<Role> {
    let field = search.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    Some(match field.as_str() {
        "md5sum" | "md5" => Role::Of(Kind::Md5),
        "sha1sum" | "sha1" => Role::Of(Kind::Sha1),
        "sha256sum" | "sha256" => Role::Of(Kind::Sha256),
        "dns" | "hostname" | "host" | "recordname" => Role::Of(Kind::Domain),
        "remoteip" | "ipv4" | "ipv6" | "localip" | "ipaddress" | "ipinfo" => Role::Of(Kind::Ipv4),
        "url" => Role::Of(Kind::Url),
        "from" | "replyto" | "sender" => Role::Of(Kind::Email),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        Input, ReadError,
        tests::{sightings, values},
    };

    #[test]
    fn items_by_their_context() {
        let text = "<?xml version=\"1.0\"?><ioc xmlns=\"http://schemas.mandiant.com/2010/ioc\"><definition><Indicator operator=\"OR\">\
            <IndicatorItem><Context search=\"FileItem/Md5sum\"/><Content type=\"md5\">098f6bcd4621d373cade4e832627b4f6</Content></IndicatorItem>\
            <IndicatorItem condition=\"is\"><Context search=\"Network/DNS\"/><Content type=\"string\">evil-one.example</Content></IndicatorItem>\
            <IndicatorItem condition=\"isnot\"><Context search=\"Network/DNS\"/><Content type=\"string\">good.example</Content></IndicatorItem>\
            <IndicatorItem><Context search=\"RegistryItem/Path\"/><Content type=\"string\">Run</Content></IndicatorItem>\
            </Indicator></definition></ioc>";
        let (found, rejected) = values(Input::OpenIoc, text);
        assert_eq!(found, ["md5 098f6bcd4621d373cade4e832627b4f6", "domain evil-one.example"]);
        assert_eq!(rejected.len(), 1);
        assert!(matches!(
            sightings(Input::OpenIoc, "<ioc><a></b></ioc>"),
            Err(ReadError::Malformed(_))
        ));
    }
}
