use super::accepts_gzip;

#[test]
fn gzip_is_sent_to_those_who_take_it() {
    for yes in ["gzip", "deflate, gzip, br, zstd", "GZIP;q=0.5", "*", "br, *;q=0.1"] {
        assert!(accepts_gzip(Some(yes)), "{yes}");
    }
    for no in ["", "identity", "br", "gzip;q=0", "gzip;q=0, *"] {
        assert!(!accepts_gzip(Some(no)), "{no}");
    }
    assert!(!accepts_gzip(None));
}
