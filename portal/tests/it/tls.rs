//! https, with a client that trusts nobody but the portal's own authority.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bizproc_portal::{Condition, Delivery, Fault, Moment, Portal};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn get(portal: &Portal, name: &str, url: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(portal.ca_file().expect("a CA file")).expect("readable");
    roots.add(CertificateDer::from_pem_slice(&pem).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let (host, path) =
        url.strip_prefix("https://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(host)?);
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn https_is_served_next_to_http_with_its_own_authority() {
    let portal = Portal::builder().tls().host_name("portal.example").start().unwrap();
    portal.set_condition(Condition::HttpsOnly);
    let url = portal.webhook_url_https().unwrap() + "server.time";
    for name in ["127.0.0.1", "localhost", "portal.example"] {
        let answer = get(&portal, name, &url).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(get(&portal, "elsewhere.example", &url).is_err());
    assert!(portal.journal().iter().all(|hit| hit.tls));
    let file = portal.ca_file().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), portal.ca_pem().unwrap());
    drop(portal);
    assert!(!file.exists());
}

#[test]
fn faults_strike_through_tls_too() {
    let portal = Portal::builder().tls().start().unwrap();
    let url = portal.webhook_url_https().unwrap() + "server.time";
    portal.faults().next(Fault::Reset(Moment::AfterExecution));
    assert!(get(&portal, "127.0.0.1", &url).is_err());
    assert_eq!(portal.journal()[0].commands.len(), 1);
    assert!(get(&portal, "127.0.0.1", &url).is_ok());
}

/// A handler that speaks https with a certificate of its own; returns its port and authority.
fn secure_handler(taken: std::sync::mpsc::Sender<String>) -> (u16, String) {
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio_rustls::rustls::{ServerConfig, ServerConnection};
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut bytes = [0; 4096];
            // A portal that does not trust us goes away.
            let Ok(read) = stream.read(&mut bytes) else { continue };
            taken.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    (port, certificate.pem())
}

#[test]
fn a_handler_on_https_is_called_if_its_certificate_is_trusted() {
    let (sender, taken) = std::sync::mpsc::channel();
    let (port, pem) = secure_handler(sender);
    let url = format!("https://127.0.0.1:{port}/handler");
    let patience = std::time::Duration::from_secs(20);
    for (builder, reached) in [
        (Portal::builder(), false),
        (Portal::builder().handler_ca(pem.clone()), true),
        (Portal::builder().trust_any_handler(), true),
    ] {
        let portal = builder.start().unwrap();
        let activity = portal.start_workflow("Order").activity("check").handler(&url).open();
        assert!(activity.wait_for(patience, |activity| activity.delivery().is_some()));
        let delivery = activity.delivery().unwrap();
        if reached {
            assert_eq!(delivery, Delivery::Answered(200));
            assert!(taken.recv_timeout(patience).unwrap().starts_with("POST /handler HTTP/1.1"));
        } else {
            let Delivery::Failed(reason) = delivery else { panic!("{delivery:?}") };
            assert!(reason.contains("name the handler's authority"), "{reason}");
        }
    }
    // The certificate is right, and the name is not.
    let portal = Portal::builder().handler_ca(pem).start().unwrap();
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let activity = portal.start_workflow("Order").activity("check").handler(elsewhere).open();
    assert!(activity.wait_for(patience, |activity| activity.delivery().is_some()));
    assert!(matches!(activity.delivery(), Some(Delivery::Failed(_))));
    assert!(Portal::builder().handler_ca("nothing").start().is_err());
}

#[test]
fn a_renamed_portal_has_a_certificate_for_both_names() {
    let portal = Portal::builder().tls().domain("acme.example").start().unwrap();
    let url = portal.webhook_url_https().unwrap() + "server.time";
    assert!(get(&portal, "acme.example", &url).is_ok());
    portal.move_away().unwrap();
    for name in ["acme.example", "moved-1.acme.example"] {
        assert!(get(&portal, name, &url).is_ok());
    }
    assert!(get(&portal, "moved-2.acme.example", &url).is_err());
}
