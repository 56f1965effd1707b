//! Who is asking.

use iocast_domain::{
    account::{Module, Modules, Role, User},
    id::{AccountId, SessionId},
};

use crate::{AppError, AppResult};

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Client address.
    pub address: String,
    /// Request id.
    pub request_id: String,
    /// The `Idempotency-Key` of a request that makes something.
    pub idempotency_key: Option<String>,
    /// What a browser shows in which somebody signed in before.
    pub known_browser: Option<String>,
}

/// A signed-in person, or the operator at the shell, in one account.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The account: every query starts from it.
    pub account_id: AccountId,
    /// What the account may use.
    pub modules: Modules,
    /// The person; none for the operator at the shell and for what happens by itself.
    pub user: Option<User>,
    /// Who it is where it is no person.
    pub role: &'static str,
    /// The session signed in with.
    pub session: Option<SessionId>,
    /// Where from.
    pub caller: Caller,
}

impl Actor {
    /// What notices silence.
    #[must_use]
    pub fn watchdog(account_id: AccountId) -> Self {
        Self { role: "watchdog", caller: Caller::default(), ..Self::operator(account_id) }
    }

    /// A start of a newer version, which changes what the one before wrote.
    pub(crate) fn upgrade(account_id: AccountId) -> Self {
        Self { role: "upgrade", caller: Caller::default(), ..Self::operator(account_id) }
    }

    /// The operator at the shell.
    #[must_use]
    pub fn operator(account_id: AccountId) -> Self {
        Self {
            account_id,
            modules: Modules::ALL,
            user: None,
            role: "operator",
            session: None,
            caller: Caller { address: "shell".to_owned(), ..Caller::default() },
        }
    }

    /// The name for the audit log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.user.as_ref().map_or(self.role, |u| u.email.as_str())
    }

    /// Lets only accounts through that have the module.
    ///
    /// # Errors
    /// [`AppError::NoModule`] for the others.
    pub fn may_read(&self, module: Module) -> AppResult<()> {
        if self.modules.has(module) { Ok(()) } else { Err(AppError::NoModule(module)) }
    }

    /// Lets only those through who may change things in a module.
    ///
    /// # Errors
    /// [`AppError::NoModule`] or [`AppError::Forbidden`].
    pub fn may_change(&self, module: Module) -> AppResult<()> {
        self.may_read(module)?;
        self.may_write()
    }

    /// Lets only those through who may change things.
    ///
    /// # Errors
    /// [`AppError::Forbidden`] for an analyst.
    pub fn may_write(&self) -> AppResult<()> {
        match &self.user {
            Some(user) if user.role != Role::Admin => Err(AppError::Forbidden),
            _ => Ok(()),
        }
    }
}
