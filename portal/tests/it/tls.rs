//! https, with a client that trusts nobody but the portal's own authority.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bizproc_portal::{Condition, Fault, Moment, Portal};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn get(portal: &Portal, name: &str, url: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(portal.ca_file().expect("a CA file")).expect("readable");
    roots.add(CertificateDer::from_pem_slice(&pem).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
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
fn https_is_served_beside_http_by_an_authority_of_its_own() {
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
