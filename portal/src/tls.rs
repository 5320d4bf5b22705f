//! TLS: for those who call the portal, and for handlers that it calls.
//!
//! Only with a feature that names a provider of cryptography; without one there is nothing to
//! make a certificate with, and [`Tls`] has no values.

#[cfg(feature = "_tls")]
mod authority;
#[cfg(feature = "_tls")]
mod trust;

#[cfg(feature = "_tls")]
pub(crate) use authority::Tls;
#[cfg(feature = "_tls")]
pub(crate) use trust::{anybody, authority};

/// What there is without TLS: nothing.
#[cfg(not(feature = "_tls"))]
pub(crate) enum Tls {}

#[cfg(not(feature = "_tls"))]
impl Tls {
    pub(crate) async fn accept(
        &self,
        _socket: crate::socket::Socket,
    ) -> std::io::Result<crate::socket::Socket> {
        match *self {}
    }

    pub(crate) fn certify(&self, _names: &[String]) -> std::io::Result<()> {
        match *self {}
    }

    pub(crate) fn ca_pem(&self) -> &str {
        match *self {}
    }

    pub(crate) fn ca_file(&self) -> &std::path::Path {
        match *self {}
    }

    pub(crate) fn remove_file(&self) {
        match *self {}
    }
}

/// The provider, by its name, so that another crate's choice in this process changes nothing.
#[cfg(feature = "_tls")]
fn provider() -> std::sync::Arc<tokio_rustls::rustls::crypto::CryptoProvider> {
    #[cfg(feature = "ring")]
    use tokio_rustls::rustls::crypto::ring as provider;

    #[cfg(not(feature = "ring"))]
    use tokio_rustls::rustls::crypto::aws_lc_rs as provider;

    std::sync::Arc::new(provider::default_provider())
}
