//! Commands and flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{code::CodeVerb, copies::CopyVerb, sources::SourcesVerb};

/// iocast gets indicators of compromise onto every device that polls it.
#[derive(Debug, Parser)]
#[command(
    name = "iocast",
    version,
    after_help = "Every setting is also an environment variable (IOCAST_LISTEN, IOCAST_DATABASE_URL, …) and a line of iocast.toml; flags win over environment, environment over file.\n\nExamples:\n  iocast serve --data ./data --listen 0.0.0.0:8080 --public-url https://iocast.example.com\n  iocast init --data ./data --account Acme --admin admin@example.com --json\n  iocast import --data ./data --source 'Malware trails' *.txt"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: CliCommand,
    /// Configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE", env = "IOCAST_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// `text` or `json`; logs go to standard error.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
}

/// Which data.
#[derive(Debug, Args)]
pub(super) struct DataFlags {
    /// Folder for database, secrets and spool [default: data].
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// postgres://…; the bundled SQLite unless given.
    #[arg(long, value_name = "URL")]
    pub(super) database_url: Option<String>,
}

/// What to import, and how.
#[derive(Debug, Args)]
pub(super) struct ImportFlags {
    /// Files, folders with all files in them, or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) data: DataFlags,
    /// Name of the source; made where it is not there.
    #[arg(long, value_name = "NAME")]
    pub(super) source: String,
    /// Confidence of a source that is made: 1 to 3.
    #[arg(long, default_value_t = 2, value_name = "1..3")]
    pub(super) confidence: i64,
    /// Account ID or name; needed where there are several.
    #[arg(long, value_name = "ACCOUNT")]
    pub(super) account: Option<String>,
    /// What the files are, whatever they look like: json, table, list, report, html or openioc.
    #[arg(long = "as", value_name = "FORM", conflicts_with = "report")]
    pub(super) form: Option<String>,
    /// The files are prose, as with --as report.
    #[arg(long)]
    pub(super) report: bool,
    /// Of reports take live links as well: they are references otherwise.
    #[arg(long)]
    pub(super) live_links: bool,
    /// Of STIX, take what was merely observed as well.
    #[arg(long)]
    pub(super) observables: bool,
    /// Of MISP attributes take only those marked to_ids.
    #[arg(long)]
    pub(super) to_ids_only: bool,
    /// A tag for every IOC.
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// A malware family for every IOC; `-` takes each file's name.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(super) malware_family: Option<String>,
    /// Say what would happen, and write nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Restore an export of this account: take whitelist states and user tags in it, too.
    #[arg(long)]
    pub(super) restore: bool,
    /// Print one JSON object a file and nothing else.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the server. On an empty database an account is made and its secrets are printed.
    Serve {
        /// Address to listen on [default: 127.0.0.1:8080].
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        #[command(flatten)]
        data: DataFlags,
        /// Where devices reach iocast [default: http:// and the listening address].
        #[arg(long, value_name = "URL")]
        public_url: Option<String>,
        /// Speak HTTPS with this certificate chain (PEM); read again when it changes.
        #[arg(long, value_name = "FILE", requires = "tls_key")]
        tls_cert: Option<PathBuf>,
        /// Its private key (PEM).
        #[arg(long, value_name = "FILE", requires = "tls_cert")]
        tls_key: Option<PathBuf>,
        /// web (answers requests), worker (publishes, watches, writes messages) or all [default:
        /// all]; with PostgreSQL, any number of each.
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// Let administrators move the product's clock.
        #[arg(long)]
        emulator: bool,
        /// Start with an empty database although the secrets of another one are there.
        #[arg(long)]
        new_database: bool,
    },
    /// Make an account, and print its ID and secrets this once.
    Init {
        #[command(flatten)]
        data: DataFlags,
        /// Name of the account.
        #[arg(long, value_name = "NAME")]
        account: String,
        /// E-mail address of its first administrator.
        #[arg(long, value_name = "EMAIL")]
        admin: String,
        /// Read the administrator's password from standard input instead of making one.
        #[arg(long)]
        password_stdin: bool,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Reads a document for an import: iocast starts this itself.
    #[command(hide = true)]
    ReadDocument {
        /// What it is: pdf, text, slides, sheet, mail or tar.
        document: String,
        /// Where it lies.
        from: PathBuf,
        /// Files that come out are called this, with a number behind.
        to: PathBuf,
        /// Most bytes that may come out.
        most: u64,
    },
    /// Import files: lists, tables, JSON (MISP, STIX, our own, exports of other products), reports,
    /// pages, OpenIOC, PDF, Office documents, mails, also in ZIP, gzip or tar, told apart by what they hold. Ends with 1 if nothing was
    /// taken.
    Import(ImportFlags),
    /// Sources that fetch by themselves: list them, follow a public feed, fetch now.
    Sources {
        #[command(subcommand)]
        what: SourcesVerb,
    },
    #[command(flatten)]
    Code(CodeVerb),
    #[command(flatten)]
    Copies(CopyVerb),
    /// What only the operator may do: new passwords, modules.
    Admin {
        #[command(subcommand)]
        what: AdminVerb,
    },
    /// See whether messages arrive.
    Mail {
        #[command(subcommand)]
        what: MailVerb,
    },
    /// Fill an account with a small made-up world to build against, or empty it.
    Fixtures {
        #[command(subcommand)]
        what: FixturesVerb,
    },
    /// Ask a server whether devices are served, as the health check of a container does. Ends with 1
    /// if they are not.
    Ready {
        /// Its address [default: where a server with these settings listens].
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Certificates (PEM) that sign for it, in place of the public ones.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Print what a shell completes commands with: bash, zsh, fish, elvish or powershell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of all commands into a folder.
    Man {
        /// The folder; it must be there.
        folder: PathBuf,
    },
    /// Look at the settings.
    Config {
        #[command(subcommand)]
        what: ConfigVerb,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AdminVerb {
    /// Switch modules of an account on or off, or show them. Devices are served either way.
    Modules {
        #[command(flatten)]
        data: DataFlags,
        /// Account ID or name; needed where there are several.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Devices, groups and rules.
        #[arg(long, value_name = "on|off")]
        automation: Option<Switch>,
        /// IOCs and sources.
        #[arg(long, value_name = "on|off")]
        tip: Option<Switch>,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Give somebody a new password, and end the sessions.
    ResetPassword {
        #[command(flatten)]
        data: DataFlags,
        /// E-mail address.
        #[arg(long, value_name = "EMAIL")]
        email: String,
        /// Account ID, where the address is in several.
        #[arg(long, value_name = "ACCOUNT_ID")]
        account: Option<String>,
        /// Read the password from standard input instead of making one.
        #[arg(long)]
        password_stdin: bool,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum FixturesVerb {
    /// Load one: `small`, `medium` (5,000 IOCs more) or `large` (250,000 more).
    Load {
        /// Which.
        name: String,
        #[command(flatten)]
        data: DataFlags,
        /// Account ID or name; needed where there are several.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Empty the account: ALL of its devices, groups, rules, sources and IOCs. People, keys,
    /// messages and the audit log stay.
    Reset {
        #[command(flatten)]
        data: DataFlags,
        /// Account ID or name; needed where there are several.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Confirm the deletion.
        #[arg(long)]
        yes: bool,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MailVerb {
    /// Send a test message, and show what the mail server said.
    Test {
        #[command(flatten)]
        data: DataFlags,
        /// E-mail address.
        #[arg(long, value_name = "ADDR")]
        to: String,
        /// Account ID or name; needed where there are several.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Check the settings.
    Check,
    /// Show the settings that hold, without secrets.
    Show,
    /// Print a configuration file with every setting and its default.
    Example,
}
