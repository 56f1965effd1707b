//! The binary `iocast`.

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use iocast_server::cli::{Cli, read_document, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(code) = read_document(&cli) {
        return code;
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli));
            // A program at the other end of a webhook that hangs does not hold up the end.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => {
            eprintln!("iocast: the runtime can't start: {error}");
            ExitCode::FAILURE
        }
    }
}
