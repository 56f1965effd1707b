//! The binary `iocast`.

use std::process::ExitCode;

use clap::Parser as _;
use iocast_server::cli::{Cli, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("iocast: the runtime can't start: {error}");
            ExitCode::FAILURE
        }
    }
}
