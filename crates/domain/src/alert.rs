//! Alerts, as far as they feed devices: what happened, how bad it is, and the IOCs that came up in
//! it.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AlertId, UserId},
    ioc::{Enrichment, Kind, Severity, words},
    time::Timestamp,
};

/// Alerts that an IOC remembers; of more the oldest are forgotten.
const REMEMBERED: usize = 50;

words! {
    /// What an alert is about; the words are the original's.
    AlertKind {
        /// Signs of an attack.
        AttackIndication = 1 "AttackIndication",
        /// Data that got out.
        DataLeakage = 2 "DataLeakage",
        /// Phishing.
        Phishing = 3 "Phishing",
        /// The brand is abused.
        BrandSecurity = 4 "BrandSecurity",
        /// A hole that can be used.
        ExploitableData = 5 "ExploitableData",
        /// An important person is concerned.
        Vip = 6 "vip",
    }
}

words! {
    /// Why an alert was closed; the words are the original's.
    CloseReason {
        /// Solved.
        ProblemSolved = 1 "ProblemSolved",
        /// Nothing to do.
        InformationalOnly = 2 "InformationalOnly",
        /// Known.
        AlreadyAware = 3 "ProblemWeAreAlreadyAwareOf",
        /// Our own domain.
        CompanyOwnedDomain = 4 "CompanyOwnedDomain",
        /// All right.
        Legitimate = 5 "LegitimateApplication/Profile",
        /// Somebody else's.
        NotRelated = 6 "NotRelatedToMyCompany",
        /// Wrong.
        FalsePositive = 7 "FalsePositive",
        /// Anything else.
        Other = 8 "Other",
    }
}

/// Where an alert was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertSource {
    /// What kind of place: `Application Store`, say.
    pub kind: String,
    /// `ClearWeb` or `DarkWeb`.
    pub network: String,
    /// Its address.
    pub url: String,
    /// When it was published there.
    pub date: Option<Timestamp>,
}

/// A tag on an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertTag {
    /// Id.
    pub id: AlertId,
    /// The tag.
    pub name: String,
    /// Who set it.
    pub by: String,
}

/// How an alert was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Why.
    pub reason: CloseReason,
    /// In words.
    pub text: String,
    /// Not to be shown any more.
    pub hidden: bool,
    /// How good the alert was, 0 to 5.
    pub rate: Option<u8>,
}

/// What an alert says; kept with it as one document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertText {
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// The finer type, in the original's words.
    pub sub_type: String,
    /// Where it was found.
    pub source: AlertSource,
    /// Tags.
    pub tags: Vec<AlertTag>,
    /// Who looks after it.
    pub assignees: Vec<UserId>,
    /// How it was closed; none while it is open.
    pub closing: Option<Closing>,
    /// IOCs that came up in it, in their normal form.
    pub iocs: Vec<(Kind, String)>,
}

/// An alert of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Id.
    pub id: AlertId,
    /// What it is about.
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// When it was found.
    pub found_at: Timestamp,
    /// When it came to iocast.
    pub received_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Everything else.
    pub text: AlertText,
}

impl Alert {
    /// What its IOCs remember of it.
    #[must_use]
    pub fn reference(&self) -> AlertRef {
        AlertRef {
            id: self.id.clone(),
            kind: self.kind,
            severity: self.severity,
            at: self.received_at.micros(),
        }
    }
}

/// What an IOC remembers of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRef {
    /// Which alert.
    pub id: AlertId,
    /// What it is about.
    #[serde(rename = "k")]
    pub kind: AlertKind,
    /// How bad it is.
    #[serde(rename = "s")]
    pub severity: Severity,
    /// When it came to iocast, in UTC microseconds.
    #[serde(rename = "t")]
    pub at: i64,
}

impl Enrichment {
    /// Remembers an alert, or what became of it. The alert ID that devices get is that of the alert
    /// that came last.
    pub fn remember(&mut self, alert: AlertRef) {
        self.alerts.retain(|a| a.id != alert.id);
        self.alerts.push(alert);
        self.alerts.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        let many = self.alerts.len().saturating_sub(REMEMBERED);
        self.alerts.drain(..many);
        self.alert_id = self.alerts.last().map(|a| a.id.to_string());
    }
}

/// Which alerts a policy acts on: IOCs that came up in one of them. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCriteria {
    /// One of these types.
    pub types: Vec<AlertKind>,
    /// One of these severities.
    pub severities: Vec<Severity>,
    /// Past alerts too, not only new ones.
    pub past: bool,
    /// Unless past ones count: alerts that came at this time or later.
    pub since: Option<Timestamp>,
}

impl AlertCriteria {
    /// The same, acting on what comes from `now` on unless past alerts count or an earlier time
    /// stands already.
    #[must_use]
    pub fn from_now(self, now: Timestamp) -> Self {
        let since = if self.past { None } else { self.since.or(Some(now)) };
        Self { since, ..self }
    }

    /// Whether one of these alerts is meant.
    #[must_use]
    pub fn choose(&self, alerts: &[AlertRef]) -> bool {
        alerts.iter().any(|a| {
            (self.types.is_empty() || self.types.contains(&a.kind))
                && (self.severities.is_empty() || self.severities.contains(&a.severity))
                && self.since.is_none_or(|since| a.at >= since.micros())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(n: i64, kind: AlertKind, severity: Severity) -> AlertRef {
        AlertRef { id: format!("{n:024x}").parse().unwrap(), kind, severity, at: n }
    }

    #[test]
    fn the_alert_that_came_last_counts_and_old_ones_are_forgotten() {
        let mut enrichment = Enrichment::default();
        for n in (0..60).rev() {
            enrichment.remember(reference(n, AlertKind::Phishing, Severity::Low));
        }
        enrichment.remember(reference(30, AlertKind::Phishing, Severity::High));
        let ids: Vec<i64> = enrichment.alerts.iter().map(|a| a.at).collect();
        assert_eq!(ids, (10..60).collect::<Vec<_>>());
        assert_eq!(enrichment.alert_id, Some(format!("{:024x}", 59)));
        assert_eq!(enrichment.alerts.iter().filter(|a| a.severity == Severity::High).count(), 1);
    }

    #[test]
    fn a_policy_asks_for_type_severity_and_time_of_one_alert() {
        let alerts = [
            reference(5, AlertKind::Phishing, Severity::Low),
            reference(9, AlertKind::Vip, Severity::High),
        ];
        let chosen = |types: &[AlertKind], severities: &[Severity], since: Option<i64>| {
            let since = since.map(Timestamp::from_micros);
            AlertCriteria {
                types: types.to_vec(),
                severities: severities.to_vec(),
                past: false,
                since,
            }
            .choose(&alerts)
        };
        assert!(chosen(&[], &[], None) && chosen(&[AlertKind::Vip], &[Severity::High], Some(9)));
        assert!(
            !chosen(&[AlertKind::Phishing], &[Severity::High], None),
            "of one alert, not of two"
        );
        assert!(!chosen(&[], &[], Some(10)) && !AlertCriteria::default().choose(&[]));
        let since = |past, since: Option<i64>| {
            AlertCriteria {
                past,
                since: since.map(Timestamp::from_micros),
                ..AlertCriteria::default()
            }
            .from_now(Timestamp::from_micros(7))
            .since
            .map(Timestamp::micros)
        };
        assert_eq!(
            (since(false, None), since(false, Some(3)), since(true, Some(3))),
            (Some(7), Some(3), None)
        );
    }
}
