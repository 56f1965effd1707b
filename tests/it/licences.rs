//! What comes in has a licence that `.deny.toml` allows. Needs no tool and no network beyond the
//! crates that were built.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

#[test]
fn every_crate_has_an_allowed_licence() {
    let root = crate::edges::root();
    let deny: toml::Value =
        toml::from_str(&std::fs::read_to_string(root.join(".deny.toml")).unwrap()).unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    // What other platforms would need was not fetched, and is not built.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8(rustc.stdout)
        .unwrap()
        .lines()
        .find_map(|l| l.strip_prefix("host: ").map(str::to_owned))
        .unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--locked",
            "--filter-platform",
            &host,
        ])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 200);
    let allows = |req: &LicenseReq| allowed.contains(&req.to_string().as_str());
    for package in packages {
        let name = format!(
            "{} {}",
            package["name"].as_str().unwrap(),
            package["version"].as_str().unwrap()
        );
        let licence =
            package["license"].as_str().unwrap_or_else(|| panic!("{name} names no licence"));
        let expression = Expression::parse_mode(licence, ParseMode::LAX)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(
            expression.evaluate(allows),
            "{name} comes under {licence}, which .deny.toml does not allow"
        );
        assert!(
            package["source"].is_null()
                || package["source"].as_str().unwrap().starts_with("registry+"),
            "{name} comes from a registry"
        );
    }
    for banned in deny["bans"]["deny"].as_array().unwrap() {
        assert!(packages.iter().all(|p| p["name"] != banned["name"].as_str().unwrap()));
    }
}
