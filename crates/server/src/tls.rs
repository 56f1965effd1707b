//! HTTPS: the certificate is read again when its files change, so that nobody restarts iocast for a
//! renewal.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;

use crate::shutdown::Shutdown;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at the files now and then, and at SIGHUP.
pub(crate) async fn watch(
    certificate: Arc<Certificate>,
    shutdown: Shutdown,
    stop: CancellationToken,
) {
    let mut hangups = shutdown.hangups();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = hangups.changed() => {}
            () = stop.cancelled() => return,
        }
        certificate.look();
    }
}

/// The present certificate with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    present: ArcSwap<CertifiedKey>,
    seen: ArcSwap<[Option<SystemTime>; 2]>,
}

impl Certificate {
    /// Reads both files (PEM).
    ///
    /// # Errors
    /// Which one is wrong, and why.
    pub(crate) fn read(cert: &Path, key: &Path) -> io::Result<Arc<Self>> {
        let seen = changed(cert, key);
        let present = ArcSwap::from_pointee(certified(cert, key)?);
        Ok(Arc::new(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            present,
            seen: ArcSwap::from_pointee(seen),
        }))
    }

    /// What the listener needs.
    ///
    /// # Errors
    /// If the cryptography refuses its own defaults.
    pub(crate) fn config(self: &Arc<Self>) -> io::Result<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        Ok(builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>))
    }

    /// Takes the files up if they changed. Of a pair that does not fit (one of them is still being
    /// written) the old one is kept, and it is tried again.
    fn look(&self) {
        let now = changed(&self.cert, &self.key);
        if **self.seen.load() == now {
            return;
        }
        match certified(&self.cert, &self.key) {
            Ok(fresh) => {
                self.present.store(Arc::new(fresh));
                self.seen.store(Arc::new(now));
                tracing::info!("The certificate {} is read again", self.cert.display());
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "The certificate changed and can't be used; the one before is kept"
            ),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present.load_full())
    }
}

fn changed(cert: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [cert, key].map(|path| fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn certified(cert: &Path, key: &Path) -> io::Result<CertifiedKey> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {why}", path.display()))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| wrong(cert, &e))?;
    if chain.is_empty() {
        return Err(wrong(cert, &"holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|e| wrong(key, &format!("does not fit the certificate: {e}")))
}
