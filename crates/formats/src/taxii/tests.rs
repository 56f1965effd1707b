use super::*;

#[test]
fn cursors_come_back_as_they_were() {
    let position = Position {
        added: 1_790_000_000_123_456,
        owner: Uuid::from_u128(7),
        behind: true,
        object: Uuid::from_u128(9),
    };
    assert_eq!(Position::of_cursor(&position.cursor()), Some(position));
    assert_eq!(Position::of_cursor("rubbish"), None);
    assert!(position < Position::after(Timestamp::from_micros(position.added)));
    assert!(
        Position::after(Timestamp::from_micros(position.added))
            < Position {
                added: position.added + 1,
                owner: Uuid::nil(),
                behind: false,
                object: Uuid::nil()
            }
    );
}

#[test]
fn an_object_is_found_where_it_stands() {
    let line = |id: &str, more: &str| {
        format!("{{\"type\":\"x\",\"id\":\"{id}\",\"created\":\"2026-01-01T00:00:00Z\"{more}}}")
    };
    let indicator = line(
        "indicator--00000000-0000-4000-8000-000000000001",
        ",\"modified\":\"2026-01-02T00:00:00Z\"",
    );
    let relationship = line(
        "relationship--00000000-0000-4000-8000-000000000000",
        ",\"modified\":\"2026-01-02T00:00:00Z\",\"source_ref\":\"indicator--00000000-0000-4000-8000-000000000001\"",
    );
    let marking = line("marking-definition--00000000-0000-4000-8000-000000000003", "");
    let text =
        format!("{{\"type\":\"bundle\",\"objects\":[\n{marking},\n{relationship},\n{indicator}");
    let found = objects(&text, Timestamp::parse("2026-01-01T12:00:00Z").unwrap());
    let kinds: Vec<&str> = found.iter().map(Object::kind).collect();
    assert_eq!(
        kinds,
        ["marking-definition", "indicator", "relationship"],
        "an indicator comes before what points from it"
    );
    for object in &found {
        let json: Value = serde_json::from_str(&text[object.range.clone()]).unwrap();
        assert_eq!(json["id"], object.id.as_str());
    }
    let lists =
        merge(vec![&found[..1], &found[1..]], Some(found[0].position), |o: &Object| o.position);
    assert_eq!(
        lists.map(|(_, o)| o.kind().to_owned()).collect::<Vec<_>>(),
        ["indicator", "relationship"]
    );
}

#[test]
fn filters_fit_all_fields() {
    let text = "{\"id\":\"indicator--00000000-0000-4000-8000-000000000001\",\"modified\":\"2026-01-02T00:00:00.000000Z\"}";
    let object = objects(text, Timestamp::from_micros(0)).remove(0);
    let fits =
        |query: &[(&str, &str)]| Filter::parse(query.iter().copied()).unwrap().fits(&object, "2.1");
    assert!(
        fits(&[])
            && fits(&[("match[type]", "malware,indicator")])
            && fits(&[
                ("match[version]", "2026-01-02T00:00:00Z"),
                ("match[spec_version]", "2.0,2.1")
            ])
    );
    assert!(
        !fits(&[("match[type]", "malware")])
            && !fits(&[("match[spec_version]", "2.0")])
            && !fits(&[("match[version]", "2026-01-03T00:00:00Z")])
    );
    let very_many: String = (0..1_000).map(|n| format!("{n},")).collect();
    assert!(
        Filter::parse([("match[id]", very_many.as_str())]).unwrap_err().contains("at most 100")
    );
    assert!(
        Filter::parse([("match[version]", "newest")]).is_err()
            && Filter::parse([("match[colour]", "red")]).is_err()
    );
}
