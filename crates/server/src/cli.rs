//! The command line.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    application::{Application, FIRST_ADMIN, StartError, open},
    clock::{SystemClock, SystemEntropy},
    config::{Config, Flags},
    files, limits,
    shell::{self, Command, Import},
    shutdown::Shutdown,
    telemetry,
};

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
    command: CliCommand,
    /// Configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE", env = "IOCAST_CONFIG")]
    config: Option<PathBuf>,
    /// `text` or `json`; logs go to standard error.
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Which data.
#[derive(Debug, Args)]
struct DataFlags {
    /// Folder for database, secrets and spool [default: data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// postgres://…; the bundled SQLite unless given.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
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
        /// web (answers requests), worker (publishes, watches, writes letters) or all [default:
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
    /// Import files: lists, CSV with a header, MISP events or our own JSON, told apart by their
    /// names.
    Import {
        /// Files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        data: DataFlags,
        /// Name of the source; made where it is not there.
        #[arg(long, value_name = "NAME")]
        source: String,
        /// Confidence of a source that is made: 1 to 3.
        #[arg(long, default_value_t = 2, value_name = "1..3")]
        confidence: i64,
        /// Account ID or name; needed where there are several.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// The files are prose: take every indicator that stands in them.
        #[arg(long)]
        report: bool,
        /// Of MISP attributes take only those marked to_ids.
        #[arg(long)]
        to_ids_only: bool,
        /// A tag for every IOC.
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// A malware family for every IOC; `-` takes each file's name.
        #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
        malware_family: Option<String>,
        /// Say what would happen, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Restore an export of this account: take whitelist states and user tags in it, too.
        #[arg(long)]
        restore: bool,
        /// Print one JSON object a file and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// What only the operator may do: new passwords, modules.
    Admin {
        #[command(subcommand)]
        what: AdminVerb,
    },
    /// See whether letters arrive.
    Mail {
        #[command(subcommand)]
        what: MailVerb,
    },
    /// Fill an account with a small made-up world to build against, or empty it.
    Fixtures {
        #[command(subcommand)]
        what: FixturesVerb,
    },
    /// Look at the settings.
    Config {
        #[command(subcommand)]
        what: ConfigVerb,
    },
}

#[derive(Debug, Subcommand)]
enum AdminVerb {
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
enum FixturesVerb {
    /// Load one: `small`.
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
    /// letters and the audit log stay.
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
enum MailVerb {
    /// Send a test letter, and show what the mail server said.
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
enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Check the settings.
    Check,
    /// Show the settings that hold, without secrets.
    Show,
}

/// Runs a command line. Exit codes: 0 done, 1 it did not work, 2 usage error.
pub async fn run(cli: Cli) -> ExitCode {
    match execute(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("iocast: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(cli: Cli) -> Result<(), String> {
    limits::make_files_private();
    let Cli { command, config: file, log_format } = cli;
    let file = file.as_deref();
    let load = |flags: Flags| {
        Config::load(file, &Flags { log_format: log_format.clone(), ..flags })
            .map_err(|e| e.to_string())
    };
    let with = |data: DataFlags| Flags {
        data: data.data,
        database_url: data.database_url,
        ..Flags::default()
    };
    match command {
        CliCommand::Serve {
            listen,
            data,
            public_url,
            tls_cert,
            tls_key,
            role,
            emulator,
            new_database,
        } => {
            let config = load(Flags {
                listen,
                public_url,
                tls_cert,
                tls_key,
                role,
                emulator: emulator.then_some(true),
                ..with(data)
            })?;
            serve(Config { new_database, ..config }).await
        }
        CliCommand::Init { data, account, admin, password_stdin, json } => {
            let password = password(password_stdin)?;
            let made = command_once(
                &quiet(load(with(data))?),
                Command::Init { account, admin: admin.clone(), password },
            )
            .await?;
            if json {
                println!("{made}");
            } else {
                print_account(&made, &admin);
            }
            Ok(())
        }
        CliCommand::Import {
            files,
            data,
            source,
            confidence,
            account,
            report,
            to_ids_only,
            tag,
            malware_family,
            dry_run,
            restore,
            json,
        } => {
            let config = quiet(load(with(data))?);
            let one = Import {
                account,
                source,
                confidence,
                name: String::new(),
                report,
                only_to_ids: to_ids_only,
                dry_run,
                restore,
                tag,
                malware_family,
                size: 0,
            };
            import(&config, &files, &one, json).await
        }
        CliCommand::Admin {
            what: AdminVerb::ResetPassword { data, email, account, password_stdin, json },
        } => {
            let password = password(password_stdin)?;
            let given = password.is_some();
            let mut made = command_once(
                &quiet(load(with(data))?),
                Command::ResetPassword { email: email.clone(), account, password },
            )
            .await?;
            if let Some(fields) = made.as_object_mut().filter(|_| given) {
                fields.remove("admin_password");
            }
            match (json, given) {
                (true, _) => println!("{made}"),
                // The caller knows it; printed, it would end in a log.
                (false, true) => {}
                (false, false) => println!(
                    "New password of {email}: {}\nAll sessions were ended.",
                    text(&made, "admin_password")
                ),
            }
            Ok(())
        }
        CliCommand::Admin { what: AdminVerb::Modules { data, account, automation, tip, json } } => {
            let on = |switch: Option<Switch>| switch.map(|s| matches!(s, Switch::On));
            let made = command_once(
                &quiet(load(with(data))?),
                Command::Modules { account, automation: on(automation), tip: on(tip) },
            )
            .await?;
            if json {
                println!("{made}");
            } else {
                let word = |key: &str| {
                    if made.get(key).and_then(Value::as_bool) == Some(true) { "on" } else { "off" }
                };
                println!("Automation is {}, TIP is {}.", word("automation"), word("tip"));
            }
            Ok(())
        }
        CliCommand::Mail { what: MailVerb::Test { data, to, account, json } } => {
            let made = command_once(
                &quiet(load(with(data))?),
                Command::MailTest { account, to: to.clone() },
            )
            .await?;
            if json {
                println!("{made}");
            } else {
                println!("The letter to {to} was taken: {}", text(&made, "answer"));
            }
            Ok(())
        }
        CliCommand::Fixtures { what } => {
            let (data, account, world, json) = match what {
                FixturesVerb::Load { name, data, account, json } => {
                    (data, account, Some(name), json)
                }
                FixturesVerb::Reset { yes: false, .. } => {
                    return Err("this deletes all devices, groups, rules, sources and IOCs of the account; say --yes if you mean it".to_owned());
                }
                FixturesVerb::Reset { data, account, yes: true, json } => {
                    (data, account, None, json)
                }
            };
            let done = if world.is_some() { "Loaded" } else { "Emptied" };
            let report =
                command_once(&quiet(load(with(data))?), Command::Fixtures { account, load: world })
                    .await?;
            if json {
                println!("{report}");
            } else {
                let n = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
                println!(
                    "{done}: {} sources, {} IOCs, {} alerts, {} devices, {} rules.",
                    n("sources"),
                    n("iocs"),
                    n("alerts"),
                    n("devices"),
                    n("rules")
                );
            }
            Ok(())
        }
        CliCommand::Config { what: ConfigVerb::Check } => {
            load(Flags::default()).map(|_| println!("The configuration is valid."))
        }
        CliCommand::Config { what: ConfigVerb::Show } => {
            load(Flags::default()).map(|config| print!("{}", config.shown()))
        }
    }
}

/// Short commands log only what went wrong.
fn quiet(config: Config) -> Config {
    Config { log: "warn".to_owned(), ..config }
}

fn password(from_stdin: bool) -> Result<Option<String>, String> {
    if !from_stdin {
        return Ok(None);
    }
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| format!("reading the password from standard input: {e}"))?;
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn serve(config: Config) -> Result<(), String> {
    // First of all: a signal that comes from here on ends iocast in order.
    let shutdown = Shutdown::on_signals().map_err(|e| format!("listening to signals: {e}"))?;
    telemetry::start(&config);
    limits::raise_descriptors();
    let data = config.data.clone();
    let application = match Application::build(
        config,
        Arc::new(SystemClock::default()),
        Arc::new(SystemEntropy),
        &shutdown,
    )
    .await
    {
        Err(StartError::Stopped) => return Ok(()),
        built => built.map_err(|e| e.to_string())?,
    };
    let url = application.public_url().to_owned();
    if let Some(first) = &application.first {
        show_first(&json!(first), &data)?;
    }
    if application.answers() {
        say(&format!("iocast listens. Sign in at {url}/ (API to try: {url}/api/docs/)"));
    } else {
        say(&format!("iocast works in the background. Health check at {url}/api/v1/ready"));
    }
    application.run_until_stopped(shutdown).await.map_err(|e| e.to_string())
}

/// Shows the secrets of the first account: on the terminal, but not in the system's journal, which
/// keeps them and shows them to others.
fn show_first(first: &Value, data: &Path) -> Result<(), String> {
    if std::env::var_os("JOURNAL_STREAM").is_none() {
        say("iocast made an account. These secrets are shown this once:");
        print_account(first, FIRST_ADMIN);
        return Ok(());
    }
    let path = data.join("first-account.txt");
    files::write(&path, account_lines(first, FIRST_ADMIN).as_bytes())
        .map_err(|e| format!("writing {}: {e}", path.display()))?;
    say(&format!(
        "iocast made an account. Its secrets are in {}: read them, and delete the file.",
        path.display()
    ));
    Ok(())
}

/// Prints a line; that nobody reads it any more ends no server.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn print_account(account: &Value, admin: &str) {
    say(account_lines(account, admin).trim_end());
}

fn account_lines(account: &Value, admin: &str) -> String {
    [
        format!("  administrator   {admin}\n"),
        format!("  password        {}\n", text(account, "admin_password")),
        format!(
            "  account ID      {}   (the user name of every device)\n",
            text(account, "account_id")
        ),
        format!(
            "  appliance key   {}   (the password of every device)\n",
            text(account, "appliance_key")
        ),
        format!("  API key         {}\n", text(account, "api_key")),
    ]
    .concat()
}

/// Opens the database here, where no server runs on the folder.
async fn open_here(config: &Config) -> Result<crate::application::OpenedApp, String> {
    telemetry::start(config);
    match open(config, Arc::new(SystemClock::default()), Arc::new(SystemEntropy), String::new())
        .await
    {
        Err(StartError::Locked(data)) => Err(format!(
            "a server uses {}, but its socket does not answer; try again, or stop it",
            data.display()
        )),
        other => other.map_err(|e| e.to_string()),
    }
}

/// Refuses to make a database where one is only to be worked with.
fn is_there(config: &Config) -> Result<(), String> {
    if config.database_url.is_some() || config.data.join("iocast.sqlite").exists() {
        return Ok(());
    }
    Err(format!(
        "no server runs on {0}, and there is no database in it; name the folder with --data, or for PostgreSQL the database with --database-url",
        config.data.display()
    ))
}

async fn command_once(config: &Config, command: Command) -> Result<Value, String> {
    if config.database_url.is_none()
        && let Some(answer) = shell::ask(&config.data, &command, None, &|_| {}).await
    {
        return answer;
    }
    if !matches!(command, Command::Init { .. }) {
        is_there(config)?;
    }
    let opened = open_here(config).await?;
    let done = shell::execute(&opened.app, command, None, &|_| {})
        .await
        .map_err(|e| shell::user_message(&e));
    opened.app.close().await.map_err(|e| e.to_string())?;
    done
}

async fn import(
    config: &Config,
    files: &[PathBuf],
    settings: &Import,
    json: bool,
) -> Result<(), String> {
    let mut here = None;
    let mut failures = 0;
    let bar = bar(files.len() as u64, json);
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        bar.set_message(name.clone());
        let size = std::fs::metadata(file).map(|m| m.len()).unwrap_or_default();
        let stem = file.file_stem().map(|n| n.to_string_lossy().into_owned());
        let malware_family =
            settings.malware_family.clone().and_then(|f| if f == "-" { stem } else { Some(f) });
        let one = Import { name: name.clone(), malware_family, size, ..settings.clone() };
        let progress = |n: u64| bar.set_message(format!("{name}: {n}"));
        match import_one(config, &mut here, file, one, &progress).await {
            Ok(report) if json => println!("{report}"),
            Ok(report) => bar.suspend(|| print_report(file, &report)),
            Err(message) => {
                failures += 1;
                bar.suspend(|| eprintln!("iocast: {}: {message}", file.display()));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(opened) = here {
        let opened: crate::application::OpenedApp = opened;
        opened.app.close().await.map_err(|e| e.to_string())?;
    }
    if failures > 0 {
        Err(format!("{failures} of {} files were not imported", files.len()))
    } else {
        Ok(())
    }
}

async fn import_one(
    config: &Config,
    here: &mut Option<crate::application::OpenedApp>,
    file: &Path,
    one: Import,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Value, String> {
    match std::fs::File::open(file).and_then(|f| f.metadata()) {
        Err(error) => return Err(error.to_string()),
        Ok(metadata) if !metadata.is_file() => {
            return Err("this is not a regular file; save what it gives in one first".to_owned());
        }
        Ok(_) => {}
    }
    let command = Command::Import(one);
    if config.database_url.is_none()
        && here.is_none()
        && let Some(answer) = shell::ask(&config.data, &command, Some(file), progress).await
    {
        return answer;
    }
    let opened = match here {
        Some(opened) => opened,
        None => {
            is_there(config)?;
            here.insert(open_here(config).await?)
        }
    };
    shell::execute(&opened.app, command, Some(file.to_owned()), progress)
        .await
        .map_err(|e| shell::user_message(&e))
}

/// A bar over the files, on a terminal only.
fn bar(files: u64, json: bool) -> ProgressBar {
    if json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} files  {elapsed}  {wide_msg}")
    {
        bar.set_style(style);
    }
    bar
}

/// What was not taken of lines that were.
fn ignored_words(count: &str) -> &'static str {
    match count {
        "whitelist" => {
            "whitelist states were ignored: people set them, not files (--restore takes them from an export of this account)"
        }
        "user_tags" => "IOCs came with user tags; they were taken as tags of the source",
        _ => "confidences were above that of the source, and lowered to it",
    }
}

fn print_report(file: &Path, report: &Value) {
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    println!(
        "{}: {} new, {} updated, {} unchanged, {} refused",
        file.display(),
        number("accepted"),
        number("updated"),
        number("unchanged"),
        number("rejected_count")
    );
    for rejected in report.get("rejected").and_then(Value::as_array).into_iter().flatten().take(20)
    {
        println!(
            "  line {}: {} ({})",
            rejected.get("line").and_then(Value::as_u64).unwrap_or_default(),
            text(rejected, "value"),
            text(rejected, "reason")
        );
    }
    for count in ["whitelist", "user_tags", "confidence"] {
        let ignored = report
            .get("ignored")
            .and_then(|ignored| ignored.get(count))
            .and_then(Value::as_u64)
            .unwrap_or_default();
        if ignored > 0 {
            println!("  {ignored} {}", ignored_words(count));
        }
    }
    if number("rejected_count") > 20 {
        println!("  and {} more; --json lists up to a thousand", number("rejected_count") - 20);
    }
}
