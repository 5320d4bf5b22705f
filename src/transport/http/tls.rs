//! TLS: which cryptography provider is used, and which certificates are trusted.
//!
//! rustls chooses a provider for the app by itself only where exactly one is linked into the process.
//! A library that links a second one makes `rustls::ClientConfig::builder()` panic in the app's own
//! code. So this crate links the one that rustls and reqwest use by default, and another or none where
//! the app asks for that by a feature. It never installs one: a process has only one, and that is the
//! app's to choose.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::trust::{self, Fingerprint};
use crate::error::TransportError;

/// The provider that the app has installed, or else the one that is linked by a feature.
///
/// # Errors
/// When there is neither.
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

/// `trust`: PEM certificates of roots to trust beside the system's, and fingerprints of certificates to
/// trust as they are. `None`: nothing that needs TLS is called, so no roots are looked for. A test
/// machine may have none.
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
    let extra = CertificateDer::pem_slice_iter(extra_roots)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TransportError::ExtraRoots(error.into()))?;
    if extra.is_empty() && !extra_roots.is_empty() {
        return Err(TransportError::ExtraRoots("the text contains no certificate in PEM".into()));
    }
    // Checked here, so that an error of the verifier below cannot come from these certificates.
    let mut readable = RootCertStore::empty();
    for root in &extra {
        readable.add(root.clone()).map_err(|error| TransportError::ExtraRoots(error.into()))?;
    }
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone())
        .map_err(|error| TransportError::Roots(error.into()))?;
    let verifier = trust::or_fingerprints(Arc::new(verifier), &provider, fingerprints);
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
