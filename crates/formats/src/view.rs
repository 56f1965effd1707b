//! Other shapes of a list, as users of MineMeld and Cortex XSOAR ask for them: `n`, `s`, `tr`,
//! `sp`, `pr`, `di`, `v`; and `after` on an event stream. They are made of the finished document,
//! never of the database.

use std::collections::HashSet;

use iocast_domain::{
    device_type::Format,
    guard::{network, network_text},
    time::{Timestamp, clip},
};
use ipnet::IpNet;

use crate::write::{
    inert,
    list::{ListWriter, writer},
};

mod values;
use self::values::{GATEWAY_TYPES, category, event_time, is_panos_url, item, ranges, without_port};

/// How addresses are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Collapse {
    #[default]
    No,
    Ranges,
    Networks,
}

/// What the answer looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Shape {
    /// As the device wants it.
    #[default]
    Own,
    Text,
    PanosUrl,
    Csv,
    Json,
    JsonLines,
    WebGateway,
    ProxySg,
}

/// A shape that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    first: usize,
    at_most: Option<usize>,
    collapse: Collapse,
    strip_ports: bool,
    strip_protocol: bool,
    drop_invalid: bool,
    shape: Shape,
    category: Option<String>,
    after: Option<i64>,
}

/// The document of a list, and where its entries begin.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// All of it.
    pub text: &'a str,
    /// Length of what stands before the first entry, in bytes.
    pub before: usize,
}

impl View {
    /// Reads parameters; those of other uses (`key`) are left alone. Nothing where none is there.
    ///
    /// # Errors
    /// A sentence on the parameter that can't be.
    pub fn parse<'a>(
        format: Format,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, String> {
        let mut view = Self::default();
        for (name, value) in parameters {
            view.set(name, value)?;
        }
        if view == Self::default() {
            return Ok(None);
        }
        view.check(format)?;
        Ok(Some(view))
    }

    /// Takes one parameter; those of others are left alone.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || {
            value.parse::<usize>().map_err(|_invalid| {
                format!("`{name}` must be a number of entries, not `{}`.", clip(value, 40))
            })
        };
        let flag = !matches!(value, "0" | "false" | "False" | "no");
        match name {
            "n" => self.at_most = Some(number()?),
            "s" => self.first = number()?,
            "tr" => self.collapse = collapse(value)?,
            "sp" => self.strip_ports = flag,
            "pr" => self.strip_protocol = flag,
            "di" => self.drop_invalid = flag,
            "v" => self.shape = shape(value)?,
            "cd" | "t" => self.category = Some(category(value)?),
            // A connector's first poll has nothing to come after.
            "after" if value.is_empty() || value.starts_with('$') => self.after = None,
            "after" => {
                let at = Timestamp::parse(value).map_err(|_why| {
                    format!(
                        "`after` must be the `next` of the last answer, not `{}`.",
                        clip(value, 40)
                    )
                })?;
                self.after = Some(at.micros());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the device's format can be shown so.
    fn check(&self, format: Format) -> Result<(), String> {
        if self.shape == Shape::WebGateway
            && self.category.as_deref().is_some_and(|of| !GATEWAY_TYPES.contains(&of))
        {
            return Err(format!("`t` must be one of {}.", GATEWAY_TYPES.join(", ")));
        }
        let plain = matches!(
            format,
            Format::PlainList | Format::RequestedList | Format::PanosEdl | Format::CiscoList
        );
        let reshaped = self.collapse != Collapse::No
            || self.strip_ports
            || self.strip_protocol
            || self.shape != Shape::Own;
        let cut = self.first > 0 || self.at_most.is_some();
        let unsliceable = matches!(format, Format::MispFeed | Format::VendorApi | Format::Rpz)
            || format.taxii().is_some();
        match () {
            () if reshaped && !plain => Err(
                "This device's format has one shape: `v`, `tr`, `sp` and `pr` go with plain lists."
                    .to_owned(),
            ),
            () if cut && unsliceable => {
                Err("This device's format is whole or nothing: `n` and `s` go with lists."
                    .to_owned())
            }
            () if self.after.is_some() && format != Format::ArcsightEvents => {
                Err("`after` goes with event streams.".to_owned())
            }
            () => Ok(()),
        }
    }

    /// Whether it is a part of the list: there are as many of them as somebody likes to ask for.
    #[must_use]
    pub const fn is_slice(&self) -> bool {
        self.first > 0 || self.at_most.is_some() || self.after.is_some()
    }

    /// `Content-Type` of the shape; the writer's own where it is unchanged.
    #[must_use]
    pub fn content_type(&self, format: Format) -> &'static str {
        match self.shape {
            Shape::Own => {
                writer(format).map_or("text/plain; charset=utf-8", ListWriter::content_type)
            }
            Shape::Text | Shape::PanosUrl | Shape::WebGateway | Shape::ProxySg => {
                "text/plain; charset=utf-8"
            }
            Shape::Csv => "text/csv; charset=utf-8",
            Shape::Json => "application/json",
            Shape::JsonLines => "application/x-ndjson",
        }
    }

    /// Makes the shape. Gives with it how many values are left out because the shape can't take
    /// them.
    #[must_use]
    pub fn apply(&self, format: Format, document: Document<'_>) -> (Vec<u8>, u64) {
        let Some(writer) = writer(format) else { return (document.text.as_bytes().to_vec(), 0) };
        let (head, rest) =
            document.text.split_at_checked(document.before).unwrap_or(("", document.text));
        let between = std::str::from_utf8(writer.between()).unwrap_or_default();
        // Documents whose entries are joined end in a line of their own.
        let (body, tail) = if between.is_empty() {
            (rest, "")
        } else {
            rest.rfind("\n]").map_or((rest, ""), |at| rest.split_at(at))
        };
        let entries = body
            .lines()
            .map(|line| line.strip_suffix(',').filter(|_| !between.is_empty()).unwrap_or(line))
            .filter(|line| !line.is_empty());
        let after = self.after.map(Timestamp::from_micros);
        let entries = entries
            .filter(|line| after.is_none_or(|after| event_time(line).is_none_or(|at| at > after)));
        if self.shape == Shape::Own
            && self.collapse == Collapse::No
            && !self.strip_ports
            && !self.strip_protocol
        {
            let chosen: Vec<&str> =
                entries.skip(self.first).take(self.at_most.unwrap_or(usize::MAX)).collect();
            let head = if self.first > 0 && !writer.head_on_every_page() { "" } else { head };
            let end = if between.is_empty() && !chosen.is_empty() { "\n" } else { "" };
            let between = if between.is_empty() { "\n" } else { between };
            return ([head, &chosen.join(between), end, tail].concat().into_bytes(), 0);
        }
        let (values, left_out) = self.values(entries);
        let chosen = values.into_iter().skip(self.first).take(self.at_most.unwrap_or(usize::MAX));
        (self.write(chosen), left_out)
    }

    /// The values, put together and cut to size as asked, and how many the shape can't take.
    fn values<'a>(&self, lines: impl Iterator<Item = &'a str>) -> (Vec<String>, u64) {
        let mut left_out = 0;
        let mut values: Vec<String> = Vec::new();
        let mut networks: Vec<IpNet> = Vec::new();
        for line in lines {
            if self.collapse != Collapse::No
                && let Some(network) = network(line)
            {
                networks.push(network);
                continue;
            }
            let mut value = line.to_owned();
            if (self.strip_protocol || self.shape == Shape::PanosUrl)
                && let Some((_, rest)) = value.split_once("://")
            {
                value = rest.to_owned();
            }
            if self.strip_ports {
                value = without_port(&value);
            }
            if self.shape == Shape::PanosUrl {
                // A rewritten value would be another one: `a*@b.co.uk` would become all of `co.uk`.
                if !is_panos_url(&value) {
                    left_out += 1;
                    continue;
                }
                if !value.contains('/') {
                    value.push('/');
                }
            }
            if self.shape.takes(&value) {
                values.push(value);
            } else {
                left_out += 1;
            }
        }
        let mut together: Vec<String> = match self.collapse {
            Collapse::No => Vec::new(),
            Collapse::Networks => {
                IpNet::aggregate(&networks).into_iter().map(network_text).collect()
            }
            Collapse::Ranges => ranges(&networks),
        };
        together.append(&mut values);
        let mut seen = HashSet::with_capacity(together.len());
        let first: Vec<bool> = together.iter().map(|value| seen.insert(value.as_str())).collect();
        let mut first = first.into_iter();
        together.retain(|_| first.next().unwrap_or(true));
        (together, left_out)
    }

    fn write(&self, values: impl Iterator<Item = String>) -> Vec<u8> {
        let quoted = |value: &str| value.replace('"', "%22");
        let category = self
            .category
            .as_deref()
            .unwrap_or("iocast")
            .replace(|c: char| c.is_control() || c == '"', "");
        let text = match self.shape {
            Shape::Own | Shape::Text => values.map(|v| v + "\n").collect::<String>(),
            Shape::PanosUrl => {
                values.map(|v| if v.contains('/') { v + "\n" } else { v + "/\n" }).collect()
            }
            Shape::Csv => std::iter::once("indicator\n".to_owned())
                .chain(values.map(|v| {
                    if v.contains([',', '"']) {
                        format!("\"{}\"\n", v.replace('"', "\"\""))
                    } else {
                        v + "\n"
                    }
                }))
                .collect(),
            // Written item by item: a tree of all takes ten times the room of its text.
            Shape::Json => {
                let mut text = "[".to_owned();
                for value in values {
                    if text.len() > 1 {
                        text.push(',');
                    }
                    text.push_str(&item(&value).to_string());
                }
                text + "]\n"
            }
            Shape::JsonLines => values.map(|v| item(&v).to_string() + "\n").collect(),
            Shape::WebGateway => {
                let kind = if self.category.is_some() { category.as_str() } else { "string" };
                std::iter::once(format!("type={kind}\n"))
                    .chain(values.map(|v| format!("\"{}\" \"iocast\"\n", quoted(&v))))
                    .collect()
            }
            Shape::ProxySg => std::iter::once(format!("define category {category}\n"))
                .chain(values.map(|v| v + "\n"))
                .chain(["end\n".to_owned()])
                .collect(),
        };
        text.into_bytes()
    }
}

impl Shape {
    /// Whether a line of this shape stands for the value, and is no instruction.
    fn takes(self, line: &str) -> bool {
        match self {
            Self::Own | Self::Text | Self::PanosUrl => inert::is_plain(line),
            Self::Csv => !inert::is_formula(line),
            Self::Json | Self::JsonLines => true,
            Self::WebGateway => !line.contains(['\\', '"']),
            Self::ProxySg => {
                let rest = line.split_once("://").map_or(line, |(_, rest)| rest);
                let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
                inert::is_plain(rest) && host.contains('.') && !host.contains('=')
            }
        }
    }
}

fn collapse(word: &str) -> Result<Collapse, String> {
    match word {
        "0" => Ok(Collapse::No),
        "1" => Ok(Collapse::Ranges),
        "2" => Ok(Collapse::Networks),
        _ => Err("`tr` must be 0 (as they are), 1 (ranges) or 2 (networks).".to_owned()),
    }
}

fn shape(word: &str) -> Result<Shape, String> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "text" | "panos" | "pan-os" | "pan-os (text)" => Shape::Text,
        "panosurl" => Shape::PanosUrl,
        "csv" => Shape::Csv,
        "json" => Shape::Json,
        "json-seq" => Shape::JsonLines,
        "mwg" => Shape::WebGateway,
        "bluecoat" | "proxysg" => Shape::ProxySg,
        _ => {
            return Err(format!(
                "`v` must be one of text, panosurl, csv, json, json-seq, mwg, proxysg; `{}` is none of them.",
                clip(word, 40)
            ));
        }
    })
}

#[cfg(test)]
mod tests;
