//! Which IOCs a source takes of those that it fetches.

use crate::{
    ioc::{Kind, Sighting},
    source::Confidence,
    time::{DAY, Timestamp},
    tlp::Tlp,
};

/// Which IOCs are taken. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// One of these kinds.
    pub kinds: Vec<Kind>,
    /// With one of these tags, ignoring case.
    pub tags: Vec<String>,
    /// Marked at most so strictly. What is not marked is taken.
    pub tlp_most: Option<Tlp>,
    /// By a report at least this sure. What says nothing of that is taken.
    pub min_confidence: Option<Confidence>,
    /// Seen at most so many days ago. What has no date is taken.
    pub max_age_days: Option<u32>,
}

impl Takes {
    /// Whether all are taken.
    #[must_use]
    pub fn all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an IOC is taken.
    #[must_use]
    pub fn take(&self, sighting: &Sighting, now: Timestamp) -> bool {
        let tags = || {
            let own = &sighting.enrichment;
            own.system_tags.iter().chain(&own.user_tags).map(String::as_str)
        };
        let kind = sighting.indicator.as_ref().map(|(kind, _)| *kind);
        let seen = sighting.last_seen.or(sighting.first_seen);
        (self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && (self.tags.is_empty()
                || tags().any(|tag| self.tags.iter().any(|of| of.eq_ignore_ascii_case(tag))))
            && self.tlp_most.is_none_or(|most| Tlp::strictest(tags()) <= Some(most))
            && sighting.confidence.is_none_or(|of| Some(of) >= self.min_confidence)
            && self
                .max_age_days
                .zip(seen)
                .is_none_or(|(days, seen)| seen.plus(i64::from(days).saturating_mul(DAY)) >= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioc::Enrichment;

    #[test]
    fn each_condition_is_asked() {
        let now = Timestamp::parse("2026-11-30T00:00:00Z").unwrap();
        let sighting = Sighting {
            indicator: Some((Kind::Domain, "evil.example".to_owned())),
            last_seen: Some(now.plus(-5 * DAY)),
            confidence: Some(Confidence::MEDIUM),
            enrichment: Enrichment {
                system_tags: ["tlp:amber".to_owned(), "phishing".to_owned()].into(),
                ..Enrichment::default()
            },
            ..Sighting::default()
        };
        let take = |takes: Takes| takes.take(&sighting, now);
        let all = Takes::default;
        assert!(take(all()) && all().all());
        assert!(take(Takes { kinds: vec![Kind::Domain], ..all() }));
        assert!(!take(Takes { kinds: vec![Kind::Url], ..all() }));
        assert!(take(Takes { tags: vec!["PHISHING".to_owned()], ..all() }));
        assert!(!take(Takes { tags: vec!["botnet".to_owned()], ..all() }));
        assert!(take(Takes { tlp_most: Some(Tlp::Amber), ..all() }));
        assert!(!take(Takes { tlp_most: Some(Tlp::Green), ..all() }));
        assert!(take(Takes { max_age_days: Some(5), ..all() }));
        assert!(!take(Takes { max_age_days: Some(4), ..all() }));
        assert!(take(Takes { min_confidence: Some(Confidence::MEDIUM), ..all() }));
        assert!(!take(Takes { min_confidence: Some(Confidence::HIGH), ..all() }));
        let bare = Sighting { indicator: sighting.indicator.clone(), ..Sighting::default() };
        let strict = Takes {
            tlp_most: Some(Tlp::Clear),
            min_confidence: Some(Confidence::HIGH),
            max_age_days: Some(0),
            ..all()
        };
        assert!(strict.take(&bare, now));
    }
}
