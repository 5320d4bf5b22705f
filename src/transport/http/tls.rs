//! TLS: which cryptography provider is used, and which certificates are trusted.
//!
//! rustls chooses a provider by itself only if exactly one is linked into the process. A library that links
//! a second one makes `rustls::ClientConfig::builder()` panic in the app. So by default this crate links the
//! provider that rustls and reqwest use by default; features choose another one, or none. It never installs
//! a provider: a process has only one, and only the app should choose it.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::trust::{self, Fingerprint};
use crate::error::TransportError;

/// The provider that the app has installed. Otherwise the one that is linked by a feature.
///
/// # Errors
/// When there is none.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, TransportError> {
    let installed = CryptoProvider::get_default().cloned();
    installed.or_else(linked).ok_or(TransportError::NoTlsProvider)
}

#[cfg(feature = "aws-lc-rs")]
fn linked() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn linked() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn linked() -> Option<Arc<CryptoProvider>> {
    None
}

/// `trust`: root certificates to trust in addition to those of the system, as PEM, and fingerprints of
/// certificates to trust. `None`: no TLS is needed, so no root certificates are loaded. A test machine may
/// have none.
pub(super) fn config(
    provider: Arc<CryptoProvider>,
    trust: Option<(&[u8], &[Fingerprint])>,
) -> Result<ClientConfig, TransportError> {
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::Client(error.into()))?;
    let Some((extra_roots, fingerprints)) = trust else {
        return Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    };
    let verifier = Verifier::new_with_extra_roots(readable(extra_roots)?, provider.clone())
        .map_err(|error| TransportError::Roots(error.into()))?;
    let verifier = trust::or_fingerprints(Arc::new(verifier), &provider, fingerprints)?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificates in PEM, checked, so that a later error cannot come from them.
///
/// # Errors
/// When one cannot be read, or there is text without a certificate.
pub(super) fn readable(extra_roots: &[u8]) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let extra = CertificateDer::pem_slice_iter(extra_roots)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TransportError::ExtraRoots(error.into()))?;
    if extra.is_empty() && !extra_roots.is_empty() {
        return Err(TransportError::ExtraRoots("the text contains no certificate in PEM".into()));
    }
    let mut roots = RootCertStore::empty();
    for root in &extra {
        roots.add(root.clone()).map_err(|error| TransportError::ExtraRoots(error.into()))?;
    }
    Ok(extra)
}
