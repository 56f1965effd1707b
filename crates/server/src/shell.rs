//! Commands from the shell: through the running server's socket in the data folder, or with the
//! database opened here.
//!
//! One line of JSON says what to do, the bytes of a file may follow; lines of progress and one
//! result come back.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use iocast_app::{Actor, App, AppError, AppResult, Spooled};
use iocast_domain::id::AccountId;
use iocast_web::configuration::{self, ApplyOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

use crate::{application::StartError, files, supervisor::Supervisor};

mod import;
mod sources;
pub(crate) use self::{import::Import, sources::SourcesCommand};

/// What can be done from the shell.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub(crate) enum Command {
    /// Make an account.
    Init { account: String, admin: String, password: Option<String> },
    /// Import one file.
    Import(Import),
    /// Give somebody a new password.
    ResetPassword { email: String, account: Option<String>, password: Option<String> },
    /// Send a test message.
    MailTest { account: Option<String>, to: String },
    /// Fill an account with a made-up world, or empty it.
    Fixtures { account: Option<String>, load: Option<String> },
    /// Look at sources that fetch by themselves, make one, or fetch one.
    Sources { account: Option<String>, what: SourcesCommand },
    /// Show an account as a document; with one, make the account what it says.
    Configuration {
        account: Option<String>,
        document: Option<Value>,
        plan: bool,
        prune: bool,
        expected: Option<String>,
    },
    /// Switch modules of an account.
    Modules { account: Option<String>, automation: Option<bool>, tip: Option<bool> },
}

/// A line that comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// IOCs handled so far.
    Progress(u64),
    /// The result.
    Done(Value),
    /// What went wrong.
    Failed(String),
}

/// Tenths of a second that a server which is starting is waited for.
const STARTING: u32 = 50;

/// Where the socket lies.
fn socket(data: &Path) -> PathBuf {
    data.join("iocast.sock")
}

/// Does what a command says; `file` is what an import reads.
pub(crate) async fn execute(
    app: &Arc<App>,
    command: Command,
    file: Option<PathBuf>,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> AppResult<Value> {
    match command {
        Command::Init { account, admin, password } => {
            let new = app.accounts.account_create(&account, &admin, password).await?;
            serde_json::to_value(new).map_err(|e| AppError::Internal(Box::new(e)))
        }
        Command::ResetPassword { email, account, password } => {
            let (password, people) =
                app.accounts.password_reset(&email, account.as_deref(), password).await?;
            Ok(json!({ "admin_password": password, "people": people }))
        }
        Command::MailTest { account: named, to } => {
            let operator = Actor::operator(account(app, named.as_deref()).await?);
            let answer = app.watch.mail_test(&operator, &to).await?;
            Ok(json!({ "to": to, "answer": answer }))
        }
        Command::Fixtures { account: named, load } => {
            let operator = Actor::operator(account(app, named.as_deref()).await?);
            let report = match load {
                Some(name) => app.fixtures_load(&operator, &name).await?,
                None => app.fixtures_reset(&operator).await?,
            };
            serde_json::to_value(report).map_err(|e| AppError::Internal(Box::new(e)))
        }
        Command::Modules { account: named, automation, tip } => {
            let operator = Actor::operator(account(app, named.as_deref()).await?);
            let modules = app.accounts.account_switch(&operator, automation, tip).await?;
            Ok(
                json!({ "account_id": operator.account_id, "automation": modules.automation, "tip": modules.tip }),
            )
        }
        Command::Configuration { account: named, document, plan, prune, expected } => {
            let operator = Actor::operator(account(app, named.as_deref()).await?);
            configuration(app, &operator, document, ApplyOptions { plan, prune, expected }).await
        }
        Command::Sources { account: named, what } => {
            let operator = Actor::operator(account(app, named.as_deref()).await?);
            sources::execute(app, &operator, what).await
        }
        Command::Import(import) => import::execute(app, import, file, progress).await,
    }
}

async fn configuration(
    app: &App,
    operator: &Actor,
    document: Option<Value>,
    options: ApplyOptions,
) -> AppResult<Value> {
    let given = match document {
        None => serde_json::to_value(configuration::export(app, operator).await?),
        Some(document) => {
            let document = serde_json::from_value(document)
                .map_err(|error| AppError::Malformed(format!("The document: {error}.")))?;
            serde_json::to_value(configuration::apply(app, operator, document, options).await?)
        }
    };
    given.map_err(AppError::internal)
}

/// The account meant: the one named, or the only one there is.
async fn account(app: &App, named: Option<&str>) -> AppResult<AccountId> {
    let all = app.accounts.account_list().await?;
    let list =
        || all.iter().map(|a| format!("{} ({})", a.id, a.name)).collect::<Vec<_>>().join(", ");
    match (named, all.as_slice()) {
        (_, []) => Err(AppError::Malformed(
            "There is no account yet; make one with `iocast init`.".to_owned(),
        )),
        (Some(named), all) => {
            let found = all
                .iter()
                .find(|a| a.id.as_str() == named || a.name.eq_ignore_ascii_case(named))
                .map(|a| a.id.clone());
            found.ok_or_else(|| {
                AppError::Malformed(format!(
                    "There is no account `{named}`; there are: {}.",
                    list()
                ))
            })
        }
        (None, [only]) => Ok(only.id.clone()),
        (None, _) => Err(AppError::Malformed(format!(
            "There are several accounts; name one with --account: {}.",
            list()
        ))),
    }
}

/// What a failed command says on the shell.
pub(crate) fn user_message(error: &AppError) -> String {
    match error {
        AppError::Invalid(fields) => fields
            .iter()
            .map(|f| format!("{}: {}", f.field, f.message))
            .collect::<Vec<_>>()
            .join("\n"),
        other => crate::application::chain(other),
    }
}

/// Listens for commands. A folder whose path is too long for a socket only loses the convenience.
pub(crate) fn listen(app: &Arc<App>, data: &Path, tasks: &mut Supervisor) {
    let path = socket(data);
    // A socket file of a server that was killed; the lock says that it is gone. Replicas on
    // PostgreSQL need none.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Shell commands can't reach this server while it runs: its socket could not be made"
            );
            return;
        }
    };
    if let Err(error) = files::make_private(&path) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "Shell commands can't reach this server while it runs: its socket could not be made private"
        );
        let _ = std::fs::remove_file(&path);
        return;
    }
    let (app, stop, listener) = (Arc::clone(app), tasks.stop(), Arc::new(listener));
    tasks.start("shell", Duration::MAX, move || {
        accept(Arc::clone(&app), Arc::clone(&listener), path.clone(), stop.clone())
    });
}

async fn accept(
    app: Arc<App>,
    listener: Arc<UnixListener>,
    path: PathBuf,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let app = Arc::clone(&app);
                    tokio::spawn(async move {
                        if let Err(error) = answer(&app, stream).await {
                            tracing::warn!(error = &error as &dyn std::error::Error, "A shell command was cut off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "A shell command could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = stop.cancelled() => break,
        }
    }
    let _ = std::fs::remove_file(&path);
}

async fn answer(app: &Arc<App>, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let command: Command = serde_json::from_str(&line)?;
    let file = match &command {
        Command::Import(import) => match spool(app, &mut reader, import.size).await {
            Ok(spooled) => Some(spooled),
            Err(error) => {
                let why = format!("The file could not be taken, and nothing was imported: {error}");
                return send(&mut writer, &Reply::Failed(why)).await;
            }
        },
        _ => None,
    };
    let (sender, mut progress) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let report = move |n: u64| {
        // Nobody reads any more when the line broke; the work goes on.
        let _ = sender.send(n);
    };
    let work = async {
        let result =
            execute(app, command, file.as_ref().map(|spooled| spooled.0.clone()), &report).await;
        drop(report);
        result
    };
    let relay = async {
        while let Some(n) = progress.recv().await {
            send(&mut writer, &Reply::Progress(n)).await?;
        }
        Ok::<_, std::io::Error>(writer)
    };
    let (result, writer) = tokio::join!(work, relay);
    drop(file);
    let reply = match result {
        Ok(value) => Reply::Done(value),
        Err(error) => Reply::Failed(user_message(&error)),
    };
    send(&mut writer?, &reply).await
}

/// Takes the file of an import that follows its command.
async fn spool(
    app: &App,
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    size: u64,
) -> std::io::Result<Spooled> {
    tokio::fs::create_dir_all(app.intake.spool()).await?;
    let spooled = Spooled(app.intake.spool_path());
    let mut file = tokio::fs::File::create(&spooled.0).await?;
    let copied = tokio::io::copy(&mut reader.take(size), &mut file).await?;
    file.flush().await?;
    if copied == size {
        Ok(spooled)
    } else {
        Err(std::io::Error::other("it ended before it was whole"))
    }
}

async fn send(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    reply: &Reply,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// A line to the running server; none if there is no server on this folder. One that is just
/// starting is waited for.
async fn connect(data: &Path) -> Option<UnixStream> {
    for _ in 0..STARTING {
        match UnixStream::connect(socket(data)).await {
            Ok(stream) => return Some(stream),
            Err(_) if matches!(crate::application::lock(data), Err(StartError::Locked(_))) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => return None,
        }
    }
    None
}

/// Has the running server do a command; none if there is no server on this folder.
pub(crate) async fn ask(
    data: &Path,
    command: &Command,
    file: Option<&Path>,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Option<Result<Value, String>> {
    let stream = connect(data).await?;
    let asked = async {
        let (reader, mut writer) = stream.into_split();
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        writer.write_all(&line).await?;
        let mut cut_off = None;
        if let Some(file) = file {
            // A server that refuses the file stops reading it: its reply says why, and is read in
            // any case.
            cut_off =
                tokio::io::copy(&mut tokio::fs::File::open(file).await?, &mut writer).await.err();
        }
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            match serde_json::from_str(&line)? {
                Reply::Progress(n) => progress(n),
                Reply::Done(value) => return Ok(Ok(value)),
                Reply::Failed(message) => return Ok(Err(message)),
            }
        }
        match cut_off {
            Some(error) => Err(error),
            None => Ok::<_, std::io::Error>(Err("the server ended before it answered".to_owned())),
        }
    };
    Some(asked.await.unwrap_or_else(|error| Err(format!("talking to the running server: {error}"))))
}
