//! One connection: HTTP/1.1 with keep-alive.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::route;
use super::socket::{ResetSwitch, Socket};
use crate::core::Core;

/// What a hit needs to know of its connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) source: IpAddr,
    pub(crate) tls: bool,
    pub(crate) reset: ResetSwitch,
}

pub(crate) async fn serve(core: Arc<Core>, stream: TcpStream, source: IpAddr) {
    // Without this, small answers wait for the acknowledgement of earlier ones.
    drop(stream.set_nodelay(true));
    let peer = Peer { source, tls: false, reset: ResetSwitch::default() };
    let socket = Socket::new(stream, peer.reset.clone());
    speak_http(core, peer, socket).await;
}

async fn speak_http<S>(core: Arc<Core>, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| route::route(core.clone(), peer.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The connection ends with an error if the peer left, or if a fault asked for it: in either
    // case there is nobody to tell.
    let ended: Result<(), hyper::Error> = connection.await;
    drop(ended);
}

/// The error with which a service makes hyper drop the connection.
pub(crate) fn hang_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection ends here, as planned")
}
