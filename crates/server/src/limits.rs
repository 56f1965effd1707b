//! What the system allows this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Has every file and folder that this process makes be its owner's alone, whatever the folder or
/// the shell says.
pub(crate) fn make_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}
