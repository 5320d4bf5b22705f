//! The network between the processes and the database: it delays, falls silent, and cuts connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The network. Each process has its own link to the database.
pub(crate) struct Network {
    runtime: Runtime,
    database: SocketAddr,
}

/// The link of one process to the database. It is closed when this is dropped.
pub(crate) struct Link {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    listening: JoinHandle<()>,
}

/// The condition of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Good,
    /// Data arrives later.
    Slow(Duration),
    /// No data passes, and no connection is cut. Sent data arrives later.
    Silent,
    /// Connections are cut, also new ones.
    Down,
}

impl Network {
    pub(crate) fn new(database: u16) -> io::Result<Network> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("network")
            .enable_all()
            .build()?;
        Ok(Network { runtime, database: SocketAddr::from((Ipv4Addr::LOCALHOST, database)) })
    }

    pub(crate) fn link(&self) -> io::Result<Link> {
        let listener = self.runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (condition, seen) = watch::channel(Condition::Good);
        let database = self.database;
        let listening = self.runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() != Condition::Down {
                    // The client sees only that the connection ends, and not the error.
                    tokio::spawn(connect(client, database, seen.clone()));
                }
            }
        });
        Ok(Link { address, condition, listening })
    }
}

impl Link {
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn connect(
    client: TcpStream,
    database: SocketAddr,
    condition: watch::Receiver<Condition>,
) -> io::Result<()> {
    let server = TcpStream::connect(database).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // When one of them ends, both connections do.
    tokio::select! {
        done = pass(from_client, to_server, condition.clone()) => done,
        done = pass(from_server, to_client, condition) => done,
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut condition: watch::Receiver<Condition>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            read = from.read(&mut buffer) => read?,
            _ = condition.wait_for(|condition| *condition == Condition::Down) => return Ok(()),
        };
        if length == 0 {
            return Ok(());
        }
        loop {
            let now = *condition.borrow_and_update();
            match now {
                Condition::Good => break,
                Condition::Slow(delay) => {
                    tokio::time::sleep(delay).await;
                    break;
                }
                // The sender of conditions is dropped when the process has ended.
                Condition::Silent if condition.changed().await.is_ok() => {}
                Condition::Silent | Condition::Down => return Ok(()),
            }
        }
        to.write_all(&buffer[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each byte with the next one.
    async fn server() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = client.read_u8().await {
                        client.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
        port
    }

    #[test]
    fn a_link_passes_holds_back_and_cuts() {
        let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let servers = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let network = Network::new(servers.block_on(server())).unwrap();
        let link = network.link().unwrap();
        client.block_on(async {
            let address = (Ipv4Addr::LOCALHOST, link.port());
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_u8(5).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 6);

            link.set(Condition::Silent);
            stream.write_u8(7).await.unwrap();
            let silent = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
            assert!(silent.is_err());
            link.set(Condition::Slow(Duration::from_millis(1)));
            assert_eq!(stream.read_u8().await.unwrap(), 8);

            link.set(Condition::Down);
            assert!(stream.read_u8().await.is_err());
            let mut other = TcpStream::connect(address).await.unwrap();
            assert!(other.read_u8().await.is_err());
            link.set(Condition::Good);
            let mut third = TcpStream::connect(address).await.unwrap();
            third.write_u8(1).await.unwrap();
            assert_eq!(third.read_u8().await.unwrap(), 2);
        });
    }
}
