//! Imports from the shell.

use std::{path::PathBuf, sync::Arc};

use iocast_app::{
    Actor, App, AppError, AppResult, ImportRequest, Input, Mode, Options, Stated, Trust,
    of_file_name,
};
use iocast_domain::{
    ioc::{Enrichment, label},
    time::clip,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account;

/// One file to be imported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Import {
    /// Account ID; needed where there are several.
    pub(crate) account: Option<String>,
    /// Name of the source, made where it is not there.
    pub(crate) source: String,
    /// Confidence of a source that is made.
    pub(crate) confidence: i64,
    /// File name, which is a hint at the form.
    pub(crate) name: String,
    /// The form that was chosen.
    #[serde(default)]
    pub(crate) form: Option<String>,
    /// Of reports, live links as well.
    #[serde(default)]
    pub(crate) live_links: bool,
    /// Of STIX, what was merely observed as well.
    #[serde(default)]
    pub(crate) observables: bool,
    /// Only attributes marked `to_ids`.
    pub(crate) only_to_ids: bool,
    /// Write nothing.
    pub(crate) dry_run: bool,
    /// Restore an export of the account.
    #[serde(default)]
    pub(crate) restore: bool,
    /// A tag for everything in it.
    pub(crate) tag: Option<String>,
    /// A malware family for everything in it.
    pub(crate) malware_family: Option<String>,
    /// Bytes that follow.
    pub(crate) size: u64,
}

pub(super) async fn execute(
    app: &Arc<App>,
    import: Import,
    file: Option<PathBuf>,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> AppResult<Value> {
    let actor = Actor::operator(account(app, import.account.as_deref()).await?);
    let source = app.intake.source_named(&actor, &import.source, import.confidence).await?;
    let stated = match import.form.as_deref() {
        None | Some("auto") => of_file_name(&import.name),
        Some(word) => Stated::Chosen(Input::from_word(word).ok_or_else(|| {
            AppError::Malformed(format!(
                "`{word}` is no form; give one of json, table, list, report, html, openioc."
            ))
        })?),
    };
    let mut also = Enrichment::default();
    also.user_tags.extend(import.tag.as_deref().and_then(label));
    also.malware_families.extend(import.malware_family.as_deref().and_then(label));
    let path =
        file.ok_or_else(|| AppError::Malformed("No file came with the import.".to_owned()))?;
    let request = ImportRequest {
        ledger: None,
        columns: None,
        path,
        file_name: Some(clip(&import.name, 250)).filter(|name| !name.is_empty()),
        stated,
        options: Options {
            only_to_ids: import.only_to_ids,
            live_links: import.live_links,
            observables: import.observables,
        },
        also,
        trust: if import.restore { Trust::Restore } else { Trust::Feed },
        mode: if import.dry_run { Mode::DryRun } else { Mode::Take },
    };
    let report = app.intake.import(&actor, source.id, request, progress).await?;
    serde_json::to_value(report).map_err(|e| AppError::Internal(Box::new(e)))
}
