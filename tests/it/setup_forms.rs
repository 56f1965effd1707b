//! Connecting a device that takes one kind of IOC a group: list after list, without a dead end.

use serde_json::json;

use crate::{
    pages::{Tab, page},
    support::{TestApp, stories, text},
};

stories!(several_lists_have_room_and_one_key);

/// What stands in a field of a form.
fn value(html: &str, name: &str) -> String {
    let input = html.split("<input").find(|input| input.contains(&format!("name=\"{name}\"")));
    let input = input.unwrap_or_else(|| panic!("{name} in {html}"));
    input.split("value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
}

fn several_lists_have_room_and_one_key(app: &mut TestApp) {
    let admin = app.admin();
    let tab = Tab::open(app);
    let device = json!({ "name": "Edge", "device_type": "panos-edl", "ioc_limit": 90_000 });
    let id = text(&admin.post("/api/v1/devices", device, 201), "id");
    let path = format!("/automation/integrations/{id}/setup?group=new");
    let mut secrets = 0;
    for (kind, name, limit) in [
        ("ip", "Edge ip", "30000"),
        ("domain", "Edge domain", "30000"),
        // The last one gets what is left.
        ("url", "Edge url", ""),
    ] {
        let form = page(&format!("{}{path}", tab.url), &tab.cookies).text();
        assert!(form.contains(&format!("value=\"{kind}\" selected")), "{kind} in {form}");
        assert_eq!((value(&form, "name").as_str(), value(&form, "limit").as_str()), (name, limit));
        let fields = [
            ("token", tab.token.as_str()),
            ("do", "group"),
            ("name", name),
            ("kind", kind),
            ("limit", limit),
            ("default_rule", "1"),
        ];
        let made = tab.send(&path, &[], &fields);
        assert_eq!(made.status, 200, "{}", made.text());
        let shown = made.text();
        assert!(shown.contains("Copy all fields") && shown.contains("Connect Edge"));
        secrets += usize::from(shown.contains("shown only now"));
    }
    let groups = admin.get(&format!("/api/v1/devices/{id}"))["groups"].clone();
    let limits: Vec<u64> =
        groups.as_array().unwrap().iter().map(|group| group["limit"].as_u64().unwrap()).collect();
    assert_eq!(limits, [30_000; 3], "each list has room: {groups}");
    let keys = admin.get(&format!("/api/v1/devices/{id}/keys"));
    assert_eq!((keys["items"].as_array().unwrap().len(), secrets), (1, 1), "one key opens all");
    // Nothing is left: the form says what to do.
    let full = page(&format!("{}{path}", tab.url), &tab.cookies).text();
    assert!(full.contains("have been given all of its 90,000 IOCs"), "{full}");
}
