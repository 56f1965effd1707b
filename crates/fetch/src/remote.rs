//! The management API of an iocast elsewhere, for its commands.

use std::time::Duration;

use ureq::{
    Agent, Body,
    http::{Response, header},
};

use crate::{Failure, answers::sentence, tls};

/// How long an iocast may take for its answer.
const TOTAL: Duration = Duration::from_secs(600);
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// An iocast that is reached by its address, with a service token.
#[derive(Debug)]
pub struct Remote {
    agent: Agent,
    base: String,
    token: String,
}

impl Remote {
    /// An iocast at `base`, such as `https://iocast.example.com`. With `ca`, its certificate is
    /// signed by one of these (PEM) instead of by a public one.
    ///
    /// # Errors
    /// If the certificates can't be read.
    pub fn new(base: &str, token: &str, ca: Option<&str>) -> Result<Self, Failure> {
        let config = Agent::config_builder()
            .timeout_global(Some(TOTAL))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .tls_config(tls::config(ca, None)?)
            .user_agent("iocast");
        let (base, token) = (base.trim_end_matches('/').to_owned(), token.to_owned());
        Ok(Self { agent: config.build().into(), base, token })
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
