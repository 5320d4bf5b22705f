//! The HTTP server of the portal: it does I/O and decides nothing.

mod connection;
mod oauth;
mod route;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::core::Core;
use crate::tls::Tls;

/// Binds a port of the loopback interface; 0 is any that is free.
pub(crate) fn bind(port: u16) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What is to be served: a port, with TLS or without, at an address of the portal's that may be
/// a former one by the time that somebody calls.
pub(crate) struct Site {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) generation: u64,
}

/// Serves `site` until the runtime ends.
pub(crate) fn serve(runtime: &Handle, core: Arc<Core>, site: Site) -> io::Result<()> {
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(site.listener)?
    };
    runtime.spawn(accept(core, listener, site.tls, site.generation));
    Ok(())
}

async fn accept(core: Arc<Core>, listener: TcpListener, tls: Option<Arc<Tls>>, generation: u64) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (core, tls) = (core.clone(), tls.clone());
                tokio::spawn(connection::serve(core, stream, peer.ip(), tls, generation));
            }
            // A connection that was gone before we came to it, or a full table of descriptors.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
