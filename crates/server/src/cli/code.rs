//! `iocast export` and `iocast apply`: an account as a document, here or at another address.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use iocast_fetch::Remote;
use iocast_web::configuration::Document;
use serde_json::{Map, Value};

use super::{Settings, arguments::DataFlags, commands::text, say};
use crate::{files, shell::Command};

/// Ends a plan in which something would change.
pub(super) const PENDING: u8 = 3;

/// What an exported document begins with.
const HEAD: &str = "# An account of iocast. `iocast apply --file THIS` makes an account what it says; a part that is left
# out is not touched. Secrets are not in it. The secret of a subscription that is new, or is to change,
# comes from the environment or from a file beside this one:
#   secret = { env = \"FEED_KEY\" }    or    secret = { file = \"feed.key\" }

";

/// Which iocast.
#[derive(Debug, Args)]
pub(super) struct WhereFlags {
    #[command(flatten)]
    data: DataFlags,
    /// Account ID or name; needed where there are several.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "server")]
    account: Option<String>,
    /// Address of an iocast elsewhere; the account is that of the service token.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "database_url"])]
    server: Option<String>,
    /// File with a service token of the scope `admin`; unless given, IOCAST_SERVICE_TOKEN has it.
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) that sign for that server, in place of the public ones.
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
    /// Send the service token to a server without https.
    #[arg(long, requires = "server")]
    insecure: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum CodeVerb {
    /// Print an account as a document (TOML): people, guards, sources with their subscriptions,
    /// devices with their groups, rules. Secrets are not in it.
    Export {
        #[command(flatten)]
        of: WhereFlags,
        /// Write to this file instead.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Print JSON instead of TOML.
        #[arg(long)]
        json: bool,
    },
    /// Make an account what a document says. What would change is shown first. The same document
    /// again changes nothing.
    Apply {
        /// The document (TOML, or JSON), or - for standard input.
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        of: WhereFlags,
        /// Only show what would change; ends with 3 if anything would.
        #[arg(long)]
        plan: bool,
        /// Delete rules, groups, devices and sources that the document does not name, and disable
        /// people. A part that the document leaves out is not touched.
        #[arg(long)]
        prune: bool,
        /// Do not ask before anything is changed.
        #[arg(long)]
        yes: bool,
        /// Print JSON and nothing else.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn code(settings: &Settings, what: CodeVerb) -> Result<u8, String> {
    match what {
        CodeVerb::Export { of, output, json } => {
            let document = Place::of(settings, of)?.once(None, How::default()).await?;
            let shown = if json {
                format!("{document:#}\n")
            } else {
                format!("{HEAD}{}", as_toml(document)?)
            };
            match output {
                Some(file) => files::write(&file, shown.as_bytes())
                    .map_err(|error| format!("{}: {error}", file.display()))?,
                None => say(shown.trim_end()),
            }
            Ok(0)
        }
        CodeVerb::Apply { file, of, plan, prune, yes, json } => {
            let document = read(&file)?;
            let place = Place::of(settings, of)?;
            let how = How { plan: true, prune, expected: None };
            let planned = place.once(Some(&document), how).await?;
            let count = changes(&planned).len();
            if plan || count == 0 {
                show(json, &planned);
                return Ok(if plan && count > 0 { PENDING } else { 0 });
            }
            if !yes {
                if json {
                    return Err("nothing was changed: with --json say --yes, or --plan".to_owned());
                }
                show(false, &planned);
                if !confirmed(&file, count)? {
                    return Err("nothing was changed".to_owned());
                }
            }
            let expected = Some(text(&planned, "fingerprint")).filter(|_| !yes);
            let how = How { plan: false, prune, expected };
            let applied = place.once(Some(&document), how).await?;
            show(json, &applied);
            Ok(0)
        }
    }
}

/// Where an account is.
enum Place {
    Here { config: Box<crate::config::Config>, account: Option<String> },
    There(Remote),
}

impl Place {
    fn of(settings: &Settings, of: WhereFlags) -> Result<Self, String> {
        let WhereFlags { data, account, server, token_file, ca_file, insecure } = of;
        let Some(server) = server else {
            return Ok(Self::Here { config: Box::new(settings.quiet(data)?), account });
        };
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
        };
        let token = match token_file {
            Some(file) => read(&file)?,
            None => std::env::var("IOCAST_SERVICE_TOKEN").map_err(|_absent| {
                "give a service token: --token-file FILE, or IOCAST_SERVICE_TOKEN in the environment"
                    .to_owned()
            })?,
        };
        let ca = ca_file.as_deref().map(read).transpose()?;
        if token.trim().is_empty() {
            return Err("the service token is empty".to_owned());
        }
        let remote = Remote::new(&server, token.trim(), ca.as_deref(), insecure);
        remote.map(Self::There).map_err(|error| error.to_string())
    }

    async fn once(&self, document: Option<&Value>, how: How) -> Result<Value, String> {
        let How { plan, prune, expected } = how;
        match self {
            Self::Here { config, account } => {
                let (account, document) = (account.clone(), document.cloned());
                let command = Command::Configuration { account, document, plan, prune, expected };
                super::command_once(config, command).await
            }
            Self::There(remote) => {
                let path = "/api/v1/configuration";
                let answer = match document {
                    None => remote.get(path),
                    Some(document) => {
                        let expected = expected.map(|of| format!("&expected={of}"));
                        let more = expected.unwrap_or_default();
                        let path = format!("{path}?plan={plan}&prune={prune}{more}");
                        remote.post(&path, document.to_string().as_bytes())
                    }
                };
                answered(answer.map_err(|error| error.to_string())?)
            }
        }
    }
}

/// How a document is applied.
#[derive(Default)]
struct How {
    plan: bool,
    prune: bool,
    /// The plan that a person has seen.
    expected: Option<String>,
}

/// A document as TOML, with its fields in the order in which people read them.
fn as_toml(document: Value) -> Result<String, String> {
    let written = match serde_json::from_value::<Document>(document.clone()) {
        Ok(document) => toml::to_string_pretty(&document),
        // Of a newer iocast, with more fields.
        Err(_more) => toml::to_string_pretty(&document),
    };
    let written = written.map_err(|error| error.to_string())?;
    let mut shown = String::new();
    for line in written.lines() {
        shown.push_str(line);
        shown.push('\n');
        if line.starts_with("access = ") {
            shown.push_str("# secret = { env = \"NAME\" }\n");
        }
    }
    Ok(shown)
}

/// What an iocast elsewhere says.
fn answered((status, body): (u16, Vec<u8>)) -> Result<Value, String> {
    let Ok(value) = serde_json::from_slice::<Value>(&body) else {
        return Err(format!(
            "the server answered {status}, and not as iocast does; is the address right?"
        ));
    };
    if status == 200 {
        return Ok(value);
    }
    let errors = value.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors: Vec<String> =
        errors.map(|of| format!("{}: {}", text(of, "field"), text(of, "message"))).collect();
    Err(if errors.is_empty() { text(&value, "detail") } else { errors.join("\n") })
}

/// Reads a document, and the secrets that it refers to.
fn read(file: &Path) -> Result<Value, String> {
    let shown = file.display();
    let mut written = String::new();
    let done = if file == Path::new("-") {
        io::stdin().lock().read_to_string(&mut written)
    } else {
        fs::File::open(file).and_then(|mut file| file.read_to_string(&mut written))
    };
    done.map_err(|error| format!("{shown}: {error}"))?;
    let mut document = if written.trim_start().starts_with('{') {
        serde_json::from_str(&written).map_err(|error| format!("{shown}: {error}"))?
    } else {
        let table: toml::Table =
            toml::from_str(&written).map_err(|error| format!("{shown}: {error}"))?;
        to_json(toml::Value::Table(table))
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let sources = document.get_mut("sources").and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        let name = text(source, "name");
        let Some(fields) = source.get_mut("subscription").and_then(Value::as_object_mut) else {
            continue;
        };
        for field in ["secret", "certificate_key"] {
            resolve(fields, field, folder)
                .map_err(|why| format!("{shown}: sources.{name}.subscription.{field}: {why}"))?;
        }
    }
    Ok(document)
}

/// Puts a secret in the place of what refers to it.
fn resolve(fields: &mut Map<String, Value>, field: &str, folder: &Path) -> Result<(), String> {
    let Some(given) = fields.get(field) else { return Ok(()) };
    let of = |key: &str| given.get(key).and_then(Value::as_str);
    let secret = match (of("env"), of("file")) {
        (Some(name), None) => std::env::var(name)
            .map_err(|_absent| format!("the environment has no {name}; set it, or leave the field out to keep the stored secret"))?,
        (None, Some(file)) => {
            let path = folder.join(file);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?
        }
        _ => {
            return Err("a document holds no secrets; refer to one: { env = \"NAME\" } or { file = \"PATH\" }".to_owned());
        }
    };
    if secret.trim().is_empty() {
        return Err("it is empty; leave the field out to keep the stored secret".to_owned());
    }
    fields.insert(field.to_owned(), secret.trim().into());
    Ok(())
}

fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(n) => n.into(),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(all) => all.into_iter().map(to_json).collect(),
        toml::Value::Table(all) => {
            Value::Object(all.into_iter().map(|(key, value)| (key, to_json(value))).collect())
        }
    }
}

fn changes(of: &Value) -> &[Value] {
    of.get("changes").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Asks a person.
fn confirmed(file: &Path, changes: usize) -> Result<bool, String> {
    if file == Path::new("-") || !io::stdin().is_terminal() {
        return Err(
            "nothing was changed: say --yes where nobody can be asked, or --plan to only look"
                .to_owned(),
        );
    }
    let these =
        if changes == 1 { "this change".to_owned() } else { format!("these {changes} changes") };
    print!("Make {these}? [y/N] ");
    io::stdout().flush().map_err(|error| error.to_string())?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// A value as a line shows it.
fn brief(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "nothing".to_owned(),
        Some(value) => iocast_domain::time::clip(&value.to_string(), 120),
    }
}

/// A field that changes, on a line of its own; of lists, what joins and what leaves.
fn field_lines(field: &Value, created: bool) -> Vec<String> {
    let name = text(field, "field");
    let (from, to) = (field.get("from"), field.get("to"));
    if created {
        return vec![format!("    {name}: {}", brief(to))];
    }
    let list = |of: Option<&Value>| of.and_then(Value::as_array).cloned();
    if let (Some(before), Some(after)) = (list(from), list(to)) {
        let left = before.iter().filter(|one| !after.contains(one));
        let joined = after.iter().filter(|one| !before.contains(one));
        let left = left.map(|one| format!("    {name}: - {}", brief(Some(one))));
        let lines: Vec<String> =
            left.chain(joined.map(|one| format!("    {name}: + {}", brief(Some(one))))).collect();
        // In another order.
        if !lines.is_empty() {
            return lines;
        }
    }
    vec![format!("    {name}: {} -> {}", brief(from), brief(to))]
}

/// Prints a plan, or what came of it.
fn show(json: bool, of: &Value) {
    if json {
        say(&of.to_string());
        return;
    }
    let changes = changes(of);
    if changes.is_empty() {
        say("Nothing to change: the account is what the document says.");
        return;
    }
    let mut counts = [0; 3];
    for change in changes {
        let (sign, at) = match text(change, "action").as_str() {
            "create" => ('+', 0),
            "delete" => ('-', 2),
            _ => ('~', 1),
        };
        if let Some(count) = counts.get_mut(at) {
            *count += 1;
        }
        let line = format!("{sign} {} {}", text(change, "what"), text(change, "name"));
        say(line.trim_end());
        for field in change.get("fields").and_then(Value::as_array).into_iter().flatten() {
            field_lines(field, sign == '+').iter().for_each(|line| say(line));
        }
    }
    let [made, changed, deleted] = counts;
    let is_done = of.get("applied").and_then(Value::as_bool) == Some(true);
    say(&if is_done {
        format!("{made} created, {changed} changed, {deleted} deleted.")
    } else {
        format!("{made} to create, {changed} to change, {deleted} to delete.")
    });
    for group in of.get("groups").and_then(Value::as_array).into_iter().flatten() {
        say(&format!("  {}  {}", text(group, "name"), text(group, "url")));
    }
}
