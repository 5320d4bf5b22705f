//! `Peer`: what a hit needs to know of its connection.

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::socket::Line;

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) source: IpAddr,
    pub(crate) tls: bool,
    /// Which address of the portal it came to: the newest has the highest number.
    pub(crate) generation: u64,
    pub(crate) line: Line,
}

impl Peer {
    /// Reads a body of at most `limit` bytes.
    pub(crate) async fn read(
        &self,
        body: Incoming,
        limit: usize,
    ) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let body = Limited::new(body, limit).collect().await?.to_bytes();
        self.line.has_body();
        Ok(body)
    }
}

/// The error with which a service makes hyper drop the connection.
pub(crate) fn hang_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection ends here, as planned")
}
