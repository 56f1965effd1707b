use super::*;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_secs(minutes * 60)
}

fn facts(live: &[u32], has: &[Option<i64>]) -> GroupFacts {
    let count = i64::try_from(live.len()).unwrap();
    let published = (1..=count).zip(live);
    let mut facts = GroupFacts {
        published: published
            .map(|(number, live)| Published { number, at: at(number), live: *live, changed: 10 })
            .collect(),
        serves: count,
        late_after: HOUR,
        pulled: !has.is_empty(),
        clients: has
            .iter()
            .map(|publication| ClientHas {
                publication: *publication,
                fetched_at: publication.map(at),
                ..ClientHas::default()
            })
            .collect(),
        ..GroupFacts::default()
    };
    facts.published.reverse();
    facts
}

#[test]
fn the_client_that_is_furthest_behind_decides() {
    let of = |has: &[Option<i64>], now| protection(&facts(&[9, 9, 9, 9], has), at(now));
    assert_eq!(of(&[], 5), [Protection::NeverFetched]);
    assert_eq!(of(&[Some(4)], 5), [Protection::Complete]);
    assert_eq!(of(&[None], 5), [Protection::Unknown], "slices say nothing");
    assert_eq!(of(&[Some(4), None], 5), [Protection::Complete]);
    let behind = Protection::Behind { changes: 20, at_least: false, since: at(3) };
    assert_eq!(of(&[Some(4), Some(2)], 5), [behind]);
    let late = Protection::Late { changes: 20, at_least: false, since: at(3) };
    assert_eq!(of(&[Some(4), Some(2)], 70), [late]);
    assert_eq!(of(&[Some(7)], 5), [Protection::Complete], "a backup was put back");
}

#[test]
fn publications_that_are_not_kept_any_more_are_counted_as_at_least() {
    let mut old = facts(&[9; 10], &[Some(2)]);
    old.published.truncate(3);
    assert_eq!(
        protection(&old, at(10)),
        [Protection::Behind { changes: 30, at_least: true, since: at(2) }]
    );
}

#[test]
fn what_is_wrong_with_the_group_is_said_beside_what_the_device_has() {
    let mut group = facts(&[100, 40], &[Some(2)]);
    group.left_out = 7;
    group.frozen = Some(1);
    assert_eq!(
        protection(&group, at(3)),
        [
            Protection::Shrunk { percent: 60 },
            Protection::Frozen { publication: 1 },
            Protection::AtLimit { left_out: 7 },
        ]
    );
    assert_eq!(protection(&facts(&[3, 0], &[Some(2)]), at(3)), [Protection::Empty]);
    assert_eq!(protection(&GroupFacts::default(), at(3)), []);
}

#[test]
fn a_misp_that_has_some_events_is_partly_there() {
    let mut group = facts(&[100], &[Some(1), Some(1)]);
    group.events = 25;
    group.clients = vec![
        ClientHas { publication: Some(1), events: 25, ..ClientHas::default() },
        ClientHas { publication: Some(1), events: 3, ..ClientHas::default() },
    ];
    assert_eq!(protection(&group, at(3)), [Protection::Partly { events: 3, of: 25 }]);
    let has = ClientHas { publication: Some(1), events: 25, ..ClientHas::default() };
    group.clients = vec![ClientHas { refused: 2, ..has }];
    assert_eq!(protection(&group, at(3)), [Protection::Refused { events: 2 }]);
    group.clients = vec![ClientHas { events: 20, not_taken: 5, ..has }];
    assert_eq!(protection(&group, at(3)), [Protection::NotTaken { events: 5 }]);
    group.clients = vec![ClientHas { events: 19, not_taken: 5, ..has }];
    assert_eq!(
        protection(&group, at(3)),
        [Protection::NotTaken { events: 5 }, Protection::Partly { events: 19, of: 25 }]
    );
}
