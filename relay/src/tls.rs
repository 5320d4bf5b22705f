//! TLS for the connection: rustls, with the provider and the trust that the main crate uses.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::PgError;

/// Makes connections secure. `None`: no connection needs TLS, so no certificate authorities are loaded.
#[derive(Clone)]
pub(crate) struct Tls(Option<TlsConnector>);

impl Tls {
    pub(crate) fn none() -> Self {
        Tls(None)
    }

    /// `extra_roots`: PEM certificates to trust in addition to those of the system.
    pub(crate) fn new(extra_roots: &[u8]) -> Result<Self, PgError> {
        let provider = CryptoProvider::get_default().cloned().or_else(linked).ok_or_else(|| {
            PgError::Tls(
                "no cryptography provider: switch on the feature `aws-lc-rs` or `ring`, or install one \
                 with `CryptoProvider::install_default`"
                    .to_owned(),
            )
        })?;
        let extra =
            CertificateDer::pem_slice_iter(extra_roots).collect::<Result<Vec<_>, _>>().map_err(
                |error| PgError::Tls(format!("the extra roots are not PEM: {error}: {AS_PEM}")),
            )?;
        if extra.is_empty() && !extra_roots.is_empty() {
            return Err(PgError::Tls(format!(
                "there is no certificate in the extra roots: {AS_PEM}"
            )));
        }
        let verifier =
            Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(|error| {
                PgError::Tls(format!(
                    "{error}: install the certificates of the system (for example the package \
                     ca-certificates), or add your own"
                ))
            })?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                PgError::Tls(format!(
                    "{error}: use a cryptography provider that supports TLS 1.2 or 1.3"
                ))
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Tls(Some(TlsConnector::from(Arc::new(config)))))
    }
}

/// What extra roots have to be.
const AS_PEM: &str = "give certificates as text, from BEGIN CERTIFICATE to END CERTIFICATE";

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

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = ToHost;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<ToHost> {
        Ok(ToHost { tls: self.clone(), host: host.to_owned() })
    }
}

/// TLS to one host.
pub(crate) struct ToHost {
    tls: Tls,
    host: String,
}

impl<S> TlsConnect<S> for ToHost
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let connector = self.tls.0.ok_or_else(|| io::Error::other("TLS is not set up"))?;
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(Stream(Box::new(connector.connect(name, stream).await?)))
        })
    }
}

/// A secure connection.
pub(crate) struct Stream<S>(Box<TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Stream<S> {
    /// Channel binding would tie the proof of the password to the certificate. It is not needed, because the
    /// certificate is always verified.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
