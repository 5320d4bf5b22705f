//! The HTTP server around the portal: it does I/O and decides nothing.

pub(crate) use body::AnswerBody;

mod body;
mod connection;
mod route;
mod socket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::core::Core;

/// Binds a port of the loopback interface.
pub(crate) fn bind(port: u16) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `listener` until the runtime ends.
pub(crate) fn serve(
    runtime: &Runtime,
    core: Arc<Core>,
    listener: std::net::TcpListener,
) -> io::Result<()> {
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(listener)?
    };
    runtime.spawn(accept(core, listener));
    Ok(())
}

async fn accept(core: Arc<Core>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection::serve(core.clone(), stream, peer.ip()));
            }
            // A connection that was gone before we came to it, or a full table of descriptors.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}
