//! Which addresses may be reached.

use std::net::IpAddr;

use iocast_domain::special::{Networks, is_public};
use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

#[derive(Debug, thiserror::Error)]
#[error(
    "The address leads to {0}, a private or special address; the operator can allow its network by `fetch_networks`."
)]
pub(crate) struct NotAllowed(pub(crate) IpAddr);

pub(crate) fn may_reach(ip: IpAddr, allowed: &Networks) -> bool {
    is_public(ip) || allowed.overlap(&ip.to_canonical().into())
}

/// Resolves a name, and refuses it where any of its addresses is special.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) allowed: Networks,
    /// What is resolved is the proxy.
    pub(crate) proxied: bool,
}

impl Resolver for Judge {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        // The operator chose the proxy, and it may stand in a private network.
        if self.proxied {
            return Ok(addresses);
        }
        match addresses.iter().find(|address| !may_reach(address.ip(), &self.allowed)) {
            Some(special) => Err(Error::Other(Box::new(NotAllowed(special.ip())))),
            None => Ok(addresses),
        }
    }
}
