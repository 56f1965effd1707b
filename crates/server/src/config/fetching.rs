//! From where and how subscriptions fetch.

use std::path::{Component, PathBuf};

use iocast_domain::special::Networks;

use super::{Config, ConfigError};

impl Config {
    /// From where subscriptions may fetch although it is not public.
    ///
    /// # Errors
    /// Which entry is no address.
    pub fn fetch_networks(&self) -> Result<Networks, ConfigError> {
        self.fetch_networks.parse().map_err(|why| {
            ConfigError::Invalid(format!(
                "`fetch_networks` must be addresses and networks, parted by commas: {why}."
            ))
        })
    }

    /// Folders that subscriptions may read.
    ///
    /// # Errors
    /// Which entry is no path from the root.
    pub fn fetch_folders(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let entries = self.fetch_folders.split(',').map(str::trim).filter(|path| !path.is_empty());
        let folder = |path: &str| {
            let folder = PathBuf::from(path);
            let is_plain = folder.components().all(|part| part != Component::ParentDir);
            if folder.is_absolute() && is_plain {
                return Ok(folder);
            }
            Err(ConfigError::Invalid(format!(
                "`fetch_folders` must be paths from the root, separated by commas; `{path}` is none."
            )))
        };
        entries.map(folder).collect()
    }

    /// The proxy through which subscriptions fetch.
    ///
    /// # Errors
    /// If it is no address of a proxy.
    pub fn fetch_proxy(&self) -> Result<Option<String>, ConfigError> {
        let Some(proxy) = self.fetch_proxy.clone().filter(|proxy| !proxy.is_empty()) else {
            return Ok(None);
        };
        let host = proxy.strip_prefix("http://").or_else(|| proxy.strip_prefix("https://"));
        if host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace)) {
            Ok(Some(proxy))
        } else {
            Err(ConfigError::Invalid(
                "`fetch_proxy` must be the address of a proxy: http://HOST:PORT.".to_owned(),
            ))
        }
    }
}
