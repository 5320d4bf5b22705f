//! Options about requests: their size and rate, how they are tried again, connections, and certificates.

use std::time::Duration;

use super::Builder;
use crate::transport::http::Fingerprint;
use crate::worker::rate::Quota;
use crate::worker::retry::UnknownOutcome;

impl Builder {
    /// Largest request body, in bytes. Default: 1,000,000. At least 500,000, so that one entry
    /// always fits.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A proxy before the portal takes half a megabyte.
    /// let builder = builder.request_bytes(500_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.request_bytes = bytes;
        self
    }

    /// The portal's limit of requests. Default: [`Quota::Standard`].
    ///
    /// ```
    /// use tracing_bizproc::config::Quota;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Three replicas share the limit of one address.
    /// let builder = builder.quota(Quota::Custom { per_second: 0.6, burst: 13 });
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    /// Server time that the portal allows for a method in ten minutes ("operating" in the REST API
    /// limits). Default: 420 s, the smallest known limit. A refusal lowers it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Leave half of it to the other calls of the app.
    /// let builder = builder.operating_limit(Duration::from_secs(210));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn operating_limit(mut self, limit: Duration) -> Self {
        self.operating_limit = limit;
        self
    }

    /// How long it may take to connect, DNS and TLS included. Default: 10 s. It is part of
    /// `request_timeout`, so it is never longer.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.connect_timeout(Duration::from_secs(3));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self
    }

    /// How long a request may take, from the connection to the last byte of the answer. Default: 75 s,
    /// because the portal stops its own work after 60 s. A request that is given up has an unknown outcome,
    /// unless its body was not sent yet.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // A portal that does not answer in 20 s is asked again.
    /// let builder = builder.request_timeout(Duration::from_secs(20));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.http.timeout = timeout;
        self
    }

    /// Certificates to trust in addition to those of the system, as PEM. Default: none.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let builder = tracing_bizproc::disabled();
    /// // The portal has a certificate of the company's own authority.
    /// let builder = builder.extra_roots(std::fs::read("company-ca.pem")?);
    /// # drop(builder);
    /// # Ok(())
    /// # }
    /// ```
    pub fn extra_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.extra_roots = pem.into();
        self
    }

    /// Trusts the certificate with this SHA-256 fingerprint, whatever its issuer, names and dates: for a
    /// test portal with a self-signed certificate. Can be called several times, to trust several
    /// certificates. Default: none.
    ///
    /// `openssl x509 -in box.pem -noout -fingerprint -sha256` prints it. Run this on the portal's own
    /// machine: over the network, somebody could give you another certificate.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
    /// let builder = tracing_bizproc::builder(webhook).trust_certificate(
    ///     "9F:86:D0:81:88:4C:7D:65:9A:2F:EA:A0:C5:5A:D0:15:\
    ///      A3:BF:4F:1B:2B:0B:82:2C:D1:5D:6C:15:B0:F0:0A:08",
    /// );
    /// # let (layer, guard) = builder.build()?;
    /// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn trust_certificate(mut self, fingerprint: impl AsRef<str>) -> Self {
        match fingerprint.as_ref().parse::<Fingerprint>() {
            Ok(fingerprint) => self.http.fingerprints.push(fingerprint),
            // `build` reports it, as for every option.
            Err(()) => self.fingerprints_are_right = false,
        }
        self
    }

    /// How long the delivery of a line is tried. After that the line is lost. Default: 1 hour. Must be
    /// longer than `max_hold`. Not with a spool: set the `max_age` of the spool then. Both together are an error of
    /// `build`. With `publish_to`, it is how long a line waits for the journal, and the default is 24 hours.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // What is ten minutes late is of no use.
    /// let builder = builder.max_age(Duration::from_secs(600)).max_hold(Duration::from_secs(60));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// What happens to an entry if it is unknown whether the portal wrote it. Default:
    /// [`UnknownOutcome::Repeat`].
    ///
    /// ```
    /// use tracing_bizproc::config::UnknownOutcome;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Rather a gap than a line that may stand there twice.
    /// let builder = builder.on_unknown_outcome(UnknownOutcome::GiveUp);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn on_unknown_outcome(mut self, choice: UnknownOutcome) -> Self {
        self.retry.on_unknown = choice;
        self
    }
}
