//! `Peer`: what a hit needs to know of its connection.

use std::io;
use std::net::IpAddr;

use crate::socket::ResetSwitch;

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) source: IpAddr,
    pub(crate) tls: bool,
    /// Which address of the portal it came to: the newest has the highest number.
    pub(crate) generation: u64,
    pub(crate) reset: ResetSwitch,
}

/// The error with which a service makes hyper drop the connection.
pub(crate) fn hang_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection ends here, as planned")
}
