//! Watchdog and outbox on a real database, driven by a seeded random schedule against a simple
//! model: ticks, pulls, faults of the mail server, crashes, downtime and jumps of the clock. A
//! failure prints its seed; `IOCAST_SEED` runs that one alone.

#![expect(clippy::unwrap_used, reason = "a simulation that goes wrong ends there")]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use iocast_app::{
    Actor, App, Caller, Channel, Client, Email, Failure, MailTransport, Mailer, NewDevice,
    OutageRow, Page, PullNote, Pulled, Secrets, Settings, Transport, Webhooks,
};
use iocast_domain::{
    id::{AccountId, DeviceId, GroupId, KeyId, MessageId},
    message::{MessageKind, MessageState},
    time::{Clock, Entropy, HOUR, MINUTE, SECOND, Timestamp},
};
use iocast_store::Store;
use tempfile::TempDir;
use tokio::sync::Notify;
use uuid::Uuid;

/// The watchdog lets other replicas write their pulls before it judges, in microseconds.
const WRITTEN_WITHIN: i64 = 2 * SECOND;

/// SplitMix64: one seed, one schedule.
#[derive(Debug)]
struct TestRng(Mutex<u64>);

impl TestRng {
    fn roll(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&self, n: u64) -> u64 {
        self.roll() % n
    }

    fn span(&self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(u64::try_from(to - from).unwrap())).unwrap()
    }
}

impl Entropy for TestRng {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.roll().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

#[derive(Debug)]
struct TwoClocks {
    product: AtomicI64,
    real: AtomicI64,
}

impl TwoClocks {
    /// Time for both: the machine was off, or somebody set its clock.
    fn pass(&self, micros: i64) {
        self.product.fetch_add(micros, Ordering::SeqCst);
        self.real.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TwoClocks {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.product.load(Ordering::SeqCst))
    }

    fn real_now(&self) -> Timestamp {
        Timestamp::from_micros(self.real.load(Ordering::SeqCst))
    }

    fn advance(&self, micros: i64) {
        self.product.fetch_add(micros, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Take,
    Fail,
    Refuse,
    /// Takes the message, and the line dies before the answer.
    Lose,
    /// The sender dies before, or after, the message is taken.
    DieBefore,
    DieAfter,
}

/// A mail server that keeps what it took: subject and Message-ID, in order.
#[derive(Debug)]
struct MailServer {
    manner: Mutex<Manner>,
    taken: Mutex<Vec<(String, String)>>,
    /// Message-IDs of messages of which the sender can't know that they were taken.
    unknown: Mutex<BTreeMap<String, usize>>,
    died: Notify,
}

impl MailTransport for MailServer {
    fn carry<'a>(
        &'a self,
        email: &'a Email,
    ) -> Pin<Box<dyn Future<Output = Result<String, Failure>> + Send + 'a>> {
        Box::pin(async move {
            let manner = *self.manner.lock().unwrap();
            if matches!(manner, Manner::Take | Manner::Lose | Manner::DieAfter) {
                self.taken.lock().unwrap().push((email.subject.clone(), email.message_id.clone()));
            }
            if matches!(manner, Manner::Lose | Manner::DieAfter) {
                *self.unknown.lock().unwrap().entry(email.message_id.clone()).or_default() += 1;
            }
            match manner {
                Manner::Take => Ok("250 taken".to_owned()),
                Manner::Fail => Err(Failure::Transient("451 later".to_owned())),
                Manner::Lose => Err(Failure::Unknown("the line died".to_owned())),
                Manner::Refuse => Err(Failure::Permanent("550 never".to_owned())),
                Manner::DieBefore | Manner::DieAfter => {
                    self.died.notify_one();
                    std::future::pending().await
                }
            }
        })
    }
}

/// What the model knows of a device.
#[derive(Debug)]
struct Modelled {
    id: DeviceId,
    /// Time in which it could have pulled and did not.
    quiet: i64,
    open: bool,
    outages: usize,
}

struct World {
    folder: TempDir,
    settings: Settings,
    secrets: String,
    store: Store,
    clock: Arc<TwoClocks>,
    rng: Arc<TestRng>,
    mail: Arc<MailServer>,
    account: AccountId,
    app: Arc<App>,
}

fn mailer(server: Arc<MailServer>) -> Mailer {
    let webhooks = Webhooks { allow_private: false, total: Duration::from_secs(45) };
    Mailer::new(Transport::MailTransport(server), webhooks)
}

fn secrets(text: &str) -> Secrets {
    serde_json::from_str(text).unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let rng = Arc::new(TestRng(Mutex::new(0)));
        let begin = Timestamp::parse("2026-11-03T10:00:00Z").unwrap().micros();
        let clock =
            Arc::new(TwoClocks { product: AtomicI64::new(begin), real: AtomicI64::new(begin) });
        let mail = Arc::new(MailServer {
            manner: Mutex::new(Manner::Take),
            taken: Mutex::default(),
            unknown: Mutex::default(),
            died: Notify::new(),
        });
        let settings = Settings {
            audit_kept_days: 1_095,
            outages_kept_days: 1_095,
            public_url: "https://iocast.example".to_owned(),
            trusted_proxies: iocast_domain::proxy::Proxies::default(),
            fetch_networks: iocast_domain::special::Networks::default(),
            fetch_folders: Vec::new(),
            fetch_proxy: None,
            data: folder.path().to_owned(),
            program: std::path::PathBuf::new(),
            emulator: false,
            import_max: 1 << 20,
            cache_bytes: 1 << 20,
            mail_from: "iocast@example.com".to_owned(),
            mail_deadline: Duration::from_secs(45),
            metrics_token: None,
            api_calls_per_minute: 0,
            without_database: Duration::MAX,
            role: iocast_app::Role::All,
            api_enrichments_per_day: 0,
        };
        let store = Store::open(None, folder.path()).await.unwrap();
        let secrets_text = serde_json::to_string(&Secrets::generate(&*rng)).unwrap();
        let post = mailer(mail.clone());
        let app = App::open(
            settings.clone(),
            store.clone(),
            secrets(&secrets_text),
            post,
            clock.clone(),
            rng.clone(),
        )
        .await
        .unwrap();
        let account: AccountId = app
            .accounts
            .account_create("Acme", "admin@example.com", Some("lamp river seven coat".to_owned()))
            .await
            .unwrap()
            .account_id
            .parse()
            .unwrap();
        app.watch.heartbeat(Duration::ZERO).await.unwrap();
        Self { folder, settings, secrets: secrets_text, store, clock, rng, mail, account, app }
    }

    /// The process dies and another begins.
    async fn restart(&mut self) {
        let post = mailer(self.mail.clone());
        let opened = App::open(
            self.settings.clone(),
            self.store.clone(),
            secrets(&self.secrets),
            post,
            self.clock.clone(),
            self.rng.clone(),
        );
        self.app = opened.await.unwrap();
        self.app.watch.heartbeat(Duration::ZERO).await.unwrap();
    }

    fn actor(&self) -> Actor {
        Actor::operator(self.account.clone())
    }

    /// Hands over what is due; dies on the way where the mail server says so.
    async fn deliver(&mut self, manner: Manner) {
        *self.mail.manner.lock().unwrap() = manner;
        let died = tokio::select! {
            done = self.app.watch.deliver_due(Channel::Mail) => { done.unwrap(); false }
            () = self.mail.died.notified() => true,
        };
        *self.mail.manner.lock().unwrap() = Manner::Take;
        if died {
            self.restart().await;
        }
    }

    async fn outages(&self, device: DeviceId) -> Vec<OutageRow> {
        self.app
            .watch
            .outage_list(&self.actor(), Some(device), None, &Page::first(1_000))
            .await
            .unwrap()
            .items
    }

    async fn live(&mut self, seed: u64) {
        *self.rng.0.lock().unwrap() = seed.wrapping_mul(0x9E37_79B9);
        self.mail.taken.lock().unwrap().clear();
        self.mail.unknown.lock().unwrap().clear();
        let mut devices = Vec::new();
        // More than three at once, or within minutes, come in a digest.
        let many = if self.rng.below(3) == 0 { 3 + self.rng.below(5) } else { self.rng.below(3) };
        for n in 0..=many {
            let name = format!("S{seed} D{n}");
            let new = NewDevice {
                name,
                device_type: "misp".to_owned(),
                ioc_limit: None,
                labels: Vec::new(),
            };
            let id = self.app.accounts.device_create(&self.actor(), new).await.unwrap().device.id;
            devices.push(Modelled { id, quiet: 0, open: false, outages: 0 });
        }
        for _ in 0..20 {
            self.step(&mut devices).await;
        }
        self.judge(&devices).await;
        for device in devices {
            self.app.accounts.device_delete(&self.actor(), device.id).await.unwrap();
        }
    }

    async fn step(&mut self, devices: &mut [Modelled]) {
        match self.rng.below(10) {
            0..=2 => {
                let by = if self.rng.below(4) == 0 {
                    48 * HOUR + WRITTEN_WITHIN + self.rng.span(-2, 3)
                } else {
                    self.rng.span(0, 30 * HOUR)
                };
                self.clock.advance(by);
                devices.iter_mut().for_each(|d| d.quiet += by);
            }
            3..=4 => {
                let at = usize::try_from(self.rng.below(devices.len() as u64)).unwrap();
                let device = &mut devices[at];
                let pulled = Pulled {
                    fetched: iocast_domain::receipt::Fetched::Whole(1),
                    device_id: device.id,
                    group_id: GroupId(Uuid::nil()),
                    key_id: KeyId(Uuid::nil()),
                };
                // An instant later than whatever was before: a pull ends a silence that began
                // before it.
                self.clock.advance(1);
                self.app.watch.pull_note(PullNote::Done(pulled), Client::default(), 304, 0);
                self.app.watch.pulls_flush().await.unwrap();
                devices.iter_mut().for_each(|d| d.quiet += 1);
                (devices[at].quiet, devices[at].open) = (0, false);
            }
            5..=6 => {
                if self.rng.below(3) == 0 {
                    // Dies somewhere on the way; what comes of it is whole or not there.
                    let moment = Duration::from_micros(self.rng.below(3_000));
                    let _ =
                        tokio::time::timeout(moment, self.app.watch.watch(Duration::ZERO)).await;
                    self.restart().await;
                }
                self.app.watch.watch(Duration::ZERO).await.unwrap();
                // The first tick after a restart has nothing to compare the clocks with; this one
                // judges.
                self.app.watch.watch(Duration::ZERO).await.unwrap();
                for device in &mut *devices {
                    if device.quiet > 48 * HOUR + WRITTEN_WITHIN && !device.open {
                        device.open = true;
                        device.outages += 1;
                    }
                    let outages = self.outages(device.id).await;
                    assert_eq!(
                        outages.iter().filter(|o| o.outage.ended.is_none()).count(),
                        usize::from(device.open),
                        "{device:?}"
                    );
                    assert_eq!(outages.len(), device.outages, "{device:?}");
                }
            }
            7 => {
                let manners = [
                    Manner::Take,
                    Manner::Take,
                    Manner::Fail,
                    Manner::Fail,
                    Manner::Refuse,
                    Manner::Lose,
                    Manner::DieBefore,
                    Manner::DieAfter,
                ];
                let manner = manners[usize::try_from(self.rng.below(8)).unwrap()];
                self.deliver(manner).await;
            }
            8 => {
                // We were off: nobody could pull.
                self.clock.pass(self.rng.span(2 * MINUTE, 80 * HOUR));
                self.restart().await;
            }
            _ => {
                // Somebody sets the clock forward: nobody is judged by that.
                self.app.watch.watch(Duration::ZERO).await.unwrap();
                for device in &mut *devices {
                    if device.quiet > 48 * HOUR + WRITTEN_WITHIN && !device.open {
                        device.open = true;
                        device.outages += 1;
                    }
                }
                self.clock.pass(self.rng.span(2 * MINUTE, 80 * HOUR));
                assert_eq!(self.app.watch.watch(Duration::ZERO).await.unwrap().outages, 0);
            }
        }
    }

    /// When all is calm again: nothing is missing, nothing came twice that should not, nothing came
    /// in a wrong order.
    async fn judge(&mut self, devices: &[Modelled]) {
        for _ in 0..12 {
            self.clock.advance(15 * MINUTE);
            self.deliver(Manner::Take).await;
        }
        let taken = self.mail.taken.lock().unwrap().clone();
        let unknown = self.mail.unknown.lock().unwrap().clone();
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, id) in &taken {
            *copies.entry(id).or_default() += 1;
        }
        for (id, n) in copies {
            assert!(n <= 1 + unknown.get(id).copied().unwrap_or(0), "{n} copies of {id}");
        }
        for device in devices {
            let first = |message: MessageId| {
                taken.iter().position(|(_, id)| id.contains(&message.to_string()))
            };
            for OutageRow { outage, messages } in self.outages(device.id).await {
                let of = |kind| messages.iter().find(|l| l.kind == kind);
                let (warning, recovery) = (of(MessageKind::Warning), of(MessageKind::Recovery));
                let Some(warning) = warning else {
                    // It was taken out of a digest that had not gone out.
                    assert!(
                        outage.ended.is_some() && recovery.is_none(),
                        "{device:?}: a warning is written with its outage: {messages:?}"
                    );
                    continue;
                };
                // Those who got the warning get a recovery, and after it.
                let (arrived, told_end) =
                    (first(warning.id), recovery.and_then(|recovery| first(recovery.id)));
                assert!(
                    told_end.is_none_or(|end| arrived.is_some_and(|begin| begin < end)),
                    "{device:?}: a recovery before its warning"
                );
                let (warning, recovery, arrived) =
                    (warning.state, recovery.map(|l| l.state), arrived.is_some());
                assert!(
                    warning.is_settled() && recovery.is_none_or(MessageState::is_settled),
                    "{device:?}: {messages:?}"
                );
                match (outage.ended.is_some(), warning) {
                    (false, state) => assert!(
                        matches!(state, MessageState::Sent | MessageState::Dead)
                            && recovery.is_none(),
                        "{device:?}: {messages:?}"
                    ),
                    // One that arrived without an answer is retried until it has one; refused for
                    // good then, it has no sequel.
                    (true, state) if arrived && state != MessageState::Dead => {
                        assert!(
                            matches!(recovery, Some(MessageState::Sent | MessageState::Dead)),
                            "{device:?}: {messages:?}"
                        );
                    }
                    (true, MessageState::Sent) => {
                        panic!("{device:?}: sent, and not taken: {messages:?}")
                    }
                    (true, _) => assert!(
                        recovery.is_none_or(|r| r == MessageState::Superseded),
                        "{device:?}: {messages:?}"
                    ),
                }
            }
        }
    }
}

fn run(seeds: std::ops::Range<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for some in seeds.clone().step_by(200) {
            let mut world = World::new().await;
            for seed in some..(some + 200).min(seeds.end) {
                println!("IOCAST_SEED={seed}");
                world.live(seed).await;
            }
        }
    });
}

/// What goes on after its caller got an answer ends before the database is closed.
#[test]
fn closing_waits_for_work_in_the_background() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        world
            .app
            .accounts
            .password_forgotten("admin@example.com", &Caller::default())
            .await
            .unwrap();
        world.app.close().await.unwrap();
        world.store = Store::open(None, world.folder.path()).await.unwrap();
        world.restart().await;
        let messages =
            world.app.watch.message_list(&world.actor(), None, &Page::first(10)).await.unwrap();
        assert_eq!(messages.items.len(), 1, "{messages:?}");
    });
}

/// A quarter of the seeds, so that the cores share them.
fn quarter(n: u64) {
    if let Some(seed) = std::env::var("IOCAST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed..seed + 1);
    }
    let times = std::env::var("IOCAST_LONG").ok().map(|times| times.parse().unwrap_or(1));
    let all: u64 = times.map_or(2_000, |times: u64| 10_000 * times);
    run(all / 4 * n..all / 4 * (n + 1));
}

#[test]
fn random_schedules_first_quarter() {
    quarter(0);
}

#[test]
fn random_schedules_second_quarter() {
    quarter(1);
}

#[test]
fn random_schedules_third_quarter() {
    quarter(2);
}

#[test]
fn random_schedules_last_quarter() {
    quarter(3);
}
