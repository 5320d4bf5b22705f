//! Whole requests: what PHP's own server makes of a query and a body.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use super::client::request;
use super::hostile;
use super::oracle::{MANY, cases, dump, php_is_here, script, shown};
use crate::php::Value;
use crate::random::Random;
use crate::rest::{Head, params};

/// PHP's built-in server with `request.php` in it.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Option<Self> {
        if !php_is_here() {
            return None;
        }
        let mut process = Command::new("php")
            .args(["-S", "127.0.0.1:0"])
            .arg(script("request.php"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut notices = BufReader::new(process.stderr.take().unwrap());
        let mut started = String::new();
        notices.read_line(&mut started).unwrap();
        // "[date] PHP .. Development Server (http://127.0.0.1:PORT) started"
        let address = started.split_once("(http://").and_then(|(_, rest)| rest.split_once(')'));
        let url = format!("http://{}/", address.expect(&started).0);
        // It tells of every request, and must not be kept from it.
        std::thread::spawn(move || notices.read_to_end(&mut Vec::new()));
        Some(Self { process, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

const CONTENT_TYPES: &[&str] = &[
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-8",
    "Application/X-WWW-Form-Urlencoded",
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=utf-8",
    "application/json ; charset=utf-8",
    "text/plain",
    "text/json",
    "",
];

/// A query that may stand in the first line of a request.
fn query(random: &mut Random) -> String {
    let allowed =
        |character: &char| character.is_ascii_graphic() && !"#\"<>\\^`{|}".contains(*character);
    let query: String = hostile::text(random).chars().filter(allowed).collect();
    // PHP's built-in server eats further question marks; no other does.
    query.trim_start_matches('?').to_owned()
}

fn judge(server: &Server, method: &str, query: &str, content_type: &str, body: &[u8]) {
    let headers = [("Content-Type", content_type)];
    let headers = if content_type.is_empty() { &[][..] } else { &headers[..] };
    let theirs = request(&format!("{}?{query}", server.url), method, headers, body).unwrap();
    let head = Head {
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tls: false,
        http_method: method.to_owned(),
        path: "/".to_owned(),
        host: String::new(),
        query: query.to_owned(),
        content_type: content_type.to_owned(),
        bearer: None,
    };
    let ours = dump(&Value::Array(params(&head, body)));
    assert_eq!(ours, theirs.body, "{method} ?{query} {content_type:?} {}", shown(body));
}

#[test]
fn forms_and_json_are_read_as_by_php() {
    let Some(server) = Server::start() else { return };
    cases(MANY, |random| {
        let body = match random.below(4) {
            0 => hostile::json_object(random, 3).into_bytes(),
            1 => format!("{}&a=1 \n", hostile::text(random)).into_bytes(),
            _ => hostile::bytes(random),
        };
        let content_type = hostile::one_of(random, CONTENT_TYPES);
        let method = hostile::one_of(random, &["POST", "POST", "POST", "POST", "GET", "PUT"]);
        judge(&server, method, &query(random), content_type, &body);
    });
}

#[test]
fn json_that_is_none_is_taken_for_nothing_as_by_php() {
    let Some(server) = Server::start() else { return };
    for body in
        ["", "{", "{\"a\":1", "[]", "[1]", "null", "1", "\"a=1\"", "a=1", "{} x", " {\"a\":1}\n"]
    {
        judge(&server, "POST", "b=2", "application/json", body.as_bytes());
    }
}

/// A part of a multipart body, mostly a sound one.
fn part(random: &mut Random) -> Vec<u8> {
    let name: String =
        hostile::text(random).chars().filter(|it| !"\r\n\0\"\\".contains(*it)).collect();
    let disposition = match random.below(8) {
        0 => {
            let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("content-disposition: form-data; name=x{name}")
        }
        1 => format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"x.txt\""),
        2 => "Content-Disposition: form-data".to_owned(),
        _ => format!("Content-Disposition: form-data; name=\"{name}\""),
    };
    let kind = if random.below(3) == 0 { "Content-Type: text/plain\r\n" } else { "" };
    let mut part = format!("{disposition}\r\n{kind}\r\n").into_bytes();
    part.extend(hostile::bytes(random));
    part
}

#[test]
fn multipart_bodies_are_read_as_by_php() {
    let Some(server) = Server::start() else { return };
    cases(MANY, |random| {
        let boundary = hostile::one_of(random, &["x", "----WebKitFormBoundary7MA4", "=_a'b"]);
        let mut body = Vec::new();
        for _ in 0..random.below(4) {
            body.extend(format!("--{boundary}\r\n").into_bytes());
            body.extend(part(random));
            body.extend(b"\r\n");
        }
        if random.below(8) > 0 {
            body.extend(format!("--{boundary}--\r\n").into_bytes());
        }
        let content_type = match random.below(3) {
            0 => format!("multipart/form-data; boundary=\"{boundary}\""),
            1 => format!("multipart/form-data; charset=utf-8; boundary={boundary}"),
            _ => format!("multipart/form-data; boundary={boundary}"),
        };
        judge(&server, "POST", &query(random), &content_type, &body);
    });
}
