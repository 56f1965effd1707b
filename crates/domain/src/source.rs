//! Sources of IOCs.

use serde::{Deserialize, Serialize};

mod limits;

pub use self::limits::{LIFETIME_MAX, SourceLimits};
use crate::{id::SourceId, ioc::Severity, problem::FieldError, time::Timestamp};

/// How much a source, or one report of it, is trusted: 1 (low) to 3 (high).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Confidence(u8);

impl Confidence {
    /// 1 of 3.
    pub const LOW: Self = Self(1);
    /// 2 of 3.
    pub const MEDIUM: Self = Self(2);
    /// 3 of 3.
    pub const HIGH: Self = Self(3);
}

impl Confidence {
    /// The severity that a report of it weighs at most, where not all have room.
    #[must_use]
    pub const fn weight(self) -> Severity {
        match self.0 {
            1 => Severity::Low,
            2 => Severity::Medium,
            _ => Severity::High,
        }
    }
}

impl TryFrom<u8> for Confidence {
    type Error = String;

    fn try_from(level: u8) -> Result<Self, String> {
        if (1..=3).contains(&level) {
            Ok(Self(level))
        } else {
            Err("confidence is 1 (low), 2 (medium) or 3 (high)".to_owned())
        }
    }
}

impl From<Confidence> for u8 {
    fn from(confidence: Confidence) -> Self {
        confidence.0
    }
}

/// What brings a source's IOCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A feed.
    Feed,
    /// A document that somebody handed in.
    Document,
}

/// Where IOCs come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Id.
    pub id: SourceId,
    /// Name, unique in the account ignoring case.
    pub name: String,
    /// The confidence of its reports unless they bring their own.
    pub confidence: Confidence,
    /// Reports of a source that is off don't count.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// What brings its IOCs.
    pub kind: SourceKind,
    /// What it is about; may be empty.
    pub description: String,
    /// What it may claim, and for how long its IOCs stay.
    pub limits: SourceLimits,
}

/// Reads a source name: 1 to 100 characters without control characters or `"`, trimmed.
///
/// # Errors
/// The broken rule, as an error of the field `name`.
pub fn parse_source_name(text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    if text.is_empty()
        || text.chars().count() > 100
        || text.chars().any(|c| c.is_control() || c == '"')
    {
        return Err(FieldError::new(
            "name",
            "source_name_invalid",
            "Give a source name of 1 to 100 characters without quotes or control characters.",
        ));
    }
    Ok(text.to_owned())
}
