//! Answers `/health`, `/live` and `/metrics`, by HTTP/1.1 with one request per connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
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
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        while connections.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        match listener.accept().await {
            Ok((stream, _)) => {
                // A client that is slow must not keep others waiting.
                if by_age.len() >= MOST_CONNECTIONS {
                    if let Some(oldest) = by_age.pop_front() {
                        oldest.abort();
                    }
                }
                let pages = Arc::clone(&pages);
                // A client that is slow or gone gets no answer. Nothing else depends on it.
                by_age.push_back(connections.spawn(async move {
                    drop(timeout(PATIENCE, answer(stream, &*pages)).await);
                }));
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

/// How many connections are answered at the same time. A new one takes the place of the oldest.
const MOST_CONNECTIONS: usize = 16;
/// The time limit for a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request before its body.
const MOST_HEAD: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::runtime::Builder;

    use super::*;

    struct Hello;

    impl Pages for Hello {
        async fn page(&self, path: &str) -> Option<Answer> {
            (path == "/hello").then(|| plain("200 OK"))
        }
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: relay\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Regression: a probe waited until clients that said nothing had run out of time.
    #[test]
    fn clients_that_say_nothing_keep_nobody_waiting() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(serve(listener, Arc::new(Hello)));
            let mut silent = Vec::new();
            for _ in 0..2 * MOST_CONNECTIONS {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let answer = timeout(PATIENCE / 2, ask(address)).await.expect("it has to wait");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            server.abort();
        });
    }
}
