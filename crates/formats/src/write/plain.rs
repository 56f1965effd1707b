//! One value a line: plain lists, PAN-OS external dynamic lists, Cisco security intelligence feeds.

use iocast_domain::ioc::Kind;

use super::list::{Entry, ListWriter, Scope, as_requested, line, without_scheme};

pub(super) struct PlainList;

impl ListWriter for PlainList {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(entry.ioc.value.as_bytes());
        out.push(b'\n');
    }
}

pub(super) struct RequestedList;

impl ListWriter for RequestedList {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        let value = entry.ioc.value.as_str();
        let is_url = entry.ioc.kind == Kind::Url;
        let written = if is_url { as_requested(value) } else { value.into() };
        out.extend_from_slice(written.as_bytes());
        out.push(b'\n');
    }
}

pub(super) struct PanosEdl;

impl ListWriter for PanosEdl {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        let value = entry.ioc.value.as_str();
        if entry.ioc.kind == Kind::Url {
            let requested = as_requested(value);
            let bare = without_scheme(&requested);
            out.extend_from_slice(bare.as_bytes());
            // Without a slash PAN-OS would match every host that begins like this one.
            if !bare.contains('/') {
                out.push(b'/');
            }
        } else {
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'\n');
    }
}

pub(super) struct CiscoList;

impl ListWriter for CiscoList {
    /// An empty feed that holds a comment is told from a failed download.
    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("# iocast: {}\n", line(&scope.group_name, 100)).as_bytes());
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        RequestedList.entry(entry, scope, out);
    }
}
