//! The secrets file: made once, at the first start, and never in place of one that is missing.
//!
//! A start that is broken off must not leave a file that is in the next one's way, nor a database
//! that is tied to secrets that no longer exist. There are three steps: fresh secrets are laid
//! beside the file; the database takes them as its own ([`iocast_app::App::open`]); the file gets
//! its name. The next start goes on where this one ended.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use iocast_app::Secrets;
use iocast_domain::time::Entropy;

use crate::files;

/// The secrets to open a database with.
pub(crate) struct SecretsFile {
    path: PathBuf,
    pub(crate) secrets: Secrets,
    /// They were made by this start, or by one that was broken off.
    pub(crate) is_new: bool,
}

impl SecretsFile {
    /// Reads the file, or makes secrets and lays them beside it.
    pub(crate) fn open(path: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        if let Some(secrets) = read(path)? {
            return Ok(Self { path: path.to_owned(), secrets, is_new: false });
        }
        // A draft that can't be read is one that was never used.
        let secrets = match read(&draft(path)) {
            Ok(Some(secrets)) => secrets,
            _ => {
                let secrets = Secrets::generate(entropy);
                files::write(
                    &draft(path),
                    &serde_json::to_vec(&secrets).map_err(io::Error::other)?,
                )?;
                secrets
            }
        };
        Ok(Self { path: path.to_owned(), secrets, is_new: true })
    }

    /// The database took them: from now on they are its secrets.
    pub(crate) fn keep(&self) -> io::Result<()> {
        if self.is_new { files::rename(&draft(&self.path), &self.path) } else { Ok(()) }
    }

    /// The database has others: the ones that were made for it are of no use.
    pub(crate) fn forget(&self) {
        if self.is_new {
            // If it stays, the next start asks the database about it again.
            let _ = std::fs::remove_file(draft(&self.path));
        }
    }
}

fn draft(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// The secrets in a file; none where there is no file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Secrets>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let broken =
        |why: &str| io::Error::other(format!("{why}; put the original back from a backup"));
    let secrets: Secrets = serde_json::from_reader(file)
        .map_err(|error| broken(&format!("it is not whole ({error})")))?;
    if secrets.sound() {
        Ok(Some(secrets))
    } else {
        Err(broken("it does not hold two keys of 64 hexadecimal digits"))
    }
}
