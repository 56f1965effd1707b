//! Whether devices have what their groups hold, in words.

use iocast_domain::{receipt::Protection, time::Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::templates::number;

/// Whether a device has what a group holds.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct ProtectionOut {
    /// `never_fetched`, `refused` (the device fetches events at pull after pull, so it does not store
    /// them), `not_taken` (it was offered events three times and did not fetch them), `late` (it
    /// lacks what was published longer ago than half the time after which it would be silent),
    /// `partly_fetched`,
    /// `empty`, `shrunk`, `held`, `frozen`, `at_limit`, `behind`, `unknown` or `complete`.
    state: &'static str,
    /// Two or three words.
    word: String,
    /// A sentence.
    sentence: String,
    /// Whether somebody should look.
    trouble: bool,
}

fn iocs(n: u64) -> String {
    if n == 1 { "1 IOC".to_owned() } else { format!("{} IOCs", number(n)) }
}

fn events(n: u64) -> String {
    if n == 1 { "1 event".to_owned() } else { format!("{} events", number(n)) }
}

impl From<Protection> for ProtectionOut {
    fn from(of: Protection) -> Self {
        let minute = |at: Timestamp| at.minute();
        let (word, sentence) = match of {
            Protection::NeverFetched => {
                ("never fetched".to_owned(), "Nothing was fetched yet.".to_owned())
            }
            Protection::Refused { events: n } => (
                "refused by the device".to_owned(),
                format!(
                    "The device fetches {} at pull after pull, so it does not store what it is given: look for a deleted event, a blocklist or a filter on its side.",
                    events(n)
                ),
            ),
            Protection::NotTaken { events: n } => (
                format!("{} not taken", events(n)),
                format!(
                    "The device was offered {} three times more, or for a day, and did not fetch that: look for a feed filter, a clock ahead of iocast's, or an edit on its side. Send the IOCs again in new events if nothing explains it.",
                    events(n)
                ),
            ),
            Protection::Late { changes, at_least, since }
            | Protection::Behind { changes, at_least, since } => {
                let more = if at_least { "at least " } else { "" };
                (
                    format!("behind by {more}{}", number(changes)),
                    format!(
                        "{more}{} joined or left since {}, and the device has not fetched that yet.",
                        iocs(changes),
                        minute(since)
                    ),
                )
            }
            Protection::Partly { events: n, of } => (
                format!("partly fetched: {n} of {of}"),
                format!("The device has fetched {n} of {} in their present version.", events(of)),
            ),
            Protection::Empty => ("empty".to_owned(), "The group holds no IOC.".to_owned()),
            Protection::Shrunk { percent } => (
                format!("shrunk by {percent} %"),
                format!("The group holds {percent} % less than in one of its last publications."),
            ),
            Protection::Held { until } => (
                "held".to_owned(),
                format!(
                    "A publication is held until {}, because it would lose too much at once.",
                    minute(until)
                ),
            ),
            Protection::Frozen { publication } => {
                ("frozen".to_owned(), format!("The group is frozen at publication {publication}."))
            }
            Protection::AtLimit { left_out } => (
                format!("at its limit: {} left out", number(left_out)),
                format!("The group is full: {} found no room.", iocs(left_out)),
            ),
            Protection::Unknown => (
                "not known".to_owned(),
                "The device pulls. What it has is known once it fetches everything that the group holds.".to_owned(),
            ),
            Protection::Complete => (
                "complete".to_owned(),
                "The device has fetched everything that the group holds.".to_owned(),
            ),
        };
        let mut capital = sentence.chars();
        let sentence =
            capital.next().map(|c| c.to_uppercase().chain(capital).collect()).unwrap_or_default();
        Self { state: of.code(), word, sentence, trouble: of.is_trouble() }
    }
}
