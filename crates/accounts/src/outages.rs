//! An outage ends because of what people set: its device is paused, or may be silent for longer.

use std::collections::HashMap;

use iocast_domain::{
    account::Account,
    id::DeviceId,
    watch::{EndedBy, is_outage, threshold},
};
use iocast_store::Txn;

use crate::{Accounts, AppResult};

impl Accounts {
    /// Ends the outage of a device that is paused. No message is sent.
    pub(crate) async fn outage_paused(&self, txn: &Txn, device: DeviceId) -> AppResult<()> {
        for outage in txn.outage_open(&[device]).await? {
            txn.outage_close(
                outage.id,
                (self.context.judged_now(), self.context.now()),
                EndedBy::Pause,
            )
            .await?;
        }
        Ok(())
    }

    /// Ends the outages of those of these devices that may be silent for longer now than they are.
    pub(crate) async fn outages_allowed(
        &self,
        txn: &Txn,
        account: &Account,
        devices: &[DeviceId],
    ) -> AppResult<()> {
        let (now, gaps) = (self.context.judged_now(), self.context.downtime.gaps());
        let may: HashMap<DeviceId, i64> = txn
            .device_fetch_many(&account.id, devices)
            .await?
            .into_iter()
            .map(|device| (device.id, threshold(device.silent_after, account.silent_after)))
            .collect();
        for outage in txn.outage_open(devices).await? {
            if may
                .get(&outage.device_id)
                .is_some_and(|may| !is_outage(outage.began_at, *may, &gaps, now))
            {
                txn.outage_close(outage.id, (now, self.context.now()), EndedBy::Threshold).await?;
            }
        }
        Ok(())
    }
}
