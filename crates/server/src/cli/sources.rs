//! `iocast sources`: what sources fetch by themselves.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Settings, arguments::DataFlags, commands::text, password, show};
use crate::shell::{Command, SourcesCommand};

/// Of which account, and how to print.
#[derive(Debug, Args)]
pub(super) struct SourcesFlags {
    #[command(flatten)]
    data: DataFlags,
    /// Account ID or name; needed where there are several.
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum SourcesVerb {
    /// List the sources of the account, and how fresh they are.
    List {
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// List well-known public feeds.
    Feeds {
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// Make a source that follows a public feed.
    Follow {
        /// Which, as `iocast sources feeds` names it.
        feed: String,
        /// Address of a mirror, where it is not fetched from its owner.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Read the key that its owner gave from standard input.
        #[arg(long)]
        key_stdin: bool,
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// Have a source fetch by itself, or change what it fetches. It is made where it is not there.
    Subscribe {
        /// Its name.
        source: String,
        /// What it fetches: a file with the JSON body of `PUT /api/v1/sources/{id}/subscription`, or -
        /// for standard input.
        #[arg(value_name = "FILE")]
        body: PathBuf,
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// End the subscription of a source. What it brought stays.
    Unsubscribe {
        /// Its name or id.
        source: String,
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// Say what a source may claim, and for how long its IOCs stay.
    Limit {
        /// Its name or id.
        source: String,
        /// A file with JSON, such as {"lifetime_days": 30, "severity_most": "medium"}, or - for standard
        /// input.
        #[arg(value_name = "FILE")]
        body: PathBuf,
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// Compare the sources: what only one reports, what they share, who is first.
    Quality {
        /// Count them first; otherwise the last count is shown, which is made once a day.
        #[arg(long)]
        count: bool,
        #[command(flatten)]
        flags: SourcesFlags,
    },
    /// Fetch a source now. Ends with 1 if the fetch failed.
    Fetch {
        /// Its name or id.
        source: String,
        /// Take a list that lost more than half of its IOCs.
        #[arg(long, conflicts_with = "dry_run")]
        accept_loss: bool,
        /// Say what would happen, and write nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        flags: SourcesFlags,
    },
}

pub(super) async fn sources(settings: &Settings, what: SourcesVerb) -> Result<(), String> {
    let (what, flags) = match what {
        SourcesVerb::List { flags } => (SourcesCommand::List, flags),
        SourcesVerb::Feeds { flags } => (SourcesCommand::Feeds, flags),
        SourcesVerb::Follow { feed, url, key_stdin, flags } => {
            let secret = password(key_stdin)?;
            (SourcesCommand::Follow { feed, url, secret }, flags)
        }
        SourcesVerb::Subscribe { source, body, flags } => {
            (SourcesCommand::Subscribe { source, body: read(&body)? }, flags)
        }
        SourcesVerb::Unsubscribe { source, flags } => {
            (SourcesCommand::Unsubscribe { source }, flags)
        }
        SourcesVerb::Limit { source, body, flags } => {
            (SourcesCommand::Limit { source, body: read(&body)? }, flags)
        }
        SourcesVerb::Quality { count, flags } => (SourcesCommand::Quality { count }, flags),
        SourcesVerb::Fetch { source, accept_loss, dry_run, flags } => {
            (SourcesCommand::Fetch { source, accept_loss, dry_run }, flags)
        }
    };
    let SourcesFlags { data, account, json } = flags;
    let said = what.clone();
    let made = settings.once(data, Command::Sources { account, what }).await?;
    show(json, &made, || print(&said, &made));
    match text(&made, "outcome").as_str() {
        "failed" => Err(text(&made, "error")),
        _ => Ok(()),
    }
}

/// Most bytes of a body.
const BODY_MAX: u64 = 1 << 20;

/// The text of a file, or of standard input.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(BODY_MAX).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(BODY_MAX).read_to_string(&mut text))
    };
    read.map(|_| text).map_err(|error| format!("{} can't be read: {error}.", path.display()))
}

fn print(what: &SourcesCommand, made: &Value) {
    let items = || made.get("items").and_then(Value::as_array).into_iter().flatten();
    let n = |key: &str| made.get(key).and_then(Value::as_u64).unwrap_or_default();
    match what {
        SourcesCommand::List => {
            for source in items() {
                let of = source.get("subscription").filter(|of| !of.is_null());
                let fresh = of.map_or_else(|| "by hand".to_owned(), |of| text(of, "freshness"));
                let error = of.map(|of| text(of, "error")).unwrap_or_default();
                println!("{:<40} {:<15} {error}", text(source, "name"), fresh.replace('_', " "));
            }
        }
        SourcesCommand::Feeds => {
            for feed in items() {
                let key = match feed.get("needs_key").and_then(Value::as_bool) {
                    Some(true) => format!(" (key: {})", text(feed, "page")),
                    _ => String::new(),
                };
                println!(
                    "{:<20} {}: {}{key}",
                    text(feed, "id"),
                    text(feed, "name"),
                    text(feed, "holds")
                );
            }
        }
        SourcesCommand::Quality { .. } => {
            match made.get("counted_at").and_then(Value::as_str) {
                Some(at) => println!("Counted {at}"),
                None => println!("Not counted yet; --count counts."),
            }
            print_quality(items());
        }
        SourcesCommand::Subscribe { .. } => {
            println!("The source fetches by itself from now on; the first fetch follows at once.");
        }
        SourcesCommand::Unsubscribe { .. } => {
            println!("The subscription is ended; what it brought stays.");
        }
        SourcesCommand::Limit { .. } => {
            println!("The limits are saved; they hold for reports from now on.");
        }
        SourcesCommand::Follow { .. } => {
            println!("The source is made; its first fetch follows at once.");
        }
        SourcesCommand::Fetch { dry_run: true, .. } => println!(
            "Nothing was written. It would bring {} new, {} changed, {} seen again, {} refused.",
            n("accepted"),
            n("updated"),
            n("unchanged"),
            n("rejected_count")
        ),
        SourcesCommand::Fetch { .. } if text(made, "outcome") != "failed" => println!(
            "Fetched: {} new, {} changed, {} gone, {} refused; {} in it.",
            n("new"),
            n("changed"),
            n("gone"),
            n("refused"),
            n("listed")
        ),
        SourcesCommand::Fetch { .. } => {}
    }
}

/// What was counted of sources, as a table.
fn print_quality<'a>(sources: impl Iterator<Item = &'a Value>) {
    const COLUMNS: [(&str, &str); 7] = [
        ("IOCs", "iocs"),
        ("only here", "only_here"),
        ("first", "first_here"),
        ("kept back", "kept_back"),
        ("not sent", "never_sent"),
        ("in groups", "in_groups"),
        ("fetched", "fetched"),
    ];
    let line = |name: &str, cells: [String; 7]| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
        println!("{name:<40} {}", cells.join(" "));
    };
    line("source", COLUMNS.map(|(head, _)| head.to_owned()));
    for of in sources {
        let n = |key: &str| of.get(key).and_then(Value::as_u64).unwrap_or_default().to_string();
        line(&text(of, "name"), COLUMNS.map(|(_, key)| n(key)));
    }
}
