//! The program: flags, environment, the real clock and random numbers, signals, periodic tasks. It
//! builds the parts of the other crates once and stops them in order; it contains no business
//! rules.

pub mod application;
pub mod cli;
pub mod clock;
pub mod config;
mod files;
mod limits;
mod reload;
mod secrets;
mod shell;
mod shutdown;
mod supervisor;
mod systemd;
mod telemetry;
mod ticker;
mod tls;

pub use shutdown::Shutdown;

/// What else a test needs of the crates: the OpenAPI document and the clock's trait.
pub use iocast_domain::time::{Clock, Entropy, Timestamp};
pub use iocast_web::{openapi, threat_command_openapi};
