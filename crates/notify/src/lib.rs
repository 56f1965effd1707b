//! Renders typed messages, and delivers them. It does not decide who gets one, or when.

mod email;
mod post;
mod render;
mod webhook;

pub use self::{
    email::{Email, EmailError},
    post::{Failure, MailTransport, MailWay, Mailer, Security, Smtp, Transport},
    render::{Rendered, payload, render},
    webhook::{Webhook, Webhooks},
};
