use iocast_domain::ioc::{Change, Ioc};
use iocast_store::{PromoteOrder, Staged};

use super::*;

fn batch(values: &[&str]) -> Vec<Staged> {
    let staged = |value: &&str| {
        let account = "6f9619ff8b86d01bb42d00cf".parse().unwrap();
        let at = Timestamp::from_secs(1_800_000_000);
        let kind = iocast_domain::ioc::Kind::Domain;
        let ioc = Ioc {
            id: iocast_domain::ioc::ioc_id(&account, kind, value),
            kind,
            value: (*value).to_owned(),
            first_seen: at,
            last_seen: at,
            state: iocast_domain::ioc::State::Active,
            whitelist: iocast_domain::ioc::Whitelist::Default,
            enrichment: Enrichment::default(),
        };
        Staged { ioc, created_at: 0, change: Change::Accepted }
    };
    values.iter().map(staged).collect()
}

fn order(batches: &[&[&str]]) -> PromoteOrder {
    let mut order = Order::default();
    batches.iter().for_each(|values| order.see(&batch(values)));
    order.of_rows()
}

#[test]
fn sorted_lists_are_told_from_others() {
    let sorted: [&[&str]; 4] = [&["a.x", "b.x"], &["c.x", "d.x"], &["e.x"], &["f.x", "g.x"]];
    assert_eq!(order(&sorted), PromoteOrder::AsStaged);
    let backwards: Vec<&[&str]> = sorted.into_iter().rev().collect();
    assert_eq!(order(&backwards), PromoteOrder::AsStaged);
    let mixed: [&[&str]; 4] = [&["a.x", "f.x"], &["b.x", "g.x"], &["c.x", "e.x"], &["d.x"]];
    assert_eq!(order(&mixed), PromoteOrder::ById);
    assert_eq!(order(&[]), PromoteOrder::AsStaged);
}
