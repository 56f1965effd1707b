//! What is wrong with something a person or a device sent: a field, a stable code, and what to do
//! about it.

use serde::{Deserialize, Serialize};

/// One field that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's name, as in the request body.
    pub field: String,
    /// Stable, for programs: `name_too_long`.
    pub code: String,
    /// A sentence for people that says what to do.
    pub message: String,
}

impl FieldError {
    /// A field error.
    pub fn new(field: &str, code: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), code: code.to_owned(), message: message.into() }
    }
}
