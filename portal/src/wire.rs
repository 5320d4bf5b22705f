//! The handler request: how a portal tells an application that its activity has begun.
//!
//! A form with nested names, posted once and not again, whatever the application answers
//! (server behaviour).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::php::urlencode;
use crate::state::Delivery;

/// How long the portal waits for the application to take the request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read to find its status.
const STATUS_LINE: usize = 512;

/// The fields of a form, in order, with names like `auth[domain]`.
#[derive(Debug, Default)]
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn field(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(&urlencode(name));
        self.0.push('=');
        self.0.push_str(&urlencode(value));
        self
    }
}

/// Posts the form to a URL that begins with `http://`.
pub(crate) async fn post(url: &str, form: &Form) -> Delivery {
    match timeout(PATIENCE, exchange(url, form)).await {
        Ok(Ok(status)) => Delivery::Answered(status),
        Ok(Err(error)) => Delivery::Failed(error.to_string()),
        Err(elapsed) => Delivery::Failed(elapsed.to_string()),
    }
}

async fn exchange(url: &str, Form(form): &Form) -> io::Result<u16> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "a handler has an http:// URL");
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Bitrix24 Webhook Engine\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while answer.len() < STATUS_LINE && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}
