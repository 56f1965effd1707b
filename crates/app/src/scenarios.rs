//! What happens to devices and IOCs over days, in a fixed order: for those who build a client and want
//! to see what it does then.

use std::sync::LazyLock;

use iocast_domain::{
    id::{DeviceId, GroupId},
    ioc::{Kind, Whitelist},
    key::KeyKind,
    receipt::Fetched,
    time::{HOUR, MINUTE},
};
use serde_json::json;

use crate::{
    Actor, App, AppError, AppResult, Client, IocEdit, NewSource, PullNote, Pulled, fixtures::value,
};

/// A named sequence of steps.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// In order of time.
    pub steps: Vec<Step>,
}

/// One step of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Microseconds after the start.
    pub after: i64,
    /// What happens, for people.
    pub what: &'static str,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Nothing: something becomes due by itself.
    Wait,
    /// A device is made that has just pulled.
    AddDevice(&'static str),
    /// The device pulls.
    Pull(&'static str),
    /// The device gets a key, which is rotated: it works for so many microseconds beside the new one.
    RotateKey(&'static str, i64),
    /// The source of the scenarios reports so many IOCs, from this number on.
    Report(u32, u32),
    /// A person decides on one of them.
    Decide(u32, Whitelist),
    /// Left to the HTTP layer: calls under a path are refused with 429 for so many microseconds.
    Refuse {
        /// Its beginning.
        path: &'static str,
        /// Seconds of `Retry-After`.
        retry_after: u32,
        /// For how long.
        span: i64,
    },
}

const SOURCE: &str = "Scenario source";
const SILENT: &str = "Scenario silent";
const KEYS: &str = "Scenario keys";
/// Steps in which 20,000 IOCs come.
const BATCHES: u32 = 20;

/// The scenarios.
pub static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
    let step = |after, what, action| Step { after, what, action };
    let batch = |n: u32| {
        step(
            i64::from(n) * 3 * MINUTE,
            "1,000 new IOCs are reported.",
            Action::Report(n * 1_000, 1_000),
        )
    };
    vec![
        Scenario {
            name: "device_falls_silent",
            about: "A MISP that pulled falls silent, the administrators get an e-mail, and after three days it pulls again",
            steps: vec![
                step(
                    0,
                    "The device Scenario silent has just pulled; its dot is green.",
                    Action::AddDevice(SILENT),
                ),
                step(
                    48 * HOUR + MINUTE,
                    "It has not pulled for more than 48 hours: its dot turns red, and an e-mail goes out.",
                    Action::Wait,
                ),
                step(
                    72 * HOUR,
                    "It pulls again: its dot is green, and an e-mail says so.",
                    Action::Pull(SILENT),
                ),
            ],
        },
        Scenario {
            name: "key_is_rotated",
            about: "A device's key is rotated: the old one works for ten minutes beside the new one",
            steps: vec![
                step(
                    0,
                    "The device Scenario keys exists, and has just pulled.",
                    Action::AddDevice(KEYS),
                ),
                step(
                    0,
                    "Its key is rotated: for ten minutes both keys open its group.",
                    Action::RotateKey(KEYS, 10 * MINUTE),
                ),
                step(
                    10 * MINUTE,
                    "The first key has expired: it gets 401. The second one works on.",
                    Action::Wait,
                ),
            ],
        },
        Scenario {
            name: "ioc_is_whitelisted",
            about: "Ten IOCs come, one of them is set to never sent for twenty minutes",
            steps: vec![
                step(0, "Scenario source reports ten IOCs.", Action::Report(0, 10)),
                step(
                    10 * MINUTE,
                    "One is whitelisted (never sent): it leaves every group.",
                    Action::Decide(2, Whitelist::NeverSent),
                ),
                step(
                    30 * MINUTE,
                    "It is as before: it comes back.",
                    Action::Decide(2, Whitelist::Default),
                ),
            ],
        },
        Scenario {
            name: "too_many_requests",
            about: "Every call under /public/ is refused with 429 for a minute",
            steps: vec![
                step(
                    0,
                    "Calls get 429 with Retry-After: 10.",
                    Action::Refuse { path: "/public/*", retry_after: 10, span: MINUTE },
                ),
                step(MINUTE, "Calls are answered again.", Action::Wait),
            ],
        },
        Scenario {
            name: "many_iocs_in_an_hour",
            about: "20,000 new IOCs within an hour, 1,000 every three minutes",
            steps: (0..BATCHES).map(batch).collect(),
        },
    ]
});

impl App {
    /// Does what a step does. Gives what a person has to know of it.
    ///
    /// # Errors
    /// If something of its names is in the way, or is not there any more.
    pub async fn scenario_act(&self, actor: &Actor, action: Action) -> AppResult<Vec<String>> {
        match action {
            Action::Wait | Action::Refuse { .. } => Ok(Vec::new()),
            Action::AddDevice(name) => {
                let (device, group) = self.made_up_device(actor, name).await?;
                self.device_backdate(actor, device).await?;
                self.made_up_pull(device, group, self.context.now()).await?;
                Ok(vec![format!("Group URL: {}", self.context.group_url(group))])
            }
            Action::Pull(name) => {
                let (device_id, group_id) = self.device_named(actor, name).await?;
                let keys = self.accounts.key_list(actor, None).await?;
                let of_devices = keys.iter().filter(|of| of.key.kind == KeyKind::Appliance);
                let key = of_devices.max_by_key(|of| of.refusal.is_none());
                let key_id = key.ok_or(AppError::NotFound("appliance key"))?.key.id;
                let pulled = Pulled { device_id, group_id, key_id, fetched: Fetched::Part };
                self.watch.pull_note(PullNote::Done(pulled), made_up_client(), 200, 1_000);
                self.watch.pulls_end().await?;
                Ok(Vec::new())
            }
            Action::RotateKey(name, overlap) => {
                let (device, _) = self.device_named(actor, name).await?;
                let first = self.accounts.key_create(actor, KeyKind::Device, Some(device)).await?;
                let second =
                    self.accounts.key_rotate(actor, first.view.key.id, Some(overlap)).await?;
                Ok(vec![
                    format!("First key: {}", first.secret),
                    format!("Second key: {}", second.secret),
                ])
            }
            Action::Report(from, count) => {
                let now = self.context.now().to_string();
                let one = |n| json!({ "value": scenario_ioc(n), "severity": "high", "last_seen": now, "user_tags": ["scenario"] });
                let list: Vec<_> = (from..from + count).map(one).collect();
                let known = self.context.store.read().source_list(&actor.account_id).await?;
                let source = match known.into_iter().find(|source| source.name == SOURCE) {
                    Some(source) => source.id,
                    None => {
                        let new = NewSource::feed(SOURCE.to_owned(), 3);
                        self.intake.source_create(actor, new).await?.id
                    }
                };
                self.intake.import_list(actor, source, &list).await?;
                Ok(Vec::new())
            }
            Action::Decide(n, whitelist) => {
                let edit = (scenario_ioc(n), IocEdit::Whitelist(whitelist));
                self.intake.ioc_bulk_edit(actor, vec![edit]).await?;
                Ok(vec![format!("IOC: {}", scenario_ioc(n))])
            }
        }
    }

    async fn device_named(&self, actor: &Actor, name: &str) -> AppResult<(DeviceId, GroupId)> {
        let devices = self.context.store.read().device_list_all(&actor.account_id).await?;
        let device = devices.into_iter().find(|device| device.name.as_str() == name);
        let device = device.ok_or(AppError::NotFound("device"))?.id;
        let groups = self.accounts.group_list(actor, device).await?;
        let group = groups.first().ok_or(AppError::NotFound("group"))?.row.group.id;
        Ok((device, group))
    }
}

/// A MISP, as it would ask.
fn made_up_client() -> Client {
    Client {
        address: "192.0.2.7".to_owned(),
        user_agent: "MISP 2.5.20".to_owned(),
        misp_version: Some("2.5.20".to_owned()),
        misp_uuid: None,
    }
}

/// The values that scenarios report; none is among the fixtures.
fn scenario_ioc(n: u32) -> String {
    value(Kind::Domain, 2_000_000 + n)
}
