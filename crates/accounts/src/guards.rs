//! The account's guards: which are on, its own names, and the allow list.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use iocast_domain::{
    account::{Account, Module},
    guard::{AllowEntry, AllowScope, Guard, Guards, NewAllow, Refusal, allow_list, shields},
    problem::FieldError,
    time::clip,
};
use iocast_store::Txn;

use crate::{Accounts, Actor, AppError, AppResult, Fields};

/// Accounts whose allow lists are looked at in one round.
const AT_ONCE: u64 = 100;

/// New guards of an account.
#[derive(Clone, Debug, Default)]
pub struct GuardsPatch {
    /// Those that are switched off, by their words.
    pub off: Option<Vec<String>>,
    /// The account's own domains and networks.
    pub own: Option<Vec<String>>,
    /// What else must never be blocked.
    pub allow: Option<Vec<NewAllow>>,
}

impl Accounts {
    /// The account's guards.
    ///
    /// # Errors
    /// If the account is gone.
    pub async fn guards(&self, actor: &Actor) -> AppResult<Guards> {
        Ok(self.account_fetch(actor).await?.guards)
    }

    /// The same, ready to judge, with the warninglists that are on.
    pub(crate) async fn guard_of(&self, actor: &Actor) -> AppResult<Arc<Guard>> {
        self.context.guard(&self.account_fetch(actor).await?).await
    }

    /// Changes the account's guards; its groups are looked at again.
    ///
    /// # Errors
    /// If an entry is neither a domain nor an address or network, or a guard is unknown.
    pub async fn guards_update(&self, actor: &Actor, patch: GuardsPatch) -> AppResult<Guards> {
        actor.may_change(Module::Automation)?;
        let mut fields = Fields::default();
        let off = patch.off.and_then(|words| {
            fields.take(words.iter().map(|word| known_guard(word)).collect::<Result<Vec<_>, _>>())
        });
        let own =
            patch.own.and_then(|own| fields.take(shields("own", own.iter().map(String::as_str))));
        let allow = patch.allow.and_then(|allow| fields.take(allow_list(allow)));
        fields.done()?;
        self.guards_change(actor, async |_, guards| {
            if let Some(mut off) = off {
                off.sort_unstable();
                off.dedup();
                guards.off = off;
            }
            if let Some(own) = own {
                guards.own = own;
            }
            if let Some(allow) = allow {
                guards.allow = allow;
            }
            Ok(())
        })
        .await
    }

    /// Adds entries to the allow list, in place of those for the same value and scope, and takes
    /// others off it.
    ///
    /// # Errors
    /// If an entry is wrong, or there would be too many.
    pub async fn allow_change(
        &self,
        actor: &Actor,
        add: Vec<NewAllow>,
        remove: Vec<NewAllow>,
    ) -> AppResult<Guards> {
        actor.may_change(Module::Automation)?;
        let mut fields = Fields::default();
        let add = fields.take(allow_list(add));
        let remove = fields.take(allow_list(remove));
        fields.done()?;
        let (add, remove) = (add.unwrap_or_default(), remove.unwrap_or_default());
        self.guards_change(actor, async |_, guards| {
            let gone: HashSet<_> = add.iter().chain(&remove).map(AllowEntry::key).collect();
            let mut all = guards.allow.clone();
            all.retain(|entry| !gone.contains(&entry.key()));
            all.extend(add);
            guards.allow = allow_list(all.into_iter().map(NewAllow::from))?;
            Ok(())
        })
        .await
    }

    async fn guards_change(
        &self,
        actor: &Actor,
        change: impl AsyncFnOnce(&Txn, &mut Guards) -> AppResult<()>,
    ) -> AppResult<Guards> {
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let account = txn.account_fetch(&actor.account_id).await?;
        let before = account.ok_or(AppError::NotFound("account"))?.guards;
        let mut after = before.clone();
        change(&txn, &mut after).await?;
        if after == before {
            return Ok(after);
        }
        self.check_scopes(&txn, actor, &before, &after).await?;
        txn.account_set_guards(&actor.account_id, &after).await?;
        let detail = changes(&before, &after);
        self.context.audit(&txn, actor, "guards.update", &actor.account_id, &detail).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(after)
    }

    /// Refuses new entries that are over already, or for a source or a device that is not there.
    async fn check_scopes(
        &self,
        txn: &Txn,
        actor: &Actor,
        before: &Guards,
        after: &Guards,
    ) -> AppResult<()> {
        let now = self.context.now();
        let known: HashSet<&AllowEntry> = before.allow.iter().collect();
        let mut there_is: HashMap<AllowScope, bool> = HashMap::new();
        for entry in after.allow.iter().filter(|entry| !known.contains(entry)) {
            let there = match there_is.get(&entry.scope) {
                Some(there) => *there,
                None => self.is_there(txn, actor, entry.scope).await?,
            };
            there_is.insert(entry.scope, there);
            let value = String::from(entry.value.clone());
            if !there {
                return Err(AppError::field(
                    "allow",
                    "scope_unknown",
                    format!("The entry `{value}` is for a source or a device that is not there."),
                ));
            }
            if entry.is_over(now) {
                return Err(AppError::field(
                    "allow",
                    "expires_in_past",
                    format!("The entry `{value}` would have ended already; give a later time."),
                ));
            }
        }
        Ok(())
    }

    async fn is_there(&self, txn: &Txn, actor: &Actor, scope: AllowScope) -> AppResult<bool> {
        let account = &actor.account_id;
        Ok(match scope {
            AllowScope::Account => true,
            AllowScope::Source(id) => txn.source_fetch(account, id).await?.is_some(),
            AllowScope::Device(id) => !txn.device_fetch_many(account, &[id]).await?.is_empty(),
        })
    }

    /// Takes entries off the allow lists that have ended.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn guards_tick(&self) -> AppResult<()> {
        while !self.context.is_closing() {
            let now = self.context.now();
            let due = self.context.store.read().guards_due(now, AT_ONCE).await?;
            if due.is_empty() {
                break;
            }
            for id in due {
                let txn = self.context.store.write().await?;
                txn.account_lock(&id).await?;
                let Some(Account { mut guards, .. }) = txn.account_fetch(&id).await? else {
                    continue;
                };
                let ended: Vec<AllowEntry> =
                    guards.allow.extract_if(.., |entry| entry.is_over(now)).collect();
                if ended.is_empty() {
                    // Another replica was first.
                    continue;
                }
                txn.account_set_guards(&id, &guards).await?;
                let actor = Actor::watchdog(id.clone());
                let detail = serde_json::json!({ "ended": ended });
                self.context.audit(&txn, &actor, "guards.expire", &id, &detail).await?;
                txn.commit().await?;
            }
            self.context.changed.notify_one();
        }
        Ok(())
    }
}

/// What changed, for the audit log. Of a long allow list only what came and what went.
fn changes(before: &Guards, after: &Guards) -> serde_json::Value {
    let only = |of: &Guards, other: &Guards| -> Vec<AllowEntry> {
        let known: HashSet<&AllowEntry> = other.allow.iter().collect();
        of.allow.iter().filter(|entry| !known.contains(entry)).cloned().collect()
    };
    let rest = |of: &Guards, allow| Guards { allow, ..of.clone() };
    serde_json::json!({
        "before": rest(before, only(before, after)),
        "after": rest(after, only(after, before)),
    })
}

fn known_guard(word: &str) -> Result<Refusal, FieldError> {
    let found = word.parse::<Refusal>().ok().filter(|guard| Refusal::GUARDS.contains(guard));
    found.ok_or_else(|| {
        let all: Vec<_> = Refusal::GUARDS.iter().map(|guard| guard.word()).collect();
        FieldError::new(
            "off",
            "guard_unknown",
            format!("There is no guard `{}`; there are {}.", clip(word, 40), all.join(", ")),
        )
    })
}
