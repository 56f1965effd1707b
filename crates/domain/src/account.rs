//! Tenants and the people in them.

use serde::{Deserialize, Serialize};

use crate::{
    guard::Guards,
    id::{AccountId, UserId},
    problem::FieldError,
    time::Timestamp,
};

/// The tenant.
#[derive(Clone, Debug)]
pub struct Account {
    /// 24 hexadecimal digits.
    pub id: AccountId,
    /// The name given at `init`.
    pub name: String,
    /// What it may use.
    pub modules: Modules,
    /// After how much silence a device is told of, in microseconds; 48 h unless given.
    pub silent_after: Option<i64>,
    /// A program that is told what people are told.
    pub webhook_url: Option<String>,
    /// What is kept back from every device.
    pub guards: Guards,
    /// It grows with every change of the guards or the warninglists.
    pub guards_version: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A part of the product that an account has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// Devices, groups, rules.
    Automation,
    /// IOCs and sources.
    Tip,
}

impl Module {
    /// Its name, as people know it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automation => "Automation",
            Self::Tip => "TIP",
        }
    }
}

/// The modules an account has: both, unless the operator said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modules {
    /// [`Module::Automation`].
    pub automation: bool,
    /// [`Module::Tip`].
    pub tip: bool,
}

impl Modules {
    /// Both.
    pub const ALL: Self = Self { automation: true, tip: true };

    /// Whether `module` is among them.
    #[must_use]
    pub const fn has(self, module: Module) -> bool {
        match module {
            Module::Automation => self.automation,
            Module::Tip => self.tip,
        }
    }
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Reads; writes only what an admin granted.
    Analyst,
}

/// A person who signs in.
#[derive(Clone, Debug)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// The account the person belongs to.
    pub account_id: AccountId,
    /// E-mail address, lower case.
    pub email: String,
    /// Role.
    pub role: Role,
    /// A disabled person can't sign in.
    pub active: bool,
    /// Gets messages about silent devices and full groups.
    pub mail_alerts: bool,
}

impl User {
    /// Gets the account's alerts: an active administrator who wants them.
    #[must_use]
    pub fn gets_alerts(&self) -> bool {
        self.active && self.mail_alerts && self.role == Role::Admin
    }
}

/// Reads an account name: 1 to 100 characters without control characters, trimmed.
///
/// # Errors
/// The broken rule, as an error of the field `account`.
pub fn parse_account_name(text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err(FieldError::new(
            "account",
            "account_name_invalid",
            "Give an account name of 1 to 100 characters without control characters.",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the address of a person, in lower case.
///
/// # Errors
/// The broken rule, as an error of the field `email`.
pub fn parse_address(text: &str) -> Result<String, FieldError> {
    crate::normalise::email(text.trim()).ok().filter(|address| address.len() <= 254).ok_or_else(
        || {
            FieldError::new(
                "email",
                "email_invalid",
                "Give an e-mail address such as admin@example.com.",
            )
        },
    )
}

/// Shortest password, in characters. OWASP ASVS 5.0 asks for 8 at least, and recommends 15.
pub const PASSWORD_MIN: usize = 12;
/// Longest password, in characters: long enough for any phrase, short enough to hash.
pub const PASSWORD_MAX: usize = 256;

/// How hard a password is to guess, by zxcvbn's scale of 0 to 4: at 3 it takes some ten thousand
/// million tries.
const STRENGTH: zxcvbn::Score = zxcvbn::Score::Three;

/// Judges a password that the person of this address chose.
///
/// # Errors
/// The broken rule, as an error of the field `password`.
pub fn check_password(text: &str, address: &str) -> Result<(), FieldError> {
    let length = text.chars().count();
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&length) {
        return Err(FieldError::new(
            "password",
            "password_length",
            format!(
                "Choose a password of {PASSWORD_MIN} to {PASSWORD_MAX} characters; this one has {length}."
            ),
        ));
    }
    let (name, host) = address.split_once('@').unwrap_or((address, ""));
    if text.trim().eq_ignore_ascii_case(address) {
        return Err(FieldError::new(
            "password",
            "password_is_address",
            "Choose a password that is not your e-mail address.",
        ));
    }
    // What an attacker tries first: the address and its parts, and the name of the product.
    if zxcvbn::zxcvbn(text, &[address, name, host, "iocast"]).score() < STRENGTH {
        return Err(FieldError::new(
            "password",
            "password_weak",
            "This password is easy to guess. Choose a longer one, such as four or more words that do not belong together.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_tried_first_are_refused() {
        for weak in [
            "password",
            "12345678",
            "passwordpassword",
            "123456789012",
            "admin@corp.example",
            "ADMIN@corp.example",
            "iocastiocast1",
            "qwertyuiop12",
        ] {
            assert!(check_password(weak, "admin@corp.example").is_err(), "{weak}");
        }
        for good in
            ["correct horse battery staple", "9f8a7c6e5d4b3a2f1e0d9c8b", "lamp-river-seven-coat"]
        {
            assert!(check_password(good, "admin@corp.example").is_ok(), "{good}");
        }
        assert!(check_password(&"x1!".repeat(100), "a@b.example").is_err());
    }
}
