//! One writer per feed format.

mod arcsight;
mod carbon_black;
mod check_point;
mod defender;
mod f5;
pub mod inert;
mod json;
pub mod list;
mod mikrotik;
pub mod misp;
mod nftables;
mod plain;
mod resolver;
mod rpz;
mod splunk;
mod squid;
pub mod stix;
mod suricata;
mod table;
mod zeek;
