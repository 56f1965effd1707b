//! The whole server: built, listening, running until it is told to stop.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use iocast_app::{AppError, NewAccount};
use iocast_domain::time::{Clock, Entropy};
use iocast_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, ConfigError},
    shell,
    shutdown::Shutdown,
    supervisor::Supervisor,
    systemd, ticker,
    tls::{self, Certificate},
};

mod open;
pub(crate) use self::open::{
    ON_POSTGRESQL, ON_POSTGRESQL_TEXT, OpenedApp, RESTORING, RESTORING_TEXT, lock, open,
};
use self::open::{first_account, open_in_time};

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can't be used.
    #[error("the data folder {path} can't be used: {source}")]
    Data {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder belongs to an iocast whose data is elsewhere.
    #[error(
        "this data folder belongs to an iocast on PostgreSQL: give --database-url (IOCAST_DATABASE_URL). If its data is in iocast.sqlite after all, delete the mark {0}"
    )]
    OnPostgresql(PathBuf),
    /// A backup is not wholly restored.
    #[error("a restore into this data folder was not finished ({0}): run `iocast restore` again")]
    Restoring(PathBuf),
    /// There are secrets, and not the data that they belong to.
    #[error(
        "the data is missing: {secrets} is there, and {database} is empty or not there. Is the volume mounted, and is this the right folder or database? \
         Put the data back from a backup; or, to begin with nothing, start once with --new-database"
    )]
    DataMissing {
        /// The secrets file.
        secrets: PathBuf,
        /// The database.
        database: String,
    },
    /// The end began before the start was done.
    #[error("stopped before it had started")]
    Stopped,
    /// Another process uses the data folder.
    #[error(
        "another iocast uses the data folder {0}; stop it first, or give this one a folder of its own"
    )]
    Locked(PathBuf),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// `HOST:PORT`.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The operator's own templates can't be used.
    #[error("the templates in {path} can't be used: {source}")]
    Templates {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate can't be used.
    #[error("the certificate can't be used: {0}")]
    Certificate(#[source] io::Error),
    /// A setting is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The database can't be opened.
    #[error("the database can't be opened: {}", chain(.0))]
    Store(#[from] StoreError),
    /// The application refuses to start.
    #[error("{}", chain(.0))]
    App(#[from] AppError),
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The server, ready to run.
#[derive(Debug)]
pub struct Application {
    opened: OpenedApp,
    config: Config,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    port: u16,
    /// The account made on an empty database.
    pub first: Option<NewAccount>,
}

/// The address to put into URLs where `bound` is listened on: every address is none that a device
/// can call, so it is the one by which this machine reaches others.
fn reachable(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let (any, loopback): (SocketAddr, IpAddr) = if bound.is_ipv4() {
        ((Ipv4Addr::UNSPECIFIED, 0).into(), Ipv4Addr::LOCALHOST.into())
    } else {
        ((Ipv6Addr::UNSPECIFIED, 0).into(), Ipv6Addr::LOCALHOST.into())
    };
    // Nothing is sent: the kernel only chooses the way to an address of the documentation.
    let far: SocketAddr = if bound.is_ipv4() {
        ([192, 0, 2, 1], 9).into()
    } else {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into()
    };
    let local = UdpSocket::bind(any)
        .and_then(|socket| socket.connect(far).and_then(|()| socket.local_addr()));
    SocketAddr::new(local.map_or(loopback, |address| address.ip()), bound.port())
}

/// How long the ticks under way get to end.
const LAST_TICK: Duration = Duration::from_secs(4);

/// The first administrator's address on an empty database.
pub const FIRST_ADMIN: &str = "admin@iocast.local";

impl Application {
    /// Binds the address, opens the database, and on an empty one makes an account.
    ///
    /// # Errors
    /// What to do about it.
    pub async fn build(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { address: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        if let Some(folder) = &config.templates {
            iocast_web::override_templates(folder)
                .map_err(|source| StartError::Templates { path: folder.clone(), source })?;
        }
        let certificate = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => {
                Some(Certificate::read(cert, key).map_err(StartError::Certificate)?)
            }
            _ => None,
        };
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let public_url = config
            .public_url
            .clone()
            .unwrap_or_else(|| format!("{scheme}://{}", reachable(address)));
        if config.public_url.is_none() && address.ip().is_unspecified() {
            tracing::warn!(
                "`public_url` is not set: URLs begin with {public_url}. Set it to the address by which devices reach iocast"
            );
        }
        let opened = tokio::select! {
            opened = open_in_time(&config, &clock, &entropy, &public_url) => opened?,
            // It may wait for its database.
            () = shutdown.begun() => return Err(StartError::Stopped),
        };
        if opened.lock.is_some() {
            opened.app.intake.sweep_spool();
        }
        let first = first_account(&opened.app).await?;
        Ok(Self { opened, config, listener, certificate, port: address.port(), first })
    }

    /// The port that is listened on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it answers requests, and does not only work.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.opened.app.context.settings.role.answers()
    }

    /// Where devices and people reach it.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.opened.app.context.settings.public_url
    }

    /// Serves until `shutdown` begins, then ends in order: no new requests, requests under way,
    /// tasks, database.
    ///
    /// # Errors
    /// If the listener fails or the database can't be closed.
    pub async fn run_until_stopped(self, shutdown: Shutdown) -> Result<(), StartError> {
        let Self { opened, config, listener, certificate, .. } = self;
        let app = &opened.app;
        let failed = |source| StartError::Listen { address: config.listen.clone(), source };
        let workers = config
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
        let drain = Duration::from_secs(config.drain_seconds);
        // Before anybody can be judged: how long nobody could answer.
        let begun = tokio::time::Instant::now();
        app.watch.heartbeat(begun.elapsed()).await?;
        let mut tasks = Supervisor::new(app, CancellationToken::new());
        ticker::start(app, begun, config.backups()?, &mut tasks);
        if opened.lock.is_some() {
            shell::listen(app, &config.data, &mut tasks);
        }
        let tls = certificate
            .as_ref()
            .map(Certificate::config)
            .transpose()
            .map_err(StartError::Certificate)?;
        if let Some(certificate) = certificate {
            let (stop, hangup) = (tasks.stop(), shutdown.clone());
            tasks.start("certificate", Duration::MAX, move || {
                tls::watch(Arc::clone(&certificate), hangup.clone(), stop.clone())
            });
        }
        let requests = iocast_web::RequestDurations::default();
        let server = if app.context.settings.role.answers() {
            iocast_web::serve(Arc::clone(app), requests.clone(), listener, tls, workers, drain)
        } else {
            iocast_web::serve_health(Arc::clone(app), listener)
        };
        let server = server.map_err(failed)?;
        let metrics = match &config.metrics_listen {
            Some(address) => {
                let listen = |source| StartError::Listen { address: address.clone(), source };
                Some(
                    iocast_web::serve_metrics(
                        Arc::clone(app),
                        requests,
                        TcpListener::bind(address).map_err(listen)?,
                    )
                    .map_err(listen)?,
                )
            }
            None => None,
        };
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the type has no name in this crate"
        )]
        let metrics_handle = metrics.as_ref().map(|listening| listening.handle());
        let metrics = metrics.map(tokio::spawn);
        let handle = server.handle();
        tokio::pin!(server);
        let stop = tasks.stop();
        tasks.start("watchdog", Duration::MAX, move || systemd::watchdog(stop.clone()));
        systemd::ready();
        tokio::select! {
            ended = &mut server => ended.map_err(failed)?,
            () = shutdown.begun() => {
                systemd::stopping();
                app.context.begin_closing();
                // The server must be polled for the stop to come through.
                let ((), ended) = tokio::join!(handle.stop(true), &mut server);
                ended.map_err(failed)?;
            }
        }
        if let Some(metrics) = metrics_handle {
            metrics.stop(false).await;
        }
        drop(metrics);
        if !tasks.end(LAST_TICK).await {
            // A mail server that hangs, most likely: its message is claimed, and sent by the process
            // that runs next.
            tracing::warn!("Stopping: work that did not end in time is cut off");
        }
        app.close().await?;
        Ok(())
    }
}
