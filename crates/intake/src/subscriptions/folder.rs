//! All files in a folder of the machine that iocast runs on, and in the folders in it.
//!
//! The folder is not written to. Who puts files there writes them under a name that begins with a
//! dot or ends with `.tmp` or `.part`, and renames them when they are whole: such names are left
//! out.

use std::{
    fs::{self, File, Metadata},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use iocast_fetch::Failure;
use iocast_formats::read::{Input, form::Stated};
use sha2::{Digest as _, Sha256};

use super::{
    bundle::Bundle,
    checked::is_under,
    fetching::plain,
    upstream::{Came, Upstream},
};

/// Files, at most: as many as an archive that is imported may hold.
const FILES_MAX: usize = 1_000;
/// Folders in folders, at most.
const DEPTH: usize = 4;

/// A file of the folder, as it was seen.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    path: PathBuf,
    bytes: u64,
    /// When it was changed last, in nanoseconds.
    changed: u128,
}

/// Puts all files aside; nothing if they are those that are known.
pub(super) fn fetch(upstream: &Upstream, allowed: &[PathBuf]) -> Result<Option<Came>, Failure> {
    let folder = upstream.url.to_file_path().map_err(|()| plain("The folder can't be read."))?;
    let folder = folder.canonicalize().map_err(|error| unreadable(&folder, &error))?;
    // Links may lead out of what is allowed.
    let allowed: Vec<PathBuf> = allowed.iter().filter_map(|of| of.canonicalize().ok()).collect();
    if !is_under(&folder, &allowed) {
        return Err(plain(
            "This folder is not allowed: the operator names folders that may be read in the setting `fetch_folders`.",
        ));
    }
    let before = list(&folder)?;
    let state = state(&before);
    if upstream.known.etag.as_deref() == Some(state.as_str()) {
        return Ok(None);
    }
    let (mut bundle, mut hasher) = (Bundle::create(upstream)?, Sha256::new());
    let mut bytes = 0;
    for Seen { path, .. } in &before {
        let within = path.strip_prefix(&folder).unwrap_or(path);
        let name = within.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        let body = File::open(path).map_err(|error| unreadable(path, &error))?;
        hasher.update(name.as_bytes());
        hasher.update([0]);
        bytes += bundle.copy(&name, body, upstream.most, &mut hasher)?;
        if bytes > upstream.most {
            return Err(plain(format!(
                "The files of the folder are larger than {} bytes together, the most that is taken; import_max_bytes says how many.",
                upstream.most
            )));
        }
    }
    if list(&folder)? != before {
        return Err(plain(
            "Files of the folder changed while they were read; it is tried again. Write a file under a name that ends with .tmp, and rename it when it is whole.",
        ));
    }
    let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if upstream.known.sha256.as_deref() == Some(sha256.as_str()) {
        return Ok(None);
    }
    let stated = upstream.form.as_deref().and_then(Input::from_word);
    let stated = stated.map_or(Stated::Nothing, Stated::Chosen);
    // A folder without files holds nothing, which is no failure.
    let spooled = if before.is_empty() { None } else { Some(bundle.finish()?) };
    Ok(Some(Came { etag: Some(state), sha256: Some(sha256), ..Came::new(spooled, bytes, stated) }))
}

/// The files of a folder, by name.
fn list(folder: &Path) -> Result<Vec<Seen>, Failure> {
    let mut found = Vec::new();
    add(folder, 0, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn add(folder: &Path, depth: usize, found: &mut Vec<Seen>) -> Result<(), Failure> {
    if depth > DEPTH {
        return Err(plain(format!(
            "{} lies deeper than {DEPTH} folders in the folder that is followed; follow it by itself.",
            folder.display()
        )));
    }
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part") {
            continue;
        }
        // Links are not followed: they may lead anywhere.
        let metadata = entry.metadata().map_err(|error| unreadable(&entry.path(), &error))?;
        if metadata.is_dir() {
            add(&entry.path(), depth + 1, found)?;
        } else if metadata.is_file() && metadata.len() > 0 {
            let (bytes, changed) = (metadata.len(), changed(&metadata));
            found.push(Seen { path: entry.path(), bytes, changed });
        }
        if found.len() > FILES_MAX {
            return Err(plain(format!(
                "The folder holds more than {FILES_MAX} files; put what belongs together into one file, or follow several folders."
            )));
        }
    }
    Ok(())
}

fn changed(metadata: &Metadata) -> u128 {
    let at = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    at.map_or(0, |at| at.as_nanos())
}

/// A short text over the files, which changes when one of them does.
fn state(files: &[Seen]) -> String {
    let mut hasher = Sha256::new();
    for Seen { path, bytes, changed } in files {
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(format!("\0{bytes} {changed}\n").as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    plain(format!("{} can't be read: {error}.", path.display()))
}
