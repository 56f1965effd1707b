//! What can be set, from the settings themselves: the example file and the table of the handbook.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;

/// A setting as it is documented.
struct Setting {
    name: String,
    /// What it is for.
    about: String,
    /// Unless given; none where it depends on other settings.
    default: Option<Value>,
}

/// All settings, by name.
fn settings() -> Vec<Setting> {
    let schema = schemars::schema_for!(Config).to_value();
    let properties = schema.get("properties").and_then(Value::as_object);
    let setting = |(name, property): (&String, &Value)| Setting {
        name: name.clone(),
        about: property["description"].as_str().unwrap_or_default().replace('\n', " "),
        default: property.get("default").filter(|value| !value.is_null()).cloned(),
    };
    properties.into_iter().flatten().map(setting).collect()
}

/// The table of the handbook's page on configuration.
#[must_use]
pub fn table() -> String {
    let mut out = "| setting | default | what it is for |\n|---|---|---|\n".to_owned();
    for Setting { name, about, default } in settings() {
        let default = default.filter(|value| value != "");
        let default = default.map_or_else(String::new, |value| match value {
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        });
        // Writing to a string does not fail.
        let _ = writeln!(out, "| `{name}` | {default} | {about} |");
    }
    out
}

/// A configuration file with every setting and its default, each one commented out.
#[must_use]
pub fn example() -> String {
    let mut out =
        "# Settings of iocast. Flags and environment variables (IOCAST_…) win over this file.\n\
         # Remove the # in front of a setting to change it.\n"
            .to_owned();
    for Setting { name, about, default } in settings() {
        let value = default.map_or_else(|| "…".to_owned(), |value| value.to_string());
        // Writing to a string does not fail.
        let _ = write!(out, "\n# {about}\n#{name} = {value}\n");
    }
    out
}
