//! What is done for each IOC: told apart, chosen, ranked. `cargo bench -p iocast-domain`

use divan::{Bencher, black_box, counter::ItemsCount};
use iocast_domain::{
    collapse::collapse,
    id::{IocId, SourceId},
    ioc::{Enrichment, Ioc, Kind, Report, State, Whitelist},
    normalise::detect,
    rule::{Criteria, EnabledSources, SourceRanks},
    selection::{Place, Selection},
    source::Confidence,
    time::Timestamp,
};
use uuid::Uuid;

fn main() {
    divan::main();
}

const MANY: usize = 10_000;
const SOURCE: SourceId = SourceId(Uuid::from_u128(1));

fn iocs(value: impl Fn(usize) -> (Kind, String)) -> Vec<Ioc> {
    let ioc = |n: usize| {
        let (kind, value) = value(n);
        let seen = Timestamp::from_secs(1_760_000_000 + (n as i64 * 7_919) % 1_000_000);
        Ioc {
            id: IocId(Uuid::from_u128(n as u128)),
            kind,
            value,
            first_seen: seen,
            last_seen: seen,
            state: State::Active,
            whitelist: Whitelist::Default,
            enrichment: Enrichment {
                reports: vec![Report {
                    source_id: SOURCE,
                    confidence: Confidence::MEDIUM,
                    reported_at: 0,
                    first_at: 0,
                    lifetime_days: None,
                }],
                user_tags: [format!("case-{}", n % 50), format!("g{}", n % 1_000)].into(),
                ..Enrichment::default()
            },
        }
    };
    (0..MANY).map(ioc).collect()
}

fn domains() -> Vec<Ioc> {
    iocs(|n| (Kind::Domain, format!("host{n}.evil{}.example", n % 997)))
}

#[divan::bench(args = ["http://Evil.Example:80/a/../b?q=1", "bad[.]example", "198.51.100.7", "2001:DB8::1", "user@evil.example", "d41d8cd98f00b204e9800998ecf8427e"])]
fn detect_and_normalise(value: &str) -> Result<(Kind, String), String> {
    detect(black_box(value))
}

#[divan::bench(args = [Criteria::default(), Criteria { tags: vec!["g7".to_owned()], ..Criteria::default() }])]
fn choose(bencher: Bencher<'_, '_>, criteria: &Criteria) {
    let (iocs, enabled) = (domains(), EnabledSources::from([SOURCE]));
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| {
        iocs.iter().filter(|ioc| criteria.choose(ioc, &enabled, iocs[0].last_seen)).count()
    });
}

#[divan::bench(args = [1_000, MANY])]
fn select(bencher: Bencher<'_, '_>, limit: usize) {
    let (iocs, ranks, enabled) =
        (domains(), SourceRanks::from([(SOURCE, 0)]), EnabledSources::from([SOURCE]));
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| {
        let mut selection = Selection::new(limit);
        for ioc in &iocs {
            selection.offer(Place::of(ioc, &ranks, &enabled));
        }
        selection.finish(0)
    });
}

#[divan::bench]
fn collapse_addresses(bencher: Bencher<'_, '_>) {
    let (ranks, enabled) = (SourceRanks::new(), EnabledSources::from([SOURCE]));
    let iocs = iocs(|n| (Kind::Ipv4, format!("198.18.{}.{}", n / 256, n % 256)));
    let places: Vec<_> =
        iocs.iter().map(|ioc| (ioc.kind, Place::of(ioc, &ranks, &enabled))).collect();
    bencher
        .counter(ItemsCount::new(MANY))
        .with_inputs(|| places.clone())
        .bench_local_values(|places| collapse(places, true));
}
