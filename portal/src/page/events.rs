//! `/api/events`: tells the page that something has changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::core::Core;
use crate::http::AnswerBody;

/// Gauges fall with time, so the page hears from us even if nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// A page that is told of every hit would do nothing but ask.
const QUIET: Duration = Duration::from_millis(50);

/// A stream of `change` events (at most one in 50 ms) and `tick` events (each second).
pub(crate) fn stream(core: &Arc<Core>) -> io::Result<Response<AnswerBody>> {
    let (events, receiver) = mpsc::channel(1);
    tokio::spawn(feed(core.cloud.versions(), events));
    Response::builder()
        .header(CONTENT_TYPE, "text/event-stream")
        .header(CACHE_CONTROL, "no-store")
        .body(AnswerBody::Events(receiver))
        .map_err(io::Error::other)
}

async fn feed(mut versions: tokio::sync::watch::Receiver<u64>, events: mpsc::Sender<Bytes>) {
    let mut name = "change";
    loop {
        let version = *versions.borrow_and_update();
        let event = format!("event: {name}\ndata: {{\"version\":{version}}}\n\n");
        if events.send(event.into()).await.is_err() {
            // The page was closed.
            return;
        }
        tokio::time::sleep(QUIET).await;
        name = match timeout(TICK, versions.changed()).await {
            Ok(Ok(())) => "change",
            // The portals are gone, and this task goes with them.
            Ok(Err(_)) => return,
            Err(_) => "tick",
        };
    }
}
