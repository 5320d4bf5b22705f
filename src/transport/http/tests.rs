#![expect(clippy::disallowed_methods, reason = "how long a call took by the paused clock")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::ANSWER_BYTES;
use super::*;
use crate::protocol::Pass;
use crate::transport::stand_in::{Server, read_request};

const CODE: &str = "s3cr3tc0de";

/// Serves one connection with `serve`, on its own thread.
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
        // In some tests, the client has closed the connection.
        let _ = stream.write_all(&answer);
        request
    })
}

fn quick() -> HttpOptions {
    HttpOptions { timeout: Duration::from_secs(20), ..HttpOptions::default() }
}

fn http(scheme: &str, host: &str, options: HttpOptions) -> Http {
    let webhook = Webhook::new(format!("{scheme}://{host}/rest/1/{CODE}/")).unwrap();
    Http::new(webhook, options).unwrap()
}

fn batch() -> Request {
    Request {
        method: Method::Batch,
        body: b"{\"cmd\":{}}".to_vec(),
        commands: 0,
        pass: Pass::default(),
    }
}

fn call(scheme: &str, port: u16, options: HttpOptions) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = format!("127.0.0.1:{port}");
    let reply = runtime.block_on(http(scheme, &host, options).call(None, batch()));
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
    let head = request.to_lowercase();
    assert!(head.contains("content-type: application/json\r\n"));
    assert!(head.contains("content-length: 10\r\n"), "in one piece, which every server reads");
    assert!(request.ends_with("\r\n\r\n{\"cmd\":{}}"));
}

/// Runs the first test in a process with a proxy that does not exist, and without certificates.
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
fn a_webhook_serves_spans_that_name_its_portal_or_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (own, other) = (PortalId::from("own"), PortalId::from("other"));
    for (of, named, served) in [
        (None, None, true),
        (None, Some(&own), false),
        (Some("own"), None, true),
        (Some("own"), Some(&own), true),
        (Some("own"), Some(&other), false),
    ] {
        let stand_in = Server::new(|_| (200, String::new(), "{}".to_owned()));
        let url = format!("http://{}/rest/1/{CODE}/", stand_in.host());
        let mut webhook = Webhook::new(url).unwrap();
        if let Some(portal) = of {
            webhook = webhook.for_portal(portal);
        }
        let request = Request {
            method: Method::Batch,
            body: b"{}".to_vec(),
            commands: 0,
            pass: Pass::default(),
        };
        let reply = runtime.block_on(Http::new(webhook, quick()).unwrap().call(named, request));
        assert_eq!(matches!(reply, Reply::Http { .. }), served, "{of:?} {named:?} {reply:?}");
        assert_eq!(matches!(reply, Reply::UnknownPortal(_)), !served, "{of:?} {named:?}");
        assert_eq!(stand_in.requests().len(), usize::from(served));
    }
}

#[test]
fn no_connection_means_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let reply = call("http", port, quick());
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
}

/// If the timeout passes while the client connects, the error does not say so.
#[test]
fn a_timeout_before_the_body_is_sent_means_not_sent() {
    let (port, served) = server(|mut stream| {
        // Accepts the connection, and never answers.
        let mut hello = [0; 1024];
        while stream.read(&mut hello).unwrap_or(0) > 0 {}
    });
    let pem = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
    let timeout = Duration::from_millis(50);
    let options =
        HttpOptions { connect_timeout: timeout, timeout, extra_roots: pem.into_bytes(), ..quick() };
    let reply = call("https", port, options);
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    served.join().unwrap();
}

/// Regression: if no thread could be started, the usual resolver panicked, and the outcome of the request
/// was treated as unknown.
#[test]
fn without_a_thread_for_dns_nothing_is_sent() {
    const CHILD: &str = "TRACING_BIZPROC_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(http("http", "localhost:9", quick()).call(None, batch()));
        let Reply::NotSent(trouble) = reply else { panic!("{reply:?}") };
        return assert!(
            trouble.to_string().contains("no thread could be started to resolve the host"),
            "{trouble}"
        );
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["without_a_thread_for_dns_nothing_is_sent", "--test-threads=1"])
        // No thread can be started with a stack of this size.
        .env("RUST_MIN_STACK", "1152921504606846976")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_host_is_looked_up() {
    let stand_in = Server::new(|_| (200, String::new(), "{}".to_owned()));
    let port = stand_in.host().rsplit(':').next().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = http("http", &format!("localhost:{port}"), quick());
    let reply = runtime.block_on(http.call(None, batch()));
    assert!(matches!(reply, Reply::Http { status: 200, .. }), "{reply:?}");
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

/// Regression: a fixed limit of 65 s for the next byte ended a request before a longer `request_timeout`.
///
/// The clock is paused: it jumps to the next timeout if nothing else can happen.
#[test]
fn a_request_without_an_answer_ends_at_its_timeout_and_not_before() {
    for timeout in [1, 70, 120, 3_600].map(Duration::from_secs) {
        let (port, served) = server(|mut stream| {
            read_request(&mut stream);
            // Until the client closes the connection.
            stream.read(&mut [0]).unwrap_or(0)
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let (reply, took) = runtime.block_on(async {
            let start = tokio::time::Instant::now();
            let options = HttpOptions { timeout, ..HttpOptions::default() };
            let http = http("http", &format!("127.0.0.1:{port}"), options);
            (http.call(None, batch()).await, start.elapsed())
        });
        drop(runtime);
        assert!(matches!(reply, Reply::Unanswered(_)), "{reply:?}");
        assert!(took >= timeout && took < timeout + Duration::from_secs(1), "{took:?}");
        assert_eq!(served.join().unwrap(), 0);
    }
}

#[test]
fn a_redirect_is_reported_and_not_followed() {
    for (location, part) in [
        ("Location: https://new.example/rest/1/s3cr3tc0de/batch\r\n", "moved to new.example:"),
        ("Location: https://new.example:444/\r\n", "moved to new.example:444:"),
        ("Location: //new.example/\r\n", "moved to new.example:"),
        ("Location: https://127.0.0.1/\r\n", "wants https"),
        ("Location: /login\r\n", "licence"),
        ("Location: https://[broken/\r\n", "not to a valid address"),
        ("", "not to a valid address"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let (port, served) = answering(format!(
                "HTTP/1.1 {status} Moved\r\n{location}Content-Length: 0\r\n\r\n"
            ));
            let reply = call("http", port, quick());
            let Reply::Redirected(told) = reply else { panic!("{status}: {reply:?}") };
            assert!(told.0.contains(part), "{location}: {told}");
            served.join().unwrap();
        }
    }
}

/// Answers one request over TLS with this certificate.
fn serving_tls(
    certificate: &rustls::pki_types::CertificateDer<'_>,
    key: &rcgen::KeyPair,
) -> (u16, JoinHandle<String>) {
    let tls = rustls::ServerConfig::builder_with_provider(super::tls::provider().unwrap())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone().into_owned()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    server(move |stream| {
        let session = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        let request = read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let _ = stream.flush();
        request
    })
}

/// Regression: the error was "CaUsedAsEndEntity", without advice. `openssl req -x509` makes such certificates.
#[test]
fn only_the_certificate_with_the_fingerprint_is_trusted() {
    let made = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (parameters.self_signed(&key).unwrap(), key)
    };
    let fingerprint = |certificate: &rcgen::Certificate| {
        let digest = sha256(certificate.der());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().parse().unwrap()
    };
    let (own, key) = made("127.0.0.1");
    let (other, other_key) = made("127.0.0.1");
    // The name in the certificate does not matter.
    let (odd, odd_key) = made("box.example");
    let options = HttpOptions {
        fingerprints: vec![fingerprint(&own), fingerprint(&odd)],
        extra_roots: own.pem().into_bytes(),
        ..quick()
    };
    for (certificate, key, trusted) in
        [(&own, &key, true), (&odd, &odd_key, true), (&other, &other_key, false)]
    {
        let (port, served) = serving_tls(certificate.der(), key);
        let reply = call("https", port, options.clone());
        assert_eq!(matches!(reply, Reply::Http { status: 200, .. }), trusted, "{reply:?}");
        assert_eq!(served.join().unwrap().is_empty(), !trusted, "no secret is sent");
    }
    // Without the option, its own root does not help.
    let (port, served) = serving_tls(own.der(), &key);
    let reply = call("https", port, HttpOptions { fingerprints: Vec::new(), ..options });
    let Reply::NotSent(trouble) = reply else { panic!("{reply:?}") };
    assert!(trouble.0.contains("trust_certificate"), "{trouble}");
    assert_eq!(served.join().unwrap(), "");
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let provider = super::tls::provider().unwrap();
    let suites = provider.cipher_suites.iter().filter_map(|suite| suite.tls13());
    let mut hashes = suites.map(|suite| suite.common.hash_provider);
    let sha256 = hashes.find(|hash| hash.output_len() == 32);
    sha256.expect("TLS 1.3 has a suite with SHA-256").hash(bytes).as_ref().to_vec()
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
    let serve = || serving_tls(leaf.der(), &key);
    let trusting = |pem: String| HttpOptions { extra_roots: pem.into_bytes(), ..quick() };

    let (port, served) = serve();
    let reply = call("https", port, trusting(root_pem.clone()));
    assert!(matches!(reply, Reply::Http { status: 200, .. }), "{reply:?}");
    assert!(served.join().unwrap().starts_with("POST /rest/1/"));

    // Signed by another CA: nothing is sent.
    let mut stranger = rcgen::CertificateParams::new([]).unwrap();
    stranger.distinguished_name.push(rcgen::DnType::OrganizationName, "Stranger");
    let stranger = stranger.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    let (port, served) = serve();
    let reply = call("https", port, trusting(stranger));
    let Reply::NotSent(trouble) = reply else { panic!("{reply:?}") };
    assert!(trouble.0.contains("UnknownIssuer") && trouble.0.contains("extra_roots"), "{trouble}");
    assert_eq!(served.join().unwrap(), "");

    // No TLS at all.
    let (port, served) = server(|mut stream| stream.write_all(b"HTTP/1.1 400 Plain\r\n\r\n"));
    let reply = call("https", port, trusting(root_pem));
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    served.join().unwrap().unwrap();
}

/// Regression: they were read only when the first https portal was called, and then each call failed.
#[test]
fn invalid_extra_roots_are_an_error_with_all_credentials() {
    let map: std::collections::HashMap<PortalId, Webhook> = Default::default();
    let loopback = Webhook::new(format!("http://127.0.0.1:9/rest/1/{CODE}/")).unwrap();
    for credentials in [Credentials::provider(map), Credentials::from(loopback)] {
        let options = HttpOptions { extra_roots: b"not PEM".to_vec(), ..quick() };
        let error = Http::new(credentials, options).map(drop).unwrap_err();
        assert!(matches!(error, TransportError::ExtraRoots(_)), "{error}");
    }
}

#[test]
fn invalid_extra_roots_are_an_error() {
    let webhook = Webhook::new(format!("https://127.0.0.1/rest/1/{CODE}/")).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    // Valid PEM that does not contain a certificate.
    let other = "-----BEGIN CERTIFICATE-----\nMAUCAQECAQI=\n-----END CERTIFICATE-----\n";
    for pem in ["no certificate", broken, other] {
        let options = HttpOptions { extra_roots: pem.into(), ..quick() };
        let made = Http::new(webhook.clone(), options);
        assert!(matches!(made, Err(TransportError::ExtraRoots(_))), "{pem}");
    }
}
