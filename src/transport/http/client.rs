//! HTTP: timeouts, a limit for bodies, no redirects, no secrets in errors.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::crypto::CryptoProvider;

use super::departure::watched;
use super::redirect;
use super::resolver::Resolver;
use super::tls;
use super::trust::{self, Fingerprint};
use crate::error::TransportError;
use crate::protocol::{Cause, Pass, Reply};
use crate::transport::auth::is_loopback;
use crate::transport::caught::{Panicked, caught};

/// How portals are reached.
#[derive(Clone, Debug)]
pub(crate) struct HttpOptions {
    /// For DNS, the connection and TLS. Default: 10 s.
    pub(crate) connect_timeout: Duration,
    /// For the whole request. Default: 75 s, because a portal may take 60 s. There is no shorter limit for
    /// the answer, because it would make a longer `timeout` useless.
    pub(crate) timeout: Duration,
    /// How long an idle connection is kept. Default: 30 s, below the 60 to 75 s at which web
    /// servers close it: a request on a connection that is just being closed has an unknown
    /// outcome.
    pub(crate) idle_timeout: Duration,
    /// PEM certificates to trust in addition to those of the system. Default: none.
    pub(crate) extra_roots: Vec<u8>,
    /// Certificates to trust, whatever their issuer. Default: none.
    pub(crate) fingerprints: Vec<Fingerprint>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(75),
            idle_timeout: Duration::from_secs(30),
            extra_roots: Vec::new(),
            fingerprints: Vec::new(),
        }
    }
}

/// Largest answer. The answer to a batch of 50 has about 20 KiB.
pub(super) const ANSWER_BYTES: usize = 8 << 20;

/// The content type of REST calls.
pub(in crate::transport) const JSON: &str = "application/json";

/// HTTP clients. Each is created when it is first needed, because a loopback portal needs less than others.
#[derive(Clone)]
pub(in crate::transport) struct Clients {
    options: Arc<HttpOptions>,
    provider: Arc<CryptoProvider>,
    /// The first index: whether it is for loopback. The second: whether it needs TLS.
    made: Arc<[[OnceLock<Client>; 2]; 2]>,
}

impl Clients {
    /// # Errors
    /// When there is no TLS provider.
    pub(super) fn new(options: HttpOptions) -> Result<Self, TransportError> {
        let (options, provider) = (Arc::new(options), tls::provider()?);
        Ok(Clients { options, provider, made: Arc::default() })
    }

    /// Posts `body`, and returns the whole answer, or why there is none.
    pub(in crate::transport) async fn post(
        &self,
        url: Url,
        content_type: &str,
        body: Vec<u8>,
    ) -> Reply {
        self.post_if(url, content_type, body, Pass::default()).await
    }

    /// The same, if it may still leave when there is a connection.
    pub(in crate::transport) async fn post_if(
        &self,
        url: Url,
        content_type: &str,
        body: Vec<u8>,
        pass: Pass,
    ) -> Reply {
        let client = match self.client(&url) {
            Ok(client) => client,
            Err(error) => return Reply::NotSent(describe(&error)),
        };
        // Of the address, only this is no secret.
        let host = url.host_str().unwrap_or_default().to_owned();
        let (body, departure) = watched(body, pass);
        let sending = client
            .post(url)
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, JSON)
            .body(body)
            .send();
        let trouble = match caught(sending).await {
            Ok(Ok(response)) => return answer(response).await,
            Ok(Err(error)) => Cause(format!("{host}: {}", describe(&error.without_url()))),
            Err(Panicked) => Cause(PANICKED.to_owned()),
        };
        if departure.prevent() { Reply::NotSent(trouble) } else { Reply::Unanswered(trouble) }
    }

    /// The client for `url`.
    pub(super) fn client(&self, url: &Url) -> Result<Client, TransportError> {
        let (loopback, tls) = (is_loopback(url), url.scheme() == "https");
        let slot = &self.made[usize::from(loopback)][usize::from(tls)];
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = self.make(loopback, tls)?;
        Ok(slot.get_or_init(|| client).clone())
    }

    fn make(&self, loopback: bool, tls: bool) -> Result<Client, TransportError> {
        let options = &self.options;
        let trust = tls.then_some((&*options.extra_roots, &*options.fingerprints));
        let mut builder = Client::builder()
            .user_agent(concat!("tracing-bizproc/", env!("CARGO_PKG_VERSION")))
            // Also if no TLS is needed: reqwest panics if no provider is given and none is installed.
            .tls_backend_preconfigured(tls::config(self.provider.clone(), trust)?)
            // A redirect would send the secret to a host that nobody has approved.
            .redirect(reqwest::redirect::Policy::none())
            // Requests are repeated by the worker only.
            .retry(reqwest::retry::never())
            // Connecting is part of the request.
            .connect_timeout(options.connect_timeout.min(options.timeout))
            .timeout(options.timeout)
            .pool_idle_timeout(options.idle_timeout)
            .dns_resolver(Resolver::new());
        if loopback {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| TransportError::Client(error.without_url().into()))
    }
}

/// Reads what came back.
async fn answer(response: Response) -> Reply {
    if is_redirect(response.status()) {
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        return redirect::read(response.url(), location);
    }
    let status = response.status().as_u16();
    match caught(whole_body(response)).await {
        Ok(Ok(body)) => Reply::Http { status, body },
        Ok(Err(trouble)) => Reply::Unanswered(trouble),
        Err(Panicked) => Reply::Unanswered(Cause(PANICKED.to_owned())),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

async fn whole_body(mut response: Response) -> Result<Vec<u8>, Cause> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err(Cause("the answer is longer than 8 MiB".to_owned())),
            Ok(None) => return Ok(body),
            Err(error) => return Err(describe(&error.without_url())),
        }
    }
}

/// The message of the panic was printed by the panic hook of the process.
const PANICKED: &str = "the HTTP client panicked";

/// An error and its causes, in one line. The errors of the libraries name hosts and reasons. The caller has
/// removed the URL.
fn describe(error: &dyn Error) -> Cause {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {said}");
        }
        source = error.source();
    }
    if let Some(advice) = trust::advice(&text) {
        let _ = write!(text, " ({advice})");
    }
    Cause(text)
}
