//! Settings: what is taken from files and the environment, and what is said of wrong ones.

use std::fs;

use iocast_server::config::{Config, Flags, environment, example, table};
use tempfile::TempDir;

/// The configuration that a file of this text gives.
fn of_file(text: &str) -> Result<Config, String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("iocast.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), &Flags::default()).map_err(|error| error.to_string())
}

#[test]
fn wrong_settings_say_what_to_do() {
    let load = |flags: Flags| Config::load(None, &flags);
    assert!(
        load(Flags { listen: Some("8080".into()), ..Flags::default() })
            .unwrap_err()
            .to_string()
            .contains("HOST:PORT")
    );
    assert!(load(Flags { public_url: Some("iocast.example".into()), ..Flags::default() }).is_err());
    assert!(load(Flags { log_format: Some("xml".into()), ..Flags::default() }).is_err());
    let config =
        load(Flags { public_url: Some("https://iocast.example/".into()), ..Flags::default() })
            .unwrap();
    assert_eq!(config.public_url.as_deref(), Some("https://iocast.example"));
    for (text, good) in [
        ("info", true),
        ("warn,iocast_app=debug", true),
        ("inof", false),
        ("blah", false),
        ("iocast_app=loud", false),
        ("", false),
    ] {
        assert_eq!(of_file(&format!("log = \"{text}\"")).is_ok(), good, "{text}");
    }
}

#[test]
fn the_environment_is_taken_as_text_and_mistyped_names_are_named() {
    let read =
        |name: &str, value: &str| environment([(name.to_owned(), value.to_owned())].into_iter());
    for text in ["12345", "true", "\"quoted\"", "[1]", " blanks "] {
        assert_eq!(read("IOCAST_SMTP_PASSWORD", text).unwrap()["smtp_password"], text);
    }
    assert_eq!(read("IOCAST_SMTP_PORT", "2525").unwrap()["smtp_port"], 2525);
    assert_eq!(read("IOCAST_EMULATOR", "true").unwrap()["emulator"], true);
    for (name, value) in [
        ("IOCAST_EMULATOR", "yes"),
        ("IOCAST_WORKERS", "many"),
        ("IOCAST_LISTN", "x"),
        ("IOCAST_SMTP_PASWORD", "x"),
    ] {
        let message = read(name, value).unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
    for foreign in
        ["IOCAST_PORT_8080_TCP_ADDR", "IOCAST_SERVICE_HOST", "IOCAST_TEST_POSTGRES", "PATH"]
    {
        assert!(read(foreign, "x").unwrap().is_empty(), "{foreign}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let shown = of_file("database_url = \"postgres://me:hunter2@db/x\"").unwrap().shown();
    assert!(shown.contains("postgres://me:…@db/x") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_handbook_lists_the_settings_as_they_are() {
    let page = crate::edges::root().join("web-templates/help/configuration.md");
    let table = table();
    assert!(
        fs::read_to_string(page).unwrap().contains(&table),
        "the table of configuration.md should be:\n{table}"
    );
}

#[test]
fn the_example_is_a_configuration() {
    let uncommented: String = example()
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' ') && !line.ends_with("= …"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(of_file(&uncommented).unwrap().shown(), Config::default().shown());
    assert!(example().contains("\n#listen = \"127.0.0.1:8080\"\n"));
}
