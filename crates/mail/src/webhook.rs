//! Letters to programs: a signed POST of JSON, after the Standard Webhooks specification (webhook-id, -timestamp, -signature).
//!
//! The address is resolved once, judged, and connected to as it is; redirects are not followed. So a name that is public when
//! it is looked at can't lead into the private network afterwards.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

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
pub struct Hook {
    /// Where to.
    pub url: String,
    /// Fixed when it is written: every try carries the same one.
    pub id: String,
    /// Seconds since 1970 of this try.
    pub timestamp: i64,
    /// Base64 of HMAC-SHA-256 over `id.timestamp.body`.
    pub signature: String,
    /// JSON.
    pub body: String,
}

/// Whether this can be a webhook: http or https, with a host, without credentials or a fragment.
#[must_use]
pub fn is_webhook(url: &str) -> bool {
    let parsed = url.parse::<Uri>().ok();
    let host = parsed.as_ref().and_then(Uri::host).is_some_and(|host| !host.is_empty());
    (url.starts_with("https://") || url.starts_with("http://")) && host && url.len() <= 250 && !url.contains(['@', '#']) && url.is_ascii()
}

impl Webhooks {
    /// Posts a message and gives the status.
    ///
    /// # Errors
    /// [`Failure::Permanent`] for an address that is not allowed, [`Failure::Unknown`] where no answer came,
    /// [`Failure::Transient`] for everything else but a 2xx.
    pub async fn post(&self, hook: Hook) -> Result<String, Failure> {
        let Self { allow_private, total } = self.clone();
        let post = tokio::task::spawn_blocking(move || post(&hook, allow_private, total));
        post.await.map_err(|error| Failure::Transient(error.to_string()))?
    }
}

fn post(hook: &Hook, allow_private: bool, total: Duration) -> Result<String, Failure> {
    let tls =
        TlsConfig::builder().root_certs(RootCerts::WebPki).unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider())).build();
    let config = Agent::config_builder()
        .timeout_global(Some(total))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .tls_config(tls)
        .user_agent("iocast")
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), Judged { allow_private });
    let answer = agent
        .post(&hook.url)
        .header("content-type", "application/json")
        .header("webhook-id", &hook.id)
        .header("webhook-timestamp", hook.timestamp.to_string())
        .header("webhook-signature", format!("v1,{}", hook.signature))
        .send(&hook.body);
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(format!("answered {}", answer.status().as_u16())),
        Ok(answer) => Err(Failure::Transient(format!("The webhook answered {}.", answer.status().as_u16()))),
        Err(Error::Other(error)) if error.is::<NotAllowed>() => Err(Failure::Permanent(error.to_string())),
        Err(error) => {
            let text = format!("The webhook could not be reached: {error}.");
            // Whatever is not known to have gone wrong before the request was sent may have arrived.
            let before = match &error {
                Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::BadUri(_) => true,
                Error::Timeout(at) => matches!(at, Timeout::Resolve | Timeout::Connect),
                Error::Io(io) => io.kind() == ErrorKind::ConnectionRefused,
                _ => false,
            };
            Err(if before { Failure::Transient(text) } else { Failure::Unknown(text) })
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("The webhook leads to {0}, a private or special address; the operator can allow such ones by `webhook_allow_private`.")]
struct NotAllowed(IpAddr);

/// Resolves a name and refuses it where any of its addresses is special.
#[derive(Debug)]
struct Judged {
    allow_private: bool,
}

impl Resolver for Judged {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        match addresses.iter().find(|address| !self.allow_private && !is_public(address.ip())) {
            Some(special) => Err(Error::Other(Box::new(NotAllowed(special.ip())))),
            None => Ok(addresses),
        }
    }
}

/// Whether an address is one of the public internet (IANA's special-purpose registries left out).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!((a, b, c), (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _) | (224.., ..));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // Mapped and translated ones are what they hold.
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => v4(g, h),
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && v4(g, h),
        (0x2002, _) => v4(b, c),
        (0x2001, 0..=0x1ff | 0xdb8) => false,
        // Only 2000::/3 is given out.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for special in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_webhook_is_a_plain_url() {
        assert!(is_webhook("https://hooks.example.com/x?y=1") && is_webhook("http://[2001:db8::1]:8080/"));
        for no in ["ftp://x.example", "https://", "https://user:pass@x.example", "x.example", "https://x.example/#y", "https://x .example"] {
            assert!(!is_webhook(no), "{no}");
        }
    }
}
