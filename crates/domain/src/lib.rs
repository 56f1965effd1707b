//! The types and rules of iocast.
//!
//! Every other crate uses these types. This crate is pure: it reads no clock, opens no file and
//! does not know that a database or HTTP exists. Callers pass in the time.

pub mod account;
pub mod alert;
pub mod collapse;
pub mod device;
pub mod device_type;
pub mod feeds;
pub mod group;
pub mod guard;
pub mod host;
pub mod id;
pub mod import;
pub mod ioc;
pub mod key;
pub mod member;
pub mod message;
pub mod name;
pub mod normalise;
pub mod problem;
pub mod proxy;
pub mod quality;
pub mod receipt;
pub mod refang;
pub mod rule;
pub mod score;
pub mod selection;
pub mod service_token;
pub mod source;
pub mod special;
pub mod staleness;
pub mod subscription;
pub mod threat_name;
pub mod time;
pub mod tlp;
pub mod warninglist;
pub mod watch;
