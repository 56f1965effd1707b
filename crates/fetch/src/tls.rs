//! Whom a server is believed, and who iocast says it is.

use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::Failure;

/// TLS with these authorities, or the public ones, and this certificate of our own.
pub(crate) fn config(
    ca: Option<&str>,
    identity: Option<&(String, String)>,
) -> Result<TlsConfig, Failure> {
    let roots = match ca {
        None => RootCerts::WebPki,
        Some(pem) => RootCerts::new_with_certs(&certificates(pem)?),
    };
    let own = identity.map(|(certificate, key)| {
        let key = PrivateKey::from_pem(key.as_bytes())
            .map_err(|_| Failure::new("The private key of the certificate is no PEM."))?;
        Ok::<_, Failure>(ClientCert::new_with_certs(&certificates(certificate)?, key))
    });
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .client_cert(own.transpose()?)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build())
}

/// The certificates of a PEM text.
///
/// # Errors
/// If there is none in it.
pub(crate) fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, Failure> {
    let items = parse_pem(pem.as_bytes()).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    let found: Vec<_> = items.collect();
    if found.is_empty() {
        return Err(Failure::new("There is no certificate in the PEM text."));
    }
    Ok(found)
}
