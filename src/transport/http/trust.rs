//! Certificates that are trusted by their fingerprints, and advice for those that are not trusted.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Hash, HashAlgorithm};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme, SupportedCipherSuite};

use crate::error::TransportError;

/// The SHA-256 of a certificate. A server that has the key of this certificate is trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl FromStr for Fingerprint {
    type Err = ();

    /// 64 hexadecimal digits, with or without colons between the bytes, and what `openssl x509
    /// -fingerprint` writes before them.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.rsplit('=').next().unwrap_or_default().trim();
        let mut bytes = [0; 32];
        let mut rest = digits;
        for (n, byte) in bytes.iter_mut().enumerate() {
            if n > 0 {
                rest = rest.strip_prefix(':').unwrap_or(rest);
            }
            let (pair, tail) = rest.split_at_checked(2).ok_or(())?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
            rest = tail;
        }
        if rest.is_empty() { Ok(Fingerprint(bytes)) } else { Err(()) }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A verifier that accepts the certificates with these fingerprints, and lets `usual` check all others.
///
/// # Errors
/// When the provider cannot compute a fingerprint.
pub(super) fn or_fingerprints(
    usual: Arc<dyn ServerCertVerifier>,
    provider: &CryptoProvider,
    fingerprints: &[Fingerprint],
) -> Result<Arc<dyn ServerCertVerifier>, TransportError> {
    if fingerprints.is_empty() {
        return Ok(usual);
    }
    let sha256 = sha256(provider).ok_or(TransportError::NoFingerprints)?;
    Ok(Arc::new(ByFingerprint { usual, sha256, fingerprints: fingerprints.to_vec() }))
}

/// The provider's own SHA-256. Only an app that has chosen the cipher suites of its provider may have none.
fn sha256(provider: &CryptoProvider) -> Option<&'static dyn Hash> {
    let hash = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    };
    let mut hashes = provider.cipher_suites.iter().map(hash);
    hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
}

struct ByFingerprint {
    usual: Arc<dyn ServerCertVerifier>,
    sha256: &'static dyn Hash,
    fingerprints: Vec<Fingerprint>,
}

impl fmt::Debug for ByFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByFingerprint").field(&self.fingerprints).finish()
    }
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = self.sha256.hash(end_entity);
        if self.fingerprints.iter().any(|known| known.0.as_slice() == seen.as_ref()) {
            // Its names and dates do not matter. Below it is checked that the server has its key.
            return Ok(ServerCertVerified::assertion());
        }
        self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// What to do if a certificate was refused, if the text of the error says why.
pub(super) fn advice(error: &str) -> Option<&'static str> {
    if error.contains("UnknownIssuer") {
        Some(
            "the certificate's issuer is not trusted: add its root certificate with \
             `Builder::extra_roots`",
        )
    } else if error.contains("CaUsedAsEndEntity") {
        Some(
            "the certificate is a self-signed CA certificate, as `openssl req -x509` makes it: create \
             one with `basicConstraints=CA:FALSE`, or trust this one, on a test portal, with \
             `Builder::trust_certificate`",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::CipherSuite;

    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_openssl_prints_it() {
        let plain = "0a".repeat(32);
        let with_colons = vec!["0A"; 32].join(":");
        let expected = Fingerprint([10; 32]);
        for text in [
            plain.clone(),
            with_colons.clone(),
            format!("sha256 Fingerprint={with_colons}\n"),
            format!(" {plain} "),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            String::new(),
            "0a".repeat(31),
            "0a".repeat(33),
            "0g".repeat(32),
            "+a".repeat(32),
            format!(":{plain}"),
            format!("{with_colons}:"),
            // SHA-1, which `openssl` prints unless it is asked for another.
            "0a".repeat(20),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(()), "{text}");
        }
    }

    /// Regression: the fingerprints had no effect.
    #[test]
    fn a_provider_without_sha256_is_an_error() {
        let mut provider = (*super::super::tls::provider().unwrap()).clone();
        assert!(sha256(&provider).is_some());
        provider
            .cipher_suites
            .retain(|suite| suite.suite() == CipherSuite::TLS13_AES_256_GCM_SHA384);
        assert_eq!(provider.cipher_suites.len(), 1);
        let trust = (&b""[..], &[Fingerprint([10; 32])][..]);
        let config = super::super::tls::config(Arc::new(provider), Some(trust));
        assert!(matches!(config, Err(TransportError::NoFingerprints)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}", bytes in any::<[u8; 32]>()) {
            let _ = text.parse::<Fingerprint>();
            let fingerprint = Fingerprint(bytes);
            prop_assert_eq!(format!("{fingerprint:?}").parse(), Ok(fingerprint));
        }
    }
}
