//! Handing e-mails over: by SMTP, into a folder, or not at all.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lettre::{
    address::Envelope,
    message::Mailbox,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
        response::Response,
    },
};

use crate::{
    email::Email,
    webhook::{Webhook, Webhooks},
};

/// How the line to the mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// STARTTLS, or nothing is sent.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// In clear: only where somebody said so.
    Plain,
}

/// A mail server.
#[derive(Clone)]
pub struct Smtp {
    /// Host name, which its certificate must carry.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the line is kept private.
    pub security: Security,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// Certificates (PEM) that are trusted beside the public ones.
    pub ca: Option<Vec<u8>>,
    /// How long connecting may take.
    pub connect: Duration,
    /// How long one e-mail may take, from connecting to the server's last answer.
    pub total: Duration,
    /// The name by which the mail server is greeted (EHLO): a host name that leads here.
    pub hello: String,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smtp({}:{}, {:?})", self.host, self.port, self.security)
    }
}

/// Hands e-mails over in a way of its own: a simulation puts one in the place of a mail server.
pub trait MailTransport: fmt::Debug + Send + Sync {
    /// Hands an e-mail over and gives an answer.
    fn carry<'a>(
        &'a self,
        email: &'a Email,
    ) -> Pin<Box<dyn Future<Output = Result<String, Failure>> + Send + 'a>>;
}

/// In which way e-mails go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailWay {
    /// None are written.
    Off,
    /// They are written into a folder and sent to nobody.
    Folder,
    /// A mail server takes them.
    Smtp,
}

/// Where e-mails go.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nowhere: none are written.
    Off,
    /// Into a folder, one `.eml` file an e-mail.
    Folder(PathBuf),
    /// To a mail server.
    Smtp(Smtp),
    /// To somebody else.
    MailTransport(Arc<dyn MailTransport>),
}

/// Why an e-mail was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may go better later.
    #[error("{0}")]
    Transient(String),
    /// The line died after the last byte and before the answer: it may have been taken.
    #[error("{0}")]
    Unknown(String),
    /// The server refuses this e-mail for good, or it is none.
    #[error("{0}")]
    Permanent(String),
    /// Somebody else took it over in the meantime; it was not sent.
    #[error("somebody else took the e-mail over")]
    NotOurs,
}

/// Delivers messages.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: Transport,
    webhooks: Webhooks,
}

impl Mailer {
    /// A mailer that delivers as it is configured.
    #[must_use]
    pub fn new(transport: Transport, webhooks: Webhooks) -> Self {
        Self { transport, webhooks }
    }

    /// Posts a message to a program and gives the status.
    ///
    /// # Errors
    /// As [`Webhooks::post`].
    pub async fn post(&self, hook: Webhook) -> Result<String, Failure> {
        self.webhooks.post(hook).await
    }

    /// Whether this may stand in `From`: an address, with or without a name.
    #[must_use]
    pub fn is_sender(text: &str) -> bool {
        text.parse::<Mailbox>().is_ok()
    }

    /// Whether e-mails are written at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self.transport, Transport::Off)
    }

    /// In which way e-mails go out.
    #[must_use]
    pub const fn way(&self) -> MailWay {
        match self.transport {
            Transport::Off => MailWay::Off,
            Transport::Folder(_) => MailWay::Folder,
            Transport::Smtp(_) | Transport::MailTransport(_) => MailWay::Smtp,
        }
    }

    /// Where e-mails go, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.transport {
            Transport::Off => "off".to_owned(),
            Transport::Folder(path) => format!("folder {}", path.display()),
            Transport::Smtp(smtp) => format!("smtp {}:{}", smtp.host, smtp.port),
            Transport::MailTransport(_) => "courier".to_owned(),
        }
    }

    /// Hands an e-mail over and gives the server's answer. `ours` is asked at the last moment at
    /// which the e-mail can still be held back: a sender that was stopped for long must not send
    /// what another one sent since.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn hand_over(
        &self,
        email: &Email,
        ours: impl AsyncFnOnce() -> bool,
    ) -> Result<String, Failure> {
        let message = email.message().map_err(|error| Failure::Permanent(error.to_string()))?;
        match &self.transport {
            Transport::Off => Err(Failure::Permanent("Mail is switched off.".to_owned())),
            Transport::Folder(folder) => {
                if !ours().await {
                    return Err(Failure::NotOurs);
                }
                let file = put(folder, &email.file_name(), &message.formatted()).await;
                file.map(|path| format!("written to {}", path.display())).map_err(|error| {
                    Failure::Transient(format!("The folder takes no e-mail: {error}."))
                })
            }
            Transport::MailTransport(courier) => {
                if !ours().await {
                    return Err(Failure::NotOurs);
                }
                courier.carry(email).await
            }
            Transport::Smtp(smtp) => {
                let text_begun = AtomicBool::new(false);
                let sent = tokio::time::timeout(
                    smtp.total,
                    smtp.send(message.envelope(), &message.formatted(), ours, &text_begun),
                )
                .await;
                sent.unwrap_or_else(|_elapsed| {
                    let late = format!(
                        "The mail server did not finish within {} s.",
                        smtp.total.as_secs_f32()
                    );
                    Err(if text_begun.load(Ordering::Relaxed) {
                        Failure::Unknown(late)
                    } else {
                        Failure::Transient(late)
                    })
                })
            }
        }
    }
}

/// Writes a whole file or none; the same e-mail is written to the same file again.
async fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    use tokio::io::AsyncWriteExt as _;
    tokio::fs::create_dir_all(folder).await?;
    let (draft, path) = (folder.join(format!(".{name}.draft")), folder.join(name));
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true);
    // Invitations carry a secret.
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(&draft).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    tokio::fs::rename(&draft, &path).await?;
    Ok(path)
}

/// What a step of the conversation came to: an error before the e-mail itself is spoken of is never
/// its fault.
fn at(
    step: &'static str,
    about_the_email: bool,
) -> impl FnOnce(lettre::transport::smtp::Error) -> Failure {
    move |error| {
        let text = format!("{step}: {}", error_chain(&error));
        if about_the_email && error.is_permanent() {
            Failure::Permanent(text)
        } else {
            Failure::Transient(text)
        }
    }
}

/// An error with its causes.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl Smtp {
    fn tls(&self) -> Result<TlsParameters, Failure> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.ca {
            builder = builder.add_root_certificate(
                Certificate::from_pem(pem).map_err(at("smtp_ca_file", false))?,
            );
        }
        builder.build().map_err(at("TLS", false))
    }

    async fn send(
        &self,
        envelope: &Envelope,
        message: &[u8],
        ours: impl AsyncFnOnce() -> bool,
        text_begun: &AtomicBool,
    ) -> Result<String, Failure> {
        let mut line = self.connect().await?;
        let sent = self.deliver(&mut line, envelope, message, ours, text_begun).await;
        // Politely or not: the e-mail's fate is known.
        let _ = tokio::time::timeout(Duration::from_secs(1), line.abort()).await;
        sent
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let hello = ClientId::Domain(self.hello.clone());
        let implicit = if self.security == Security::Tls { Some(self.tls()?) } else { None };
        let connect = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            Some(self.connect),
            &hello,
            implicit,
            None,
        );
        let mut line = connect.await.map_err(at("connecting", false))?;
        if self.security == Security::StartTls {
            if !line.can_starttls() {
                line.abort().await;
                return Err(Failure::Transient(
                    "STARTTLS: the server does not offer it, and nothing is sent in clear unless smtp_security is `plain`.".to_owned(),
                ));
            }
            line.starttls(self.tls()?, &hello).await.map_err(at("STARTTLS", false))?;
        }
        if let Some((user, password)) = &self.credentials {
            let credentials = Credentials::new(user.clone(), password.clone());
            line.auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                .await
                .map_err(at("AUTH", false))?;
        }
        Ok(line)
    }

    async fn deliver(
        &self,
        line: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        message: &[u8],
        ours: impl AsyncFnOnce() -> bool,
        text_begun: &AtomicBool,
    ) -> Result<String, Failure> {
        let eight_bit =
            !message.is_ascii() && line.server_info().supports_feature(Extension::EightBitMime);
        let parameters = if eight_bit {
            vec![MailParameter::Body(MailBodyParameter::EightBitMime)]
        } else {
            Vec::new()
        };
        line.command(Mail::new(envelope.from().cloned(), parameters))
            .await
            .map_err(at("MAIL FROM", true))?;
        for to in envelope.to() {
            line.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(at("RCPT TO", true))?;
        }
        if !ours().await {
            return Err(Failure::NotOurs);
        }
        line.command(Data).await.map_err(at("DATA", true))?;
        text_begun.store(true, Ordering::Relaxed);
        let answer = line.message(message).await.map_err(|error| {
            let heard = error.status().is_some();
            match at("after the text", true)(error) {
                Failure::Transient(text) if !heard => Failure::Unknown(text),
                failure => failure,
            }
        })?;
        Ok(said(&answer))
    }
}

fn said(answer: &Response) -> String {
    format!("{} {}", answer.code(), answer.message().collect::<Vec<_>>().join(" "))
}
