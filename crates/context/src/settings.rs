//! What the application is told when it is put together.

use std::{path::PathBuf, time::Duration};

use iocast_domain::{proxy::Proxies, special::Networks};

/// What the app needs to know of its surroundings.
#[derive(Clone)]
pub struct Settings {
    /// Where devices reach iocast: scheme and host, without a slash behind.
    pub public_url: String,
    /// Proxies that may say who asked.
    pub trusted_proxies: Proxies,
    /// The data folder: imports are spooled in it.
    pub data: PathBuf,
    /// The program that reads documents apart: `iocast` itself.
    pub program: PathBuf,
    /// Whether the product's clock may be moved.
    pub emulator: bool,
    /// Networks that are not public, and may be fetched from all the same.
    pub fetch_networks: Networks,
    /// Folders of this machine that subscriptions may read.
    pub fetch_folders: Vec<PathBuf>,
    /// The proxy through which lists are fetched.
    pub fetch_proxy: Option<String>,
    /// Most bytes of one import.
    pub import_max: u64,
    /// Bytes of compressed feed files kept in memory.
    pub cache_bytes: u64,
    /// Sender of all messages.
    pub mail_from: String,
    /// How long handing over one message may take.
    pub mail_deadline: Duration,
    /// Bearer token for the metrics.
    pub metrics_token: Option<String>,
    /// Calls of the REST API that an account may make in a minute; 0 for as many as it likes.
    pub api_calls_per_minute: u32,
    /// Enrichments that an account may ask for in a day.
    pub api_enrichments_per_day: u32,
    /// Days for which lines of the audit log are kept.
    pub audit_kept_days: i64,
    /// Days for which outages are kept after their end.
    pub outages_kept_days: i64,
    /// How long devices are served from memory when the database is away.
    pub without_database: Duration,
    /// What this process does.
    pub role: Role,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers requests.
    Web,
    /// Publishes, watches and writes messages.
    Worker,
    /// Both.
    All,
}

impl Role {
    /// As flags write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Worker => "worker",
            Self::All => "all",
        }
    }

    /// Whether it answers requests.
    #[must_use]
    pub const fn answers(self) -> bool {
        matches!(self, Self::Web | Self::All)
    }

    /// Whether it publishes, watches and writes messages.
    #[must_use]
    pub const fn works(self) -> bool {
        matches!(self, Self::Worker | Self::All)
    }
}

impl std::fmt::Debug for Settings {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("public_url", &self.public_url)
            .field("data", &self.data)
            .field("emulator", &self.emulator)
            .finish_non_exhaustive()
    }
}
