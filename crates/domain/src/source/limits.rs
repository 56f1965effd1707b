//! How far a source is trusted, and for how long its IOCs stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ioc::{Kind, Severity},
    problem::FieldError,
};

/// Longest lifetime that a source may have, in days.
pub const LIFETIME_MAX: u16 = 3_650;

/// What a source may claim, and for how long its IOCs stay Active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceLimits {
    /// Days for which its IOCs stay Active after they were last seen, in place of the lifetime of
    /// their kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_days: Option<u16>,
    /// The same for some kinds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lifetimes: BTreeMap<Kind, u16>,
    /// The worst severity that it may report; a worse one counts as this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity_most: Option<Severity>,
}

impl SourceLimits {
    /// The lifetime of its IOCs of a kind, in days, where it has one of its own.
    #[must_use]
    pub fn lifetime(&self, kind: Kind) -> Option<u16> {
        self.lifetimes.get(&kind).copied().or(self.lifetime_days)
    }

    /// The shortest lifetime that it gives, in days.
    #[must_use]
    pub fn shortest(&self) -> Option<u16> {
        self.lifetimes.values().copied().chain(self.lifetime_days).min()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the lifetimes.
    ///
    /// # Errors
    /// The broken rule, as an error of `lifetime_days` or `lifetimes`.
    pub fn checked(self) -> Result<Self, FieldError> {
        let valid = |days: u16| (1..=LIFETIME_MAX).contains(&days);
        let wrong = |field: &str| {
            FieldError::new(field, "lifetime_out_of_range", "Give a lifetime of 1 to 3,650 days.")
        };
        if !self.lifetime_days.is_none_or(valid) {
            return Err(wrong("lifetime_days"));
        }
        if !self.lifetimes.values().copied().all(valid) {
            return Err(wrong("lifetimes"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_its_own_lifetime_or_that_of_the_source() {
        let limits = SourceLimits {
            lifetime_days: Some(10),
            lifetimes: [(Kind::Url, 2)].into(),
            severity_most: None,
        };
        assert_eq!(limits.lifetime(Kind::Url), Some(2));
        assert_eq!(limits.lifetime(Kind::Domain), Some(10));
        assert_eq!((limits.shortest(), SourceLimits::default().shortest()), (Some(2), None));
        assert_eq!(SourceLimits::default().lifetime(Kind::Url), None);
        assert!(limits.clone().checked().is_ok());
        let long = SourceLimits { lifetimes: [(Kind::Url, 3_651)].into(), ..limits.clone() };
        assert_eq!(long.checked().unwrap_err().field, "lifetimes");
        let short = SourceLimits { lifetime_days: Some(0), ..limits };
        assert_eq!(short.checked().unwrap_err().field, "lifetime_days");
    }
}
