//! The command line.

use std::{
    io::{self, BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::CommandFactory as _;
use iocast_fetch::Remote;
use serde_json::{Value, json};

use crate::{
    application::{Application, FIRST_ADMIN, StartError},
    clock::{SystemClock, SystemEntropy},
    config::{self, Config, Flags},
    files, limits, reload,
    shell::{Command, Import},
    shutdown::Shutdown,
    telemetry,
};

mod arguments;
mod code;
mod commands;
mod copies;
mod document;
mod inputs;
mod sources;
pub use self::{arguments::Cli, document::read_document};
use self::{
    arguments::{
        AdminVerb, CliCommand, ConfigVerb, DataFlags, FixturesVerb, ImportFlags, MailVerb, Switch,
    },
    code::code,
    commands::{account_lines, command_once, import, print_account, text},
    copies::copies,
    sources::sources,
};

/// Runs a command line. Exit codes: 0 done, 1 it did not work, 2 usage error, 3 a plan would change
/// something.
pub async fn run(cli: Cli) -> ExitCode {
    match execute(cli).await {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("iocast: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What each command begins with: the configuration, of the file, the environment and its flags.
#[derive(Clone)]
struct Settings {
    file: Option<PathBuf>,
    log_format: Option<String>,
}

impl Settings {
    fn load(&self, flags: Flags) -> Result<Config, String> {
        let flags = Flags { log_format: self.log_format.clone(), ..flags };
        Config::load(self.file.as_deref(), &flags).map_err(|e| e.to_string())
    }

    /// For a command that ends by itself: it logs only what went wrong.
    fn quiet(&self, data: DataFlags) -> Result<Config, String> {
        Ok(Config { log: "warn".to_owned(), ..self.load(flags(data))? })
    }

    /// Runs a command, in the server that runs on the data or here.
    async fn once(&self, data: DataFlags, command: Command) -> Result<Value, String> {
        command_once(&self.quiet(data)?, command).await
    }
}

fn flags(DataFlags { data, database_url }: DataFlags) -> Flags {
    Flags { data, database_url, ..Flags::default() }
}

/// Imports files.
async fn bring_in(settings: &Settings, flags: ImportFlags) -> Result<(), String> {
    let ImportFlags {
        files,
        data,
        source,
        confidence,
        account,
        form,
        report,
        live_links,
        observables,
        to_ids_only,
        tag,
        malware_family,
        dry_run,
        restore,
        json,
    } = flags;
    let one = Import {
        account,
        source,
        confidence,
        name: String::new(),
        form: if report { Some("report".to_owned()) } else { form },
        live_links,
        observables,
        only_to_ids: to_ids_only,
        dry_run,
        restore,
        tag,
        malware_family,
        size: 0,
    };
    import(&settings.quiet(data)?, &files, &one, json).await
}

async fn execute(cli: Cli) -> Result<u8, String> {
    limits::make_files_private();
    let Cli { command, config: file, log_format } = cli;
    let settings = Settings { file, log_format };
    match command {
        CliCommand::Code(what) => code(&settings, what).await,
        other => do_command(&settings, other).await.map(|()| 0),
    }
}

async fn do_command(settings: &Settings, command: CliCommand) -> Result<(), String> {
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
            let emulator = emulator.then_some(true);
            let flags =
                Flags { listen, public_url, tls_cert, tls_key, role, emulator, ..flags(data) };
            let again = settings.clone();
            let load = move || Ok(Config { new_database, ..again.load(flags.clone())? });
            serve(load()?, load).await
        }
        CliCommand::Init { data, account, admin, password_stdin, json } => {
            let password = password(password_stdin)?;
            let command = Command::Init { account, admin: admin.clone(), password };
            let made = settings.once(data, command).await?;
            show(json, &made, || print_account(&made, &admin));
            Ok(())
        }
        CliCommand::Import(flags) => bring_in(settings, flags).await,
        CliCommand::Sources { what } => sources(settings, what).await,
        CliCommand::Copies(what) => copies(settings, what).await,
        CliCommand::Admin { what } => administer(settings, what).await,
        CliCommand::Code(_) | CliCommand::ReadDocument { .. } => {
            Err("this runs without a runtime".to_owned())
        }
        CliCommand::Mail { what: MailVerb::Test { data, to, account, json } } => {
            let command = Command::MailTest { account, to: to.clone() };
            let made = settings.once(data, command).await?;
            show(json, &made, || {
                println!("The message to {to} was taken: {}", text(&made, "answer"));
            });
            Ok(())
        }
        CliCommand::Fixtures { what } => fixtures(settings, what).await,
        CliCommand::Ready { url, ca_file } => ready(settings, url, ca_file.as_deref()),
        CliCommand::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "iocast", &mut io::stdout());
            Ok(())
        }
        CliCommand::Man { folder } => clap_mangen::generate_to(Cli::command(), &folder)
            .map_err(|error| format!("{}: {error}", folder.display())),
        CliCommand::Config { what } => configuration(settings, what),
    }
}

async fn administer(settings: &Settings, what: AdminVerb) -> Result<(), String> {
    match what {
        AdminVerb::ResetPassword { data, email, account, password_stdin, json } => {
            let password = password(password_stdin)?;
            let given = password.is_some();
            let command = Command::ResetPassword { email: email.clone(), account, password };
            let mut made = settings.once(data, command).await?;
            // The caller knows what it gave; printed, it would end in a log.
            if let Some(fields) = made.as_object_mut().filter(|_| given) {
                fields.remove("admin_password");
            }
            show(json, &made, || {
                if !given {
                    let password = text(&made, "admin_password");
                    println!("New password of {email}: {password}\nAll sessions were ended.");
                }
            });
        }
        AdminVerb::Modules { data, account, automation, tip, json } => {
            let on = |switch: Option<Switch>| switch.map(|s| matches!(s, Switch::On));
            let command = Command::Modules { account, automation: on(automation), tip: on(tip) };
            let made = settings.once(data, command).await?;
            let word = |key: &str| {
                if made.get(key).and_then(Value::as_bool) == Some(true) { "on" } else { "off" }
            };
            show(json, &made, || {
                println!("Automation is {}, TIP is {}.", word("automation"), word("tip"));
            });
        }
    }
    Ok(())
}

async fn fixtures(settings: &Settings, what: FixturesVerb) -> Result<(), String> {
    let (data, account, load, json) = match what {
        FixturesVerb::Load { name, data, account, json } => (data, account, Some(name), json),
        FixturesVerb::Reset { yes: false, .. } => {
            return Err("this deletes all devices, groups, rules, sources and IOCs of the account; say --yes if you mean it".to_owned());
        }
        FixturesVerb::Reset { data, account, yes: true, json } => (data, account, None, json),
    };
    let done = if load.is_some() { "Loaded" } else { "Emptied" };
    let report = settings.once(data, Command::Fixtures { account, load }).await?;
    let n = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    show(json, &report, || {
        println!(
            "{done}: {} sources, {} IOCs, {} alerts, {} devices, {} rules.",
            n("sources"),
            n("iocs"),
            n("alerts"),
            n("devices"),
            n("rules")
        );
    });
    Ok(())
}

fn configuration(settings: &Settings, what: ConfigVerb) -> Result<(), String> {
    match what {
        ConfigVerb::Check => {
            settings.load(Flags::default())?;
            println!("The configuration is valid.");
        }
        ConfigVerb::Example => print!("{}", config::example()),
        ConfigVerb::Show => print!("{}", settings.load(Flags::default())?.shown()),
    }
    Ok(())
}

/// Prints what a command gives, for a program or for a person.
fn show(json: bool, made: &Value, for_people: impl FnOnce()) {
    if json { println!("{made}") } else { for_people() }
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

/// Asks a server whether devices are served.
fn ready(settings: &Settings, url: Option<String>, ca_file: Option<&Path>) -> Result<(), String> {
    let url = match url {
        Some(url) => url,
        None => own_address(&settings.load(Flags::default())?),
    };
    let read = |file: &Path| {
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
    };
    let ca = ca_file.map(read).transpose()?;
    let asked = Remote::ready(&url, ca.as_deref());
    let (status, body) = asked.map_err(|error| format!("{url}: {error}"))?;
    if status == 200 {
        say(&format!("{url} serves devices."));
        return Ok(());
    }
    Err(format!("{url} answers {status}: {}", String::from_utf8_lossy(&body)))
}

/// Where a server with these settings listens on this machine.
fn own_address(config: &Config) -> String {
    let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
    let listen = config.listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    format!("{scheme}://{listen}")
}

/// Runs the server; `load` reads its settings again.
async fn serve(
    config: Config,
    load: impl Fn() -> Result<Config, String> + Send + Sync + 'static,
) -> Result<(), String> {
    // First of all: a signal that comes from here on ends iocast in order.
    let shutdown = Shutdown::on_signals().map_err(|e| format!("listening to signals: {e}"))?;
    telemetry::start(&config);
    limits::raise_descriptors();
    // The system's journal keeps what is printed, and shows it to others.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let first_account_file = config
        .first_account_file
        .clone()
        .or_else(|| in_journal.then(|| config.data.join("first-account.txt")));
    tokio::spawn(reload::follow(shutdown.clone(), config.clone(), load));
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
        show_first(&json!(first), first_account_file)?;
    }
    if application.answers() {
        say(&format!("iocast listens. Sign in at {url}/ (API to try: {url}/api/docs/)"));
    } else {
        say(&format!("iocast works in the background. Health check at {url}/api/v1/ready"));
    }
    application.run_until_stopped(shutdown).await.map_err(|e| e.to_string())
}

/// Shows the secrets of the first account, or writes them into a file that only the owner reads.
fn show_first(first: &Value, file: Option<PathBuf>) -> Result<(), String> {
    let Some(path) = file else {
        say("iocast made an account. These secrets are shown this once:");
        print_account(first, FIRST_ADMIN);
        return Ok(());
    };
    if let Err(error) = files::write(&path, account_lines(first, FIRST_ADMIN).as_bytes()) {
        // The account is made: without these lines nobody could sign in.
        eprintln!("iocast: writing {}: {error}", path.display());
        return show_first(first, None);
    }
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
