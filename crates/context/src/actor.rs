//! Who is asking.

use iocast_domain::{
    account::{Module, Modules, Role, User},
    id::{AccountId, SessionId},
    service_token::{Scope, ServiceToken},
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

/// Who acts.
#[derive(Clone, Debug)]
pub enum Who {
    /// Somebody who signed in.
    Person(User),
    /// A program with an API key.
    Program,
    /// A program with a service token, and its name for the audit log.
    Service(Box<ServiceToken>, String),
    /// The operator at the shell.
    Operator,
    /// iocast itself; the word says which part.
    Itself(&'static str),
    /// Somebody who did not sign in.
    Anybody,
}

/// Somebody or something that acts in one account.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The account: every query starts from it.
    pub account_id: AccountId,
    /// What the account may use.
    pub modules: Modules,
    /// Who it is.
    pub who: Who,
    /// The session signed in with.
    pub session: Option<SessionId>,
    /// Where from.
    pub caller: Caller,
}

impl Actor {
    fn new(account_id: AccountId, who: Who, caller: Caller) -> Self {
        Self { account_id, modules: Modules::ALL, who, session: None, caller }
    }

    /// What notices silence.
    #[must_use]
    pub fn watchdog(account_id: AccountId) -> Self {
        Self::new(account_id, Who::Itself("watchdog"), Caller::default())
    }

    /// A subscription, which brings in what its list holds.
    pub fn subscription(account_id: AccountId) -> Self {
        Self::new(account_id, Who::Itself("subscription"), Caller::default())
    }

    /// A start of a newer version, which changes what the one before wrote.
    pub fn upgrade(account_id: AccountId) -> Self {
        Self::new(account_id, Who::Itself("upgrade"), Caller::default())
    }

    /// The operator at the shell.
    #[must_use]
    pub fn operator(account_id: AccountId) -> Self {
        Self::new(
            account_id,
            Who::Operator,
            Caller { address: "shell".to_owned(), ..Caller::default() },
        )
    }

    /// Somebody who did not sign in, and may change nothing: only what they asked for is noted.
    pub fn anybody(account_id: AccountId, caller: Caller) -> Self {
        Self::new(account_id, Who::Anybody, caller)
    }

    /// A person of the account.
    pub fn person(user: User, caller: Caller) -> Self {
        Self::new(user.account_id.clone(), Who::Person(user), caller)
    }

    /// A program with a service token.
    pub fn service(token: ServiceToken, caller: Caller) -> Self {
        let name = format!("service token {}", token.name);
        let account = token.account_id.clone();
        Self::new(account, Who::Service(Box::new(token), name), caller)
    }

    /// The service token, if it acts with one.
    #[must_use]
    pub const fn service_token(&self) -> Option<&ServiceToken> {
        if let Who::Service(token, _) = &self.who { Some(token) } else { None }
    }

    /// The person, if it is one.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        if let Who::Person(user) = &self.who { Some(user) } else { None }
    }

    /// The name for the audit log.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            Who::Person(user) => &user.email,
            Who::Program => "API",
            Who::Service(_, name) => name,
            Who::Operator => "operator",
            Who::Itself(part) => part,
            Who::Anybody => "anybody",
        }
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

    /// Lets only those through who may see and do everything in the account: of service tokens,
    /// those with the scope `admin`.
    ///
    /// # Errors
    /// [`AppError::Forbidden`] for everybody else.
    pub const fn may_administer(&self) -> AppResult<()> {
        match &self.who {
            Who::Service(token, _) if !matches!(token.scope, Scope::Admin) => {
                Err(AppError::Forbidden)
            }
            _ => self.may_write(),
        }
    }

    /// Lets only people and the operator through: what gives lasting access is not for service
    /// tokens, which would outlive their own end by it.
    ///
    /// # Errors
    /// [`AppError::Forbidden`] for service tokens, and for everybody who may change nothing.
    pub const fn may_give_access(&self) -> AppResult<()> {
        if self.service_token().is_some() { Err(AppError::Forbidden) } else { self.may_write() }
    }

    /// Lets only those through who may change things: administrators, programs with an API key or a
    /// service token for changes, and the operator. What a service token may change is held where
    /// its requests come in.
    ///
    /// # Errors
    /// [`AppError::Forbidden`] for everybody else.
    pub const fn may_write(&self) -> AppResult<()> {
        match &self.who {
            Who::Service(token, _) if matches!(token.scope, Scope::Read) => {
                Err(AppError::Forbidden)
            }
            Who::Person(User { role: Role::Admin, .. })
            | Who::Program
            | Who::Service(..)
            | Who::Operator => Ok(()),
            Who::Person(User { role: Role::Analyst, .. }) | Who::Itself(_) | Who::Anybody => {
                Err(AppError::Forbidden)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use iocast_domain::id::UserId;

    use super::*;

    /// Only those who are named here may change something.
    #[test]
    fn who_may_change_things() {
        let account: AccountId = "0123456789abcdef01234567".parse().unwrap();
        let person = |role| {
            let user = User {
                id: UserId(uuid::Uuid::nil()),
                account_id: account.clone(),
                email: "a@example.com".to_owned(),
                role,
                active: true,
                mail_alerts: true,
            };
            Actor::person(user, Caller::default())
        };
        let program = Actor { who: Who::Program, ..Actor::operator(account.clone()) };
        for may in [person(Role::Admin), program, Actor::operator(account.clone())] {
            assert!(may.may_write().is_ok() && may.may_change(Module::Tip).is_ok(), "{may:?}");
        }
        let itself = [Actor::watchdog(account.clone()), Actor::upgrade(account.clone())];
        for may_not in itself
            .into_iter()
            .chain([person(Role::Analyst), Actor::anybody(account.clone(), Caller::default())])
        {
            assert!(
                may_not.may_write().is_err() && may_not.may_change(Module::Tip).is_err(),
                "{may_not:?}"
            );
        }
        let without = Actor {
            modules: Modules { automation: false, tip: false },
            ..Actor::operator(account)
        };
        assert!(
            without.may_change(Module::Tip).is_err()
                && without.may_read(Module::Automation).is_err()
        );
    }
}
