//! How the driver is spoken to: JSON over HTTP, as WebDriver has it.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long the driver may take to answer. Starting a browser on a busy machine is the slowest.
const ANSWER: Duration = Duration::from_secs(60);

/// The value that a command brings, or the driver's complaint.
pub(crate) fn command(http_method: &str, url: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = exchange(http_method, url, &body).map_err(|error| error.to_string())?;
    let value = answer["value"].clone();
    if status == 200 { Ok(value) } else { Err(value.to_string()) }
}

/// One request on a connection of its own. It may stay open after the answer, whatever the driver
/// was asked, so where the answer ends is known from its length only.
fn exchange(http_method: &str, url: &str, body: &str) -> io::Result<(u16, Value)> {
    let broken = || io::Error::other("the driver did not speak HTTP");
    let (host, path) = url.trim_start_matches("http://").split_once('/').ok_or_else(broken)?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "{http_method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("Content-Length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    Ok((status.ok_or_else(broken)?, serde_json::from_slice(&answer)?))
}

/// The bytes that a text stands for; only pictures come this way.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    let digit = |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
