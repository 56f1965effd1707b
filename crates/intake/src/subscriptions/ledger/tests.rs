use uuid::Uuid;

use super::*;

fn id(n: u128) -> IocId {
    IocId(Uuid::from_u128(n))
}

fn fact(n: u128, number: u64) -> Fact {
    Fact { id: id(n), number, line: 0 }
}

#[test]
fn a_ledger_tells_what_is_new_changed_and_gone() {
    let first = Ledger::read(&[], LedgerOptions::default());
    first.see(None, vec![fact(2, 7), fact(1, 5), fact(1, 6)]);
    first.see(None, vec![fact(3, 9)]);
    let listed = first.listed();
    assert_eq!((listed.listed, listed.gone.len(), listed.is_whole), (3, 0, true));
    let Kept::All(mut kept) = first.kept() else { panic!("nothing was kept before") };
    let second = Ledger::read(&kept, LedgerOptions::default());
    assert_eq!(second.listed_before(), 3);
    assert!(second.knew(&fact(1, 6)) && second.knew(&fact(3, 9)));
    assert!(!second.knew(&fact(3, 8)) && !second.knew(&fact(4, 9)));
    second.see(None, vec![fact(1, 5), fact(4, 1)]);
    let listed = second.listed();
    assert_eq!((listed.listed, listed.gone.clone()), (2, vec![id(2), id(3)]));
    assert!(listed.holds(id(4)) && !listed.holds(id(2)));
    // So much is kept as a whole again; a small change stands behind what was kept.
    let Kept::All(all) = second.kept() else { panic!("most of it changed") };
    kept = all;
    let many: Vec<Fact> = (10..100).map(|n| fact(n, 1)).collect();
    for (n, out) in [(200, 10), (201, 11)] {
        let ledger = Ledger::read(&kept, LedgerOptions::default());
        let facts = many.iter().filter(|of| of.id > id(out)).copied();
        ledger.see(None, facts.chain((200..=n).map(|n| fact(n, 1))).collect());
        match ledger.kept() {
            Kept::All(all) => kept = all,
            Kept::Changes(changes) => kept.extend(changes),
            Kept::Same => panic!("something changed"),
        }
        assert_eq!(Ledger::read(&kept, LedgerOptions::default()).before, ledger.listed().facts);
    }
}

#[test]
fn a_line_that_did_not_change_says_what_it_said() {
    let line = |n: u128, line: u64| Fact { line, ..fact(n, 5) };
    // One line with two IOCs, and one with one.
    let before = [line(1, 77), line(2, 77), line(3, 99), fact(4, 5)];
    let ledger = Ledger::read(&bytes(&before), LedgerOptions::default());
    let of = |n: u64| ledger.of_line(n).map(|fact| fact.id).collect::<Vec<_>>();
    assert_eq!((of(77), of(99), of(1)), (vec![id(1), id(2)], vec![id(3)], Vec::new()));
    let renewed = LedgerOptions { renew: true, ..LedgerOptions::default() };
    assert_eq!(Ledger::read(&bytes(&before), renewed).of_line(77).count(), 0);
}

fn ids(facts: &[Fact]) -> Vec<IocId> {
    facts.iter().map(|fact| fact.id).collect()
}

#[test]
fn what_is_new_leaves_the_rest_and_takes_back_what_it_names() {
    let before = bytes(&[fact(1, 5), fact(2, 5), fact(3, 5)]);
    let options = LedgerOptions { full: true, stays: Stays::All, ..LedgerOptions::default() };
    let ledger = Ledger::read(&before, options);
    ledger.see(None, vec![fact(2, 6), fact(4, 5)]);
    ledger.revoke([id(3), id(4)].into_iter());
    let listed = ledger.listed();
    assert_eq!(listed.facts, [fact(1, 5), fact(2, 6), fact(4, 5)]);
    assert_eq!(listed.gone, [id(3)]);
}

#[test]
fn an_object_that_comes_again_replaces_what_it_said() {
    let of = |n: u128, object: u64| Fact { line: object, ..fact(n, 5) };
    // Objects 7 and 8 both say 1.
    let before = bytes(&[of(1, 7), of(1, 8), of(2, 9), of(3, 10)]);
    let options = LedgerOptions {
        full: true,
        by_objects: true,
        stays: Stays::All,
        ..LedgerOptions::default()
    };
    let ledger = Ledger::read(&before, options);
    // 7 is taken back, 9 says something else.
    ledger.touch(7);
    ledger.touch(9);
    ledger.see(None, vec![of(4, 9)]);
    let listed = ledger.listed();
    assert_eq!(listed.facts, [of(1, 8), of(3, 10), of(4, 9)]);
    assert_eq!(listed.gone, [id(2)]);
}

#[test]
fn sections_that_did_not_change_stay() {
    // 1 stands in two sections, of which one changes.
    let before = [bytes(&[fact(1, 5), fact(3, 5)]), bytes(&[fact(1, 5), fact(2, 5)])].concat();
    let stays = Stays::Sections(vec![fact(1, 5), fact(2, 5)]);
    let options = LedgerOptions { full: true, stays, ..LedgerOptions::default() };
    let ledger = Ledger::read(&before, options);
    ledger.see(Some(&"a.json".into()), vec![fact(4, 5)]);
    let listed = ledger.listed();
    assert_eq!(ids(&listed.facts), [id(1), id(2), id(4)]);
    assert_eq!(listed.gone, [id(3)]);
    assert_eq!(ids(&facts(&listed.section_bytes("a.json")).0), [id(4)]);
    assert!(facts(&listed.section_bytes("b.json")).0.is_empty());
}
