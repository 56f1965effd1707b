//! Every list format: nasty input written out in full, and random input read back under the
//! device's own grammar.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong ends there")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use iocast_domain::{
    device_type::{CATALOGUE, DeviceType, Format, GroupKind},
    id::{AccountId, GroupId, SourceId},
    ioc::{Enrichment, Ioc, Kind, Report, Severity, State, Whitelist, ioc_id},
    normalise,
    source::Confidence,
    time::Timestamp,
};
use iocast_formats::{
    read::{
        Item, Options,
        form::{Stated, recognise},
        read,
    },
    snapshot::{SnapshotFile, snapshot},
    write::{
        inert,
        list::{Entry, Scope, grown, shard, writer},
    },
};
use proptest::prelude::*;
use regex::Regex;
use uuid::Uuid;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn scope(kind: Option<GroupKind>) -> Scope {
    Scope {
        account: "0123456789abcdef01234567".parse::<AccountId>().unwrap(),
        account_name: "Acme \"quoted\" <b>".to_owned(),
        group: GroupId(Uuid::from_u128(1)),
        group_name: "Edge list 1".to_owned(),
        kind,
        created_at: at("2026-11-01T00:00:00Z"),
        publication: 7,
        published_at: at("2026-11-03T10:00:00Z"),
        live: 2,
        latest: at("2026-11-03T10:00:00Z"),
        names: [(SourceId(Uuid::from_u128(5)), "So\"urce, one\t\u{202e}".to_owned())].into(),
    }
}

fn ioc(kind: Kind, value: &str, enrichment: Enrichment) -> Ioc {
    let account: AccountId = "0123456789abcdef01234567".parse().unwrap();
    Ioc {
        id: ioc_id(&account, kind, value),
        kind,
        value: value.to_owned(),
        first_seen: at("2026-11-01T00:00:00Z"),
        last_seen: at("2026-11-02T00:00:00Z"),
        state: State::Active,
        whitelist: Whitelist::Default,
        enrichment,
    }
}

fn nasty() -> Enrichment {
    Enrichment {
        reports: vec![Report {
            source_id: SourceId(Uuid::from_u128(5)),
            confidence: Confidence::HIGH,
            reported_at: 0,
            first_at: 0,
            lifetime_days: None,
        }],
        user_tags: BTreeSet::from(["=cmd()".to_owned(), "tlp:green".to_owned()]),
        malware_families: BTreeSet::from(["Fam\"ily, \\ '] \n line".to_owned()]),
        threat_actors: BTreeSet::from(["\u{1F608} actor;".to_owned()]),
        alert_id: Some("5fd0ef17a1b2c3d4e5f60718".to_owned()),
        reported_severity: Some(Severity::High),
        score: Some(99.5),
        ..Enrichment::default()
    }
}

fn document(format: Format, scope: &Scope, iocs: &[Ioc]) -> (String, usize) {
    let writer = writer(format).unwrap();
    let mut out = Vec::new();
    writer.head(scope, &mut out);
    let before = out.len();
    let stamp = at("2026-11-03T10:00:00Z");
    let entry = |ioc| Entry { ioc, joined_at: stamp, stamp, removed: false, readded: false };
    // One that grew is the same as one that was written at once.
    let (first, others) = iocs.split_at(iocs.len() / 2);
    let body = grown(
        writer,
        scope,
        shard(writer, scope, first.iter().map(entry)),
        others.iter().map(entry),
    );
    assert_eq!(body, shard(writer, scope, iocs.iter().map(entry)));
    if out.ends_with(b"}") && !body.is_empty() {
        out.extend_from_slice(writer.between());
    }
    out.extend_from_slice(&body);
    writer.tail(scope, &mut out);
    (String::from_utf8(out).unwrap(), before)
}

fn written(format: Format, kind: Option<GroupKind>, iocs: &[(Kind, &str)]) -> String {
    let iocs: Vec<Ioc> = iocs.iter().map(|(kind, value)| ioc(*kind, value, nasty())).collect();
    document(format, &scope(kind), &iocs).0
}

/// What each writer makes of nasty input, in full. A change here is a change of what devices get.
#[test]
fn nasty_input_as_it_is_written() {
    let url = (Kind::Url, "https://Evil.example:8443/a,b?q=\"x\"&y='z'");
    let (v4, net, v6) =
        ((Kind::Ipv4, "192.0.2.7"), (Kind::Ipv4, "198.51.100.0/24"), (Kind::Ipv6, "2001:db8::7"));
    let (name, md5) =
        ((Kind::Domain, "bad.example"), (Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e"));
    let text = "source: So\"\"urce, one \u{202e}; malware: Fam\"\"ily, \\ ']   line; actor: \u{1F608} actor;; alert: 5fd0ef17a1b2c3d4e5f60718";
    // Read by a splitter that knows no quotes.
    let unquoted = text.replace("\"\"", " ").replace(',', " ");
    let plain = text.replace("\"\"", "\"");
    let cases: Vec<(Format, Option<GroupKind>, Vec<(Kind, &str)>, String)> = vec![
        (Format::PlainList, None, vec![url, v4], "https://Evil.example:8443/a,b?q=\"x\"&y='z'\n192.0.2.7\n".into()),
        (Format::PanosEdl, Some(GroupKind::Url), vec![(Kind::Url, "http://evil.example"), (Kind::Url, "http://evil.example/x")], "evil.example/\nevil.example/x\n".into()),
        (Format::PanosEdl, Some(GroupKind::Ip), vec![v4, net, v6], "192.0.2.7\n198.51.100.0/24\n2001:db8::7\n".into()),
        (Format::CiscoList, Some(GroupKind::Ip), vec![v4], "# iocast: Edge list 1\n192.0.2.7\n".into()),
        (
            Format::CheckPointCsv,
            None,
            vec![v4],
            format!("#UNIQ-NAME,VALUE,TYPE,CONFIDENCE,SEVERITY,PRODUCT,COMMENT\niocast_{},192.0.2.7,IP,high,high,AB,\"{text}\"\n", ioc(v4.0, v4.1, nasty()).id.0.simple()),
        ),
        (Format::F5FeedList, Some(GroupKind::Ip), vec![v4, net, v6], "192.0.2.7,32,BL,additional\n198.51.100.0,24,BL,additional\n2001:db8::7,128,BL,additional\n".into()),
        (
            Format::MikrotikScript,
            Some(GroupKind::Ip),
            vec![net, v6],
            "/ip firewall address-list remove [find list=edge_list_1 comment=iocast]\n/ipv6 firewall address-list remove [find list=edge_list_1 comment=iocast]\n:do { /ip firewall address-list add list=edge_list_1 address=198.51.100.0/24 comment=iocast } on-error={}\n:do { /ipv6 firewall address-list add list=edge_list_1 address=2001:db8::7 comment=iocast } on-error={}\n".into(),
        ),
        (Format::SquidDomains, Some(GroupKind::Domain), vec![name], ".bad.example\n".into()),
        (
            Format::Rpz,
            None,
            vec![name, net],
            "$TTL 300\n@ IN SOA localhost. hostmaster.localhost. 7 300 60 86400 300\n@ IN NS localhost.\nbad.example CNAME .\n*.bad.example CNAME .\n24.0.100.51.198.rpz-ip CNAME .\n".into(),
        ),
        (Format::Hosts, Some(GroupKind::Domain), vec![name], "0.0.0.0 bad.example\n:: bad.example\n".into()),
        (Format::Dnsmasq, Some(GroupKind::Domain), vec![name], "local=/bad.example/\n".into()),
        (Format::Unbound, Some(GroupKind::Domain), vec![name], "server:\nlocal-zone: \"bad.example.\" always_nxdomain\n".into()),
        (
            Format::ZeekIntel,
            None,
            vec![url, net],
            format!(
                "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\nEvil.example:8443/a,b?q=\"x\"&y='z'\tIntel::URL\tiocast\t{plain}\n198.51.100.0/24\tIntel::SUBNET\tiocast\t{plain}\n"
            ),
        ),
        (Format::SuricataDataset, Some(GroupKind::Domain), vec![name], "YmFkLmV4YW1wbGU=\n".into()),
        (Format::SuricataDataset, Some(GroupKind::Md5), vec![md5], "d41d8cd98f00b204e9800998ecf8427e\n".into()),
        (Format::SplunkCsv, Some(GroupKind::Ip), vec![v4], format!("description,ip,weight\n{unquoted},192.0.2.7,90\n")),
        (Format::SplunkCsv, Some(GroupKind::Hash), vec![md5], format!("description,file_hash,file_name,weight\n{unquoted},d41d8cd98f00b204e9800998ecf8427e,,90\n")),
        (
            Format::DefenderCsv,
            None,
            vec![url],
            format!(
                "indicatorType,indicatorValue,expirationTime,action,severity,title,description,recommendedActions,rbacGroupNames,category,mitretechniques,GenerateAlert\nUrl,\"https://Evil.example:8443/a,b?q=\"\"x\"\"&y='z'\",2027-01-01T00:00:00Z,Block,High,iocast,\"{text}\",,,,,TRUE\n"
            ),
        ),
        (
            Format::Csv,
            None,
            vec![v4],
            "value,kind,severity,confidence,score,first_seen,last_seen,sources,alert_id,tags,threat_actors,campaigns,malware_families\n192.0.2.7,ipv4,high,3,99.5,2026-11-01T00:00:00Z,2026-11-02T00:00:00Z,\"So\"\"urce, one \u{202e}\",5fd0ef17a1b2c3d4e5f60718,'=cmd(); tlp:green,\u{1F608} actor;,,\"Fam\"\"ily, \\ ']   line\"\n".into(),
        ),
        (
            Format::ArcsightEvents,
            None,
            vec![md5],
            format!(
                "{{\"events\":[\n{{\"at\":\"2026-11-03T10:00:00.000000Z\",\"action\":\"add\",\"id\":\"{}\",\"type\":\"md5\",\"value\":\"d41d8cd98f00b204e9800998ecf8427e\",\"severity\":\"high\",\"first_seen\":\"2026-11-01T00:00:00.000000Z\",\"last_seen\":\"2026-11-02T00:00:00.000000Z\",\"sources\":[\"So\\\"urce, one\\t\u{202e}\"],\"alert_id\":\"5fd0ef17a1b2c3d4e5f60718\"}}\n],\"next\":\"2026-11-03T10:00:00.000000Z\"}}\n",
                ioc(md5.0, md5.1, nasty()).id
            ),
        ),
    ];
    for (format, kind, iocs, expected) in cases {
        assert_eq!(written(format, kind, &iocs), expected, "{format:?}");
    }
    // Documents of JSON are read by a parser, whatever stands in them.
    for format in [Format::Json, Format::CarbonBlackFeed, Format::StixBundle, Format::Taxii20] {
        let document: serde_json::Value =
            serde_json::from_str(&written(format, None, &[url, name, md5])).unwrap();
        assert!(document.is_object(), "{format:?}");
    }
}

/// A value as the device shows it, and the form of a line, after each vendor's documentation.
fn grammar(format: Format, kind: Kind, value: &str) -> (String, &'static str) {
    // What a request shows of a URL.
    let mut requested = value.to_owned();
    if kind == Kind::Url {
        let end = Regex::new(r"#.*$").unwrap();
        let user = Regex::new(r"^([a-z0-9+.-]+://)[^/?#]*@").unwrap();
        requested = user.replace(&end.replace(value, ""), "$1").into_owned();
    }
    let bare = requested.split_once("://").map_or(requested.as_str(), |(_, rest)| rest);
    let slashed =
        if kind == Kind::Url && !bare.contains('/') { format!("{bare}/") } else { bare.to_owned() };
    let network = |separator: &str| match value.split_once('/') {
        Some((address, width)) => format!("{address}{separator}{width}"),
        None => format!("{value}{separator}{}", if kind == Kind::Ipv6 { 128 } else { 32 }),
    };
    match format {
        Format::PlainList => (value.to_owned(), r"^[^\s]+$"),
        Format::PanosEdl => (
            if kind == Kind::Url { slashed } else { value.to_owned() },
            r"^(?:[0-9a-f.:]+(?:/\d{1,3})?|[a-z0-9_.-]{1,255}|[!-~]{1,255})$",
        ),
        Format::RequestedList => (requested, r"^[^\s]+$"),
        Format::CiscoList => (requested, r"^(?:#.*|[!-~]+)$"),
        Format::CheckPointCsv => (
            requested,
            r#"^iocast_[0-9a-f]{32},[^,\s"]+,(?:URL|Domain|IP|MD5|SHA1|SHA256|Mail-from),(?:low|medium|high),(?:low|medium|high),(?:AV|AB),.+$"#,
        ),
        Format::F5FeedList => (network("/"), r"^[0-9a-f.:]+,\d{1,3},BL,additional$"),
        Format::MikrotikScript => (
            value.to_owned(),
            r"^:do \{ /(?:ip|ipv6) firewall address-list add list=[a-z][a-z0-9_]* address=[0-9a-f.:]+(?:/\d{1,3})? comment=iocast \} on-error=\{\}$",
        ),
        Format::Nftables => (
            value.to_owned(),
            r"^add (?:table|set|chain|rule) inet .+$|^delete table inet [a-z0-9_]+$|^add element inet iocast_[a-z0-9_]+ ipv[46] \{ [0-9a-f.:]+(?:/\d{1,3})? \}$",
        ),
        Format::SquidDomains => (value.to_owned(), r"^\.[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$"),
        Format::Rpz => (
            if kind == Kind::Domain { value.to_owned() } else { String::new() },
            r"^(?:(?:\*\.)?[a-z0-9_.-]+|\d{1,3}\.[0-9a-z.]+\.rpz-ip) CNAME \.$",
        ),
        Format::Hosts => (value.to_owned(), r"^(?:0\.0\.0\.0|::) [a-z0-9_.-]+$"),
        Format::Dnsmasq => (value.to_owned(), r"^local=/[a-z0-9_.-]+/$"),
        Format::Unbound => (value.to_owned(), r#"^local-zone: "[a-z0-9_.-]+\." always_nxdomain$"#),
        Format::ZeekIntel => (
            if kind == Kind::Url { bare.to_owned() } else { value.to_owned() },
            r"^[^\t\n]+\tIntel::(?:ADDR|SUBNET|DOMAIN|URL|EMAIL|FILE_HASH)\tiocast\t[^\t\n]+$",
        ),
        Format::SuricataDataset => match kind {
            Kind::Domain => (STANDARD.encode(value), r"^(?:[A-Za-z0-9+/]+=*|[0-9a-f.:]+)$"),
            Kind::Url => (STANDARD.encode(bare), r"^(?:[A-Za-z0-9+/]+=*|[0-9a-f.:]+)$"),
            _ => (value.to_owned(), r"^(?:[A-Za-z0-9+/]+=*|[0-9a-f.:]+)$"),
        },
        Format::SplunkCsv => {
            (value.to_owned(), r#"^(?:[^",]+|"(?:[^"]|"")*"),[^\n]*,(?:30|60|90)$"#)
        }
        Format::DefenderCsv => (
            value.to_owned(),
            r"^(?:DomainName|IpAddress|Url|FileSha1|FileSha256),.*,\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ,(?:Block|BlockAndRemediate),(?:Low|Medium|High),iocast,.*,,,,,TRUE$",
        ),
        Format::Csv => (value.to_owned(), r"^.+$"),
        _ => (value.to_owned(), r"^\{.*\},?$"),
    }
}

/// Values that a reader of feeds may come upon, in their normal form.
fn value() -> impl Strategy<Value = (Kind, String)> {
    let label = "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?";
    // Reserved words and signs of the formats come in as names, in front of hosts and of e-mail
    // addresses.
    let end = "(example|com|rpz-ip|rpz-client-ip|rpz-nsip|rpz-nsdname|rpz-passthru|localhost|arpa)";
    let domain = || {
        proptest::string::string_regex(&format!(
            "({label}\\.|_dmarc\\.|rpz-ip\\.|[0-9]{{1,3}}\\.){{1,5}}{end}"
        ))
        .unwrap()
    };
    let url = (
        "(http|https|ftp)",
        "([!$%&'()*+,;=~a-z]{1,4}@)?",
        domain(),
        "(:[1-9][0-9]{1,3})?",
        "(/[!-~\u{e9} ]{0,20})?",
    )
        .prop_map(|(s, u, d, p, r): (String, String, String, String, String)| {
            format!("{s}://{u}{d}{p}{r}")
        });
    let email = ("[a-z0-9._+#!%$&'*/=?^`{|}~-]{1,8}", domain())
        .prop_map(|(u, d): (String, String)| format!("{u}@{d}"));
    let v4 = (any::<[u8; 4]>(), proptest::option::of(8u8..=32)).prop_map(|(o, w)| {
        format!("{}{}", std::net::Ipv4Addr::from(o), w.map(|w| format!("/{w}")).unwrap_or_default())
    });
    let v6 = (any::<[u16; 8]>(), proptest::option::of(32u8..=128)).prop_map(|(o, w)| {
        format!("{}{}", std::net::Ipv6Addr::from(o), w.map(|w| format!("/{w}")).unwrap_or_default())
    });
    let text =
        prop_oneof![domain(), url, email, v4, v6, "[0-9a-f]{32}", "[0-9a-f]{40}", "[0-9a-f]{64}"];
    text.prop_filter_map("an indicator", |text: String| normalise::detect(&text).ok())
}

fn wild() -> impl Strategy<Value = Enrichment> {
    let text = || proptest::collection::btree_set("\\PC{1,12}|[\"',;=\\\\\n\t|]{1,6}", 0..3);
    (text(), text(), text(), proptest::option::of(0.0..100.0_f64)).prop_map(
        |(user_tags, malware_families, campaigns, score)| Enrichment {
            reports: vec![Report {
                source_id: SourceId(Uuid::from_u128(5)),
                confidence: Confidence::MEDIUM,
                reported_at: 0,
                first_at: 0,
                lifetime_days: None,
            }],
            user_tags,
            malware_families,
            campaigns,
            score,
            ..Enrichment::default()
        },
    )
}

/// What of these goes to a group of the type.
fn taken(
    device_type: &DeviceType,
    kind: Option<GroupKind>,
    all: &[(Kind, String, Enrichment)],
) -> Vec<Ioc> {
    let mut unique = BTreeMap::new();
    for (k, value, enrichment) in all {
        if kind.is_none_or(|g| g.covers(*k))
            && device_type.refuses(*k, value).is_none()
            && inert::refusal(device_type.format, *k, value).is_none()
        {
            unique.insert((*k, value.clone()), ioc(*k, value, enrichment.clone()));
        }
    }
    unique.into_values().collect()
}

proptest! {
    #[test]
    fn every_document_reads_back_to_the_same_set(all in proptest::collection::vec((value(), wild()), 0..12)) {
        let all: Vec<(Kind, String, Enrichment)> = all.into_iter().map(|((k, v), e)| (k, v, e)).collect();
        for device_type in CATALOGUE.iter().filter(|t| writer(t.format).is_some()) {
            let kinds: Vec<Option<GroupKind>> = if device_type.mixed_group() { vec![None] } else { device_type.group_kinds.iter().copied().map(Some).collect() };
            for kind in kinds {
                let iocs = taken(device_type, kind, &all);
                let format = device_type.format;
                let (text, before) = document(format, &scope(kind), &iocs);
                let found: BTreeSet<String> = snapshot(format, [SnapshotFile { path: format.entry(), text: &text, before }]).into_keys().collect();
                let addresses_by_name = |name: &String| format == Format::Rpz && name.ends_with(".rpz-ip");
                let expected: BTreeSet<String> = iocs.iter().map(|i| grammar(format, i.kind, &i.value).0).filter(|v| !v.is_empty()).collect();
                let (addresses, found): (BTreeSet<String>, BTreeSet<String>) = found.into_iter().partition(addresses_by_name);
                prop_assert_eq!(&found, &expected, "{}: {}", device_type.id, text);
                let wanted = if format == Format::Rpz { iocs.iter().filter(|i| i.kind != Kind::Domain).count() } else { 0 };
                prop_assert_eq!(addresses.len(), wanted, "{}", text);
                let form = Regex::new(grammar(format, Kind::Ipv4, "192.0.2.1").1).unwrap();
                let body = &text[before..];
                for line in body.lines().filter(|l| !l.is_empty() && *l != "," && !l.starts_with(']')) {
                    prop_assert!(form.is_match(line), "{}: {:?}", device_type.id, line);
                }
            }
        }
    }
}

/// What a list without schemes, user names and closing slashes still says of a URL: nothing of the
/// port where it is the usual one of HTTP.
fn on_the_wire(value: &str) -> String {
    let bare = value.split_once("://").map_or(value, |(_, rest)| rest);
    let plain = match (bare == value, normalise::of_hint(Kind::Url, &format!("http://{bare}"))) {
        (false, Ok((_, plain))) => plain,
        _ => value.to_owned(),
    };
    plain
        .split_once("://")
        .map_or(plain.as_str(), |(_, rest)| rest)
        .trim_end_matches('/')
        .to_owned()
}

proptest! {
    #[test]
    fn everything_that_is_written_is_read_again(all in proptest::collection::vec((value(), wild()), 1..12)) {
        // No list carries what no device sees: user names and fragments. Without a scheme and a path,
        // a URL is the name of a host. A comma or semicolon at the end separates entries.
        let all: Vec<(Kind, String, Enrichment)> = all
            .into_iter()
            .map(|((k, v), e)| (k, v, e))
            .filter(|(k, v, _)| normalise::certain(v).is_ok() && (*k != Kind::Url || !v.contains(['@', '#']) && !v.ends_with([',', ';']) && on_the_wire(v).contains('/') && normalise::certain(&on_the_wire(v)).is_ok()))
            .collect();
        for device_type in CATALOGUE.iter().filter(|t| writer(t.format).is_some()) {
            let kinds: Vec<Option<GroupKind>> = if device_type.mixed_group() { vec![None] } else { device_type.group_kinds.iter().copied().map(Some).collect() };
            for kind in kinds {
                let iocs = taken(device_type, kind, &all);
                if iocs.is_empty() {
                    continue;
                }
                let (text, _) = document(device_type.format, &scope(kind), &iocs);
                let form = recognise(text.as_bytes(), Stated::Nothing);
                let (mut found, mut refused) = (BTreeSet::new(), Vec::new());
                let done = read(form, &mut Cursor::new(&text), Options::default(), &mut |item| {
                    match item {
                        Item::Sighting(sighting) => drop(found.insert(on_the_wire(&sighting.indicator.unwrap().1))),
                        Item::Rejected(rejected) => refused.push(rejected),
                        Item::Remark(_) => {}
                    }
                    true
                });
                prop_assert!(done.is_ok(), "{} as {form:?}: {:?}\n{text}", device_type.id, done);
                let expected: BTreeSet<String> = iocs.iter().map(|ioc| on_the_wire(&ioc.value)).collect();
                prop_assert_eq!(&found, &expected, "{} as {:?}, refused {:?}:\n{}", device_type.id, form, refused, text);
            }
        }
    }
}

#[test]
fn an_empty_group_is_a_whole_document() {
    for device_type in CATALOGUE.iter().filter(|t| writer(t.format).is_some()) {
        let kind = device_type.group_kinds.first().copied();
        let (text, before) = document(device_type.format, &scope(kind), &[]);
        assert!(
            snapshot(
                device_type.format,
                [SnapshotFile { path: device_type.format.entry(), text: &text, before }]
            )
            .is_empty(),
            "{}",
            device_type.id
        );
        if writer(device_type.format).unwrap().content_type().contains("json")
            && device_type.format != Format::Ndjson
        {
            assert!(
                serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                "{}: {text}",
                device_type.id
            );
        }
    }
}
