//! A client that is as plain as can be: it writes bytes and reads bytes.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

/// A request by hand; the connection is closed after it.
pub(crate) fn request(
    url: &str,
    http_method: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest.split_once('/').expect("a URL with a path");
    let mut stream = TcpStream::connect(host)?;
    let mut head = format!(
        "{http_method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    // The portal may have answered, and closed, before it has read the whole body.
    let written = stream.write_all(body);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    written?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no head"))?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status"))?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if length.is_some_and(|length| length.parse() != Ok(body.len())) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "half a body"));
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

pub(crate) fn post_json(url: &str, body: &Value) -> Answer {
    let body = body.to_string();
    post(url, "application/json", body.as_bytes())
}

pub(crate) fn post(url: &str, content_type: &str, body: &[u8]) -> Answer {
    request(url, "POST", &[("Content-Type", content_type)], body).expect("an answer")
}

/// Percent-encodes everything that is not unreserved.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(byte as char);
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// A batch command that logs a line.
pub(crate) fn log(token: &str, message: &str) -> String {
    let (token, message) = (encoded(token), encoded(message));
    format!("bizproc.activity.log?EVENT_TOKEN={token}&LOG_MESSAGE={message}")
}
