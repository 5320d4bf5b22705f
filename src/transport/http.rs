//! The transport over HTTP: timeouts, body cap, no redirect, nothing secret in errors.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::auth::{Credentials, Grants, Tokens, Webhook, is_loopback};
use super::{Refreshed, Transport};
use crate::error::TransportError;
use crate::line::PortalId;
use crate::protocol::reply::Code;
use crate::protocol::{Method, Reply, Request, Trouble, command};

/// How portals are reached.
#[derive(Clone, Debug)]
pub(crate) struct HttpOptions {
    /// For the address, the connection and TLS. Default: 10 s.
    pub(crate) connect_timeout: Duration,
    /// For the next byte of an answer. Default: 65 s, since the portal gives a request up to 60 s.
    pub(crate) read_timeout: Duration,
    /// For all of a request. Default: 75 s.
    pub(crate) timeout: Duration,
    /// How long an idle connection is kept. Default: 30 s, below the 60 to 75 s at which web
    /// servers close it: a request on a connection that is just being closed has an unknown
    /// outcome.
    pub(crate) idle_timeout: Duration,
    /// PEM certificates to trust beside the system's. Default: none.
    pub(crate) extra_roots: Vec<u8>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(65),
            timeout: Duration::from_secs(75),
            idle_timeout: Duration::from_secs(30),
            extra_roots: Vec::new(),
        }
    }
}

/// Most bytes of an answer. A batch of 50 answers with about 20 KiB.
const ANSWER_BYTES: usize = 8 << 20;

/// Calls portals.
#[derive(Clone)]
pub(crate) struct Http {
    clients: Clients,
    caller: Caller,
}

/// By whose leave.
#[derive(Clone)]
enum Caller {
    Webhook(Arc<Webhook>),
    OAuth(Arc<Grants>),
}

impl Http {
    /// Sets up everything that can fail before the first request: it sends nothing.
    ///
    /// # Errors
    /// When there are no certificate roots for an https portal, or the extra ones are none.
    pub(crate) fn new(
        credentials: impl Into<Credentials>,
        options: HttpOptions,
    ) -> Result<Self, TransportError> {
        let clients = Clients::new(options);
        let caller = match credentials.into() {
            Credentials::Webhook(webhook) => {
                clients.client(&webhook.method(Method::Batch))?;
                Caller::Webhook(Arc::new(webhook))
            }
            Credentials::OAuth(oauth) => {
                let grants = Grants::new(oauth);
                clients.client(grants.server())?;
                Caller::OAuth(Arc::new(grants))
            }
        };
        Ok(Http { clients, caller })
    }

    /// Takes over tokens that came with a verified request, and says whether they are used now.
    ///
    /// # Errors
    /// When they could not be stored. They are used all the same.
    pub(crate) async fn accept(&self, portal: &PortalId, tokens: Tokens) -> Result<bool, Trouble> {
        match &self.caller {
            Caller::Webhook(_) => Ok(false),
            Caller::OAuth(grants) => grants.accept(portal, tokens).await,
        }
    }
}

impl Transport for Http {
    async fn call(&self, portal: Option<&PortalId>, request: Request) -> Reply {
        let Request { method, mut body, .. } = request;
        let url = match &self.caller {
            Caller::Webhook(webhook) if portal.is_none() => webhook.method(method),
            Caller::Webhook(_) => {
                return Reply::NotSent(Trouble("no credentials for this portal".to_owned()));
            }
            Caller::OAuth(grants) => match grants.access(portal, method).await {
                Ok((url, access_token)) => {
                    command::authorize(&mut body, &access_token);
                    url
                }
                Err(trouble) => return Reply::NotSent(trouble),
            },
        };
        self.clients.post(url, JSON, body).await
    }

    async fn refresh(&self, portal: Option<&PortalId>) -> Refreshed {
        match &self.caller {
            Caller::Webhook(_) => Refreshed::Denied(Code("a webhook has no tokens".to_owned())),
            Caller::OAuth(grants) => grants.refresh(portal, &self.clients).await,
        }
    }

    async fn relocate(&self, portal: Option<&PortalId>, host: &str) -> Refreshed {
        match &self.caller {
            Caller::Webhook(_) => Refreshed::Denied(Code("a webhook has one host".to_owned())),
            Caller::OAuth(grants) => grants.relocate(portal, host).await,
        }
    }
}

/// The body's type for REST calls.
pub(super) const JSON: &str = "application/json";

/// HTTP clients, made when first needed: what a loopback portal needs is less than what one out
/// there needs.
#[derive(Clone)]
pub(super) struct Clients {
    options: Arc<HttpOptions>,
    /// By whether it is for loopback, then by whether it needs TLS.
    made: Arc<[[OnceLock<Client>; 2]; 2]>,
}

impl Clients {
    pub(super) fn new(options: HttpOptions) -> Self {
        Clients { options: Arc::new(options), made: Arc::default() }
    }

    /// Posts `body`, and reads the whole answer or says why there is none.
    pub(super) async fn post(&self, url: Url, content_type: &str, body: Vec<u8>) -> Reply {
        let client = match self.client(&url) {
            Ok(client) => client,
            Err(error) => return Reply::NotSent(describe(&error)),
        };
        let sent = client
            .post(url)
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, JSON)
            .body(body)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                let not_sent = error.is_connect() || error.is_builder();
                let trouble = describe(&error.without_url());
                return if not_sent { Reply::NotSent(trouble) } else { Reply::Unanswered(trouble) };
            }
        };
        if let Some(host) = moved(&response) {
            return Reply::Moved { host };
        }
        let status = response.status().as_u16();
        match whole_body(response).await {
            Ok(body) => Reply::Http { status, body },
            Err(trouble) => Reply::Unanswered(trouble),
        }
    }

    /// The client for `url`.
    pub(super) fn client(&self, url: &Url) -> Result<Client, TransportError> {
        let (loopback, tls) = (is_loopback(url), url.scheme() == "https");
        let slot = &self.made[usize::from(loopback)][usize::from(tls)];
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = make(&self.options, loopback, tls)?;
        Ok(slot.get_or_init(|| client).clone())
    }
}

fn make(options: &HttpOptions, loopback: bool, tls: bool) -> Result<Client, TransportError> {
    let mut builder = Client::builder()
        .user_agent(concat!("tracing-bizproc/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls_config(options, tls)?)
        // A redirect would carry the secret to a host that nobody has approved of.
        .redirect(reqwest::redirect::Policy::none())
        // Whether a request is repeated is decided in one place, and not here.
        .retry(reqwest::retry::never())
        // Below the timeout of the whole, so that what was never sent is known as such.
        .connect_timeout(options.connect_timeout.min(options.timeout))
        .read_timeout(options.read_timeout)
        .timeout(options.timeout)
        .pool_idle_timeout(options.idle_timeout);
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| TransportError::Client(error.without_url().into()))
}

/// The provider is given by hand and not installed, since a process has only one and it is the
/// app's to choose. ring, because it builds in half the time of aws-lc-rs and needs no CMake.
fn tls_config(options: &HttpOptions, tls: bool) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::Client(error.into()))?;
    // Without TLS no roots are looked for: a test machine may have none.
    if !tls {
        return Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    let extra = CertificateDer::pem_slice_iter(&options.extra_roots)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TransportError::ExtraRoots(error.into()))?;
    if extra.is_empty() && !options.extra_roots.is_empty() {
        return Err(TransportError::ExtraRoots("no certificate in it".into()));
    }
    let verifier = Verifier::new_with_extra_roots(extra, provider)
        .map_err(|error| TransportError::Roots(error.into()))?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Whether the answer is a redirect, and to which host (and port, where one is named).
fn moved(response: &Response) -> Option<Option<String>> {
    let elsewhere = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    elsewhere.then(|| {
        let location = response.headers().get(LOCATION)?.to_str().ok()?;
        let target = response.url().join(location).ok()?;
        let host = target.host_str()?;
        Some(match target.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        })
    })
}

async fn whole_body(mut response: Response) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err(Trouble("the answer is longer than 8 MiB".to_owned())),
            Ok(None) => return Ok(body),
            Err(error) => return Err(describe(&error.without_url())),
        }
    }
}

/// An error and what caused it, in one line. The errors of the libraries below name hosts and
/// reasons; the URL has been taken off by the caller.
fn describe(error: &dyn Error) -> Trouble {
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
    Trouble(text)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::transport::stand_in::read_request;

    const CODE: &str = "s3cr3tc0de";

    /// Serves one connection with `serve`, on a thread of its own.
    fn server<T: Send + 'static>(
        serve: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> (u16, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, thread::spawn(move || serve(listener.accept().unwrap().0)))
    }

    /// Answers one request with `answer` and closes the connection.
    fn answering(answer: impl Into<Vec<u8>>) -> (u16, JoinHandle<String>) {
        let answer = answer.into();
        server(move |mut stream| {
            let request = read_request(&mut stream);
            // The client may have hung up: that is what some tests are about.
            let _ = stream.write_all(&answer);
            request
        })
    }

    fn quick() -> HttpOptions {
        HttpOptions { timeout: Duration::from_secs(20), ..HttpOptions::default() }
    }

    fn call(scheme: &str, port: u16, options: HttpOptions) -> Reply {
        let webhook = Webhook::new(format!("{scheme}://127.0.0.1:{port}/rest/1/{CODE}/")).unwrap();
        let request =
            Request { method: Method::Batch, body: b"{\"cmd\":{}}".to_vec(), commands: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(Http::new(webhook, options).unwrap().call(None, request));
        assert!(!format!("{reply:?}").contains(CODE), "{reply:?}");
        reply
    }

    #[test]
    fn a_call_is_posted_as_json_and_its_answer_read_whole() {
        let (port, served) =
            answering("HTTP/1.1 401 No\r\nContent-Length: 15\r\n\r\n{\"error\":\"abc\"}");
        let reply = call("http", port, quick());
        let Reply::Http { status: 401, body } = reply else { panic!("{reply:?}") };
        assert_eq!(body, b"{\"error\":\"abc\"}");
        let request = served.join().unwrap();
        assert!(request.starts_with(&format!("POST /rest/1/{CODE}/batch HTTP/1.1\r\n")));
        assert!(request.to_lowercase().contains("content-type: application/json\r\n"));
        assert!(request.ends_with("\r\n\r\n{\"cmd\":{}}"));
    }

    /// Runs the test above in a process whose environment names a proxy that is not there, and no
    /// certificates.
    #[test]
    fn loopback_needs_no_proxy_and_no_certificates() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg("a_call_is_posted_as_json_and_its_answer_read_whole");
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"] {
            child.env(name, "http://127.0.0.1:9");
        }
        child.env("NO_PROXY", "").env("no_proxy", "");
        child.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn no_connection_means_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let reply = call("http", port, quick());
        assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    }

    #[test]
    fn no_whole_answer_means_an_unknown_outcome() {
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; ANSWER_BYTES + 1]].concat();
        for answer in [
            b"".to_vec(),
            b"HTTP/1.1 200".to_vec(),
            b"nonsense\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\":".to_vec(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
            endless,
        ] {
            let (port, served) = answering(answer);
            let reply = call("http", port, quick());
            assert!(matches!(reply, Reply::Unanswered(_)), "{reply:?}");
            served.join().unwrap();
        }
    }

    #[test]
    fn a_server_that_never_answers_is_left_at_the_timeout() {
        for patience in [
            HttpOptions { timeout: Duration::from_millis(50), ..quick() },
            HttpOptions { read_timeout: Duration::from_millis(50), ..quick() },
        ] {
            let (port, served) = server(|mut stream| {
                read_request(&mut stream);
                // Until the client hangs up.
                stream.read(&mut [0]).unwrap_or(0)
            });
            let reply = call("http", port, patience);
            assert!(matches!(reply, Reply::Unanswered(_)), "{reply:?}");
            assert_eq!(served.join().unwrap(), 0);
        }
    }

    #[test]
    fn a_redirect_is_told_and_not_followed() {
        for (location, expected) in [
            ("Location: https://new.example/rest/1/s3cr3tc0de/batch\r\n", Some("new.example")),
            ("Location: https://new.example:444/\r\n", Some("new.example:444")),
            ("Location: //new.example/\r\n", Some("new.example")),
            ("Location: https://[broken/\r\n", None),
            ("", None),
        ] {
            for status in [301, 302, 303, 307, 308] {
                let (port, served) = answering(format!(
                    "HTTP/1.1 {status} Moved\r\n{location}Content-Length: 0\r\n\r\n"
                ));
                let reply = call("http", port, quick());
                let Reply::Moved { host } = reply else { panic!("{status}: {reply:?}") };
                assert_eq!(host.as_deref(), expected);
                served.join().unwrap();
            }
        }
    }

    #[test]
    fn tls_is_checked_against_the_roots_given() {
        let root_key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new([]).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(root, root_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
        let tls = Arc::new(tls);
        let serve = || {
            let tls = Arc::clone(&tls);
            server(move |stream| {
                let session = rustls::ServerConnection::new(tls).unwrap();
                let mut stream = rustls::StreamOwned::new(session, stream);
                let request = read_request(&mut stream);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                let _ = stream.flush();
                request
            })
        };
        let trusting = |pem: String| HttpOptions { extra_roots: pem.into_bytes(), ..quick() };

        let (port, served) = serve();
        let reply = call("https", port, trusting(root_pem.clone()));
        assert!(matches!(reply, Reply::Http { status: 200, .. }), "{reply:?}");
        assert!(served.join().unwrap().starts_with("POST /rest/1/"));

        // Signed by somebody else: nothing is sent, the secret least of all.
        let stranger = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
        let (port, served) = serve();
        let reply = call("https", port, trusting(stranger));
        assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
        assert_eq!(served.join().unwrap(), "");

        // No TLS at all.
        let (port, served) = server(|mut stream| stream.write_all(b"HTTP/1.1 400 Plain\r\n\r\n"));
        let reply = call("https", port, trusting(root_pem));
        assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
        served.join().unwrap().unwrap();
    }

    #[test]
    fn extra_roots_that_are_none_are_an_error() {
        let webhook = Webhook::new(format!("https://127.0.0.1/rest/1/{CODE}/")).unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        for pem in ["no certificate", broken] {
            let options = HttpOptions { extra_roots: pem.into(), ..quick() };
            let made = Http::new(webhook.clone(), options);
            assert!(matches!(made, Err(TransportError::ExtraRoots(_))), "{pem}");
        }
    }
}
