//! A small made-up world for people who build against iocast: loaded into an account, and emptied
//! again. Its names and values never change, and its times are counted back from now; only the ids
//! of sources and devices are fresh.

use iocast_domain::{
    account::Module,
    alert::{AlertKind, AlertSource, CloseReason, Closing},
    id::{DeviceId, GroupId},
    ioc::{Kind, Severity},
    source::SourceKind,
    time::{DAY, HOUR, Timestamp},
};
use iocast_store::{IocFilter, NewPull, Page, PullLine};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Actor, AlertChange, App, AppError, AppResult, DevicePatch, NewAlert, NewDevice, NewGroup,
    NewSource, SourcePatch,
};

/// A world: its name, what is in it, and how many IOCs it has beside those of the small one.
#[derive(Clone, Copy, Debug)]
pub struct Fixtures {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub about: &'static str,
    more: u32,
}

/// The worlds.
pub const FIXTURES: &[Fixtures] = &[
    Fixtures {
        name: "small",
        about: "5 sources, one of them off; 31 IOCs: every kind in every severity, retired, whitelisted, blocklisted; 2 alerts: open, closed; 4 devices: synced, silent, not connected, paused",
        more: 0,
    },
    Fixtures { name: "medium", about: "the small one, and a source with 5,000 IOCs", more: 5_000 },
    Fixtures {
        name: "large",
        about: "the small one, and a source with 250,000 IOCs; takes a minute",
        more: 250_000,
    },
];

/// IOCs of a large world that are imported at once.
const AT_ONCE: u32 = 25_000;

/// What was loaded or emptied.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FixtureReport {
    /// Sources.
    pub sources: u64,
    /// IOCs.
    pub iocs: u64,
    /// Alerts.
    pub alerts: u64,
    /// Devices.
    pub devices: u64,
    /// Rules.
    pub rules: u64,
}

/// A value of each kind, told apart by a number; all from names and networks that are kept for
/// documentation.
pub(crate) fn value(kind: Kind, n: u32) -> String {
    match kind {
        Kind::Domain => format!("host{n}.fixture.example"),
        Kind::Url => format!("http://host{n}.fixture.example/path/{n}?q=1"),
        Kind::Email => format!("person{n}@fixture.example"),
        Kind::Ipv4 => format!("203.0.113.{n}"),
        Kind::Ipv6 => format!("2001:db8::{:x}:{:x}", n >> 16, n & 0xffff),
        Kind::Md5 => format!("{n:032x}"),
        Kind::Sha1 => format!("{n:040x}"),
        Kind::Sha256 => format!("{n:064x}"),
    }
}

/// The sources of the world: name, confidence, kind, and what they reported.
fn sources(now: Timestamp) -> Vec<(&'static str, i64, SourceKind, Vec<Value>)> {
    let ago = |span: i64| now.plus(-span).to_string();
    let mut feed = Vec::new();
    for (k, kind) in (0_u32..).zip(Kind::ALL) {
        for (s, severity) in (0_u32..).zip(Severity::ALL) {
            let n = k * 10 + s + 1;
            feed.push(json!({
                "value": value(*kind, n), "severity": severity.word(), "score": f64::from(s * 40 + 10), "first_seen": ago(30 * DAY), "last_seen": ago(HOUR * i64::from(n)),
                "user_tags": ["fixture"], "system_tags": ["phishing"], "threat_actors": ["pinchyspider"], "campaigns": ["autumn"], "malware_families": ["sodinokibi"],
            }));
        }
    }
    let partner = vec![
        // Reported by two, and rated worse by the second.
        json!({ "value": value(Kind::Domain, 1), "severity": "high" }),
        json!({ "value": value(Kind::Domain, 90), "user_tags": ["never sent"], "whitelist": "never_sent" }),
        json!({ "value": value(Kind::Domain, 91), "user_tags": ["always sent"], "whitelist": "always_sent" }),
        json!({ "value": value(Kind::Ipv4, 92), "last_seen": ago(20 * DAY), "user_tags": ["retired"] }),
        json!({ "value": value(Kind::Sha256, 93), "last_seen": ago(400 * DAY), "user_tags": ["retired"] }),
    ];
    let case = vec![
        json!({ "value": value(Kind::Domain, 94), "severity": "high", "user_tags": ["case 7"] }),
    ];
    let off = vec![
        json!({ "value": value(Kind::Domain, 95) }),
        json!({ "value": value(Kind::Ipv4, 96) }),
    ];
    vec![
        ("Fixture feed", 2, SourceKind::Feed, feed),
        ("Fixture partner", 3, SourceKind::Feed, partner),
        ("Fixture case 7", 3, SourceKind::Document, case),
        ("Fixture off", 1, SourceKind::Feed, off),
    ]
}

impl App {
    /// Fills the actor's account with a made-up world.
    ///
    /// # Errors
    /// If there is no such world, or something of its names is there already.
    pub async fn fixtures_load(&self, actor: &Actor, name: &str) -> AppResult<FixtureReport> {
        actor.may_change(Module::Tip)?;
        actor.may_change(Module::Automation)?;
        let Some(world) = FIXTURES.iter().find(|known| known.name == name) else {
            let known = FIXTURES.iter().map(|of| format!("{} ({})", of.name, of.about));
            return Err(AppError::Malformed(format!(
                "There are no fixtures `{name}`; there are: {}.",
                known.collect::<Vec<_>>().join(", ")
            )));
        };
        let fixture = |name: &str| name.starts_with("Fixture ");
        let devices = self.context.store.read().device_list_all(&actor.account_id).await?;
        let there = self.context.store.read().source_list(&actor.account_id).await?;
        if there.iter().any(|s| fixture(&s.name))
            || devices.iter().any(|d| fixture(d.name.as_str()))
        {
            return Err(AppError::Conflict {
                code: "fixtures_there",
                detail: "The account has fixtures already; empty it first: fixtures reset."
                    .to_owned(),
            });
        }
        let now = self.context.now();
        let mut report = FixtureReport::default();
        for (name, confidence, kind, iocs) in sources(now) {
            let new = NewSource {
                kind,
                description: "Made up, for those who build against iocast.".to_owned(),
                ..NewSource::feed(name.to_owned(), confidence)
            };
            let source = self.intake.source_create(actor, new).await?;
            report.iocs += self.intake.import_list(actor, source.id, &iocs).await?.accepted;
            if name == "Fixture off" {
                self.intake
                    .source_update(
                        actor,
                        source.id,
                        SourcePatch { enabled: Some(false), ..SourcePatch::default() },
                    )
                    .await?;
            }
        }
        report.iocs += self.fixture_more(actor, world.more).await?;
        self.fixture_alerts(actor).await?;
        report.alerts = 2;
        report.sources = self.context.store.read().source_list(&actor.account_id).await?.len()
            as u64
            - there.len() as u64;
        self.intake
            .ioc_bulk_edit(actor, vec![(value(Kind::Domain, 94), crate::IocEdit::Blocklist(true))])
            .await?;
        for (name, last_pull, paused) in [
            ("Fixture synced", Some(HOUR), false),
            ("Fixture silent", Some(72 * HOUR), false),
            ("Fixture not connected", None, false),
            ("Fixture paused", Some(5 * DAY), true),
        ] {
            let (device, group) = self.made_up_device(actor, name).await?;
            if let Some(span) = last_pull {
                self.device_backdate(actor, device).await?;
                self.made_up_pull(device, group, now.plus(-span)).await?;
            }
            if paused {
                self.accounts
                    .device_update(
                        actor,
                        device,
                        DevicePatch { paused: Some(true), ..DevicePatch::default() },
                    )
                    .await?;
            }
            report.devices += 1;
            report.rules += 1;
        }
        Ok(report)
    }

    /// One open alert with the IOC of the case, one that was closed.
    async fn fixture_alerts(&self, actor: &Actor) -> AppResult<()> {
        let alert = |id: &str, kind, severity, title: &str, ioc| NewAlert {
            id: id.parse().ok(),
            kind,
            severity,
            found_at: Some(self.context.now().plus(-DAY)),
            title: title.to_owned(),
            description: "Made up, for those who build against iocast.".to_owned(),
            sub_type: String::new(),
            source: AlertSource {
                kind: "Paste Site".to_owned(),
                network: "ClearWeb".to_owned(),
                ..AlertSource::default()
            },
            iocs: vec![ioc],
        };
        self.intake
            .alert_add(
                actor,
                alert(
                    "5fd0ef17a1b2c3d4e5f60718",
                    AlertKind::Phishing,
                    Severity::High,
                    "A look-alike of our sign-in page",
                    value(Kind::Domain, 94),
                ),
            )
            .await?;
        let closed = alert(
            "5fd0ef17a1b2c3d4e5f60719",
            AlertKind::DataLeakage,
            Severity::Low,
            "An address of ours in a list",
            value(Kind::Email, 21),
        );
        let closed = self.intake.alert_add(actor, closed).await?;
        let closing = Closing {
            reason: CloseReason::InformationalOnly,
            text: "Known".to_owned(),
            hidden: false,
            rate: Some(3),
        };
        self.intake.alert_change(actor, &closed, AlertChange::Close(closing)).await?;
        Ok(())
    }

    /// A source with many IOCs, kinds and severities in turn.
    async fn fixture_more(&self, actor: &Actor, more: u32) -> AppResult<u64> {
        if more == 0 {
            return Ok(0);
        }
        const KINDS: [Kind; 7] =
            [Kind::Domain, Kind::Url, Kind::Ipv6, Kind::Sha256, Kind::Md5, Kind::Sha1, Kind::Email];
        let source = NewSource::feed("Fixture bulk".to_owned(), 2);
        let source = self.intake.source_create(actor, source).await?.id;
        let now = self.context.now();
        let one = |n: u32| {
            let turn = |of: usize| n as usize % of;
            let (kind, severity) =
                (KINDS[turn(KINDS.len())], Severity::ALL[turn(Severity::ALL.len())]);
            let seen = now.plus(-HOUR * i64::from(n % 200)).to_string();
            json!({ "value": value(kind, 1_000 + n), "severity": severity.word(), "last_seen": seen, "user_tags": ["fixture"] })
        };
        let mut taken = 0;
        for first in (0..more).step_by(AT_ONCE as usize) {
            let list: Vec<Value> = (first..more.min(first + AT_ONCE)).map(one).collect();
            taken += self.intake.import_list(actor, source, &list).await?.accepted;
        }
        Ok(taken)
    }

    /// A MISP device with one group of its name, and a rule for all IOCs.
    pub(crate) async fn made_up_device(
        &self,
        actor: &Actor,
        name: &str,
    ) -> AppResult<(DeviceId, GroupId)> {
        let device = NewDevice {
            name: name.to_owned(),
            device_type: "misp".to_owned(),
            ioc_limit: None,
            labels: Vec::new(),
        };
        let device = self.accounts.device_create(actor, device).await?.device.id;
        let group = NewGroup {
            name: name.to_owned(),
            kind: None,
            limit: Some(1_000),
            collapse: false,
            source_priority: Vec::new(),
            notify_on_limit: true,
            default_rule: true,
        };
        Ok((device, self.group_create(actor, device, group).await?.view.row.group.id))
    }

    /// Makes a device as if it had been there for a week.
    pub(crate) async fn device_backdate(&self, actor: &Actor, id: DeviceId) -> AppResult<()> {
        let txn = self.context.store.write().await?;
        txn.device_lock(&actor.account_id, id).await?;
        let mut device =
            txn.device_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("device"))?;
        let week = self.context.now().plus(-7 * DAY);
        (device.created_at, device.watched_since) = (week, week);
        txn.device_update(&device).await?;
        Ok(txn.commit().await?)
    }

    /// A pull of a device that does not exist.
    pub(crate) async fn made_up_pull(
        &self,
        device: DeviceId,
        group: GroupId,
        at: Timestamp,
    ) -> AppResult<()> {
        let pull = NewPull {
            id: self.context.entropy.uuid(),
            device_id: device,
            group_id: group,
            at,
            address: "192.0.2.7".to_owned(),
            user_agent: "MISP 2.5.20".to_owned(),
            misp_version: Some("2.5.20".to_owned()),
            misp_uuid: None,
            status: 200,
            bytes: 1_000,
        };
        let txn = self.context.store.write().await?;
        txn.pull_insert_many(&[PullLine { pull, first_at: at, count: 1, reason: None, events: 0 }])
            .await?;
        Ok(txn.commit().await?)
    }

    /// Empties the actor's account: devices with their groups, rules, alerts, sources and IOCs.
    /// People, keys, messages and the audit log stay.
    ///
    /// # Errors
    /// If the database does not answer; what was emptied before stays so.
    pub async fn fixtures_reset(&self, actor: &Actor) -> AppResult<FixtureReport> {
        actor.may_change(Module::Tip)?;
        actor.may_change(Module::Automation)?;
        let mut report = FixtureReport::default();
        for device in self.context.store.read().device_list_all(&actor.account_id).await? {
            self.accounts.device_delete(actor, device.id).await?;
            report.devices += 1;
        }
        for rule in self.context.store.read().rule_list(&actor.account_id).await? {
            self.accounts.rule_delete(actor, rule.id).await?;
            report.rules += 1;
        }
        // From where the page before ended: what is deleted stands among the latest changes.
        let mut page = Page { limit: 1_000, after: None };
        loop {
            let listed = self
                .context
                .store
                .read()
                .ioc_list(&actor.account_id, &IocFilter::default(), &page)
                .await?;
            let some = listed.items;
            if some.is_empty() {
                break;
            }
            page.after = listed.next;
            let txn = self.context.store.write().await?;
            let seq = txn.account_next_seq(&actor.account_id, || self.context.now()).await?;
            for row in &some {
                txn.ioc_delete(&actor.account_id, row, seq, self.context.now()).await?;
            }
            self.context.audit(&txn, actor, "ioc.delete_many", &some.len(), &()).await?;
            txn.commit().await?;
            report.iocs += some.len() as u64;
            if page.after.is_none() {
                break;
            }
        }
        let txn = self.context.store.write().await?;
        report.alerts = txn.alert_delete_all(&actor.account_id).await?;
        self.context.audit(&txn, actor, "alert.delete_many", &report.alerts, &()).await?;
        txn.commit().await?;
        for source in self.context.store.read().source_list(&actor.account_id).await? {
            self.intake.source_delete(actor, source.id).await?;
            report.sources += 1;
        }
        Ok(report)
    }
}
