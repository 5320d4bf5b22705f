//! Requests of the portal: a form with nested names, posted over http or https.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::php::urlencode;
use crate::state::Delivery;

/// How long the portal waits for the answer of the application.
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

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which certificates the portal trusts when it calls handlers over https.
#[derive(Clone, Debug, Default)]
pub(crate) enum Trust {
    /// None, so such a call fails with advice.
    #[default]
    Nobody,
    #[cfg(feature = "_tls")]
    Those(std::sync::Arc<tokio_rustls::rustls::ClientConfig>),
}

/// Whether a URL has what could end the line of the request that it stands in.
pub(crate) fn has_blanks(url: &str) -> bool {
    url.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
}

/// Posts the form, and returns the answer.
pub(crate) async fn post(url: &str, form: &Form, trust: &Trust) -> Delivery {
    match timeout(PATIENCE, exchange(url, form, trust)).await {
        Ok(Ok(status)) => Delivery::Answered(status),
        Ok(Err(error)) => Delivery::Failed(error.to_string()),
        Err(elapsed) => Delivery::Failed(elapsed.to_string()),
    }
}

async fn exchange(url: &str, form: &Form, trust: &Trust) -> io::Result<u16> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
    let parts = url.split_once("://").filter(|_| !has_blanks(url));
    let (scheme, rest) = parts.ok_or_else(|| invalid("this is no URL"))?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(invalid("a handler has an http:// or https:// URL")),
    };
    let (host, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // The last colon is that of the port, unless it stands inside of a numeric IPv6 address.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, Some(if tls { 443 } else { 80 })),
    };
    let port: u16 = port.ok_or_else(|| invalid("the port of the URL is none"))?;
    let name = name.trim_matches(['[', ']']);
    let stream = TcpStream::connect((name, port)).await?;
    let path = format!("/{}", path.strip_prefix('/').unwrap_or(path));
    let head = Head { host, path: &path };
    if tls {
        over_tls(stream, name, &head, form, trust).await
    } else {
        speak(stream, &head, form).await
    }
}

#[cfg(feature = "_tls")]
async fn over_tls(
    stream: TcpStream,
    name: &str,
    head: &Head<'_>,
    form: &Form,
    trust: &Trust,
) -> io::Result<u16> {
    let Trust::Those(config) = trust else {
        let text = "nobody is trusted by https: name the handler's authority, or trust anybody";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from(name.to_owned());
    let name = name.map_err(io::Error::other)?;
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    speak(connector.connect(name, stream).await?, head, form).await
}

#[cfg(not(feature = "_tls"))]
async fn over_tls(
    _stream: TcpStream,
    _name: &str,
    _head: &Head<'_>,
    _form: &Form,
    _trust: &Trust,
) -> io::Result<u16> {
    let text = "https needs the feature `ring` or `aws-lc-rs` of this portal";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

struct Head<'a> {
    host: &'a str,
    path: &'a str,
}

async fn speak<S>(mut stream: S, head: &Head<'_>, Form(form): &Form) -> io::Result<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Head { host, path } = head;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Bitrix24 Webhook Engine\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
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
