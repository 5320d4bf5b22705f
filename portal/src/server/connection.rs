//! One connection: HTTP/1.1 with keep-alive.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::route;
use crate::core::Core;
use crate::http::Peer;
use crate::socket::{ResetSwitch, Socket};
use crate::tls::Tls;

pub(crate) async fn serve(
    core: Arc<Core>,
    stream: TcpStream,
    source: IpAddr,
    tls: Option<Arc<Tls>>,
    generation: u64,
) {
    // Without this, small answers wait for the acknowledgement of earlier ones.
    drop(stream.set_nodelay(true));
    let reset = ResetSwitch::default();
    let peer = Peer { source, tls: tls.is_some(), generation, reset: reset.clone() };
    let socket = Socket::new(stream, reset);
    let Some(tls) = tls else { return speak_http(core, peer, socket).await };
    // A client that speaks no TLS, or does not trust us, knows so itself.
    if let Ok(stream) = tls.accept(socket).await {
        speak_http(core, peer, stream).await;
    }
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
