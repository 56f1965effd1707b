//! Bytes in, bytes out: what a reader, a writer and the compressor do for each IOC. `cargo bench -p
//! iocast-formats`

use std::io::Cursor;

use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use iocast_domain::{
    device_type::Format,
    id::{AccountId, GroupId, IocId, PartId, SourceId},
    ioc::{Enrichment, Ioc, Kind, Report, State, Whitelist},
    member::PART_MAX,
    source::Confidence,
    time::Timestamp,
};
use iocast_formats::{
    gzip::segment,
    read::{Input, Options, read},
    write::{
        list::{Entry, Scope, shard, writer},
        misp::{EventHead, ListedTags, Member, Orgc, event},
    },
};
use uuid::Uuid;

fn main() {
    divan::main();
}

const SOURCE: SourceId = SourceId(Uuid::from_u128(1));
const STAMP: i64 = 1_760_000_000;

fn iocs() -> Vec<Ioc> {
    let ioc = |n: u32| Ioc {
        id: IocId(Uuid::from_u128(u128::from(n))),
        kind: Kind::Domain,
        value: format!("host{n}.evil{}.example", n % 997),
        first_seen: Timestamp::from_secs(STAMP),
        last_seen: Timestamp::from_secs(STAMP),
        state: State::Active,
        whitelist: Whitelist::Default,
        enrichment: Enrichment {
            reports: vec![Report {
                source_id: SOURCE,
                confidence: Confidence::MEDIUM,
                reported_at: STAMP,
                first_at: 0,
                lifetime_days: None,
            }],
            user_tags: [format!("case-{}", n % 50), format!("g{}", n % 1_000)].into(),
            system_tags: ["phishing".to_owned()].into(),
            threat_actors: [format!("Actor {}", n % 40)].into(),
            malware_families: [format!("Family {}", n % 200)].into(),
            ..Enrichment::default()
        },
    };
    (0..PART_MAX).map(ioc).collect()
}

fn misp(iocs: &[Ioc]) -> Vec<u8> {
    let head = EventHead {
        id: PartId(Uuid::nil()),
        info: "Group - 2026-11-01",
        group_name: "Group",
        day: "2026-11-01",
        stamp: STAMP,
    };
    let members: Vec<Member<'_>> =
        iocs.iter().map(|ioc| Member { ioc, stamp: STAMP, tombstone: false }).collect();
    let orgc = Orgc { name: "Bench".to_owned(), uuid: Uuid::nil() };
    event(&head, &orgc, &members, &[(SOURCE, "Feed".to_owned())].into(), &ListedTags::new())
        .map(|file| file.json)
        .unwrap_or_default()
}

fn list(iocs: &[Ioc], format: Format) -> Vec<u8> {
    let at = Timestamp::from_secs(STAMP);
    let Ok(account) = "0123456789abcdef01234567".parse::<AccountId>() else { return Vec::new() };
    let scope = Scope {
        account,
        account_name: "Bench".to_owned(),
        group: GroupId(Uuid::nil()),
        group_name: "Group".to_owned(),
        kind: None,
        created_at: at,
        publication: 1,
        published_at: at,
        live: PART_MAX,
        latest: at,
        names: [(SOURCE, "Feed".to_owned())].into(),
    };
    let entries = iocs.iter().map(|ioc| Entry {
        ioc,
        joined_at: at,
        stamp: at,
        removed: false,
        readded: false,
    });
    writer(format).map(|writer| shard(writer, &scope, entries)).unwrap_or_default()
}

/// Bodies of imports, each with as many IOCs as an event holds.
fn bodies() -> [(Input, Vec<u8>); 3] {
    let iocs = iocs();
    let lines: Vec<&str> = iocs.iter().map(|ioc| ioc.value.as_str()).collect();
    let table: String =
        iocs.iter().map(|ioc| format!("{},high,2026-10-01T00:00:00Z\n", ioc.value)).collect();
    [
        (Input::List, lines.join("\n").into_bytes()),
        (Input::Table, format!("value,severity,first_seen\n{table}").into_bytes()),
        (Input::Json, misp(&iocs)),
    ]
}

#[divan::bench(args = [0, 1, 2])]
fn parse_list_csv_misp(bencher: Bencher<'_, '_>, which: usize) {
    let bodies = bodies();
    let Some((input, body)) = bodies.get(which) else { return };
    bencher.counter(ItemsCount::new(PART_MAX)).counter(BytesCount::new(body.len())).bench_local(
        || {
            let mut found = 0_u32;
            let read = read(*input, &mut Cursor::new(body), Options::default(), &mut |_| {
                found += 1;
                true
            });
            assert!(read.is_ok() && found >= PART_MAX, "{found}");
        },
    );
}

#[divan::bench]
fn render_misp_event(bencher: Bencher<'_, '_>) {
    let iocs = iocs();
    bencher.counter(ItemsCount::new(PART_MAX)).bench_local(|| misp(&iocs));
}

#[divan::bench(args = [Format::PlainList, Format::PanosEdl])]
fn render_list(bencher: Bencher<'_, '_>, format: Format) {
    let iocs = iocs();
    bencher.counter(ItemsCount::new(PART_MAX)).bench_local(|| list(&iocs, format));
}

#[divan::bench]
fn compress_event(bencher: Bencher<'_, '_>) {
    let body = misp(&iocs());
    bencher.counter(BytesCount::new(body.len())).bench_local(|| segment(&body));
}
