//! The front door: flags, environment, the real clock and dice, signals, ticks. It builds the rooms once and stops
//! them in order; no rule of the business lives here.

pub mod application;
pub mod cli;
pub mod clock;
pub mod config;
mod files;
mod limits;
mod secrets;
mod shell;
mod shutdown;
mod supervisor;
mod telemetry;
mod ticker;
mod tls;

pub use shutdown::Shutdown;

/// What else a test needs of the rooms: the OpenAPI document and the clock's trait.
pub use iocast_domain::time::{Clock, Entropy, Timestamp};
pub use iocast_web::openapi;
