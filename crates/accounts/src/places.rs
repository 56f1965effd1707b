//! Where an IOC is: in which groups, on which devices it was fetched, why it is not in others, and
//! who still has to fetch that it was withdrawn.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iocast_domain::{
    account::{Account, Module},
    device::Device,
    device_type::Format,
    guard::Refusal,
    id::{DeviceId, GroupId, IocId, RuleId},
    ioc::Whitelist,
    member::MembershipState,
    rule::{NotMet, Rule},
    staleness::Reason,
    time::Timestamp,
};
use iocast_store::{Client, GroupRow, MemberRow, PublicationLine, Reader, Receipt, Withdrawal};
use uuid::Uuid;

use crate::{Accounts, Actor, AppError, AppResult, protection::Holders};

mod chosen;
use self::chosen::{choose, enabled, not_met};

/// Devices that are listed as waiting; all are counted.
const LISTED: usize = 100;

/// A group that holds an IOC, or held it.
#[derive(Clone, Debug)]
pub struct IocPlace {
    /// The device.
    pub device_id: DeviceId,
    /// Its name.
    pub device: String,
    /// The group.
    pub group_id: GroupId,
    /// Its name.
    pub group: String,
    /// The event it is in.
    pub event: Uuid,
    /// Since when.
    pub since: Timestamp,
    /// When it left, if it did.
    pub left: Option<Timestamp>,
    /// What became of it.
    pub standing: MembershipState,
    /// The rules that choose it for this group now.
    pub rules: Vec<String>,
    /// The clients that count, each with when it was last given what says so; none where it was
    /// not.
    pub fetched: Vec<(Client, Option<Timestamp>)>,
}

/// A group whose rules choose an IOC that it does not hold.
#[derive(Clone, Debug)]
pub struct IocLeftOut {
    /// The device.
    pub device_id: DeviceId,
    /// Its name.
    pub device: String,
    /// The group.
    pub group_id: GroupId,
    /// Its name.
    pub group: String,
    /// Why; none where there was no room.
    pub refusal: Option<Refusal>,
}

/// How far devices are with an IOC that a person withdrew.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn {
    /// When the last group published that.
    pub at: Option<Timestamp>,
    /// Devices whose groups held it.
    pub devices: u64,
    /// Of them, those that fetched that it is gone.
    pub fetched: u64,
    /// Those that never pulled, and so never had it.
    pub never_pulled: u64,
    /// Those that are silent.
    pub silent: u64,
    /// Those that pull, and have not fetched it yet.
    pub waiting: u64,
    /// The first of those that have not fetched it: id, name, and whether it is silent.
    pub listed: Vec<(DeviceId, String, bool)>,
    /// The first of those that have: id, name, and when the last of its clients did.
    pub confirmed: Vec<(DeviceId, String, Timestamp)>,
}

/// A rule that does not choose an IOC.
#[derive(Clone, Debug)]
pub struct RuleNotMet {
    /// The rule.
    pub rule_id: RuleId,
    /// Its name.
    pub rule: String,
    /// The first thing that it asks for and the IOC does not have; none where the rule is off.
    pub not_met: Option<NotMet>,
    /// How many groups it feeds that do not hold the IOC.
    pub groups: u64,
}

/// Where an IOC is.
#[derive(Clone, Debug, Default)]
pub struct IocPlaces {
    /// Groups that hold it or held it, the latest first.
    pub places: Vec<IocPlace>,
    /// Groups whose rules choose it, and which do not hold it.
    pub left_out: Vec<IocLeftOut>,
    /// Rules that do not choose it, with groups that no other rule sends it to; the first hundred.
    pub not_met: Vec<RuleNotMet>,
    /// Of an IOC that a person withdrew.
    pub withdrawn: Option<Withdrawn>,
}

/// What there is to know of the groups of an account that matter for one IOC.
struct Around {
    account: Account,
    groups: HashMap<GroupId, GroupRow>,
    devices: HashMap<DeviceId, Device>,
    holders: Holders,
    lines: HashMap<GroupId, Vec<PublicationLine>>,
}

impl Accounts {
    /// Where an IOC is and was.
    ///
    /// # Errors
    /// If there is no such IOC, and none was withdrawn.
    pub async fn ioc_places(&self, actor: &Actor, id: IocId) -> AppResult<IocPlaces> {
        actor.may_read(Module::Tip)?;
        let read = self.context.store.read();
        let ioc = read.ioc_fetch(&actor.account_id, id).await?.map(|row| row.ioc);
        let all: HashMap<GroupId, GroupRow> = read
            .group_list(&actor.account_id, None)
            .await?
            .into_iter()
            .map(|row| (row.group.id, row))
            .collect();
        let ids: Vec<GroupId> = all.keys().copied().collect();
        let members = read.member_of_ioc(&ids, id).await?;
        let refused = read.refused_of_ioc(&ids, id).await?;
        let withdrawals: Vec<Withdrawal> = read
            .withdrawals_of(id)
            .await?
            .into_iter()
            .filter(|withdrawal| all.contains_key(&withdrawal.group_id))
            .collect();
        if ioc.is_none() && withdrawals.is_empty() {
            return Err(AppError::NotFound("IOC"));
        }
        let rules: Vec<Rule> = read.rule_list(&actor.account_id).await?;
        let (enabled, now) = (enabled(&read, actor).await?, self.context.now());
        let chosen = ioc.as_ref().map(|ioc| choose(&rules, ioc, &enabled, now)).unwrap_or_default();
        let not_met = match &ioc {
            Some(ioc) => not_met(&rules, ioc, &enabled, (now, &chosen)),
            None => Vec::new(),
        };
        let named: BTreeSet<GroupId> = members
            .iter()
            .map(|(group, _)| *group)
            .chain(refused.iter().map(|(group, _)| *group))
            .chain(withdrawals.iter().map(|withdrawal| withdrawal.group_id))
            .chain(chosen.keys().copied())
            .collect();
        let events: BTreeSet<Uuid> = members
            .iter()
            .map(|(_, member)| member.part_id.0)
            .chain(withdrawals.iter().filter_map(|withdrawal| withdrawal.event))
            .collect();
        let events: Vec<Uuid> = events.into_iter().collect();
        let around = self.around(actor, &read, all, (&named, &events)).await?;
        let withdrawn = ioc.as_ref().is_none_or(|ioc| ioc.whitelist == Whitelist::NeverSent);
        Ok(IocPlaces {
            left_out: around.left_out(&members, &refused, &chosen),
            not_met,
            withdrawn: (withdrawn && !withdrawals.is_empty())
                .then(|| self.withdrawn(&around, &withdrawals)),
            places: members
                .into_iter()
                .filter_map(|(group, member)| self.place(&around, group, &member, &chosen))
                .collect(),
        })
    }

    async fn around(
        &self,
        actor: &Actor,
        read: &Reader,
        mut groups: HashMap<GroupId, GroupRow>,
        (named, events): (&BTreeSet<GroupId>, &[Uuid]),
    ) -> AppResult<Around> {
        groups.retain(|id, _| named.contains(id));
        let ids: BTreeSet<DeviceId> = groups.values().map(|row| row.group.device_id).collect();
        let ids: Vec<DeviceId> = ids.into_iter().collect();
        let devices = read.device_fetch_many(&actor.account_id, &ids).await?;
        let account = self.account_fetch(actor).await?;
        let holders = self.holders(&account, &devices, Some(events)).await?;
        let ids: Vec<GroupId> = groups.keys().copied().collect();
        Ok(Around {
            account,
            holders,
            lines: read.publication_lists(&ids).await?,
            devices: devices.into_iter().map(|device| (device.id, device)).collect(),
            groups,
        })
    }

    fn place(
        &self,
        around: &Around,
        id: GroupId,
        member: &MemberRow,
        chosen: &BTreeMap<GroupId, Vec<String>>,
    ) -> Option<IocPlace> {
        let group = &around.groups.get(&id)?.group;
        let device = around.devices.get(&group.device_id)?;
        let changed = Timestamp::from_micros(member.left_at.unwrap_or(member.joined_at));
        let event = member.part_id.0;
        let is_misp = device.device_type.format == Format::MispFeed;
        let fetched = around.holders.clients(device.id).iter().map(|client| {
            let at = if is_misp {
                around.fetched_event(client, id, event, changed)
            } else {
                around.fetched_since(client, id, changed)
            };
            (client.clone(), at)
        });
        Some(IocPlace {
            device_id: device.id,
            device: device.name.to_string(),
            group_id: id,
            group: group.name.to_string(),
            event,
            since: Timestamp::from_micros(member.joined_at),
            left: member.left_at.map(Timestamp::from_micros),
            standing: member.standing,
            rules: chosen.get(&id).cloned().unwrap_or_default(),
            fetched: fetched.collect(),
        })
    }

    /// How far devices are with a withdrawal. A device is done once all of its clients that count
    /// are, in each of its groups.
    fn withdrawn(&self, around: &Around, all: &[Withdrawal]) -> Withdrawn {
        let mut by_device: BTreeMap<DeviceId, Option<Timestamp>> = BTreeMap::new();
        for withdrawal in all {
            let Some(row) = around.groups.get(&withdrawal.group_id) else { continue };
            let device = row.group.device_id;
            let clients = around.holders.clients(device);
            let each = clients.iter().map(|client| around.has_withdrawal(client, withdrawal));
            let done =
                each.collect::<Option<Vec<Timestamp>>>().and_then(|all| all.into_iter().max());
            by_device
                .entry(device)
                .and_modify(|before| *before = (*before).zip(done).map(|(a, b)| a.max(b)))
                .or_insert(done);
        }
        let mut found = Withdrawn {
            at: all.iter().map(|withdrawal| withdrawal.at).max(),
            ..Withdrawn::default()
        };
        for (id, done) in by_device {
            let Some(device) = around.devices.get(&id) else { continue };
            found.devices += 1;
            let state = self.context.sync_state(device, around.account.silent_after);
            let is_silent = state.reason == Reason::Silent;
            match () {
                () if done.is_some() => found.fetched += 1,
                () if device.last_pull_at.is_none() => found.never_pulled += 1,
                () if is_silent => found.silent += 1,
                () => found.waiting += 1,
            }
            if let Some(at) = done.filter(|_| found.confirmed.len() < LISTED) {
                found.confirmed.push((id, device.name.to_string(), at));
            }
            if done.is_none() && device.last_pull_at.is_some() && found.listed.len() < LISTED {
                found.listed.push((id, device.name.to_string(), is_silent));
            }
        }
        found
    }
}

impl Around {
    /// The first publication that was made at this time or later, if it is kept; and whether older
    /// ones are kept, too.
    fn since(&self, group: GroupId, at: Timestamp) -> (Option<i64>, bool) {
        let lines = self.lines.get(&group).map(Vec::as_slice).unwrap_or_default();
        let first = lines.iter().rfind(|line| line.created_at >= at).map(|line| line.number);
        let oldest = lines.last().map(|line| line.number);
        (first, oldest == Some(1) || first != oldest)
    }

    /// When a client was last given a publication of a list that was made at this time or later.
    fn fetched_since(&self, client: &Client, group: GroupId, at: Timestamp) -> Option<Timestamp> {
        let receipt = self.holders.receipt(client.id, group)?;
        let has = match self.since(group, at) {
            (Some(first), true) => receipt.publication >= first,
            // The publication is not kept any more.
            _ => receipt.fetched_at > at,
        };
        has.then_some(receipt.asked_at())
    }

    /// When a client was last given what a MISP event says since this time.
    fn fetched_event(
        &self,
        client: &Client,
        group: GroupId,
        event: Uuid,
        at: Timestamp,
    ) -> Option<Timestamp> {
        let receipt = self.holders.event(client.id, group, event)?;
        let has = match self.since(group, at) {
            (Some(first), true) => receipt.publication >= first,
            _ => receipt.fetched_at > at,
        };
        has.then_some(receipt.fetched_at)
    }

    /// When a client was last given a state in which a withdrawn IOC is gone.
    fn has_withdrawal(&self, client: &Client, withdrawal: &Withdrawal) -> Option<Timestamp> {
        let Withdrawal { group_id, publication, event, .. } = withdrawal;
        match event {
            Some(event) => self
                .holders
                .event(client.id, *group_id, *event)
                .filter(|receipt| receipt.publication >= *publication)
                .map(|receipt| receipt.fetched_at),
            None => self
                .holders
                .receipt(client.id, *group_id)
                .filter(|receipt| receipt.publication >= *publication)
                .map(Receipt::asked_at),
        }
    }

    fn left_out(
        &self,
        members: &[(GroupId, MemberRow)],
        refused: &[(GroupId, Refusal)],
        chosen: &BTreeMap<GroupId, Vec<String>>,
    ) -> Vec<IocLeftOut> {
        let holds: BTreeSet<GroupId> = members
            .iter()
            .filter(|(_, member)| member.standing == MembershipState::Live)
            .map(|(group, _)| *group)
            .collect();
        let mut why: BTreeMap<GroupId, Option<Refusal>> =
            chosen.keys().map(|group| (*group, None)).collect();
        why.extend(refused.iter().map(|(group, refusal)| (*group, Some(*refusal))));
        let out = |(id, refusal): (GroupId, Option<Refusal>)| {
            let row = self.groups.get(&id)?;
            let is_full = row.cut.reasons.contains_key("limit");
            // What joined a moment ago is published in a moment.
            let reason = refusal.is_some() || (is_full && !holds.contains(&id));
            let device = self.devices.get(&row.group.device_id)?;
            reason.then(|| IocLeftOut {
                device_id: device.id,
                device: device.name.to_string(),
                group_id: id,
                group: row.group.name.to_string(),
                refusal,
            })
        };
        why.into_iter().filter_map(out).collect()
    }
}
