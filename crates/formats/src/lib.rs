//! Input forms to indicators, and indicators to the bytes that a device expects.
//!
//! Pure: it does no I/O of its own (readers get something to read from), knows no clock, and does
//! not choose which IOCs go out. Only this crate uses `csv`, `flate2` and the structure of MISP
//! events.

pub mod backup;
pub mod gzip;
pub mod read;
pub mod snapshot;
pub mod taxii;
pub mod view;
pub mod write;
