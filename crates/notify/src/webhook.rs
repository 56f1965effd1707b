//! Messages to programs: a signed POST of JSON, after the Standard Webhooks specification
//! (webhook-id, -timestamp, -signature).
//!
//! The address is resolved once, judged, and connected to as it is; redirects are not followed. So
//! a name that is public when it is looked at can't lead into the private network afterwards.

use std::{io::ErrorKind, net::IpAddr, sync::Arc, time::Duration};

use iocast_domain::special::is_public;
use ureq::{
    Agent, Error, Timeout,
    config::Config,
    http::Uri,
    tls::{RootCerts, TlsConfig},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use crate::post::Failure;

/// Where webhooks may go.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Private, loopback and other special addresses, too.
    pub allow_private: bool,
    /// How long one may take.
    pub total: Duration,
}

/// A message to a program.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// Fixed when it is written: every try carries the same one.
    pub id: String,
    /// Seconds since 1970 of this try.
    pub timestamp: i64,
    /// The signature as its header carries it.
    pub signature: String,
    /// JSON.
    pub body: String,
}

impl Webhooks {
    /// Posts a message and gives the status.
    ///
    /// # Errors
    /// [`Failure::Permanent`] for an address that is not allowed, [`Failure::Unknown`] where no
    /// answer came, [`Failure::Transient`] for everything else but a 2xx.
    pub async fn post(&self, hook: Webhook) -> Result<String, Failure> {
        let Self { allow_private, total } = self.clone();
        let post = tokio::task::spawn_blocking(move || post(&hook, allow_private, total));
        post.await.map_err(|error| Failure::Transient(error.to_string()))?
    }
}

fn post(hook: &Webhook, allow_private: bool, total: Duration) -> Result<String, Failure> {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::WebPki)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(total))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .tls_config(tls)
        .user_agent("iocast")
        .build();
    let agent =
        Agent::with_parts(config, DefaultConnector::default(), DeliveryResult { allow_private });
    let answer = agent
        .post(&hook.url)
        .header("content-type", "application/json")
        .header("webhook-id", &hook.id)
        .header("webhook-timestamp", hook.timestamp.to_string())
        .header("webhook-signature", &hook.signature)
        .send(&hook.body);
    match answer {
        Ok(answer) if answer.status().is_success() => {
            Ok(format!("answered {}", answer.status().as_u16()))
        }
        Ok(answer) => {
            Err(Failure::Transient(format!("The webhook answered {}.", answer.status().as_u16())))
        }
        Err(Error::Other(error)) if error.is::<NotAllowed>() => {
            Err(Failure::Permanent(error.to_string()))
        }
        Err(error) => {
            let text = format!("The webhook could not be reached: {error}.");
            // Whatever is not known to have gone wrong before the request was sent may have
            // arrived.
            let before = match &error {
                Error::HostNotFound
                | Error::ConnectionFailed
                | Error::Tls(_)
                | Error::BadUri(_) => true,
                Error::Timeout(at) => matches!(at, Timeout::Resolve | Timeout::Connect),
                Error::Io(io) => io.kind() == ErrorKind::ConnectionRefused,
                _ => false,
            };
            Err(if before { Failure::Transient(text) } else { Failure::Unknown(text) })
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "The webhook leads to {0}, a private or special address; the operator can allow such ones by `webhook_allow_private`."
)]
struct NotAllowed(IpAddr);

/// Resolves a name and refuses it where any of its addresses is special.
#[derive(Debug)]
struct DeliveryResult {
    allow_private: bool,
}

impl Resolver for DeliveryResult {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        match addresses.iter().find(|address| !self.allow_private && !is_public(address.ip())) {
            Some(special) => Err(Error::Other(Box::new(NotAllowed(special.ip())))),
            None => Ok(addresses),
        }
    }
}
