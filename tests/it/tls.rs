//! HTTPS, which many devices insist on, and proxies that say who asked.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::{
    lists::{device, python, source, turns_green},
    support::{TestApp, basic, eventually, send, stories, text},
};

stories!(
    a_device_pulls_over_https_and_a_renewed_certificate_is_taken_up,
    a_trusted_proxy_says_who_asked
);

/// Makes a certificate for 127.0.0.1 that signs itself.
fn certificate(folder: &Path, name: &str) {
    let args = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ];
    let done = Command::new("openssl")
        .args(args)
        .args(["-subj", &format!("/CN={name}"), "-keyout"])
        .arg(folder.join("new.key"))
        .arg("-out")
        .arg(folder.join("new.pem"))
        .output();
    let done = done.expect("openssl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for (new, name) in [("new.key", "tls.key"), ("new.pem", "tls.pem")] {
        fs::rename(folder.join(new), folder.join(name)).unwrap();
    }
}

fn a_device_pulls_over_https_and_a_renewed_certificate_is_taken_up(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let of = device(&admin, "panos-edl", json!({ "kind": "domain" }));
    admin.import(&source, "text/plain", "bad.example", 200);
    let folder = app.data_folder();
    certificate(&folder, "first");
    app.reopen(|config| {
        config.tls_cert = Some(folder.join("tls.pem"));
        config.tls_key = Some(folder.join("tls.key"));
    });
    assert!(app.url.starts_with("https://"), "{}", app.url);
    let url = format!("{}/feeds/{}", app.url, of.group);
    let script = "import requests, sys; a = requests.get(sys.argv[1], auth=(sys.argv[2], sys.argv[3]), verify=sys.argv[4], timeout=60); print(a.status_code, a.text, end='')";
    let pull = |ca: &Path| {
        python(&["-c", script, &url, &app.account_id, &app.appliance_key, ca.to_str().unwrap()], "")
    };
    eventually("the list is there", || {
        (pull(&folder.join("tls.pem")) == "200 bad.example\n").then_some(())
    });
    // Renewed in place, while it runs: the old one is no longer shown.
    fs::copy(folder.join("tls.pem"), folder.join("old.pem")).unwrap();
    certificate(&folder, "second");
    let shown = || {
        let address = app.url.trim_start_matches("https://");
        let said = Command::new("openssl")
            .args(["s_client", "-connect", address])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    eventually("the new certificate is shown", || {
        shown()
            .contains("CN = second")
            .then_some(())
            .or_else(|| shown().contains("CN=second").then_some(()))
    });
    assert_eq!(pull(&folder.join("tls.pem")), "200 bad.example\n");
    // A file that holds rubbish takes nothing away.
    fs::write(folder.join("tls.pem"), "rubbish").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(shown().contains("second"));
    // Back in clear: the pull over HTTPS had counted.
    app.reopen(|config| (config.tls_cert, config.tls_key) = (None, None));
    turns_green(&app.admin(), &of.device);
}

fn a_trusted_proxy_says_who_asked(app: &mut TestApp) {
    let admin = app.admin();
    let of = device(&admin, "plain-list", json!({}));
    let address = |app: &TestApp, n: usize| {
        let url = format!("{}/feeds/{}?n={n}", app.url, of.group);
        let auth = basic(&app.account_id, &app.appliance_key);
        assert_eq!(
            send(
                "GET",
                &url,
                &[("authorization", &auth), ("x-forwarded-for", "203.0.113.66, 198.51.100.7")],
                None
            )
            .status,
            200
        );
        let admin = app.admin();
        eventually("the pull is noted", || {
            let pulls = admin.get(&format!("/api/v1/devices/{}/pulls", of.device));
            pulls["items"].as_array().filter(|p| p.len() >= n).map(|p| text(&p[0], "address"))
        })
    };
    assert_eq!(address(app, 1), "127.0.0.1", "a stranger may say what he likes");
    app.reopen(|config| config.trusted_proxies = "10.0.0.0/8, 127.0.0.1".into());
    app.advance(&app.admin(), "1m");
    assert_eq!(address(app, 2), "198.51.100.7");
}
