//! Sources as people work with them: public feeds, the shell, messages, rules that count sources.

use std::fs;

use serde_json::{Value, json};

use crate::{
    lists::{device, import, settled, source},
    shell::{iocast_on, try_iocast_on},
    support::{TestApp, eventually, stories, text},
    upstreams::{Site, fetch, open, subscribe, subscription},
};

stories!(
    rules_ask_for_marks_and_for_several_sources,
    a_public_feed_is_followed_in_one_step,
    people_are_told_once_of_a_source_that_fails_and_recovers,
    sources_are_fetched_from_the_shell,
);

fn rules_ask_for_marks_and_for_several_sources(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let second = json!({ "name": "Second feed", "confidence": 2 });
    let second = text(&admin.post("/api/v1/sources", second, 201), "id");
    let plain = device(&admin, "plain-list", json!({}));
    let list = json!([
        { "value": "a.example", "system_tags": ["tlp:green"] },
        { "value": "b.example", "system_tags": ["tlp:red"] },
        { "value": "c.example" },
    ]);
    admin.import(&own, "application/json", &list.to_string(), 200);
    settled(app, &plain.url, &["a.example", "b.example", "c.example"]);
    let rules = admin.get("/api/v1/rules");
    let rule = format!("/api/v1/rules/{}", text(&rules["items"][0], "id"));
    let asks = |criteria: Value| admin.patch(&rule, json!({ "criteria": criteria }), 200);
    let changed = asks(json!({ "tlp_most": "amber" }));
    assert_eq!(changed["criteria"]["tlp_most"], "amber");
    settled(app, &plain.url, &["a.example", "c.example"]);
    asks(json!({ "min_sources": 1 }));
    settled(app, &plain.url, &["a.example", "b.example", "c.example"]);
    import(&admin, &second, &["a.example", "b.example"]);
    asks(json!({ "min_sources": 2 }));
    settled(app, &plain.url, &["a.example", "b.example"]);
    // One that a second source reports joins by itself; a source that is off counts no more.
    import(&admin, &second, &["c.example"]);
    settled(app, &plain.url, &["a.example", "b.example", "c.example"]);
    asks(json!({ "min_sources": 2, "source_ids": [own] }));
    settled(app, &plain.url, &[]);
    for wrong in
        [json!({ "min_sources": 0 }), json!({ "min_sources": 51 }), json!({ "tlp_most": "blue" })]
    {
        let answer = admin.send(
            "PATCH",
            &rule,
            &[("content-type", "application/json")],
            Some(json!({ "criteria": wrong }).to_string().as_bytes()),
        );
        assert!(matches!(answer.status, 400 | 422), "{}", answer.text());
    }
}

fn a_public_feed_is_followed_in_one_step(app: &mut TestApp) {
    let admin = open(app);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    fs::write(folder.path().join("feed.txt"), "http://phish.example/a\n").unwrap();
    let list = admin.get("/api/v1/public-feeds");
    let of = |id: &str| {
        list["items"].as_array().unwrap().iter().find(|feed| feed["id"] == id).unwrap().clone()
    };
    assert_eq!(
        (&of("openphish")["needs_key"], &of("openphish")["source_id"]),
        (&json!(false), &Value::Null)
    );
    let mirror = json!({ "url": format!("{}/feed.txt", site.url) });
    let made = admin.post("/api/v1/public-feeds/openphish/follow", mirror.clone(), 201);
    let own = text(&made, "source_id");
    eventually("the first fetch has taken it", || {
        (subscription(&admin, &own)["listed"] == 1).then_some(())
    });
    assert_eq!(admin.get(&format!("/api/v1/sources/{own}"))["name"], "OpenPhish community");
    // Twice the same, one without its key, and one that there is not.
    admin.post("/api/v1/public-feeds/openphish/follow", mirror, 422);
    let refused = admin.post("/api/v1/public-feeds/urlhaus-online/follow", json!({}), 422);
    assert!(refused.to_string().contains("asks for a key"), "{refused}");
    admin.post("/api/v1/public-feeds/none/follow", json!({}), 404);
    let names = admin.get("/api/v1/sources").to_string();
    assert!(!names.contains("URLhaus"), "nothing is left of what was refused: {names}");
    // From its owner, it is known as followed. It goes through the proxy, where there is one.
    let proxy = Site::serve(folder.path());
    app.reopen(|config| config.fetch_proxy = Some(proxy.url.clone()));
    let admin = app.admin();
    let key = json!({ "secret": "lamp river seven" });
    let made = admin.post("/api/v1/public-feeds/urlhaus-online/follow", key, 201);
    eventually("the proxy is asked", || {
        proxy.asked().contains(&"urlhaus-api.abuse.ch:443".to_owned()).then_some(())
    });
    eventually("that it could not be reached is said", || {
        let of = subscription(&admin, &text(&made, "source_id"));
        of["error"].as_str().is_some_and(|why| why.contains("could not be reached")).then_some(())
    });
    let list = admin.get("/api/v1/public-feeds");
    let feeds = list["items"].as_array().unwrap();
    assert_eq!(feeds.iter().filter(|feed| feed["source_id"].is_string()).count(), 1);
}

fn people_are_told_once_of_a_source_that_fails_and_recovers(app: &mut TestApp) {
    let post = crate::watchdog::with_post(app);
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    let list = folder.path().join("list.txt");
    fs::write(&list, "a.example\n").unwrap();
    let what = json!({ "url": format!("{}/list.txt?key=river", site.url), "every_minutes": 60 });
    // The file is found without its parameters.
    fs::copy(&list, folder.path().join("list.txt?key=river")).unwrap();
    subscribe(&admin, &own, what);
    eventually("it is fetched", || (subscription(&admin, &own)["listed"] == 1).then_some(()));
    let subjects = |of: &str| post.subjects().iter().filter(|subject| subject.contains(of)).count();
    fs::remove_file(folder.path().join("list.txt?key=river")).unwrap();
    for _ in 0..8 {
        app.advance(&admin, "1h");
        fetch(&admin, &own, "");
    }
    eventually("the administrators are told", || (subjects("can't fetch") > 0).then_some(()));
    let message =
        post.messages().into_iter().find(|m| text(m, "subject").contains("can't fetch")).unwrap();
    let said = text(&message, "text");
    assert!(said.contains("404") && said.contains("list.txt") && !said.contains("river"), "{said}");
    assert_eq!(admin.get("/api/v1/sources").to_string().matches(&own).count(), 1);
    // The address is corrected, as the message says.
    let corrected = json!({ "url": format!("{}/list.txt", site.url), "every_minutes": 60 });
    subscribe(&admin, &own, corrected);
    fetch(&admin, &own, "");
    app.advance(&admin, "10m");
    eventually("and that it is over", || (subjects("fetches again") > 0).then_some(()));
    app.advance(&admin, "3h");
    assert_eq!((subjects("can't fetch"), subjects("fetches again")), (1, 1));
    assert_eq!(subscription(&admin, &own)["failing_since"], Value::Null);
}

fn sources_are_fetched_from_the_shell(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    fs::write(folder.path().join("list.txt"), "a.example\nb.example\n").unwrap();
    let url = format!("{}/list.txt", site.url);
    let what = json!({ "url": url, "paused": true, "coverage": "full" });
    subscribe(&admin, &own, what);
    // On PostgreSQL a command does the work itself, with settings of its own.
    let settings = folder.path().join("iocast.toml");
    fs::write(&settings, "fetch_networks = \"127.0.0.0/8\"\n").unwrap();
    let config = ["--config", settings.to_str().unwrap()];
    let run = |args: &[&str]| iocast_on(app, &[&config, args].concat(), None);
    assert_eq!(
        run(&["sources", "fetch", "own FEED", "--dry-run"]),
        "Nothing was written. It would bring 2 new, 0 changed, 0 seen again, 0 refused.\n"
    );
    assert_eq!(
        run(&["sources", "fetch", "Own feed"]),
        "Fetched: 2 new, 0 changed, 0 gone, 0 refused; 2 in it.\n"
    );
    assert!(run(&["sources", "list"]).contains("Own feed"));
    assert!(run(&["sources", "feeds"]).contains("openphish"));
    // One with a key: it is read from standard input, and the source shows beside the others.
    let follow = ["sources", "follow", "urlhaus-online", "--key-stdin", "--url", &url, "--json"];
    let made: Value = serde_json::from_str(&iocast_on(
        app,
        &[&config[..], &follow].concat(),
        Some("lamp river\n"),
    ))
    .unwrap();
    assert_eq!(made["url"], json!(url), "{made}");
    assert!(admin.get("/api/v1/sources").to_string().contains("URLhaus, online now"));
    // All that the API says can be said here.
    let body = json!({ "url": url, "paused": true, "cron": "15 6 * * *" }).to_string();
    let said = iocast_on(app, &["sources", "subscribe", "Third feed", "-"], Some(&body));
    assert!(said.contains("fetches by itself"), "{said}");
    let third = admin.get("/api/v1/sources")["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["name"] == "Third feed")
        .cloned();
    let third = text(&third.unwrap(), "id");
    assert_eq!(subscription(&admin, &third)["cron"], "15 6 * * *");
    iocast_on(app, &["sources", "limit", "Third feed", "-"], Some("{\"lifetime_days\": 9}"));
    assert_eq!(admin.get(&format!("/api/v1/sources/{third}"))["limits"]["lifetime_days"], 9);
    iocast_on(app, &["sources", "unsubscribe", "third feed"], None);
    assert_eq!(admin.get_status(&format!("/api/v1/sources/{third}/subscription")), 404);
    let (ok, _, error) =
        try_iocast_on(app, &["sources", "limit", "Own feed", "-"], Some("{\"days\": 9}"));
    assert!(!ok && error.contains("days"), "{error}");
    // What went wrong is said, and ends with 1.
    fs::remove_file(folder.path().join("list.txt")).unwrap();
    let again = [&config[..], &["sources", "fetch", "Own feed"]].concat();
    let (ok, _, error) = try_iocast_on(app, &again, None);
    assert!(!ok && error.contains("404"), "{error}");
    let (ok, _, error) = try_iocast_on(app, &["sources", "fetch", "Nobody"], None);
    assert!(!ok && error.contains("There is no source `Nobody`"), "{error}");
}
