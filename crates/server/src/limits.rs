//! What the system allows this process.

use std::io;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};

/// Takes as many file descriptors as the system allows: each connection needs one, and the soft
/// limit is often 1,024.
pub(crate) fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "The limit of open files stays at {}: {error}",
            current.unwrap_or_default()
        );
    }
}

/// Most memory of a process that reads a document, in bytes.
const MEMORY_MAX: u64 = 512 << 20;
/// Most seconds of processor time that it takes.
const SECONDS_MAX: u64 = 20;

/// Keeps what a stranger's document may do small. Ends with the process that asked for it.
pub(crate) fn confine(most_written: u64) -> io::Result<()> {
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, limit(MEMORY_MAX))?;
    setrlimit(Resource::Cpu, limit(SECONDS_MAX))?;
    setrlimit(Resource::Fsize, limit(most_written))?;
    setrlimit(Resource::Core, limit(0))?;
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Has every file and folder that this process makes be its owner's alone, whatever the folder or
/// the shell says.
pub(crate) fn make_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}
