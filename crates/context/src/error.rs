//! The few ways in which a use case ends other than well.

use iocast_domain::{account::Module, problem::FieldError};
use iocast_store::StoreError;

/// Result of a use case.
pub type AppResult<T> = Result<T, AppError>;

/// Why a use case did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Fields that broke a rule.
    #[error("the request breaks a rule")]
    Invalid(Vec<FieldError>),
    /// The body can't be read as what it claims to be.
    #[error("{0}")]
    Malformed(String),
    /// Not there, or not yours: the same.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Something else stands in the way.
    #[error("{detail}")]
    Conflict {
        /// Stable code.
        code: &'static str,
        /// A sentence that says what to do.
        detail: String,
    },
    /// Nobody is signed in, or the session ended.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Signed in, but not allowed.
    #[error("only an administrator may do this")]
    Forbidden,
    /// The account lacks a part of the product.
    #[error("this account does not have the {} module; the operator can switch it on: iocast admin modules", .0.name())]
    NoModule(Module),
    /// Too many tries.
    #[error("too many tries; try again in {retry_after} seconds")]
    Throttled {
        /// Seconds.
        retry_after: u64,
    },
    /// More than is taken at once.
    #[error("{0}")]
    TooLarge(String),
    /// Try again later.
    #[error("{0}")]
    Unavailable(String),
    /// The database was made with other secrets.
    #[error(
        "the secrets file is missing, or not the one this database was made with, so no key would work; put the original `secrets.json` back into the data folder"
    )]
    OtherSecrets,
    /// Our fault; the cause goes to the log, not to the caller.
    #[error("something went wrong on our side")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AppError {
    /// One broken field.
    #[must_use]
    pub fn field(field: &str, code: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, code, message)])
    }

    /// Whether a row could not be read: nothing that another try repairs.
    pub fn is_corrupt(&self) -> bool {
        let Self::Internal(error) = self else { return false };
        matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Corrupt { .. }))
    }

    /// A fault of ours.
    pub fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<FieldError> for AppError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "The database does not answer or takes no writes"
                );
                Self::Unavailable("The database does not answer or takes no writes now; try again in a few seconds.".to_owned())
            }
            StoreError::Damaged(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "The database file is damaged"
                );
                Self::Unavailable(
                    "The database file is damaged: the operator has to put a backup back."
                        .to_owned(),
                )
            }
            StoreError::Cursor => Self::Malformed(
                "The cursor is not one that this list gave; begin again without it.".to_owned(),
            ),
            StoreError::Unusable(message) => Self::Unavailable(message),
            other => Self::internal(other),
        }
    }
}

/// Gathers the errors of several fields, so that a person sees all of them at once.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// The value; or none, and its error is kept.
    pub fn take<T>(&mut self, result: Result<T, FieldError>) -> Option<T> {
        result.map_err(|e| self.0.push(e)).ok()
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// All that was gathered.
    pub fn done(self) -> AppResult<()> {
        if self.0.is_empty() { Ok(()) } else { Err(AppError::Invalid(self.0)) }
    }
}

/// Turns a taken unique key into the field error that says so.
pub fn taken(error: StoreError, field: &str, what: &str) -> AppError {
    match error {
        StoreError::Duplicate(_) => AppError::field(
            field,
            "name_taken",
            format!(
                "There is already {what} of this {}; choose another.",
                if field == "email" { "address" } else { "name" }
            ),
        ),
        other => other.into(),
    }
}
