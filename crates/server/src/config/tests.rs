use super::*;

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
}

#[test]
fn the_environment_is_taken_as_text_and_mistyped_names_are_told() {
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
fn nonsense_in_the_log_setting_is_told() {
    for (text, good) in [
        ("info", true),
        ("warn,iocast_app=debug", true),
        ("inof", false),
        ("blah", false),
        ("iocast_app=loud", false),
        ("", false),
    ] {
        let config = Config { log: text.to_owned(), ..Config::default() }.checked();
        assert_eq!(config.is_ok(), good, "{text}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let config =
        Config { database_url: Some("postgres://me:hunter2@db/x".into()), ..Config::default() };
    assert!(config.shown().contains("postgres://me:…@db/x") && !config.shown().contains("hunter2"));
}
