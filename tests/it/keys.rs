//! Keys: made, rotated with an overlap, revoked; device keys open one device's groups only.

use serde_json::json;

use crate::support::{Device, Scene, TestApp, stories, text};

stories!(
    rotation_keeps_the_old_key_until_the_overlap_ends,
    a_device_key_opens_only_its_device,
    secrets_are_shown_once
);

fn status(device: &Device, url: &str) -> u16 {
    device.get(&format!("{url}/manifest.json"), &[]).status
}

fn rotation_keeps_the_old_key_until_the_overlap_ends(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let old = app.device();
    let id = text(
        admin.get("/api/v1/keys")["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|k| k["kind"] == "appliance")
            .unwrap(),
        "id",
    );
    let rotated = admin.post(&format!("/api/v1/keys/{id}/rotate"), json!({}), 201);
    let new = Device::new(&app.account_id, &text(&rotated, "secret"));
    assert_eq!((status(&old, &scene.url), status(&new, &scene.url)), (200, 200));
    app.advance(&admin, "23h");
    assert_eq!((status(&old, &scene.url), status(&new, &scene.url)), (200, 200));
    app.advance(&admin, "1h");
    let refused = old.get(&format!("{}/manifest.json", scene.url), &[]);
    assert!(
        refused.status == 401 && refused.text().contains("appliance key replaced"),
        "{}",
        refused.text()
    );
    assert_eq!(status(&new, &scene.url), 200);
    assert_eq!(
        admin.post(&format!("/api/v1/keys/{id}/rotate"), json!({}), 409)["code"],
        "key_dead"
    );
    let at_once = admin.post(
        &format!("/api/v1/keys/{}/rotate", text(&rotated, "id")),
        json!({ "overlap_hours": 0 }),
        201,
    );
    assert_eq!(status(&new, &scene.url), 401);
    assert_eq!(status(&Device::new(&app.account_id, &text(&at_once, "secret")), &scene.url), 200);
    assert_eq!(
        admin.post(
            &format!("/api/v1/keys/{}/rotate", text(&at_once, "id")),
            json!({ "overlap_hours": 721 }),
            422
        )["errors"][0]["code"],
        "overlap_out_of_range"
    );
}

fn a_device_key_opens_only_its_device(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let other =
        admin.post("/api/v1/devices", json!({ "name": "Other MISP", "device_type": "misp" }), 201);
    let other_group = admin.post(
        &format!("/api/v1/devices/{}/groups", text(&other, "id")),
        json!({ "name": "Other" }),
        201,
    );
    let made = admin.post(&format!("/api/v1/devices/{}/keys", scene.device), json!({}), 201);
    let device = Device::new(&app.account_id, &text(&made, "secret"));
    assert_eq!(status(&device, &scene.url), 200);
    assert_eq!(status(&device, &text(&other_group, "url")), 404, "as if not there");
    let path = format!("/api/v1/devices/{}/keys/{}", text(&other, "id"), text(&made, "id"));
    admin.delete(&path, 404);
    admin.delete(&format!("/api/v1/devices/{}/keys/{}", scene.device, text(&made, "id")), 204);
    assert_eq!(status(&device, &scene.url), 401);
    admin.delete(&format!("/api/v1/devices/{}", scene.device), 204);
    assert_eq!(status(&app.device(), &scene.url), 404, "the groups went with the device");
}

fn secrets_are_shown_once(app: &mut TestApp) {
    let admin = app.admin();
    let made = admin.send(
        "POST",
        "/api/v1/keys",
        &[("content-type", "application/json"), ("idempotency-key", "k1")],
        Some(br#"{"kind":"api"}"#),
    );
    let secret = text(&made.json(), "secret");
    assert_eq!((made.status, secret.len()), (201, 128));
    let again = admin.send(
        "POST",
        "/api/v1/keys",
        &[("content-type", "application/json"), ("idempotency-key", "k1")],
        Some(br#"{"kind":"api"}"#),
    );
    assert_eq!(
        (again.status, &again.json()["id"], again.json().get("secret")),
        (201, &made.json()["id"], None),
        "the stored answer leaves the secret out"
    );
    let list = admin.get("/api/v1/keys");
    assert!(
        !list.to_string().contains(&secret)
            && list["items"].as_array().unwrap().iter().any(|k| k["prefix"] == secret[..10])
    );
    assert!(!admin.get("/api/v1/audit").to_string().contains(&secret));
    assert_eq!(
        admin.post("/api/v1/keys", json!({ "kind": "device" }), 422)["errors"][0]["code"],
        "wrong_type"
    );
}
