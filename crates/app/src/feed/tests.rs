use super::{open::matching_etag, *};

#[test]
fn basic_as_clients_send_it() {
    let pair = |u: &str, p: &str| Some((Some(u.to_owned()), p.to_owned()));
    assert_eq!(credentials("Basic YTpiOmM="), pair("a", "b:c"));
    assert_eq!(credentials("bAsIc YTpi"), pair("a", "b"));
    assert_eq!(credentials("Basic YTpiOg"), pair("a", "b:"));
    assert_eq!(credentials("Bearer key"), Some((None, "key".to_owned())));
    for bad in ["", "Basic", "Basic !!!", "Basic YWI=", "Digest x"] {
        assert_eq!(credentials(bad), None, "{bad}");
    }
}

#[test]
fn etags_survive_proxies() {
    for header in ["\"abc\"", "W/\"abc\"", "\"abc-gzip\"", "\"x\", \"abc\"", "*"] {
        assert!(matching_etag(header, "abc").is_some(), "{header}");
    }
    assert_eq!(matching_etag("\"abc-gzip\"", "abc").as_deref(), Some("\"abc-gzip\""));
    assert_eq!(matching_etag("\"abcd\"", "abc"), None);
}
