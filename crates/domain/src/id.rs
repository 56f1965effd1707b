//! Identifiers. An id of one kind can't be passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Entropy;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh random id.
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(entropy.uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A person who signs in.
    UserId,
    /// One sign-in of a person.
    SessionId,
    /// An API, appliance or device key.
    KeyId,
    /// A service token.
    ServiceTokenId,
    /// Something that pulls.
    DeviceId,
    /// An IOC group; also the last part of its group URL.
    GroupId,
    /// An IOC management rule.
    RuleId,
    /// Where IOCs come from.
    SourceId,
    /// An import.
    ImportId,
    /// A warninglist.
    WarninglistId,
    /// An IOC of one account: version 5 over account, kind and value, so the same IOC has one id
    /// for ever.
    IocId,
    /// A stretch of silence of a device.
    OutageId,
    /// A message in the outbox.
    MessageId,
    /// One event of a MISP feed: version 5 over account, group, day and part.
    PartId,
}

macro_rules! hexadecimal {
    ($($(#[$doc:meta])* $name:ident $what:literal),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A fresh random one.
            pub fn random(entropy: &dyn Entropy) -> Self {
                let mut bytes = [0_u8; 12];
                entropy.fill(&mut bytes);
                Self(bytes.iter().map(|b| format!("{b:02x}")).collect())
            }

            /// The 24 digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                if text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(concat!($what, " is 24 lower-case hexadecimal digits").to_owned())
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

hexadecimal! {
    /// The tenant's public name: 24 lower-case hexadecimal digits.
    AccountId "an account ID",
    /// An alert, or a tag on one: 24 lower-case hexadecimal digits.
    AlertId "an alert ID",
}

impl AccountId {
    /// The namespace under which this account's version 5 UUIDs are made.
    #[must_use]
    pub fn namespace(&self) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("iocast/{}", self.0).as_bytes())
    }
}
