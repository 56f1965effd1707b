//! A whole iocast in this process for one story, with a database, a clock and a data folder of its
//! own.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use iocast_server::{
    Clock, Shutdown, Timestamp,
    application::Application,
    clock::{SystemClock, SystemEntropy},
    config::Config,
};
use serde_json::Value;
use tempfile::TempDir;

mod client;
pub(crate) mod misp;
mod post;

pub(crate) use client::{Admin, Answer, Device, Feed, agent, basic, send, try_send};
pub(crate) use post::Post;

/// Which database.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// A product clock that stands still until it is moved. Sessions run on the real one.
#[derive(Debug)]
pub(crate) struct StillClock {
    product: AtomicI64,
    /// How far the real clock is ahead of the machine's.
    real_ahead: AtomicI64,
    /// How far this server's clock is wrong: ahead of the database's.
    wrong: AtomicI64,
}

impl StillClock {
    fn at(text: &str) -> Self {
        Self {
            product: AtomicI64::new(Timestamp::parse(text).unwrap().micros()),
            real_ahead: AtomicI64::new(0),
            wrong: AtomicI64::new(0),
        }
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.product.load(Ordering::SeqCst))
    }

    fn real_now(&self) -> Timestamp {
        SystemClock::default().real_now().plus(self.real_ahead.load(Ordering::SeqCst))
    }

    fn shared_now(&self, database: Timestamp) -> Timestamp {
        database.plus(self.real_ahead.load(Ordering::SeqCst) - self.wrong.load(Ordering::SeqCst))
    }

    fn advance(&self, micros: i64) {
        self.product.fetch_add(micros, Ordering::SeqCst);
    }
}

impl StillClock {
    /// Sets this server's clock wrong by so much; the database's stays right.
    pub(crate) fn set_wrong(&self, micros: i64) {
        self.wrong.fetch_add(micros, Ordering::SeqCst);
        self.pass(micros);
    }

    /// Lets time pass for the machine and the product alike.
    pub(crate) fn pass(&self, micros: i64) {
        self.product.fetch_add(micros, Ordering::SeqCst);
        self.real_ahead.fetch_add(micros, Ordering::SeqCst);
    }
}

pub(crate) struct TestApp {
    pub(crate) url: String,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) account_id: String,
    pub(crate) appliance_key: String,
    pub(crate) clock: Arc<StillClock>,
    pub(crate) data: TempDir,
    config: Config,
    database: Option<String>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

/// The administrator of the first account.
pub(crate) const ADMIN: &str = "admin@iocast.local";

impl TestApp {
    pub(crate) fn open(engine: Engine) -> Self {
        Self::with(engine, |_| {})
    }

    pub(crate) fn with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let mut app = Self::prepared(engine, change);
        app.start();
        app
    }

    /// Ready, and not started.
    fn prepared(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        // A story that goes wrong shows which faults of ours the server met.
        let _another_does = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::ERROR)
            .with_writer(std::io::stderr)
            .try_init();
        let data = TempDir::new().unwrap();
        let database = matches!(engine, Engine::Postgres).then(postgres_database);
        let mut config = Config {
            listen: "127.0.0.1:0".into(),
            data: data.path().join("data"),
            database_url: database.clone(),
            workers: Some(2),
            drain_seconds: 2,
            emulator: true,
            program: crate::shell::binary(),
            ..Config::default()
        };
        change(&mut config);
        Self {
            url: String::new(),
            port: 0,
            password: String::new(),
            account_id: String::new(),
            appliance_key: String::new(),
            clock: Arc::new(StillClock::at("2026-11-03T10:00:00Z")),
            data,
            config,
            database,
            shutdown: Shutdown::default(),
            thread: None,
        }
    }

    /// On a data folder and a database that are laid out before the start; what its clients know is
    /// not known.
    pub(crate) fn with_data(
        engine: Engine,
        lay: impl FnOnce(&std::path::Path, Option<&str>),
    ) -> Self {
        Self::prepared(engine, |config| lay(&config.data, config.database_url.as_deref()))
    }

    fn start(&mut self) {
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let (ready, told) = mpsc::channel();
        let shutdown = Shutdown::default();
        self.shutdown = shutdown.clone();
        self.thread = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let application =
                    Application::build(config, clock, Arc::new(SystemEntropy), &shutdown)
                        .await
                        .unwrap();
                ready
                    .send((
                        application.public_url().to_owned(),
                        application.port(),
                        application.first.clone(),
                    ))
                    .unwrap();
                application.run_until_stopped(shutdown).await.unwrap();
            });
        }));
        let (url, port, first) = told.recv().expect("the app starts");
        self.url = url;
        self.port = port;
        if let Some(first) = first {
            self.password = first.admin_password;
            self.account_id = first.account_id;
            self.appliance_key = first.appliance_key;
        }
    }

    pub(crate) fn stop(&mut self) {
        self.shutdown.begin();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the app stops in order");
        }
    }

    /// Stops the app and starts it again on the same data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// The same app with other settings.
    pub(crate) fn reopen(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop();
        change(&mut self.config);
        self.start();
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::sign_in(&self.url, ADMIN, &self.password)
    }

    /// A device that pulls with the account's appliance key.
    pub(crate) fn device(&self) -> Device {
        Device::new(&self.account_id, &self.appliance_key)
    }

    /// Moves the product's clock through the emulator's door, so that what becomes due has happened
    /// after it.
    pub(crate) fn advance(&self, admin: &Admin, span: &str) {
        admin.post("/api/v1/emulator/clock", serde_json::json!({ "advance": span }), 200);
    }

    pub(crate) fn database_url(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The database on which it was last started.
    pub(crate) fn database_in_use(&self) -> Option<String> {
        self.config.database_url.clone()
    }

    /// A page as its administrator sees it.
    pub(crate) fn page(&self, path: &str) -> String {
        let cookie = format!("iocast={}", self.admin().token);
        send(
            "GET",
            &format!("{}{path}", self.url),
            &[("cookie", &cookie), ("accept", "text/html")],
            None,
        )
        .text()
    }

    /// Does to the database, while nobody serves it, what no door allows.
    pub(crate) fn sql(&self, sql: &str) {
        match &self.database {
            Some(database) => psql_on(database, sql),
            None => {
                let script = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); d.commit(); d.close()";
                let file = self.data_folder().join("iocast.sqlite");
                let done = Command::new(std::env::var("IOCAST_PYTHON").expect("IOCAST_PYTHON"))
                    .args(["-c", script])
                    .arg(file)
                    .arg(sql)
                    .output();
                let done = done.expect("Python runs");
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            }
        }
    }

    pub(crate) fn data_folder(&self) -> PathBuf {
        self.config.data.clone()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shutdown.begin();
            return;
        }
        self.stop();
        if let Some(url) = &self.database {
            let name = url.rsplit('/').next().unwrap();
            psql(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
        }
    }
}

fn postgres() -> String {
    std::env::var("IOCAST_TEST_POSTGRES").expect(
        "IOCAST_TEST_POSTGRES names a PostgreSQL server for the stories; `make test` starts one",
    )
}

fn psql(sql: &str) {
    psql_on(&format!("{}/postgres", postgres()), sql);
}

pub(crate) fn psql_on(database: &str, sql: &str) {
    psql_answer(database, sql);
}

/// What a query answers, without headings.
pub(crate) fn psql_answer(database: &str, sql: &str) -> String {
    let done =
        Command::new("psql").arg(database).args(["-qtA", "-c", sql]).output().expect("psql runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A fresh database on the test server.
pub(crate) fn postgres_database() -> String {
    let mut bytes = [0; 8];
    iocast_server::Entropy::fill(&SystemEntropy, &mut bytes);
    let name = format!("iocast_{}", hex::encode(bytes));
    psql(&format!("CREATE DATABASE \"{name}\""));
    format!("{}/{name}", postgres())
}

/// Takes a database away from everybody, as a restart of the server does, or gives it back.
pub(crate) fn allow_connections(url: &str, allow: bool) {
    let name = url.rsplit('/').next().unwrap();
    psql(&format!("ALTER DATABASE \"{name}\" WITH ALLOW_CONNECTIONS {allow}"));
    if !allow {
        psql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ));
    }
}

/// Rounds of a campaign: `usual` of them in `make test`, `long` in `make test-long`, which takes about
/// an hour. `IOCAST_LONG=10 make test-long` tries ten times as many.
pub(crate) fn rounds<N: TryFrom<u64, Error: std::fmt::Debug>>(usual: u64, long: u64) -> N {
    let times = std::env::var("IOCAST_LONG").ok().map(|times| times.parse().unwrap_or(1));
    times.map_or(usual, |times: u64| long * times).try_into().unwrap()
}

/// Waits until `what` gives something. The limit is there only so that a story that can't succeed
/// ends.
pub(crate) fn eventually<T>(story: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never happened: {story}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What most stories begin with: a MISP device with one group, and a source.
pub(crate) struct Scene {
    pub(crate) device: String,
    pub(crate) group: String,
    pub(crate) url: String,
    pub(crate) source: String,
}

impl Scene {
    pub(crate) fn set(admin: &Admin, limit: Option<u32>) -> Self {
        let device = admin.post(
            "/api/v1/devices",
            serde_json::json!({ "name": "Lab MISP", "device_type": "misp", "ioc_limit": limit }),
            201,
        );
        let device = text(&device, "id");
        let group = admin.post(
            &format!("/api/v1/devices/{device}/groups"),
            serde_json::json!({ "name": "Perimeter" }),
            201,
        );
        let source = admin.post(
            "/api/v1/sources",
            serde_json::json!({ "name": "Own feed", "confidence": 2 }),
            201,
        );
        Self {
            device,
            group: text(&group, "id"),
            url: text(&group, "url"),
            source: text(&source, "id"),
        }
    }

    /// Imports a list and waits until the group holds exactly these live values.
    pub(crate) fn import(&self, admin: &Admin, list: &str) -> Value {
        admin.import(&self.source, "text/plain", list, 200)
    }

    /// Waits until the feed lists exactly `expected` as live, and gives it.
    pub(crate) fn settled(&self, device: &Device, expected: &[&str]) -> Feed {
        let mut wanted: Vec<String> = expected.iter().map(|v| (*v).to_owned()).collect();
        wanted.sort();
        eventually(&format!("the feed lists {wanted:?}"), || {
            Some(device.feed(&self.url)).filter(|feed| feed.live() == wanted)
        })
    }
}

pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}")).to_owned()
}

/// Has every story of a file run on both engines.
macro_rules! stories {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(&mut crate::support::TestApp::open(crate::support::Engine::Sqlite)); })+
        }
        mod postgres {
            $(#[test] fn $name() { super::$name(&mut crate::support::TestApp::open(crate::support::Engine::Postgres)); })+
        }
    };
}
pub(crate) use stories;
