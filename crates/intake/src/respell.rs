//! Values in the one spelling: rows that an earlier version kept as they were reported are moved to
//! it, some at a time, before anything is published.
//!
//! Ids that were sent never change. A row under another spelling is withdrawn and stays for its
//! tombstones; the IOC of the one spelling takes over what was known, and joins its groups as a new
//! member. Each step is one transaction that also writes down how far it came, so that a kill in
//! the middle loses nothing and does nothing twice.

use std::collections::{BTreeMap, HashMap};

use iocast_domain::{
    device_type::{CATALOGUE, Format},
    id::{AccountId, IocId},
    ioc::{Ioc, Kind, Whitelist, ioc_id, unite},
    normalise::of_kind,
};
use iocast_store::{IocRow, Txn};

use crate::{Actor, AppResult, Intake};

/// How far it came: nothing, the last id, or [`DONE`].
const PROGRESS: &str = "respelled";
const DONE: &str = "done";
/// Rows in one step.
const STEP: u64 = 1_000;
/// Kinds whose spelling changed; hashes and IPv4 addresses always had one.
const KINDS: [Kind; 4] = [Kind::Domain, Kind::Url, Kind::Email, Kind::Ipv6];
/// Values that are named in the audit log of one step.
const NAMED: usize = 20;

/// What becomes of one account's rows in a step.
#[derive(Default)]
struct Respelling {
    /// Rows under another spelling, with the one they have now.
    moved: Vec<(IocRow, Kind, String)>,
    /// Rows that are no indicators any more.
    refused: Vec<IocRow>,
}

impl Intake {
    /// Moves all rows to the one spelling; nothing where that was done before.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn respell(&self) -> AppResult<()> {
        let mut looked_at = 0;
        loop {
            let txn = self.context.store.write().await?;
            txn.respell_lock().await?;
            let progress = txn.setting_fetch(PROGRESS).await?;
            if progress.as_deref() == Some(DONE) {
                return Ok(());
            }
            let after = progress.and_then(|id| id.parse().ok()).map(IocId);
            let rows = txn.ioc_walk(&KINDS, after, STEP).await?;
            let last = rows.last().map(|(_, row)| row.ioc.id);
            let ended = (rows.len() as u64) < STEP;
            looked_at += rows.len();
            let mut accounts: BTreeMap<AccountId, Respelling> = BTreeMap::new();
            for (account, row) in rows {
                match of_kind(row.ioc.kind, &row.ioc.value) {
                    Ok((kind, value)) if kind == row.ioc.kind && value == row.ioc.value => {}
                    Ok((kind, value)) => {
                        accounts.entry(account).or_default().moved.push((row, kind, value));
                    }
                    Err(_) => accounts.entry(account).or_default().refused.push(row),
                }
            }
            for (account, respelling) in accounts {
                self.respell_account(&txn, &account, respelling).await?;
            }
            let progress = match last.filter(|_| !ended) {
                Some(last) => last.to_string(),
                None => DONE.to_owned(),
            };
            txn.setting_put(PROGRESS, &progress).await?;
            txn.commit().await?;
            if looked_at % 100_000 == 0 && looked_at > 0 {
                tracing::info!("Values are put into one spelling: {looked_at} looked at");
            }
        }
    }

    async fn respell_account(
        &self,
        txn: &Txn,
        account: &AccountId,
        respelling: Respelling,
    ) -> AppResult<()> {
        let seq = txn.account_next_seq(account, || self.context.now()).await?;
        let ids: Vec<IocId> =
            respelling.moved.iter().map(|(_, kind, value)| ioc_id(account, *kind, value)).collect();
        let there = txn.ioc_fetch_many(&ids).await?;
        let mut united: HashMap<IocId, IocRow> = HashMap::new();
        for (old, kind, value) in &respelling.moved {
            let id = ioc_id(account, *kind, value);
            // One that a person deleted says nothing about this.
            let known =
                united.remove(&id).or_else(|| there.get(&id).filter(|row| !row.deleted).cloned());
            let created_at =
                known.as_ref().map_or(old.created_at, |known| known.created_at.min(old.created_at));
            let ioc =
                unite(known.map(|known| known.ioc), old.ioc.clone(), id, *kind, value.clone());
            united.insert(id, IocRow { ioc, seq, first_seq: seq, created_at, deleted: false });
        }
        for (id, row) in &united {
            let sources: Vec<_> =
                row.ioc.enrichment.reports.iter().map(|report| report.source_id).collect();
            txn.ioc_put(account, row, &sources, there.contains_key(id), seq).await?;
        }
        let misp: Vec<&str> =
            CATALOGUE.iter().filter(|of| of.format == Format::MispFeed).map(|of| of.id).collect();
        let gone: Vec<&IocRow> =
            respelling.moved.iter().map(|(row, ..)| row).chain(&respelling.refused).collect();
        let old: Vec<IocId> = gone.iter().map(|row| row.ioc.id).collect();
        let kept: Vec<IocId> = united.keys().copied().collect();
        txn.members_respelled(&misp, &old, &kept).await?;
        for row in &gone {
            // Not a loss: a withdrawal, which no guard holds back.
            let ioc = Ioc { whitelist: Whitelist::NeverSent, ..row.ioc.clone() };
            txn.ioc_delete(account, &IocRow { ioc, ..(*row).clone() }, seq, self.context.now())
                .await?;
        }
        let values = |rows: &mut dyn Iterator<Item = &IocRow>| {
            rows.take(NAMED).map(|row| row.ioc.value.clone()).collect::<Vec<_>>()
        };
        let detail = serde_json::json!({
            "moved": respelling.moved.len(),
            "into": united.len(),
            "such_as": values(&mut respelling.moved.iter().map(|(row, ..)| row)),
            "refused": respelling.refused.len(),
            "refused_values": values(&mut respelling.refused.iter()),
        });
        self.context
            .audit(txn, &Actor::upgrade(account.clone()), "ioc.respell", &"iocs", &detail)
            .await
    }
}
