//! The drawing of the crates in `crates/app/src/lib.rs` holds: they depend on each other as it
//! says, and not otherwise.

use std::{collections::BTreeMap, path::PathBuf};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(path: &str) -> toml::Value {
    toml::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

#[test]
fn crates_depend_on_each_other_as_drawn() {
    let drawn: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("migrations", &[][..]),
        ("crates/domain", &[]),
        ("crates/formats", &["domain"]),
        ("crates/notify", &["domain"]),
        ("crates/fetch", &["domain"]),
        ("crates/store", &["domain", "migrations"]),
        ("crates/context", &["domain", "store"]),
        ("crates/serving", &["context", "domain", "formats", "store"]),
        ("crates/publishing", &["context", "domain", "formats", "store"]),
        ("crates/intake", &["context", "domain", "fetch", "formats", "store"]),
        ("crates/watch", &["context", "domain", "notify", "store"]),
        ("crates/accounts", &["context", "domain", "store"]),
        ("crates/ops", &["context", "domain", "store"]),
        (
            "crates/app",
            &[
                "accounts",
                "context",
                "domain",
                "formats",
                "intake",
                "notify",
                "ops",
                "publishing",
                "serving",
                "store",
                "watch",
            ],
        ),
        ("crates/web", &["app", "domain"]),
        (
            "crates/server",
            &["app", "domain", "fetch", "formats", "notify", "migrations", "store", "web"],
        ),
        ("tests", &["server"]),
    ]);
    let there: Vec<String> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|e| format!("crates/{}", e.unwrap().file_name().to_string_lossy()))
        .collect();
    assert!(
        there.iter().all(|krate| drawn.contains_key(krate.as_str())),
        "a crate that is not drawn: {there:?}"
    );
    for (krate, allowed) in drawn {
        let manifest = manifest(&format!("{krate}/Cargo.toml"));
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else {
                continue;
            };
            for name in dependencies.keys().filter_map(|n| n.strip_prefix("iocast-")) {
                assert!(allowed.contains(&name), "{krate} must not depend on {name}");
            }
        }
    }
}

/// Every crate of the product.
const CRATES: [&str; 16] = [
    "migrations",
    "crates/domain",
    "crates/formats",
    "crates/notify",
    "crates/fetch",
    "crates/context",
    "crates/serving",
    "crates/publishing",
    "crates/intake",
    "crates/watch",
    "crates/accounts",
    "crates/ops",
    "crates/store",
    "crates/app",
    "crates/web",
    "crates/server",
];

#[test]
fn only_one_crate_uses_each_framework() {
    let owners = [
        ("actix-web", "crates/web"),
        ("utoipa", "crates/web"),
        ("validator", "crates/web"),
        ("sea-orm", "crates/store"),
        ("sea-orm-migration", "migrations"),
        ("lettre", "crates/notify"),
        ("argon2", "crates/accounts"),
        ("jsonwebtoken", "crates/accounts"),
        ("csv", "crates/formats"),
        ("flate2", "crates/formats"),
        ("clap", "crates/server"),
        ("tracing-subscriber", "crates/server"),
    ];
    for krate in CRATES {
        let manifest = manifest(&format!("{krate}/Cargo.toml"));
        for (name, owner) in owners {
            assert!(
                krate == owner || manifest["dependencies"].get(name).is_none(),
                "{krate} must not name {name}; {owner} does"
            );
        }
    }
}

#[test]
fn every_version_stands_in_the_one_table() {
    for krate in CRATES.into_iter().chain(["tests"]) {
        let manifest = manifest(&format!("{krate}/Cargo.toml"));
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{krate} keeps the lint table"
        );
        for table in ["dependencies", "dev-dependencies"] {
            for (name, value) in
                manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten()
            {
                assert_eq!(
                    value.get("workspace").and_then(toml::Value::as_bool),
                    Some(true),
                    "{krate}: {name} takes its version from the root"
                );
            }
        }
    }
}

/// Words that this project does not use: old turns of phrase, and names that a newcomer would have
/// to learn.
const RETIRED: [&str; 18] = [
    "whoever",
    "meanwhile",
    "anew",
    "hence",
    "whence",
    "thrice",
    "whereupon",
    "mend",
    "mends",
    "scribe",
    "the desk",
    "the counter",
    "front door",
    "post office",
    "letterkind",
    "newletter",
    "dice",
    "house",
];

/// Every text file of the project below a folder.
fn texts(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            texts(&path, found);
        } else if !name.starts_with("htmx")
            && name != "edges.rs"
            && ["rs", "html", "txt", "md", "py", "js", "css"]
                .iter()
                .any(|end| name.ends_with(&format!(".{end}")))
        {
            found.push(path);
        }
    }
}

#[test]
fn retired_words_are_not_used() {
    let mut files = vec![root().join("README.md")];
    for folder in ["crates", "migrations", "tests", "web-templates"] {
        texts(&root().join(folder), &mut files);
    }
    assert!(files.len() > 200, "only {} files were looked at", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (nth, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            let plain = format!(
                " {} ",
                line.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .collect::<Vec<_>>()
                    .join(" ")
            );
            found.extend(
                RETIRED
                    .iter()
                    .filter(|word| plain.contains(&format!(" {word} ")))
                    .map(|word| format!("{}:{}: {word}", file.display(), nth + 1)),
            );
        }
    }
    assert!(found.is_empty(), "retired words: {found:#?}");
}

/// Files of the product that may be longer than [`LINES_MAX`], and why.
const LONG: [(&str, &str); 1] =
    [("crates/domain/src/device_type/catalogue.rs", "a table of device types")];
const LINES_MAX: usize = 400;

#[test]
fn files_of_the_product_stay_short() {
    let mut files = Vec::new();
    texts(&root().join("crates"), &mut files);
    let of_tests = |path: &std::path::Path| path.components().any(|c| c.as_os_str() == "tests");
    let mut long = Vec::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs") && !of_tests(f)) {
        let lines = std::fs::read_to_string(file).unwrap().lines().count();
        let name = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let expected = LONG.iter().any(|(long, _)| *long == name);
        if (lines > LINES_MAX) != expected {
            long.push(format!("{name}: {lines}"));
        }
    }
    assert!(long.is_empty(), "longer than {LINES_MAX} lines, or no longer so: {long:#?}");
}

/// What is built once for all has no tests of its own, which nothing would run.
#[test]
fn crates_without_a_test_build_have_no_tests_in_them() {
    for name in ["web", "server"] {
        let folder = root().join("crates").join(name);
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("\n[lib]\ntest = false\n"), "{name}");
        let mut files = Vec::new();
        texts(&folder.join("src"), &mut files);
        let tests: Vec<_> = files
            .iter()
            .filter(|file| std::fs::read_to_string(file).unwrap().contains("#[test]"))
            .collect();
        assert!(tests.is_empty(), "write them as stories: {tests:?}");
    }
}
