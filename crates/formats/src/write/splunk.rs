//! Splunk Enterprise Security threat lists: the columns go by the group's kind.

use iocast_domain::device_type::GroupKind;

use super::list::{Entry, ListWriter, Scope, about, row, weight};

pub(super) struct SplunkCsv;

impl ListWriter for SplunkCsv {
    fn content_type(&self) -> &'static str {
        "text/csv; charset=utf-8"
    }

    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(match scope.kind {
            Some(GroupKind::Ip) => b"description,ip,weight\n",
            Some(GroupKind::Url) => b"description,http_referrer,http_user_agent,url,weight\n",
            Some(GroupKind::Email) => b"description,src_user,subject,weight\n",
            Some(GroupKind::Hash | GroupKind::Md5 | GroupKind::Sha256) => {
                b"description,file_hash,file_name,weight\n"
            }
            Some(GroupKind::Domain) | None => b"description,domain,weight\n",
        });
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        // Read by a splitter that knows no quotes: text that holds a comma would move the columns.
        let text = about(entry.ioc, &scope.names, 200).replace([',', '"'], " ");
        let (value, weight) = (entry.ioc.value.as_str(), weight(entry.ioc.severity()).to_string());
        match scope.kind {
            Some(GroupKind::Url) => row(out, &[&text, "", "", value, &weight]),
            Some(GroupKind::Email | GroupKind::Hash | GroupKind::Md5 | GroupKind::Sha256) => {
                row(out, &[&text, value, "", &weight]);
            }
            Some(GroupKind::Ip | GroupKind::Domain) | None => row(out, &[&text, value, &weight]),
        }
    }
}
