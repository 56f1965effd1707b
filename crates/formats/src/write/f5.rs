//! F5 BIG-IP AFM feed lists: address, mask, list type, category.

use super::list::{Entry, ListWriter, Scope};

pub(super) struct F5FeedList;

impl ListWriter for F5FeedList {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        let value = entry.ioc.value.as_str();
        let whole = if value.contains(':') { "128" } else { "32" };
        let (address, mask) = value.split_once('/').unwrap_or((value, whole));
        out.extend_from_slice(format!("{address},{mask},BL,additional\n").as_bytes());
    }
}
