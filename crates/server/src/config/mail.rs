//! How e-mail is sent, from settings.

use std::{path::Path, time::Duration};

use iocast_app::{Mailer, Security, Smtp, Transport};

use super::{Config, ConfigError};

impl Config {
    /// Where messages go.
    ///
    /// # Errors
    /// Which setting is wrong and what it may be.
    pub fn transport(&self) -> Result<Transport, ConfigError> {
        let wrong = |message: String| Err(ConfigError::Invalid(message));
        if !Mailer::is_sender(&self.mail_from) {
            return wrong(format!(
                "`mail_from` must be an address such as iocast@example.com; it is `{}`.",
                self.mail_from
            ));
        }
        let way = self.mail.as_deref().unwrap_or(if self.smtp_host.is_some() {
            "smtp"
        } else {
            "folder"
        });
        match (way, &self.smtp_host) {
            ("off", _) => Ok(Transport::Off),
            ("folder", _) => Ok(Transport::Folder(
                self.mail_folder.clone().unwrap_or_else(|| self.data.join("mail")),
            )),
            ("smtp", Some(host)) => Ok(Transport::Smtp(self.smtp(host)?)),
            ("smtp", None) => wrong("`smtp_host` must name the mail server.".to_owned()),
            (other, _) => wrong(format!("`mail` must be smtp, folder or off; it is `{other}`.")),
        }
    }

    /// The host of the public URL; an address as mail servers write it.
    fn host(&self) -> String {
        let rest = self
            .public_url
            .as_deref()
            .and_then(|url| url.split_once("://"))
            .map_or("localhost", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(authority, |(host, _)| host);
        match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(v4)) => format!("[{v4}]"),
            Ok(std::net::IpAddr::V6(v6)) => format!("[IPv6:{v6}]"),
            Err(_) => host.to_owned(),
        }
    }

    fn smtp(&self, host: &str) -> Result<Smtp, ConfigError> {
        let wrong = |message: String| Err(ConfigError::Invalid(message));
        let read = |name: &str, path: &Path| {
            std::fs::read(path).map_err(|e| {
                ConfigError::Invalid(format!("`{name}` {} can't be read: {e}.", path.display()))
            })
        };
        let (security, port) = match self.smtp_security.as_str() {
            "starttls" => (Security::StartTls, 587),
            "tls" => (Security::Tls, 465),
            "plain" => (Security::Plain, 25),
            other => {
                return wrong(format!(
                    "`smtp_security` must be starttls, tls or plain; it is `{other}`."
                ));
            }
        };
        let password = match (&self.smtp_password, &self.smtp_password_file) {
            (Some(_), Some(_)) => {
                return wrong("Give `smtp_password` or `smtp_password_file`, not both.".to_owned());
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(path)) => Some(
                String::from_utf8_lossy(&read("smtp_password_file", path)?).trim_end().to_owned(),
            ),
            (None, None) => None,
        };
        let credentials = match (&self.smtp_user, password) {
            (Some(user), Some(password)) => Some((user.clone(), password)),
            (None, None) => None,
            _ => return wrong("`smtp_user` and a password go together.".to_owned()),
        };
        let total = Duration::from_secs(self.mail_deadline_seconds);
        Ok(Smtp {
            host: host.to_owned(),
            port: self.smtp_port.unwrap_or(port),
            security,
            credentials,
            hello: self.smtp_hello.clone().unwrap_or_else(|| self.host()),
            ca: self.smtp_ca_file.as_deref().map(|path| read("smtp_ca_file", path)).transpose()?,
            connect: total.min(Duration::from_secs(10)),
            total,
        })
    }
}
