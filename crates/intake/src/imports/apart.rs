//! Documents are read in a process of their own: a file that was made to break its reader stops
//! that process alone, and what it may use is little.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use iocast_formats::read::{Input, ReadError, document::Document};
use serde::{Deserialize, Serialize};

use super::Spooled;

/// How long one document may take. Its processor time is bounded as well.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How long the documents of one import may take together.
pub(super) const ALL_MAX: Duration = Duration::from_secs(120);
/// How often it is looked at.
const STEP: Duration = Duration::from_millis(5);
/// Longest answer, in bytes.
const ANSWER_MAX: u64 = 4 << 20;

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extracted {
    /// The text of the document lies in files beside it.
    Files {
        /// What came out.
        files: Vec<ExtractedFile>,
        /// Sentences on what was left out.
        left_out: Vec<String>,
    },
    /// It can't be read: what to do.
    Refused(String),
}

/// A file that came out of a document. The first lies at [`file()`] of number 0, and so on.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExtractedFile {
    /// Its name in the document.
    pub name: Option<String>,
    /// Its form, where the document says so.
    pub form: Option<Input>,
}

/// What is to be read, and where what comes out is to lie.
pub(super) struct Request<'a> {
    pub(super) program: &'a Path,
    pub(super) document: Document,
    pub(super) from: &'a Path,
    /// Files that come out are called this, with a number behind.
    pub(super) to: &'a Path,
    pub(super) most: u64,
}

/// Runs the process. `left` is the time that the import has for documents.
pub(super) fn extract(request: &Request<'_>, left: &mut Duration) -> Result<Extracted, ReadError> {
    let Request { program, document, from, to, most } = request;
    let mut child = Command::new(program)
        .args(["read-document", document.word()])
        .args([from, to])
        .arg(most.to_string())
        // Nothing of what this process was started with: there are secrets in it.
        .env_clear()
        // The allocator would ask for a gigabyte at once, which counts as if it were used.
        .env("MIMALLOC_ARENA_RESERVE", "16MiB")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ReadError::Io)?;
    let answer = child.stdout.take();
    // Beside the wait: a process whose answer nobody takes does not end.
    let answer = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(answer) = answer {
            let _ = answer.take(ANSWER_MAX).read_to_end(&mut bytes);
        }
        bytes
    });
    let status = wait(&mut child, left).map_err(ReadError::Io)?;
    let answer = answer.join().unwrap_or_default();
    let what = document.name();
    match status {
        Some(status) if status.success() => serde_json::from_slice(&answer).map_err(|error| {
            ReadError::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()))
        }),
        Some(_) => Ok(Extracted::Refused(format!(
            "The file is {what} that needs too much memory or time to read, or is broken; copy its text into the box, or save it as text."
        ))),
        None => Ok(Extracted::Refused(format!(
            "The file is {what} that takes too long to read; copy its text into the box, or import it on its own."
        ))),
    }
}

/// What lies there of a document that was read, or begun.
pub(super) fn written(to: &Path) -> Vec<Spooled> {
    (0..).map(|number| file(to, number)).take_while(|path| path.exists()).map(Spooled).collect()
}

/// Where the file of this number lies, if it is one.
pub(super) fn of_number(to: &Path, number: usize) -> Option<PathBuf> {
    let path = file(to, number);
    let is_file = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
    is_file.then_some(path)
}

/// Where the file of this number lies.
#[must_use]
pub fn file(to: &Path, number: usize) -> PathBuf {
    to.with_added_extension(number.to_string())
}

/// Waits for the end of a process, and ends it when its time is over.
fn wait(child: &mut Child, left: &mut Duration) -> std::io::Result<Option<ExitStatus>> {
    let mut may_take = TIME_MAX.min(*left);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if may_take.is_zero() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(STEP);
        may_take = may_take.saturating_sub(STEP);
        *left = left.saturating_sub(STEP);
    }
}
