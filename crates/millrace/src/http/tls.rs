//! TLS in front of HTTP: certificate and key, and what clients may choose.
//!
//! Invariant: TLS 1.2 and 1.3 only, by rustls; a client that offers protocols
//! is answered HTTP/2 or HTTP/1.1. What is wrong with the files is told at the
//! start, by setting and file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// What is offered, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS can't be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// No certificate can be had.
    #[error("setting tls_cert: {}: {why}", path.display())]
    Certificate { path: PathBuf, why: String },
    /// No key can be had.
    #[error("setting tls_key: {}: {why}", path.display())]
    Key { path: PathBuf, why: String },
    /// Both are there, and do not go together.
    #[error("settings tls_cert and tls_key: {why}")]
    Pair { why: String },
}

/// Accepts TLS with this chain of certificates, the server's own first, and
/// its key, both in PEM.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let no_cert = |why| TlsError::Certificate { path: cert.to_owned(), why };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).and_then(|certs| certs.collect());
    let chain = chain.map_err(|why| no_cert(of_pem(&why, "certificate")))?;
    if chain.is_empty() {
        return Err(no_cert(of_pem(&pem::Error::NoItemsFound, "certificate")));
    }
    let own_key = PrivateKeyDer::from_pem_file(key)
        .map_err(|why| TlsError::Key { path: key.to_owned(), why: of_pem(&why, "private key") })?;
    let pair = |error: rustls::Error| TlsError::Pair {
        why: match error {
            rustls::Error::InconsistentKeys(_) => {
                let (cert, key) = (cert.display(), key.display());
                format!("the key in {key} is not that of the first certificate in {cert}")
            }
            other => other.to_string(),
        },
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, own_key))
        .map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn of_pem(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(why) => why.to_string(),
        pem::Error::NoItemsFound => format!("there is no {what} in PEM form in it"),
        other => format!("it is not in PEM form: {other}"),
    }
}

#[cfg(test)]
pub(super) mod tests;
