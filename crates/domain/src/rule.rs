//! IOC management rules: which IOCs go into which groups.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{
    alert::AlertCriteria,
    id::{AccountId, GroupId, RuleId, SourceId},
    ioc::{Ioc, Kind, Severity, State, Whitelist},
    name::Name,
    score::{age_days, score},
    source::Confidence,
    time::Timestamp,
    tlp::Tlp,
};

/// Which lifecycle states a rule takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// Active ones: retired IOCs leave.
    #[default]
    Active,
    /// Retired ones, for those who ask for them.
    Retired,
    /// Both.
    Any,
}

/// What an IOC must be to be chosen. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Criteria {
    /// One of these kinds.
    pub kinds: Vec<Kind>,
    /// One of these severities.
    pub severities: Vec<Severity>,
    /// Reported by one of these sources.
    pub source_ids: Vec<SourceId>,
    /// By a report at least this sure.
    pub min_confidence: Option<Confidence>,
    /// Carries one of these tags (user or system, ignoring case).
    pub tags: Vec<String>,
    /// In this state.
    pub state: StateFilter,
    /// First seen at this time or later.
    pub first_seen_from: Option<Timestamp>,
    /// First seen before this time.
    pub first_seen_to: Option<Timestamp>,
    /// Marked at most so strictly. What is not marked is chosen.
    pub tlp_most: Option<Tlp>,
    /// By so many of these sources.
    pub min_sources: Option<u8>,
    /// Last seen at most so many UTC days ago.
    pub max_age_days: Option<u16>,
    /// With at least this score: see [`crate::score::score`].
    pub min_score: Option<u8>,
    /// And those on the remediation blocklist, of the same kinds, whatever the rest says.
    pub blocklist: bool,
    /// Came up in one of these alerts: an alert policy.
    pub alerts: Option<AlertCriteria>,
}

/// An IOC management rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Id.
    pub id: RuleId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// At most 13 characters, unique in the account ignoring case.
    pub name: Name,
    /// Switched off, it chooses nothing.
    pub enabled: bool,
    /// What it chooses.
    pub criteria: Criteria,
    /// Where to.
    pub group_ids: Vec<GroupId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Sources that are on.
pub type EnabledSources = HashSet<SourceId>;

/// The rank of each source in a group's priority; a source that is not named ranks behind all that
/// are.
pub type SourceRanks = HashMap<SourceId, u32>;

impl Criteria {
    /// Whether what they choose may change without a change, because a day has passed.
    #[must_use]
    pub const fn go_by_age(&self) -> bool {
        self.max_age_days.is_some() || self.min_score.is_some()
    }

    /// Whether the criteria choose this IOC on the UTC day of `now`. Reports of sources that are off
    /// don't count.
    #[must_use]
    pub fn choose(&self, ioc: &Ioc, enabled: &EnabledSources, now: Timestamp) -> bool {
        self.why_not(ioc, enabled, now).is_none()
    }

    /// The first criterion that this IOC does not meet; none if it is chosen.
    #[must_use]
    pub fn why_not(&self, ioc: &Ioc, enabled: &EnabledSources, now: Timestamp) -> Option<NotMet> {
        let any = |list: bool, hit: bool| list || hit;
        if !any(self.kinds.is_empty(), self.kinds.contains(&ioc.kind)) {
            return Some(NotMet::Kind);
        }
        if self.blocklist && ioc.enrichment.blocklisted {
            return None;
        }
        let state = match self.state {
            StateFilter::Active => ioc.state == State::Active,
            StateFilter::Retired => ioc.state == State::Retired,
            StateFilter::Any => true,
        };
        let tags = || ioc.enrichment.user_tags.iter().chain(&ioc.enrichment.system_tags);
        let tagged =
            || self.tags.iter().any(|wanted| tags().any(|tag| tag.eq_ignore_ascii_case(wanted)));
        let marked = || Tlp::strictest(tags().map(String::as_str));
        let reported = || {
            let counts = ioc.enrichment.reports.iter().filter(|r| {
                enabled.contains(&r.source_id)
                    && any(self.source_ids.is_empty(), self.source_ids.contains(&r.source_id))
                    && self.min_confidence.is_none_or(|min| r.confidence >= min)
            });
            let wanted = usize::from(self.min_sources.unwrap_or(1).max(1));
            counts.take(wanted).count() == wanted
        };
        match () {
            () if !state => Some(NotMet::State),
            () if !any(self.severities.is_empty(), self.severities.contains(&ioc.severity())) => {
                Some(NotMet::Severity)
            }
            () if self.first_seen_from.is_some_and(|from| ioc.first_seen < from)
                || self.first_seen_to.is_some_and(|to| ioc.first_seen >= to) =>
            {
                Some(NotMet::FirstSeen)
            }
            () if !self.tags.is_empty() && !tagged() => Some(NotMet::Tags),
            () if self.tlp_most.is_some_and(|most| marked() > Some(most)) => Some(NotMet::Tlp),
            () if self.alerts.as_ref().is_some_and(|of| !of.choose(&ioc.enrichment.alerts)) => {
                Some(NotMet::Alerts)
            }
            () if self.max_age_days.is_some_and(|most| age_days(ioc, now) > i64::from(most)) => {
                Some(NotMet::Age)
            }
            () if !reported() => Some(NotMet::Reports),
            () if self.min_score.is_some_and(|min| score(ioc, enabled, now) < min) => {
                Some(NotMet::Score)
            }
            () => None,
        }
    }
}

/// What a rule asks for that an IOC does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMet {
    /// Its kind.
    Kind,
    /// Whether it is active.
    State,
    /// Its severity.
    Severity,
    /// When it was first seen.
    FirstSeen,
    /// A tag.
    Tags,
    /// How strictly it is marked.
    Tlp,
    /// An alert.
    Alerts,
    /// When it was last seen.
    Age,
    /// Who reports it, how surely, and how many do.
    Reports,
    /// Its score.
    Score,
}

impl NotMet {
    /// Stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::State => "state",
            Self::Severity => "severity",
            Self::FirstSeen => "first_seen",
            Self::Tags => "tags",
            Self::Tlp => "tlp",
            Self::Alerts => "alerts",
            Self::Age => "age",
            Self::Reports => "reports",
            Self::Score => "score",
        }
    }

    /// The second half of "the rule does not choose it, because …".
    #[must_use]
    pub const fn because(self) -> &'static str {
        match self {
            Self::Kind => "the rule takes other kinds",
            Self::State => "the rule takes IOCs in another state (active or retired)",
            Self::Severity => "the rule takes other severities",
            Self::FirstSeen => "it was first seen outside of the rule's time",
            Self::Tags => "it has none of the rule's tags",
            Self::Tlp => "it is marked more strictly than the rule lets pass",
            Self::Alerts => "it came up in none of the alerts that the rule asks for",
            Self::Age => "it was last seen too long ago for the rule",
            Self::Reports => {
                "too few sources that are on, and that the rule counts, report it with enough confidence"
            }
            Self::Score => "its score is too low for the rule",
        }
    }
}

/// Whether an IOC may leave at all: whitelisted IOCs never do (design section 4).
#[must_use]
pub fn may_leave(ioc: &Ioc) -> bool {
    ioc.whitelist != Whitelist::NeverSent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ioc::{Enrichment, Report},
        time::DAY,
    };

    #[test]
    fn criteria_are_all_asked_and_sources_that_are_off_do_not_count() {
        let source = SourceId(uuid::Uuid::from_u128(1));
        let now = Timestamp::parse("2026-11-01").unwrap();
        let ioc = Ioc {
            id: crate::id::IocId(uuid::Uuid::nil()),
            kind: Kind::Domain,
            value: "evil.example".into(),
            first_seen: now,
            last_seen: now,
            state: State::Active,
            whitelist: Whitelist::Default,
            enrichment: Enrichment {
                reports: vec![Report {
                    source_id: source,
                    confidence: Confidence::MEDIUM,
                    reported_at: 0,
                    first_at: 0,
                    lifetime_days: None,
                }],
                user_tags: ["Phishing".to_owned()].into(),
                ..Enrichment::default()
            },
        };
        let on = EnabledSources::from([source]);
        let chosen = |criteria: Criteria| criteria.choose(&ioc, &on, now);
        assert!(chosen(Criteria::default()));
        assert!(!Criteria::default().choose(&ioc, &EnabledSources::new(), now));
        assert!(chosen(Criteria { tags: vec!["phishing".into()], ..Criteria::default() }));
        assert!(!chosen(Criteria { kinds: vec![Kind::Url], ..Criteria::default() }));
        assert!(!chosen(Criteria { severities: vec![Severity::High], ..Criteria::default() }));
        assert!(!chosen(Criteria {
            min_confidence: Some(Confidence::HIGH),
            ..Criteria::default()
        }));
        assert!(!chosen(Criteria {
            source_ids: vec![SourceId(uuid::Uuid::nil())],
            ..Criteria::default()
        }));
        assert!(!chosen(Criteria { state: StateFilter::Retired, ..Criteria::default() }));
        assert!(chosen(Criteria { min_sources: Some(1), ..Criteria::default() }));
        assert!(!chosen(Criteria { min_sources: Some(2), ..Criteria::default() }));
        let mut marked = ioc.clone();
        marked.enrichment.system_tags.insert("tlp:amber".to_owned());
        for (most, chosen) in [(Tlp::Green, false), (Tlp::Amber, true)] {
            let criteria = Criteria { tlp_most: Some(most), ..Criteria::default() };
            assert_eq!(criteria.choose(&marked, &on, now), chosen);
            assert!(criteria.choose(&ioc, &on, now));
        }
        let later = |criteria: &Criteria, days| criteria.choose(&ioc, &on, now.plus(days * DAY));
        let young = Criteria { max_age_days: Some(3), ..Criteria::default() };
        assert!(later(&young, 3) && !later(&young, 4) && young.go_by_age());
        // A domain of medium confidence begins with 60 points and has 90 days.
        let strong = Criteria { min_score: Some(40), ..Criteria::default() };
        assert!(later(&strong, 30) && !later(&strong, 31) && strong.go_by_age());
        assert!(chosen(Criteria { first_seen_from: Some(now), ..Criteria::default() }));
        assert!(!chosen(Criteria { first_seen_to: Some(now), ..Criteria::default() }));
    }
}
