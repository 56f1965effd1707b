use super::*;

#[test]
fn the_catalogue_is_sound() {
    for t in CATALOGUE {
        assert!(
            t.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{}",
            t.id
        );
        assert_eq!(CATALOGUE.iter().filter(|o| o.id == t.id).count(), 1, "{} is there twice", t.id);
        assert!(!t.kinds.is_empty(), "{} takes nothing", t.id);
        assert_eq!(
            t.method == Method::Push,
            t.unsupported.is_some(),
            "{}: push types say why not",
            t.id
        );
        assert!(
            t.method == Method::Push
                || (t.max_iocs > 0 && !t.setup.is_empty() && !t.checks.is_empty()),
            "{} lacks limit, form or checks",
            t.id
        );
        for group in t.group_kinds {
            assert!(
                !t.kinds_of_group(Some(*group)).is_empty(),
                "{}: nothing goes into a group of {}",
                t.id,
                group.word()
            );
        }
        for kind in t.kinds.iter().filter(|_| !t.mixed_group()) {
            assert!(
                t.group_kinds.iter().any(|g| g.covers(*kind)),
                "{}: {} goes into no group",
                t.id,
                kind.word()
            );
        }
    }
    assert_eq!(find("misp").map(|t| (t.max_iocs, t.mixed_group())), Some((50_000, true)));
}
