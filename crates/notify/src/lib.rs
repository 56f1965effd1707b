//! Renders typed messages, and delivers them. It does not decide who gets one, or when.

mod letter;
mod post;
mod render;
mod webhook;

pub use self::{
    letter::{Letter, LetterError},
    post::{Failure, MailTransport, Mailer, Security, Smtp, Transport},
    render::{Rendered, payload, render},
    webhook::{Webhook, Webhooks},
};
