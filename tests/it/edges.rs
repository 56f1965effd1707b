//! The drawing of the house can't rot: rooms depend on each other as the design says, and not otherwise.

use std::{collections::BTreeMap, path::PathBuf};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(path: &str) -> toml::Value {
    toml::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

#[test]
fn rooms_depend_on_each_other_as_drawn() {
    let drawn: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("migrations", &[][..]),
        ("crates/domain", &[]),
        ("crates/formats", &["domain"]),
        ("crates/mail", &["domain"]),
        ("crates/store", &["domain", "migrations"]),
        ("crates/app", &["domain", "store", "mail", "formats"]),
        ("crates/web", &["app", "domain"]),
        ("crates/server", &["app", "domain", "formats", "mail", "migrations", "store", "web"]),
        ("tests", &["server"]),
    ]);
    let there: Vec<String> =
        std::fs::read_dir(root().join("crates")).unwrap().map(|e| format!("crates/{}", e.unwrap().file_name().to_string_lossy())).collect();
    assert!(there.iter().all(|room| drawn.contains_key(room.as_str())), "a room that is not drawn: {there:?}");
    for (room, allowed) in drawn {
        let manifest = manifest(&format!("{room}/Cargo.toml"));
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else { continue };
            for name in dependencies.keys().filter_map(|n| n.strip_prefix("iocast-")) {
                assert!(allowed.contains(&name), "{room} must not depend on {name}");
            }
        }
    }
}

#[test]
fn only_one_room_names_each_framework() {
    let owners = [
        ("actix-web", "crates/web"),
        ("utoipa", "crates/web"),
        ("validator", "crates/web"),
        ("sea-orm", "crates/store"),
        ("sea-orm-migration", "migrations"),
        ("lettre", "crates/mail"),
        ("argon2", "crates/app"),
        ("jsonwebtoken", "crates/app"),
        ("csv", "crates/formats"),
        ("flate2", "crates/formats"),
        ("clap", "crates/server"),
        ("tracing-subscriber", "crates/server"),
    ];
    for room in ["migrations", "crates/domain", "crates/formats", "crates/mail", "crates/store", "crates/app", "crates/web", "crates/server"] {
        let manifest = manifest(&format!("{room}/Cargo.toml"));
        for (name, owner) in owners {
            assert!(room == owner || manifest["dependencies"].get(name).is_none(), "{room} must not name {name}; {owner} does");
        }
    }
}

#[test]
fn every_version_stands_in_the_one_table() {
    for room in ["migrations", "tests", "crates/domain", "crates/formats", "crates/mail", "crates/store", "crates/app", "crates/web", "crates/server"] {
        let manifest = manifest(&format!("{room}/Cargo.toml"));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{room} keeps the lint table");
        for table in ["dependencies", "dev-dependencies"] {
            for (name, value) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                assert_eq!(value.get("workspace").and_then(toml::Value::as_bool), Some(true), "{room}: {name} takes its version from the root");
            }
        }
    }
}
