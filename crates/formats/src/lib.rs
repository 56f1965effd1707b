//! The scribe: foreign bytes into domain words, and domain words into the bytes that a device expects.
//!
//! Pure: it does no I/O of its own (readers get something to read from), knows no clock, and does not choose
//! which IOCs go out. Only this room names `csv`, `flate2` and the shapes of MISP.

pub mod gzip;
pub mod read;
pub mod snapshot;
pub mod taxii;
pub mod view;
pub mod write;
