//! Indicators of compromise: kinds, enrichment, age, and how two sightings become one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    alert::AlertRef,
    id::{AccountId, IocId, SourceId},
    problem::FieldError,
    source::Confidence,
    time::{DAY, Timestamp},
};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant = $code),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The number in which it is stored.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The value stored as `code`.
            #[must_use]
            pub fn from_code(code: i16) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.code() == code)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.word().eq_ignore_ascii_case(text)).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.word()).collect();
                    format!("`{}` is none of {}", crate::time::clip(text, 40), all.join(", "))
                })
            }
        }
    };
}

pub(crate) use words;

mod age;
mod merge;
pub use self::merge::{Change, Reporter, Sighting, merge, unite};

words! {
    /// What an IOC is. An address may be a single one or a CIDR block.
    Kind {
        /// A domain or host name.
        Domain = 1 "domain",
        /// A URL.
        Url = 2 "url",
        /// An e-mail address.
        Email = 3 "email",
        /// An IPv4 address or block.
        Ipv4 = 4 "ipv4",
        /// An IPv6 address or block.
        Ipv6 = 5 "ipv6",
        /// An MD5 hash of a file.
        Md5 = 6 "md5",
        /// A SHA-1 hash of a file.
        Sha1 = 7 "sha1",
        /// A SHA-256 hash of a file.
        Sha256 = 8 "sha256",
    }
}

words! {
    /// How bad it is. Where no source says, an IOC is Low and marked "not rated".
    Severity {
        /// Low.
        Low = 1 "low",
        /// Medium.
        Medium = 2 "medium",
        /// High.
        High = 3 "high",
    }
}

words! {
    /// Whether an IOC is young enough to count.
    State {
        /// Seen lately.
        Active = 1 "active",
        /// Not seen for longer than its kind's lifetime.
        Retired = 2 "retired",
    }
}

words! {
    /// What people said about sending an IOC.
    Whitelist {
        /// The system decides.
        Default = 0 "default",
        /// Never sent to a device.
        NeverSent = 1 "never_sent",
        /// Sent even if the system would not.
        AlwaysSent = 2 "always_sent",
    }
}

impl Kind {
    /// How long an IOC of this kind stays Active after it was last seen, in microseconds
    /// (Threat Command's ages: IP 2 weeks, URL and e-mail 2 months, domain 3 months, hash 1 year).
    #[must_use]
    pub const fn lifetime(self) -> i64 {
        match self {
            Self::Ipv4 | Self::Ipv6 => 14 * DAY,
            Self::Url | Self::Email => 60 * DAY,
            Self::Domain => 90 * DAY,
            Self::Md5 | Self::Sha1 | Self::Sha256 => 365 * DAY,
        }
    }
}

/// One source's word on an IOC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who says so.
    #[serde(rename = "s")]
    pub source_id: SourceId,
    /// How sure this report is, 1 to 3.
    #[serde(rename = "c")]
    pub confidence: Confidence,
    /// When it was last received, in UTC microseconds.
    #[serde(rename = "t")]
    pub reported_at: i64,
    /// When it was first received, in UTC microseconds; 0 where that was before it was kept.
    #[serde(rename = "f", default)]
    pub first_at: i64,
    /// Days for which the IOC stays Active after it was last seen, where the source has a lifetime
    /// of its own for it.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub lifetime_days: Option<u16>,
}

/// A remark of a person about an IOC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// When.
    pub at: Timestamp,
    /// Who: an e-mail address.
    pub author: String,
    /// The remark.
    pub text: String,
}

/// What is known about an IOC beyond its value; kept with it as one document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enrichment {
    /// Who reported it, one entry a source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
    /// Tags set by users.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub user_tags: BTreeSet<String>,
    /// Tags set by sources and by the product.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub system_tags: BTreeSet<String>,
    /// Threat actors.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub threat_actors: BTreeSet<String>,
    /// Campaigns.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub campaigns: BTreeSet<String>,
    /// Malware families.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub malware_families: BTreeSet<String>,
    /// The alert it came up in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_id: Option<String>,
    /// The latest alerts that it came up in, oldest first; an alert policy goes by them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertRef>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The worst severity a source gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_severity: Option<Severity>,
    /// The severity a user set instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_severity: Option<Severity>,
    /// Remarks, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Comment>,
    /// On the remediation blocklist: rules that take it choose it whatever else they ask for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocklisted: bool,
}

/// An indicator of compromise of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct Ioc {
    /// Id.
    pub id: IocId,
    /// What it is.
    pub kind: Kind,
    /// The normalised value.
    pub value: String,
    /// First seen.
    pub first_seen: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
    /// Young enough to count.
    pub state: State,
    /// What people said about sending it.
    pub whitelist: Whitelist,
    /// Everything else.
    pub enrichment: Enrichment,
}

/// The id of an IOC: version 5 UUID over account, kind and normalised value.
#[must_use]
pub fn ioc_id(account: &AccountId, kind: Kind, value: &str) -> IocId {
    ioc_id_in(&account.namespace(), kind, value)
}

/// As [`ioc_id`], for a caller that has the account's namespace at hand.
#[must_use]
pub fn ioc_id_in(namespace: &Uuid, kind: Kind, value: &str) -> IocId {
    IocId(Uuid::new_v5(namespace, format!("{}|{value}", kind.word()).as_bytes()))
}

impl Ioc {
    /// The severity that counts: the user's, else the worst reported, else Low.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.enrichment.user_severity.or(self.enrichment.reported_severity).unwrap_or(Severity::Low)
    }

    /// Whether a source reports it, or a person decided something about it.
    #[must_use]
    pub fn was_reported_or_decided(&self) -> bool {
        !self.enrichment.reports.is_empty() || self.is_decided()
    }

    /// Whether a person decided something about it, or wrote a remark.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        let Enrichment { user_severity, comments, blocklisted, .. } = &self.enrichment;
        self.whitelist != Whitelist::Default
            || user_severity.is_some()
            || *blocklisted
            || !comments.is_empty()
    }

    /// Forgets what sources said of it, if none reports it any more. What people decided stays.
    pub fn forget_unreported(&mut self) {
        if self.enrichment.reports.is_empty() {
            let Enrichment { user_tags, user_severity, comments, blocklisted, .. } =
                std::mem::take(&mut self.enrichment);
            self.enrichment = Enrichment {
                user_tags,
                user_severity,
                comments,
                blocklisted,
                ..Enrichment::default()
            };
        }
    }

    /// Whether anybody gave a severity.
    #[must_use]
    pub fn rated(&self) -> bool {
        self.enrichment.user_severity.is_some() || self.enrichment.reported_severity.is_some()
    }
}

impl Enrichment {
    /// Adds a remark.
    ///
    /// # Errors
    /// If there are as many as an IOC takes, as an error of the field `comment`.
    pub fn comment(&mut self, comment: Comment) -> Result<(), FieldError> {
        if self.comments.len() >= COMMENTS_MAX {
            let message =
                format!("This IOC has {COMMENTS_MAX} comments, which is the most it takes.");
            return Err(FieldError::new("comment", "too_many_comments", message));
        }
        self.comments.push(comment);
        Ok(())
    }

    fn united(mut self, twin: Self) -> Self {
        self.absorb(&twin);
        let Self { reports, alert_id: _, alerts, user_severity, comments, blocklisted, .. } = twin;
        for report in reports {
            match self.reports.iter_mut().find(|known| known.source_id == report.source_id) {
                Some(known) => {
                    known.confidence = known.confidence.max(report.confidence);
                    known.reported_at = known.reported_at.max(report.reported_at);
                    known.first_at = known.first_at.min(report.first_at);
                }
                None => self.reports.push(report),
            }
        }
        self.reports.sort_by_key(|report| report.source_id);
        for alert in alerts {
            if !self.alerts.contains(&alert) {
                self.alerts.push(alert);
            }
        }
        self.user_severity = self.user_severity.max(user_severity);
        self.comments.extend(comments);
        self.comments.sort_by_key(|comment| comment.at);
        self.blocklisted |= blocklisted;
        self
    }

    /// Takes in what a sighting says: sets grow, the worst severity and score stay.
    pub fn absorb(&mut self, seen: &Self) {
        // The first ones stay: an IOC that is reported for years must not grow without end.
        let grow = |mine: &mut BTreeSet<String>, theirs: &BTreeSet<String>| {
            for label in theirs {
                if mine.len() >= LABELS_MAX && !mine.contains(label) {
                    break;
                }
                mine.insert(label.clone());
            }
        };
        grow(&mut self.user_tags, &seen.user_tags);
        grow(&mut self.system_tags, &seen.system_tags);
        grow(&mut self.threat_actors, &seen.threat_actors);
        grow(&mut self.campaigns, &seen.campaigns);
        grow(&mut self.malware_families, &seen.malware_families);
        self.reported_severity = self.reported_severity.max(seen.reported_severity);
        self.score = match (self.score, seen.score) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        if seen.alert_id.is_some() {
            self.alert_id.clone_from(&seen.alert_id);
        }
    }
}

/// Most tags of one kind, actors, campaigns or families that an IOC carries.
pub const LABELS_MAX: usize = 100;
/// Most comments on an IOC.
pub const COMMENTS_MAX: usize = 500;

/// Longest tag or name in the enrichment, in characters: MISP cuts tag names at 255, and ours carry
/// a prefix.
pub const LABEL_MAX: usize = 160;

/// Makes a tag, actor, campaign or family name fit to be stored: trimmed, without control
/// characters or `"` (MISP and its clients split on quotes), at most [`LABEL_MAX`] characters.
/// `None` if nothing is left.
#[must_use]
pub fn label(text: &str) -> Option<String> {
    // Most are fit as they are.
    if text.len() <= LABEL_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' || b == b' ')
    {
        let clean = text.trim();
        return (!clean.is_empty()).then(|| clean.to_owned());
    }
    let clean: String =
        text.chars().map(|c| if c.is_control() || c == '"' { ' ' } else { c }).collect();
    let clean: String = clean.trim().chars().take(LABEL_MAX).collect();
    let clean = clean.trim_end();
    (!clean.is_empty()).then(|| clean.to_owned())
}

#[cfg(test)]
mod tests;
