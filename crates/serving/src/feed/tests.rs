use super::open::matching_etag;

#[test]
fn etags_survive_proxies() {
    for header in ["\"abc\"", "W/\"abc\"", "\"abc-gzip\"", "\"x\", \"abc\"", "*"] {
        assert!(matching_etag(header, "abc").is_some(), "{header}");
    }
    assert_eq!(matching_etag("\"abc-gzip\"", "abc").as_deref(), Some("\"abc-gzip\""));
    assert_eq!(matching_etag("\"abcd\"", "abc"), None);
}
