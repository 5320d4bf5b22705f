//! TLS: a certificate authority of this portal's own, made at start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate for this machine, and the authority that vouches for it.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    ca_pem: String,
    /// Removed when the portal stops.
    ca_file: PathBuf,
}

impl Tls {
    /// Makes authority and certificate, and writes the authority's into a file named after `name`.
    pub(crate) fn make(host_names: &[String], name: &str) -> io::Result<Self> {
        let (config, ca_pem) = certify(host_names).map_err(io::Error::other)?;
        let ca_file = std::env::temp_dir().join(format!("bizproc-portal-{name}-ca.pem"));
        std::fs::write(&ca_file, &ca_pem)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem, ca_file })
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // Somebody may have tidied up before us.
        drop(std::fs::remove_file(&self.ca_file));
    }
}

type Certified = (ServerConfig, String);

fn certify(host_names: &[String]) -> Result<Certified, Box<dyn std::error::Error + Send + Sync>> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "bizproc-portal test authority");
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    names.extend_from_slice(host_names);
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "bizproc-portal");
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&leaf_key, &issuer)?;

    let config = ServerConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
        )?;
    Ok((config, ca_pem))
}

/// What the process has installed, or else what is linked by a feature. Given by hand: several may be
/// linked, and rustls does not choose then.
fn provider() -> io::Result<Arc<CryptoProvider>> {
    let installed = CryptoProvider::get_default().cloned();
    installed.or_else(linked).ok_or_else(|| {
        io::Error::other(
            "no TLS provider: enable the feature `aws-lc-rs` or `ring`, or install one",
        )
    })
}

#[cfg(feature = "aws-lc-rs")]
fn linked() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn linked() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
fn linked() -> Option<Arc<CryptoProvider>> {
    None
}
