use std::collections::BTreeSet;

use iocast_domain::{
    id::IocId,
    ioc::{Enrichment, State, Whitelist},
};

use super::{
    marking::{AMBER, RED},
    *,
};

#[test]
fn no_marking_is_looser_than_what_came_in() {
    let ioc = |user: &[&str], system: &[&str]| {
        let tags = |of: &[&str]| of.iter().map(|t| (*t).to_owned()).collect::<BTreeSet<_>>();
        let seen = Timestamp::from_secs(1_800_000_000);
        let enrichment = Enrichment {
            user_tags: tags(user),
            system_tags: tags(system),
            ..Enrichment::default()
        };
        let (state, whitelist) = (State::Active, Whitelist::Default);
        Ioc {
            id: IocId(Uuid::nil()),
            kind: Kind::Domain,
            value: "evil.example".into(),
            first_seen: seen,
            last_seen: seen,
            state,
            whitelist,
            enrichment,
        }
    };
    let named = |name: &str| TLP.iter().find(|(colour, _)| *colour == name).unwrap().1;
    for (user, system, v21, v20) in [
        (&[][..], &[][..], AMBER, AMBER),
        (&[], &["tlp:amber+strict"], AMBER_STRICT, RED),
        (&[], &["TLP:Amber+Strict", "tlp:green"], AMBER_STRICT, RED),
        (&[], &["tlp:white", "tlp:red"], RED, RED),
        (&[], &["tlp:clear"], named("white"), named("white")),
        (&["tlp:green"], &["tlp:red"], named("green"), named("green")),
        (&["tlp:green", "tlp:amber"], &[], AMBER, AMBER),
        (&[], &["tlp:nonsense"], AMBER, AMBER),
        (&["tlp:nonsense"], &["tlp:red"], RED, RED),
    ] {
        let ioc = ioc(user, system);
        assert_eq!(
            (marking(Taxii::V21, &ioc), marking(Taxii::V20, &ioc)),
            (v21, v20),
            "{user:?} {system:?}"
        );
    }
}
