//! The network between the app and its portals: it delays, and cuts connections before and after a
//! request was handed on, so that outcomes are unknown.
//!
//! Every process of the app has listeners of its own, and its requests reach the portals from a loopback
//! address of its own. So the portals' journals say which process has sent what, also if it arrives late.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bizproc_campaign::{Incident, Incidents};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tracing_bizproc::simulation::Random;

/// The faulty network.
pub(crate) struct Network {
    runtime: Runtime,
    links: Vec<Arc<Link>>,
    /// The listeners of the process that runs.
    listeners: Vec<JoinHandle<()>>,
}

/// The way to one portal.
struct Link {
    number: usize,
    portal: SocketAddr,
    incidents: Incidents,
    random: Mutex<Random>,
    /// Nobody gets through before this.
    down_until: Mutex<Option<Instant>>,
    /// Nothing goes wrong any more.
    is_calm: AtomicBool,
    counts: Counts,
}

/// What has happened to requests.
#[derive(Debug, Default)]
struct Counts {
    handed_on: AtomicU64,
    delayed: AtomicU64,
    cut_before: AtomicU64,
    cut_midway: AtomicU64,
    cut_after: AtomicU64,
    refused: AtomicU64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Delay(Duration),
    /// The connection ends, and the portal has seen nothing.
    CutBefore,
    /// The portal sees half of it.
    CutMidway,
    /// The portal has executed it, and nobody hears the answer.
    CutAfter,
}

impl Network {
    pub(crate) fn new(
        seed: u64,
        portals: &[SocketAddr],
        incidents: &Incidents,
    ) -> io::Result<Network> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("network")
            .enable_all()
            .build()?;
        let link = |(number, portal): (usize, &SocketAddr)| {
            Arc::new(Link {
                number,
                portal: *portal,
                incidents: incidents.clone(),
                random: Mutex::new(Random::new(seed, 100 + number as u64)),
                down_until: Mutex::new(None),
                is_calm: AtomicBool::new(false),
                counts: Counts::default(),
            })
        };
        let links = portals.iter().enumerate().map(link).collect();
        Ok(Network { runtime, links, listeners: Vec::new() })
    }

    /// Opens a way to each portal for a process, and closes those of the process before it. Requests of
    /// that one which are under way still arrive.
    pub(crate) fn open(&mut self, run: u32) -> io::Result<Vec<SocketAddr>> {
        self.listeners.drain(..).for_each(|listener| listener.abort());
        let mut addresses = Vec::new();
        for link in &self.links {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            let listener = self.runtime.block_on(bound)?;
            addresses.push(listener.local_addr()?);
            let link = Arc::clone(link);
            self.listeners.push(self.runtime.spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let link = Arc::clone(&link);
                    // The end of a connection is all that its client can see of an error.
                    tokio::spawn(async move { link.serve(client, run).await.ok() });
                }
            }));
        }
        Ok(addresses)
    }

    /// A portal cannot be reached for this time.
    pub(crate) fn cut_off(&self, portal: usize, until: Instant) {
        let mut down_until =
            self.links[portal].down_until.lock().unwrap_or_else(PoisonError::into_inner);
        *down_until = Some(until);
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn calm(&self) {
        self.links.iter().for_each(|link| link.is_calm.store(true, Relaxed));
    }

    /// What has happened to requests, in one line.
    pub(crate) fn report(&self) -> String {
        let sum = |count: fn(&Counts) -> &AtomicU64| -> u64 {
            self.links.iter().map(|link| count(&link.counts).load(Relaxed)).sum()
        };
        format!(
            "requests={} delayed={} cut_before={} cut_midway={} cut_after={} while_down={}",
            sum(|counts| &counts.handed_on),
            sum(|counts| &counts.delayed),
            sum(|counts| &counts.cut_before),
            sum(|counts| &counts.cut_midway),
            sum(|counts| &counts.cut_after),
            sum(|counts| &counts.refused),
        )
    }
}

/// From where the portals see the requests of a run.
fn address_of(run: u32) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (run / 250) as u8, (run % 250 + 1) as u8)
}

/// Which run sends from an address.
pub(crate) fn run_at(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [127, 1, high, low] => (u32::from(high) * 250 + u32::from(low)).checked_sub(1),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

impl Link {
    async fn serve(&self, mut client: TcpStream, run: u32) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut portal: Option<TcpStream> = None;
        loop {
            let request = read_message(&mut client).await?;
            if self.is_down() {
                self.counts.refused.fetch_add(1, Relaxed);
                self.note(run, "the network is down for a request");
                return Ok(());
            }
            let fault = self.fault();
            if fault != Fault::None {
                self.note(run, &format!("the network has a fault for a request: {fault:?}"));
            }
            match fault {
                Fault::Delay(delay) => {
                    self.counts.delayed.fetch_add(1, Relaxed);
                    tokio::time::sleep(delay).await;
                }
                Fault::CutBefore => {
                    self.counts.cut_before.fetch_add(1, Relaxed);
                    return Ok(());
                }
                Fault::None | Fault::CutMidway | Fault::CutAfter => {}
            }
            let portal = match &mut portal {
                Some(portal) => portal,
                none => none.insert(connect(address_of(run), self.portal).await?),
            };
            if fault == Fault::CutMidway {
                self.counts.cut_midway.fetch_add(1, Relaxed);
                return portal.write_all(&request[..request.len() / 2]).await;
            }
            portal.write_all(&request).await?;
            self.counts.handed_on.fetch_add(1, Relaxed);
            let answer = read_message(portal).await?;
            if fault == Fault::CutAfter {
                self.counts.cut_after.fetch_add(1, Relaxed);
                return Ok(());
            }
            client.write_all(&answer).await?;
        }
    }

    fn note(&self, run: u32, what: &str) {
        self.incidents.note(Incident::now(what).of_run(run).of_portal(self.number));
    }

    fn is_down(&self) -> bool {
        let down_until = self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        down_until.is_some_and(|until| Instant::now() < until)
    }

    fn fault(&self) -> Fault {
        if self.is_calm.load(Relaxed) {
            return Fault::None;
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        match random.unit() {
            share if share < 0.03 => Fault::CutBefore,
            share if share < 0.04 => Fault::CutMidway,
            share if share < 0.08 => Fault::CutAfter,
            share if share < 0.25 => {
                Fault::Delay(Duration::from_secs_f64(random.within(0.001, 0.4)))
            }
            share if share < 0.26 => Fault::Delay(Duration::from_secs_f64(random.within(1.0, 4.0))),
            _ => Fault::None,
        }
    }
}

/// Where the system has only one loopback address, the portals cannot tell processes apart, which the
/// judge says.
async fn connect(from: Ipv4Addr, portal: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if socket.bind(SocketAddr::from((from, 0))).is_err() {
        return TcpStream::connect(portal).await;
    }
    let stream = socket.connect(portal).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads a whole request or answer of HTTP/1.1: its head, and as many bytes as that says. What is not so
/// long when the connection ends is an error, and so ends the other connection, too.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(4096);
    loop {
        if let Some(length) = length(&message) {
            let read = message.len();
            if read < length {
                message.resize(length, 0);
                stream.read_exact(&mut message[read..]).await?;
            }
            return Ok(message);
        }
        if stream.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How long a message is in all, once its head is there.
fn length(message: &[u8]) -> Option<usize> {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
    let body = text
        .lines()
        .filter_map(|line| line.strip_prefix("content-length:"))
        .find_map(|length| length.trim().parse::<usize>().ok());
    Some(head + body.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_its_head_says() {
        assert_eq!(length(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n"), None);
        assert_eq!(length(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"), Some(43));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\n\r\n"), Some(19));
    }

    #[test]
    fn runs_have_addresses_of_their_own() {
        for run in [0, 1, 249, 250, 999] {
            assert_eq!(run_at(IpAddr::V4(address_of(run))), Some(run));
        }
        assert_eq!(run_at(IpAddr::V4(Ipv4Addr::LOCALHOST)), None);
    }
}
