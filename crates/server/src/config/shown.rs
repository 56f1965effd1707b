//! Settings as they may be shown to anybody.

use super::Config;

impl Config {
    /// The settings as TOML, with passwords left out.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = self.clone();
        shown.database_url = shown.database_url.map(|url| redact(&url));
        shown.fetch_proxy = shown.fetch_proxy.map(|url| redact(&url));
        for secret in [&mut shown.smtp_password, &mut shown.metrics_token] {
            *secret = secret.take().map(|_| "…".to_owned());
        }
        let json = serde_json::to_value(&shown).unwrap_or_default();
        let lines = json.as_object().into_iter().flatten().map(|(name, value)| {
            if value.is_null() {
                format!("# {name} is not set\n")
            } else {
                format!("{name} = {value}\n")
            }
        });
        lines.collect()
    }
}

/// A URL without its password.
pub(crate) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        // What stands behind a question mark may hold a password, too.
        Some((user, host)) => format!(
            "{scheme}://{}:…@{host}",
            user.split(':').next().unwrap_or_default(),
            host = host.split('?').next().unwrap_or_default()
        ),
        None => url.to_owned(),
    }
}
