//! What an import is to read: files, the files of folders, standard input.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// How deep folders may lie in each other.
const DEPTH_MAX: usize = 16;
/// Most files of one command.
const FILES_MAX: usize = 100_000;

/// A file to import.
pub(super) struct Input {
    pub(super) path: PathBuf,
    /// What it is called in messages.
    pub(super) shown: String,
    /// It was found in a folder, and not named.
    pub(super) in_folder: bool,
}

/// All of them. What came on standard input lies in a file until this is dropped.
pub(super) struct Inputs {
    pub(super) files: Vec<Input>,
    standard_input: Option<PathBuf>,
}

impl Drop for Inputs {
    fn drop(&mut self) {
        if let Some(path) = &self.standard_input {
            let _ = fs::remove_file(path);
        }
    }
}

impl Inputs {
    /// Finds the files; standard input is read to its end first.
    pub(super) fn find(named: &[PathBuf]) -> Result<Self, String> {
        let mut found = Self { files: Vec::new(), standard_input: None };
        for path in named {
            if path.as_os_str() == "-" {
                let kept = standard_input().map_err(|e| format!("standard input: {e}"))?;
                found.add(kept.clone(), "standard input".to_owned(), false)?;
                found.standard_input = Some(kept);
            } else if path.is_dir() {
                found.walk(path, 0)?;
            } else {
                found.add(path.clone(), path.display().to_string(), false)?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: PathBuf, shown: String, in_folder: bool) -> Result<(), String> {
        if self.files.len() >= FILES_MAX {
            return Err(format!("there are more than {FILES_MAX} files; import them in parts"));
        }
        self.files.push(Input { path, shown, in_folder });
        Ok(())
    }

    /// The files of a folder and those below it, by name; hidden ones and links are left out.
    fn walk(&mut self, folder: &Path, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("{}: folders lie too deep in each other", folder.display()));
        }
        let read = |error: io::Error| format!("{}: {error}", folder.display());
        let mut entries =
            fs::read_dir(folder).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, kind) = (entry.path(), entry.file_type().map_err(read)?);
            if kind.is_dir() {
                self.walk(&path, depth + 1)?;
            } else if kind.is_file() {
                let shown = path.display().to_string();
                self.add(path, shown, true)?;
            }
        }
        Ok(())
    }
}

/// What comes on standard input, in a file that only this user can read.
fn standard_input() -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("iocast-import-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(path)
}
