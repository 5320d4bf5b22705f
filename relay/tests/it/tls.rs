//! TLS, with certificates of an authority that the test creates.

use bizproc_test_postgres::{PASSWORD, Postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tracing_bizproc_relay::{PgConfig, PgError, PgStore};

use crate::database::{Database, wait};

/// A server whose certificate is for `localhost`, and the authority's certificate.
fn server() -> Option<(Postgres, String)> {
    let mut server = Postgres::start_or_skip(&[])?;
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    server.crash();
    let certificate = server.write_file("server.pem", &certificate.pem()).unwrap();
    let key = server.write_file("server.key", &key.serialize_pem()).unwrap();
    server.set(&[
        "ssl=on",
        &format!("ssl_cert_file={}", certificate.display()),
        &format!("ssl_key_file={}", key.display()),
    ]);
    server.resume().unwrap();
    Some((server, authority.pem()))
}

#[test]
fn the_certificate_and_its_name_are_verified() {
    let Some((server, authority)) = server() else { return };
    let port = server.port();
    let config = |host: &str, mode: &str| {
        let text = format!(
            "host={host} hostaddr=127.0.0.1 port={port} user=postgres password={PASSWORD} \
             dbname=postgres sslmode={mode}"
        );
        PgConfig::parse(&text).unwrap()
    };
    let check = |config: PgConfig| {
        let store = PgStore::new(config).unwrap();
        wait(store.migrate())
    };
    for mode in ["require", "verify-full"] {
        check(config("localhost", mode).extra_roots(authority.clone())).unwrap();
    }
    // The certificate is of another authority, or for another name.
    for (config, advice) in [
        (config("localhost", "require"), "PgConfig::extra_roots"),
        (config("db.example", "require").extra_roots(authority.clone()), "one of its names"),
    ] {
        let error = check(config).unwrap_err();
        assert!(matches!(&error, PgError::Connect(why) if why.contains(advice)), "{error}");
    }
    check(config("localhost", "disable")).unwrap();
}

/// The client's own default would be to continue in plain text.
#[test]
fn a_server_without_tls_is_no_reason_to_do_without() {
    let Some(database) = Database::new() else { return };
    let (port, name) = (database.port(), &database.name);
    let text = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{name}?sslmode=require");
    let error = wait(PgStore::new(PgConfig::parse(&text).unwrap()).unwrap().check()).unwrap_err();
    assert!(error.to_string().contains("does not support TLS"), "{error}");
}

#[test]
fn roots_that_are_none_are_an_error_at_the_start() {
    let config = || PgConfig::parse("postgres://a@db.example/app").unwrap();
    for roots in ["no PEM", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let answer = PgStore::new(config().extra_roots(roots));
        assert!(matches!(answer, Err(PgError::Tls(_))), "{roots}");
    }
    PgStore::new(config()).unwrap();
}
