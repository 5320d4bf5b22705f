//! Resolves hosts, on its own threads.
//!
//! The usual resolver uses the thread pool of the runtime, which panics if no thread can be started. Here
//! this is an error, so it is known that the request was not sent.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, oneshot};

/// The system's resolver.
pub(super) struct Resolver {
    lookups: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Resolver { lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            // The thread keeps it until it ends, also if the request has timed out.
            let place = lookups.acquire_owned().await?;
            let host = name.as_str().to_owned();
            let (reply, answer) = oneshot::channel();
            let look_up = move || {
                let _place = place;
                // If the request has timed out, the receiver is gone.
                let _ = reply.send((host.as_str(), 0).to_socket_addrs());
            };
            let started = thread::Builder::new().name("bizproc-resolver".to_owned()).spawn(look_up);
            started.map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("no thread could be started to resolve the host: {error}"),
                )
            })?;
            let addresses = answer.await??;
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// How many hosts are resolved at the same time. A look-up cannot be cancelled, so without a limit a name
/// server that does not answer would cost one thread for each portal.
const MOST_LOOKUPS: usize = 16;
