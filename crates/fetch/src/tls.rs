//! Whom a server is believed, and who iocast says it is.

use std::sync::Arc;

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
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
        check_identity(certificate, key)?;
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

/// TLS with any server, for questions on this machine that carry no secret.
pub(crate) fn unchecked() -> TlsConfig {
    TlsConfig::builder()
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}

/// Checks that a private key goes with a certificate.
///
/// # Errors
/// If one of them can't be read, or they belong to two.
pub(crate) fn check_identity(certificate: &str, key: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::new(why);
    let chain: Vec<CertificateDer<'static>> =
        certificates(certificate)?.iter().map(|one| one.der().to_vec().into()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| wrong("The private key of the certificate is no PEM."))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map(|_| ())
        .map_err(|_| wrong("The private key does not go with the certificate."))
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
