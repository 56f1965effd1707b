//! Ranges of addresses, and masks written out.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::ip;
use crate::{host::network, ioc::Kind};

/// An IPv4 block with its mask written out: `203.0.113.0/255.255.255.0`.
pub(super) fn masked(text: &str) -> Option<IpNet> {
    let (address, mask) = text.split_once('/')?;
    let prefix = ipnet::ipv4_mask_to_prefix(mask.parse().ok()?).ok()?;
    network(&format!("{address}/{prefix}"))
}

/// Most blocks that a range of addresses is written as.
const RANGE_MAX: usize = 64;

/// A range of addresses as the fewest blocks: `203.0.113.16-203.0.113.31` is `203.0.113.16/28`.
/// Nothing where it is no range.
#[must_use]
pub fn range(text: &str) -> Option<Result<Vec<(Kind, String)>, String>> {
    let (first, last) = text.split_once(['-', '\u{2013}'])?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let blocks: Vec<IpNet> = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::V4).take(RANGE_MAX + 1).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::V6).take(RANGE_MAX + 1).collect()
        }
        _ => {
            return Some(Err(format!(
                "`{}` is a range that ends before it begins",
                crate::time::clip(text, 90)
            )));
        }
    };
    Some(if blocks.len() > RANGE_MAX {
        Err(format!("this range makes more than {RANGE_MAX} CIDR blocks; list the blocks"))
    } else {
        blocks.into_iter().map(|block| ip(&block.to_string())).collect()
    })
}
