//! The management API of an iocast elsewhere, for its commands.

use std::{net::IpAddr, time::Duration};

use ureq::{
    Agent, Body,
    http::{Response, Uri, header},
};

use crate::{Failure, answers::sentence, tls};

/// How long an iocast may take for its answer.
const TOTAL: Duration = Duration::from_secs(600);
/// The same where it is only asked how it is.
const HEALTH: Duration = Duration::from_secs(4);
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// An iocast that is reached by its address, with a service token.
#[derive(Debug)]
pub struct Remote {
    agent: Agent,
    base: String,
    token: String,
}

/// Whether an address is on this machine.
fn is_here(base: &str) -> bool {
    let host = base.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let host = host.unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn checked(base: &str) -> Result<String, Failure> {
    let base = base.trim().trim_end_matches('/');
    if base.starts_with("https://") || base.starts_with("http://") {
        Ok(base.to_owned())
    } else {
        Err(Failure::new(format!("`{base}` is no address: begin it with https:// or http://.")))
    }
}

impl Remote {
    /// An iocast at `base`, such as `https://iocast.example.com`. With `ca`, its certificate is
    /// signed by one of these (PEM) instead of by a public one. Without https, the token would be
    /// seen on the way: then it must be on this machine, unless `insecure` allows it.
    ///
    /// # Errors
    /// If the address can't be used, or the certificates can't be read.
    pub fn new(base: &str, token: &str, ca: Option<&str>, insecure: bool) -> Result<Self, Failure> {
        let base = checked(base)?;
        if base.starts_with("http://") && !is_here(&base) && !insecure {
            return Err(Failure::new(format!(
                "{base} is not encrypted, and the service token would be seen on the way. Use https://, or allow it with --insecure."
            )));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(TOTAL))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .tls_config(tls::config(ca, None)?)
            .user_agent("iocast");
        Ok(Self { agent: config.build().into(), base, token: token.to_owned() })
    }

    /// Gives what an iocast at `base` says of its state: the status, and the body. No token is sent,
    /// and no proxy is used. On this machine, its certificate may have any name.
    ///
    /// # Errors
    /// If no answer came.
    pub fn ready(base: &str, ca: Option<&str>) -> Result<(u16, Vec<u8>), Failure> {
        let base = checked(base)?;
        let tls =
            if ca.is_none() && is_here(&base) { tls::unchecked() } else { tls::config(ca, None)? };
        let config = Agent::config_builder()
            .timeout_global(Some(HEALTH))
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(tls)
            .user_agent("iocast");
        let agent: Agent = config.build().into();
        let answer = agent.get(format!("{base}/api/v1/ready")).call();
        read(answer.map_err(|error| Failure::new(sentence(&error)))?)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If no answer came.
    pub fn get(&self, path: &str) -> Result<(u16, Vec<u8>), Failure> {
        let call = self.agent.get(format!("{}{path}", self.base));
        let call = call.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        read(call.call().map_err(|error| Failure::new(sentence(&error)))?)
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// If no answer came.
    pub fn post(&self, path: &str, json: &[u8]) -> Result<(u16, Vec<u8>), Failure> {
        let call = self.agent.post(format!("{}{path}", self.base));
        let call = call.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let call = call.header(header::CONTENT_TYPE, "application/json");
        read(call.send(json).map_err(|error| Failure::new(sentence(&error)))?)
    }
}

fn read(mut answer: Response<Body>) -> Result<(u16, Vec<u8>), Failure> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
    Ok((status, body.map_err(|error| Failure::new(sentence(&error)))?))
}
