//! Messages about outages: a warning when one opens, a recovery when it ends. A few go out one by
//! one; more come in a digest.

use std::collections::{BTreeMap, HashMap};

use iocast_domain::{
    account::Account,
    device::Device,
    id::{AccountId, DeviceId, MessageId},
    message::{Content, GATHERED_FOR, MessageKind, SINGLES, SilentDevice, digest_at, is_webhook},
    receipt::Protection,
    time::{Timestamp, clip, span_in_words},
    watch::{EndedBy, Outage, silence},
};
use iocast_store::{PullLine, Txn, WarningFate};

use crate::{Actor, AppResult, Watch};

/// Devices that one message to a program lists.
const LISTED_TO_PROGRAM: usize = 1_000;

impl Watch {
    /// Writes the warnings of outages that were opened. Gives how many messages.
    pub(crate) async fn warnings(
        &self,
        txn: &Txn,
        account: &Account,
        recipients: &[String],
        opened: &[(Outage, Device)],
    ) -> AppResult<u64> {
        let mut messages = 0;
        for recipient in recipients {
            messages += self
                .enqueue_alert(txn, account, MessageKind::Warning, recipient, opened, None)
                .await?;
        }
        Ok(messages)
    }

    /// Writes one recipient messages about outages, or adds them to a digest. `after` is the message
    /// that goes out before. Gives how many messages were made.
    async fn enqueue_alert(
        &self,
        txn: &Txn,
        account: &Account,
        kind: MessageKind,
        recipient: &str,
        outages: &[(Outage, Device)],
        after: Option<MessageId>,
    ) -> AppResult<u64> {
        let now = self.context.now();
        // Programs read one message as well as many; what follows a certain message can't wait for
        // others.
        let digest = if is_webhook(recipient) || after.is_some() {
            None
        } else {
            digest_at(
                txn.messages_lately(&account.id, kind, recipient, now.plus(-GATHERED_FOR)).await?,
                outages.len(),
                now,
            )
        };
        if let Some(due) = digest {
            let mut fresh = Vec::with_capacity(outages.len());
            for (outage, _) in outages {
                if !txn.outage_message_exists(outage.id, recipient, kind).await? {
                    fresh.push(outage.id);
                }
            }
            if fresh.is_empty() {
                return Ok(0);
            }
            let (message, made) =
                txn.digest_open(&self.digest(account, kind, recipient), due).await?;
            for outage in fresh {
                txn.outage_message_insert(outage, recipient, kind, message).await?;
            }
            return Ok(made.into());
        }
        let size = if outages.len() > SINGLES { LISTED_TO_PROGRAM } else { 1 };
        let mut written = 0;
        for some in outages.chunks(size) {
            let mut devices = Vec::with_capacity(some.len());
            for (outage, device) in some {
                devices.push(self.silent_device(txn, outage, device, size == 1).await?);
            }
            let mut message = self.message(account, kind, recipient, &content(kind, devices, 0))?;
            message.after_message = after;
            let mut fresh = false;
            for (outage, _) in some {
                fresh |= txn.outage_message_insert(outage.id, recipient, kind, message.id).await?;
            }
            if fresh {
                txn.message_insert(&message).await?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// What a digest about outages says. It lists the first `limit`; there is nothing to say if
    /// none is left.
    pub(crate) async fn digest_of_outages(
        &self,
        txn: &Txn,
        account: &Account,
        message: MessageId,
        kind: MessageKind,
        limit: u64,
    ) -> AppResult<Option<Content>> {
        let (outages, all) = txn.digest_outages(message, limit).await?;
        let ids: Vec<DeviceId> = outages.iter().map(|outage| outage.device_id).collect();
        let devices: HashMap<DeviceId, Device> = txn
            .device_fetch_many(&account.id, &ids)
            .await?
            .into_iter()
            .map(|device| (device.id, device))
            .collect();
        let mut listed = Vec::with_capacity(outages.len());
        for outage in &outages {
            if let Some(device) = devices.get(&outage.device_id) {
                listed.push(self.silent_device(txn, outage, device, all == 1).await?);
            }
        }
        let more = all - outages.len() as u64;
        Ok((!listed.is_empty()).then(|| content(kind, listed, more)))
    }

    /// A device as a message shows it. The last client and error are left out of messages about many.
    async fn silent_device(
        &self,
        txn: &Txn,
        outage: &Outage,
        device: &Device,
        fully: bool,
    ) -> AppResult<SilentDevice> {
        let until = outage.ended.map(|(at, _)| at);
        let (last, failed) = if fully {
            (txn.pull_last(device.id, false).await?, txn.pull_last(device.id, true).await?)
        } else {
            (None, None)
        };
        let groupless = fully
            && until.is_none()
            && txn.group_list(&device.account_id, Some(device.id)).await?.is_empty();
        let protection =
            if until.is_none() { self.protection_of(txn, device.id).await? } else { None };
        let no_group = groupless.then_some("It has no IOC group, so there is nothing for it to pull: open the device, make one, and type its URL in.");
        let gaps = if until.is_some() { Vec::new() } else { self.context.downtime.gaps().to_vec() };
        Ok(SilentDevice {
            name: device.name.to_string(),
            type_name: device.device_type.name.to_owned(),
            since: outage.began_at,
            until,
            silence: span_in_words(silence(
                outage.began_at,
                &gaps,
                until.unwrap_or(outage.noticed_at),
            )),
            never_pulled: until.is_none() && device.last_pull_at.is_none(),
            watched_again: device.watched_since == outage.began_at
                && device.created_at < device.watched_since,
            last_pull: device.last_pull_at,
            last_client: last.as_ref().map(client),
            protection,
            last_error: failed.filter(|f| f.pull.at >= outage.began_at).and_then(|f| {
                Some(format!(
                    "{} at {}, from {}",
                    f.reason.as_ref()?,
                    f.pull.at.minute(),
                    client(&f)
                ))
            }),
            link: format!(
                "{}/automation/integrations/{}",
                self.context.settings.public_url, device.id
            ),
            checks: no_group
                .into_iter()
                .chain(device.device_type.checks.iter().copied())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// The most urgent of the last verdicts on the groups of a device.
    async fn protection_of(&self, txn: &Txn, device: DeviceId) -> AppResult<Option<String>> {
        let states = txn.protections_of(device).await?;
        let urgency = |state: &String| Protection::CODES.iter().position(|code| code == state);
        let known = states.into_iter().filter_map(|state| Some((urgency(&state)?, state)));
        Ok(known.min().map(|(_, state)| state))
    }

    /// Ends the outages of devices that pulled, in the transaction that writes the pulls. Everyone
    /// who got the warning gets a message.
    pub(crate) async fn outages_pulled(
        &self,
        txn: &Txn,
        pulls: &HashMap<DeviceId, Timestamp>,
    ) -> AppResult<()> {
        let devices: Vec<DeviceId> = pulls.keys().copied().collect();
        let mut over: BTreeMap<AccountId, Vec<Outage>> = BTreeMap::new();
        for mut outage in txn.outage_open(&devices).await? {
            if let Some(at) =
                pulls.get(&outage.device_id).copied().filter(|at| *at > outage.began_at)
            {
                outage.ended = Some((at, EndedBy::Pull));
                over.entry(outage.account_id.clone()).or_default().push(outage);
            }
        }
        for (account_id, outages) in over {
            let ids: Vec<DeviceId> = outages.iter().map(|outage| outage.device_id).collect();
            // The outage of a device that can't be read stays open.
            let mut devices: HashMap<DeviceId, Device> = txn
                .device_fetch_many(&account_id, &ids)
                .await?
                .into_iter()
                .map(|device| (device.id, device))
                .collect();
            let mut ended = Vec::with_capacity(outages.len());
            for outage in outages {
                if let Some((at, by)) = outage.ended
                    && let Some(device) = devices.remove(&outage.device_id)
                    && txn.outage_end(outage.id, at, by).await?
                {
                    ended.push((outage, device));
                }
            }
            match self.recovered(txn, &account_id, &ended).await {
                // One account that can't be read does not keep the pulls of all others from being
                // written.
                Err(error) if error.is_corrupt() => {
                    tracing::error!(account.id = %account_id, error = &error as &dyn std::error::Error, "Could not queue the recoveries of account {account_id}");
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn recovered(
        &self,
        txn: &Txn,
        account_id: &AccountId,
        ended: &[(Outage, Device)],
    ) -> AppResult<()> {
        let Some(account) = txn.account_fetch(account_id).await? else { return Ok(()) };
        self.recoveries(txn, &account, ended).await?;
        let watchdog = Actor::watchdog(account_id.clone());
        for (outage, device) in ended {
            let pulled_at = outage.ended.map(|(at, _)| at);
            let detail = serde_json::json!({ "name": device.name.as_str(), "silent_since": outage.began_at, "pulled_at": pulled_at });
            self.context.audit(txn, &watchdog, "device.recovered", &device.id, &detail).await?;
        }
        self.messages_wait();
        Ok(())
    }

    async fn recoveries(
        &self,
        txn: &Txn,
        account: &Account,
        ended: &[(Outage, Device)],
    ) -> AppResult<()> {
        let alerted = self.alerted(txn, account).await?;
        // Those whose warning went out, and those of each warning that is still on its way: their
        // messages follow it.
        let mut told: BTreeMap<(String, Option<MessageId>), Vec<(Outage, Device)>> =
            BTreeMap::new();
        let mut needed = HashMap::new();
        for (outage, device) in ended {
            let warnings =
                txn.warnings_take_back(outage.id, self.context.now(), &mut needed).await?;
            for (warning, recipient, fate) in
                warnings.into_iter().filter(|(_, recipient, _)| alerted.contains(recipient))
            {
                let after = match fate {
                    WarningFate::Sent => None,
                    WarningFate::InFlight => Some(warning),
                };
                told.entry((recipient, after)).or_default().push((outage.clone(), device.clone()));
            }
        }
        for ((recipient, after), outages) in told {
            self.enqueue_alert(txn, account, MessageKind::Recovery, &recipient, &outages, after)
                .await?;
        }
        Ok(())
    }
}

fn content(kind: MessageKind, devices: Vec<SilentDevice>, more: u64) -> Content {
    if kind == MessageKind::Warning {
        Content::Warning { devices, more }
    } else {
        Content::Recovery { devices, more }
    }
}

/// Who pulled: address and what it calls itself. A message's reader must not find a link in it.
fn client(line: &PullLine) -> String {
    let agent = clip(&line.pull.user_agent.replace("://", "[:]//").replace("www.", "www[.]"), 100);
    if agent.is_empty() {
        line.pull.address.clone()
    } else {
        format!("{}, {agent}", line.pull.address)
    }
}
