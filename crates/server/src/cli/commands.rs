//! Commands that work on data: accounts, imports and what they print.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    inputs::{Input, Inputs},
    say,
};
use crate::{
    application::{StartError, open},
    clock::{SystemClock, SystemEntropy},
    config::Config,
    shell::{self, Command, Import},
    telemetry,
};

pub(super) fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn print_account(account: &Value, admin: &str) {
    say(account_lines(account, admin).trim_end());
}

pub(super) fn account_lines(account: &Value, admin: &str) -> String {
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
pub(super) fn is_there(config: &Config) -> Result<(), String> {
    if config.database_url.is_some() || config.data.join("iocast.sqlite").exists() {
        return Ok(());
    }
    Err(format!(
        "no server runs on {0}, and there is no database in it; name the folder with --data, or for PostgreSQL the database with --database-url",
        config.data.display()
    ))
}

pub(super) async fn command_once(config: &Config, command: Command) -> Result<Value, String> {
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

pub(super) async fn import(
    config: &Config,
    named: &[PathBuf],
    settings: &Import,
    json: bool,
) -> Result<(), String> {
    let inputs = Inputs::find(named)?;
    let mut here = None;
    let (mut failures, mut taken) = (0, 0);
    let bar = bar(inputs.files.len() as u64, json);
    for Input { path, shown, in_folder } in &inputs.files {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        bar.set_message(name.clone());
        let size = std::fs::metadata(path).map(|m| m.len()).unwrap_or_default();
        let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned());
        let malware_family =
            settings.malware_family.clone().and_then(|f| if f == "-" { stem } else { Some(f) });
        let one = Import { name: name.clone(), malware_family, size, ..settings.clone() };
        let progress = |n: u64| bar.set_message(format!("{name}: {n}"));
        match import_one(config, &mut here, path, one, &progress).await {
            Ok(report) => {
                let number =
                    |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
                let all = number("accepted") + number("updated") + number("unchanged");
                taken += all;
                // In a folder lie files that hold none, such as a README.
                if all == 0 && number("rejected_count") > 0 && !in_folder {
                    failures += 1;
                }
                if json {
                    println!("{report}");
                } else {
                    bar.suspend(|| print_report(shown, &report));
                }
            }
            Err(message) => {
                failures += 1;
                bar.suspend(|| eprintln!("iocast: {shown}: {message}"));
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
        Err(format!("of {failures} of {} files nothing was taken", inputs.files.len()))
    } else if taken == 0 {
        Err("no IOC was found".to_owned())
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
            return Err(
                "this is not a regular file; give what it holds on standard input".to_owned()
            );
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

/// What a file, or the files of an archive, were taken for.
fn read_as(report: &Value) -> String {
    let forms: Vec<String> = report
        .get("read_as")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|one| match one.get("document").and_then(Value::as_str) {
            Some(document) => format!("{} from {document}", text(one, "form")),
            None => text(one, "form"),
        })
        .collect();
    match forms.as_slice() {
        [] => String::new(),
        [form] => format!(" (read as {form})"),
        _ => format!(" (read as {})", forms.join(", ")),
    }
}

fn print_report(file: &str, report: &Value) {
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    println!(
        "{file}: {} new, {} updated, {} unchanged, {} refused{}",
        number("accepted"),
        number("updated"),
        number("unchanged"),
        number("rejected_count"),
        read_as(report)
    );
    if number("retired") > 0 {
        println!("  {} of the new ones are so old that they are retired", number("retired"));
    }
    for list in ["rejected", "remarks"] {
        for line in report.get(list).and_then(Value::as_array).into_iter().flatten().take(20) {
            println!(
                "  line {}: {} ({})",
                line.get("line").and_then(Value::as_u64).unwrap_or_default(),
                text(line, "value"),
                text(line, "reason")
            );
        }
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
