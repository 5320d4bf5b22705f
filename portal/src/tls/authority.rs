//! The portal's own certificate authority, created at the start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use super::provider;
use crate::socket::Socket;

type Certified<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A certificate for this machine, and its authority.
pub(crate) struct Tls {
    issuer: Issuer<'static, KeyPair>,
    /// Another one once the portal has another name.
    config: RwLock<Arc<ServerConfig>>,
    ca_pem: String,
    /// Removed when the portal stops.
    ca_file: PathBuf,
}

impl Tls {
    /// Makes authority and certificate, and writes the authority's into a file named after `name`.
    pub(crate) fn make(host_names: &[String], name: &str) -> io::Result<Self> {
        let (issuer, ca_pem) = authority().map_err(io::Error::other)?;
        let config = leaf(&issuer, host_names).map_err(io::Error::other)?;
        let ca_file = std::env::temp_dir().join(format!("bizproc-portal-{name}-ca.pem"));
        std::fs::write(&ca_file, &ca_pem)?;
        Ok(Self { issuer, config: RwLock::new(Arc::new(config)), ca_pem, ca_file })
    }

    /// Another certificate, for these names.
    pub(crate) fn certify(&self, host_names: &[String]) -> io::Result<()> {
        let config = leaf(&self.issuer, host_names).map_err(io::Error::other)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    pub(crate) async fn accept(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        TlsAcceptor::from(config).accept(socket).await
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    pub(crate) fn remove_file(&self) {
        // The file may have been removed already.
        drop(std::fs::remove_file(&self.ca_file));
    }
}

fn authority() -> Certified<(Issuer<'static, KeyPair>, String)> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "bizproc-portal test authority");
    let key = KeyPair::generate()?;
    let pem = ca.self_signed(&key)?.pem();
    Ok((Issuer::new(ca, key), pem))
}

fn leaf(issuer: &Issuer<'_, KeyPair>, host_names: &[String]) -> Certified<ServerConfig> {
    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    names.extend_from_slice(host_names);
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "bizproc-portal");
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, issuer)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    Ok(config)
}
