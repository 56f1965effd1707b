//! What the columns of tables and the keys of JSON objects are called, and what stands in them.

use iocast_domain::{
    ioc::{Kind, Severity, Sighting, Whitelist, label},
    source::Confidence,
    time::{Timestamp, clip},
};

use super::{dates, kinds};
use kinds::KindWord;

/// What a column or key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Indicators of any kind.
    Value,
    /// Indicators of the kind that the name says.
    Of(Kind),
    /// Hashes; the length says which.
    Hash,
    Kind,
    FirstSeen,
    LastSeen,
    Severity,
    Confidence,
    Score,
    AlertId,
    UserTags,
    SystemTags,
    Actors,
    Campaigns,
    Families,
    Whitelist,
    /// MISP's category of an attribute.
    Category,
    /// MISP's mark for what is to be detected.
    ToIds,
    /// A link to where it was written about: never an indicator.
    Reference,
}

impl Role {
    /// Whether indicators stand there.
    pub(super) fn is_value(self) -> bool {
        matches!(self, Self::Value | Self::Of(_) | Self::Hash)
    }
}

/// The name without case, quotes and separators: `First Seen (UTC)` is `firstseenutc`.
pub(super) fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// What a column or key of this name holds; nothing where the name is unknown.
pub(super) fn role(name: &str) -> Option<Role> {
    let name = folded(name);
    Some(match name.as_str() {
        "value"
        | "values"
        | "indicator"
        | "indicators"
        | "ioc"
        | "iocs"
        | "iocvalue"
        | "indicatorvalue"
        | "observable"
        | "observablevalue"
        | "data"
        | "artifact"
        | "indicatorofcompromise"
        | "entity"
        | "iocdata"
        | "indicatorioc" => Role::Value,
        "kind" | "type" | "ioctype" | "indicatortype" | "observabletype" | "datatype"
        | "entitytype" | "iockind" | "indicatorkind" | "typeofioc" | "kindofioc" => Role::Kind,
        "firstseen" | "firstseenutc" | "firstseendate" | "datefirstseen" | "date" | "dateadded"
        | "created" | "createdat" | "createddate" | "creationdate" | "validfrom" | "timestamp"
        | "firstseenat" | "firstobserved" | "firstreported" | "detectiondate" => Role::FirstSeen,
        "lastseen" | "lastseenutc" | "lastseendate" | "datelastseen" | "lastonline" | "updated"
        | "updatedat" | "modified" | "lastupdated" | "lastseenat" | "lastobserved"
        | "lastreported" => Role::LastSeen,
        "severity" | "threatlevel" | "risk" | "risklevel" | "priority" => Role::Severity,
        "confidence" | "confidencelevel" | "confidencescore" | "certainty" => Role::Confidence,
        "score" | "riskscore" | "threatscore" => Role::Score,
        "alertid" => Role::AlertId,
        "usertags" | "tags" | "tag" | "labels" => Role::UserTags,
        "systemtags" | "threattype" | "threat" => Role::SystemTags,
        "threatactors" | "threatactor" | "actor" | "actors" | "apt" | "adversary"
        | "intrusionset" | "intrusionsets" => Role::Actors,
        "campaigns" | "campaign" | "campaignname" => Role::Campaigns,
        "malwarefamilies" | "malwarefamily" | "malware" | "family" | "malwareprintable"
        | "signature" | "malwarename" => Role::Families,
        "whitelist" => Role::Whitelist,
        "category" => Role::Category,
        "toids" => Role::ToIds,
        "reference" | "references" | "link" | "links" | "permalink" | "source" | "sources"
        | "report" | "urlhauslink" | "virustotal" | "vt" | "comment" | "comments" | "note"
        | "notes" | "description" | "title" | "file" | "filename" | "reporter" | "sha512"
        | "sha384" | "imphash" | "ssdeep" | "tlsh" | "status" | "urlstatus" => Role::Reference,
        other => return kind_column(other),
    })
}

/// A column that is named after a kind: `sha256`, `c2_domain`, `dst_ip`.
fn kind_column(name: &str) -> Option<Role> {
    let bare =
        ["c2", "cc", "dst", "dest", "destination", "remote", "malicious", "download", "full"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix).filter(|rest| !rest.is_empty()))
            .unwrap_or(name);
    match kinds::word(bare) {
        KindWord::Kind(kind) => Some(Role::Of(kind)),
        KindWord::Hash if bare != "file" && bare != "sample" => Some(Role::Hash),
        _ if matches!(bare, "srcuser" | "senderaddress") => Some(Role::Of(Kind::Email)),
        _ if name == "c2" || name == "c2s" => Some(Role::Value),
        _ => None,
    }
}

/// What stands in a cell or behind a key.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A cell: labels in it are separated by `;`, `|` or `,`.
    Cell(String),
    /// Texts as they are.
    Exact(Vec<String>),
}

impl Said {
    /// The texts: one, or each of a list.
    pub(super) fn texts(&self) -> &[String] {
        match self {
            Self::Cell(text) => std::slice::from_ref(text),
            Self::Exact(texts) => texts,
        }
    }

    fn labels(&self) -> Vec<String> {
        match self {
            Self::Cell(text) => labels(text).collect(),
            Self::Exact(texts) => {
                texts.iter().filter(|text| !is_blank(text)).filter_map(|text| label(text)).collect()
            }
        }
    }
}

/// What is said of an indicator beside its value.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) sighting: Sighting,
    pub(super) kind: KindWord,
    pub(super) category: Option<String>,
    pub(super) to_ids: Option<bool>,
    /// What could not be read, and was left out.
    pub(super) left_out: Vec<String>,
}

/// What stands where there is nothing to say.
fn is_blank(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "" | "none" | "n/a" | "na" | "null" | "nil" | "-" | "--" | "unknown" | "undefined" | "nan"
    )
}

impl Facts {
    /// Takes in what stands in a cell or behind a key.
    pub(super) fn take(&mut self, role: Role, said: &Said) {
        let Some(text) = said.texts().first().map(|text| text.trim()).filter(|t| !is_blank(t))
        else {
            return;
        };
        let enrichment = &mut self.sighting.enrichment;
        match role {
            Role::Value | Role::Of(_) | Role::Hash | Role::Reference => {}
            Role::Kind => self.kind = kinds::word(text),
            Role::FirstSeen => self.sighting.first_seen = self.date("first seen", text),
            Role::LastSeen => self.sighting.last_seen = self.date("last seen", text),
            Role::Severity => match severity(text) {
                Some(severity) => enrichment.reported_severity = Some(severity),
                None => self.leave_out("severity", text, "write it as low, medium or high"),
            },
            Role::Confidence => match confidence(text) {
                Some(confidence) => self.sighting.confidence = Some(confidence),
                None => self.leave_out("confidence", text, "write it as 1 to 3, or 0 to 100"),
            },
            Role::Score => match text.trim_end_matches('%').trim().parse() {
                Ok(score) if (0.0..=100.0).contains(&score) => enrichment.score = Some(score),
                _ => self.leave_out("score", text, "write it as a number of 0 to 100"),
            },
            Role::AlertId => enrichment.alert_id = label(text),
            Role::UserTags => enrichment.user_tags.extend(said.labels()),
            Role::SystemTags => enrichment.system_tags.extend(said.labels()),
            Role::Actors => enrichment.threat_actors.extend(said.labels()),
            Role::Campaigns => enrichment.campaigns.extend(said.labels()),
            Role::Families => enrichment.malware_families.extend(said.labels()),
            Role::Whitelist => match text.parse::<Whitelist>() {
                Ok(whitelist) => self.sighting.whitelist = Some(whitelist),
                Err(_) => self.leave_out(
                    "whitelist state",
                    text,
                    "write it as default, never_sent or always_sent",
                ),
            },
            Role::Category => self.category = Some(text.to_owned()),
            Role::ToIds => {
                self.to_ids =
                    Some(matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "yes"));
            }
        }
    }

    fn leave_out(&mut self, what: &str, text: &str, how: &str) {
        self.left_out.push(format!("the {what} `{}` was left out; {how}", clip(text, 40)));
    }

    fn date(&mut self, what: &str, text: &str) -> Option<Timestamp> {
        if text.trim_start_matches(['0', '-', ':', ' ', '/', '.', 'T', 'Z']).is_empty() {
            return None;
        }
        let read = dates::parse(text);
        if read.is_none() {
            self.leave_out(what, text, "write it as 2026-11-01 or 2026-11-01T10:11:12Z");
        }
        read
    }

    /// Once everything was taken in: dates in their order.
    pub(super) fn finish(&mut self) {
        let sighting = &mut self.sighting;
        if let (Some(first), Some(last)) = (sighting.first_seen, sighting.last_seen)
            && first > last
        {
            sighting.first_seen = Some(last);
            sighting.last_seen = Some(first);
            self.left_out.push("first seen was later than last seen; they were swapped".to_owned());
        }
    }
}

/// Several labels of a cell.
fn labels(text: &str) -> impl Iterator<Item = String> {
    let commas = !text.contains([';', '|']);
    text.split(move |c| c == ';' || c == '|' || commas && c == ',')
        .filter(|part| !is_blank(part))
        // A spreadsheet's guard against formulas.
        .map(|part| match part.trim().strip_prefix('\'') {
            Some(rest) if rest.starts_with(['=', '+', '-', '@']) => rest,
            _ => part,
        })
        .filter_map(label)
}

/// A severity in the words of other products.
pub(super) fn severity(text: &str) -> Option<Severity> {
    match folded(text).as_str() {
        "critical" | "severe" | "veryhigh" | "high" | "malicious" => Some(Severity::High),
        "medium" | "moderate" | "elevated" | "suspicious" => Some(Severity::Medium),
        "low" | "verylow" | "info" | "informational" | "information" | "minor" => {
            Some(Severity::Low)
        }
        _ => None,
    }
}

/// A confidence: 1 to 3 as here, words, a percentage, or a number of 0 to 100 (STIX's scale: from 30
/// on medium, from 70 on high).
pub(super) fn confidence(text: &str) -> Option<Confidence> {
    match folded(text).as_str() {
        "low" | "verylow" => return Some(Confidence::LOW),
        "medium" | "moderate" | "med" => return Some(Confidence::MEDIUM),
        "high" | "veryhigh" | "certain" => return Some(Confidence::HIGH),
        _ => {}
    }
    let percent = text.trim().ends_with('%');
    let number: f64 = text.trim().trim_end_matches('%').trim().parse().ok()?;
    if !percent && text.trim().len() == 1 && (1.0..=3.0).contains(&number) {
        return text.trim().parse::<u8>().ok().and_then(|c| Confidence::try_from(c).ok());
    }
    let number =
        if !percent && number <= 1.0 && text.contains('.') { number * 100.0 } else { number };
    (0.0..=100.0).contains(&number).then_some(match number {
        n if n >= 70.0 => Confidence::HIGH,
        n if n >= 30.0 => Confidence::MEDIUM,
        _ => Confidence::LOW,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_in_use() {
        for (name, expected) in [
            ("IOC Value", Some(Role::Value)),
            ("indicatorValue", Some(Role::Value)),
            ("# \"ioc_value\"", Some(Role::Value)),
            ("Indicator_type", Some(Role::Kind)),
            ("dst_ip", Some(Role::Of(Kind::Ipv4))),
            ("c2_domain", Some(Role::Of(Kind::Domain))),
            ("sha256_hash", Some(Role::Of(Kind::Sha256))),
            ("file_hash", Some(Role::Hash)),
            ("url", Some(Role::Of(Kind::Url))),
            ("urlhaus_link", Some(Role::Reference)),
            ("First Seen (UTC)", Some(Role::FirstSeen)),
            ("dst_port", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }

    #[test]
    fn scales_in_use() {
        for (text, expected) in [
            ("75", Some(3)),
            ("100", Some(3)),
            ("0.9", Some(3)),
            ("50%", Some(2)),
            ("2", Some(2)),
            ("high", Some(3)),
            ("0", Some(1)),
            ("awful", None),
            ("101", None),
        ] {
            assert_eq!(confidence(text).map(u8::from), expected, "{text}");
        }
        assert_eq!(severity("Critical"), Some(Severity::High));
        assert_eq!(severity("4"), None);
    }
}
