//! IOCs of which a person says something before anybody reported them.

use std::collections::HashMap;

use iocast_domain::{
    account::Module,
    id::IocId,
    ioc::{Enrichment, Ioc, State, Whitelist, ioc_id},
    normalise::detect,
};
use iocast_store::IocRow;

use crate::{Actor, AppError, AppResult, Intake, walk::AT_ONCE};

impl Intake {
    /// Has the account know IOCs that it does not have yet, each without a report: only what a
    /// person says of them counts.
    ///
    /// # Errors
    /// If a value is no IOC.
    pub async fn iocs_known(&self, actor: &Actor, values: &[&str]) -> AppResult<()> {
        actor.may_change(Module::Tip)?;
        if values.len() > AT_ONCE {
            return Err(AppError::TooLarge(format!("At most {AT_ONCE} IOCs at once.")));
        }
        let mut wanted = HashMap::new();
        for text in values {
            let (kind, value) = detect(text).map_err(|_none| {
                let value = iocast_domain::time::clip(text, 200);
                AppError::field("iocValue", "InvalidIocValue", format!("`{value}` is no IOC."))
            })?;
            wanted.insert(ioc_id(&actor.account_id, kind, &value), (kind, value));
        }
        let ids: Vec<IocId> = wanted.keys().copied().collect();
        let there = self.context.store.read().ioc_fetch_many(&ids).await?;
        wanted.retain(|id, _| there.get(id).is_none_or(|row| row.deleted));
        if wanted.is_empty() {
            return Ok(());
        }
        let now = self.context.now();
        let txn = self.context.store.write().await?;
        let seq = txn.account_next_seq(&actor.account_id, || self.context.now()).await?;
        for (id, (kind, value)) in wanted {
            let is_there = txn.ioc_fetch_many(&[id]).await?.contains_key(&id);
            let row = IocRow {
                ioc: Ioc {
                    id,
                    kind,
                    value,
                    first_seen: now,
                    last_seen: now,
                    state: State::Active,
                    whitelist: Whitelist::Default,
                    enrichment: Enrichment::default(),
                },
                seq,
                first_seq: seq,
                created_at: now.micros(),
                deleted: false,
            };
            txn.ioc_put(&actor.account_id, &row, &[], is_there, seq).await?;
        }
        Ok(txn.commit().await?)
    }
}
