//! One connection: HTTP/1.1 with keep-alive.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::route;
use crate::core::Core;
use crate::http::{AnswerBody, Peer};
use crate::socket::{Line, Patience, Socket};
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
    let line = Line::new();
    let patience = {
        let settings = &core.world().settings;
        Patience { read: settings.read_limit, idle: settings.idle_limit }
    };
    let peer = Peer { source, tls: tls.is_some(), generation, line: line.clone() };
    let socket = Socket::new(stream, line, patience);
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
    let service = service_fn(|request: Request<Incoming>| {
        let (core, peer) = (core.clone(), peer.clone());
        peer.line.has_head(!request.body().is_end_stream());
        async move {
            let line = peer.line.clone();
            let response = route::route(core, peer, request).await?;
            Ok::<_, io::Error>(response.map(|body| Watched { body, line }))
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The connection ends with an error if the peer left, or if a fault asked for it: in either
    // case there is nobody to tell.
    let ended: Result<(), hyper::Error> = connection.await;
    drop(ended);
}

/// A body that tells the line when it is over.
struct Watched {
    body: AnswerBody,
    line: Line,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.line.is_idle();
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
