//! Answers `/health`, `/live` and `/metrics`, by HTTP/1.1 with one request per connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

/// The pages that are served.
pub(crate) trait Pages: Send + Sync + 'static {
    /// The page with this path. `None`: there is none.
    fn page(&self, path: &str) -> impl Future<Output = Option<Answer>> + Send;
}

/// Serves until the future is dropped. All connections are dropped with it.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<impl Pages>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            // New connections wait in the queue of the system.
            drop(connections.join_next().await);
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = Arc::clone(&pages);
                // A client that is slow or gone is its own problem.
                connections
                    .spawn(async move { drop(timeout(PATIENCE, answer(stream, &*pages)).await) });
            }
            // For example, too many files are open. Try again later.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, pages: &impl Pages) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MOST_HEAD {
            return send(&mut stream, &plain("431 Request Header Fields Too Large"), true).await;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let answer = match method {
        "GET" | "HEAD" => pages.page(path).await.unwrap_or_else(|| plain("404 Not Found")),
        _ => plain("405 Method Not Allowed"),
    };
    send(&mut stream, &answer, method != "HEAD").await
}

async fn send(stream: &mut TcpStream, answer: &Answer, with_body: bool) -> io::Result<()> {
    let Answer { status, kind, body } = answer;
    let length = body.len();
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if with_body {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

fn plain(status: &'static str) -> Answer {
    Answer { status, kind: "text/plain; charset=utf-8", body: format!("{status}\n") }
}

/// How many connections are answered at the same time.
const MOST_CONNECTIONS: usize = 16;
/// The time limit for a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request before its body.
const MOST_HEAD: usize = 8 << 10;
