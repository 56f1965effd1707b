//! One e-mail to one person, as a message.

use lettre::{
    Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};

/// An e-mail to one person.
#[derive(Clone)]
pub struct Email {
    /// Fixed when the e-mail is written: every try carries the same one.
    pub message_id: String,
    /// Sender.
    pub from: String,
    /// The one recipient.
    pub to: String,
    /// Plain ASCII, one line.
    pub subject: String,
    /// Text for people who read text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

impl std::fmt::Debug for Email {
    /// Without the words: they may carry a link that signs somebody in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email")
            .field("message_id", &self.message_id)
            .field("to", &self.to)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Why an e-mail is no message.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// An address is not one.
    #[error("`{0}` is not an e-mail address")]
    Address(String),
    /// The subject would break out of its header.
    #[error("the subject must be one line of plain ASCII")]
    Subject,
    /// The message can't be put together.
    #[error("the message can't be put together")]
    Message(#[source] lettre::error::Error),
}

impl Email {
    /// The file that it goes into where there is no mail server.
    #[must_use]
    pub fn file_name(&self) -> String {
        let id: String = self
            .message_id
            .chars()
            .take_while(|c| *c != '@')
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        format!("{id}.eml")
    }

    /// The message, ready to be handed over.
    ///
    /// # Errors
    /// If an address or the subject is not fit for a header.
    pub fn message(&self) -> Result<Message, EmailError> {
        let mailbox = |address: &str| {
            address.parse::<Mailbox>().map_err(|_invalid| EmailError::Address(address.to_owned()))
        };
        if !self.subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(EmailError::Subject);
        }
        Message::builder()
            .message_id(Some(self.message_id.clone()))
            .from(mailbox(&self.from)?)
            .to(mailbox(&self.to)?)
            .subject(self.subject.clone())
            // No absence note or ticket system answers it (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .multipart(MultiPart::alternative_plain_html(self.text.clone(), self.html.clone()))
            .map_err(EmailError::Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_is_one_message_and_nothing_gets_into_its_headers() {
        let email = Email {
            message_id: "<1@iocast>".into(),
            from: "iocast <iocast@example.com>".into(),
            to: "admin@example.com".into(),
            subject: "Device MISP is silent".into(),
            text: "Text".into(),
            html: "<p>Text</p>".into(),
        };
        let bytes = String::from_utf8(email.message().unwrap().formatted()).unwrap();
        assert!(
            bytes.contains("Message-ID: <1@iocast>\r\n")
                && bytes.contains("Subject: Device MISP is silent\r\n")
        );
        assert!(bytes.contains("Auto-Submitted: auto-generated\r\n"));
        for subject in ["a\r\nBcc: x@y.z", "a\nb", "\u{2028}"] {
            assert!(Email { subject: subject.into(), ..email.clone() }.message().is_err());
        }
        assert!(Email { to: "a@b\r\nBcc: c@d".into(), ..email }.message().is_err());
    }
}
