//! A TCP proxy on loopback that loses data when the test asks for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A proxy between the crate and the server.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    fault: AtomicU8,
    connections: AtomicUsize,
    /// What the first connections send is held back, in this number of connections.
    held: Mutex<usize>,
    released: Condvar,
}

/// What happens to the connections.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// No fault.
    None,
    /// The next answer is lost, and its connection is cut. After that there is no fault.
    LoseAnswer,
    /// No data passes, and no connection is cut.
    Silence,
    /// New connections are closed at once.
    Refuse,
}

impl Proxy {
    /// Starts a proxy to this port on loopback.
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is(Fault::Refuse) {
                    continue;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let number = shared.connections.load(Ordering::SeqCst);
                let state = Arc::clone(&shared);
                thread::spawn(move || pass(from, to, &state, Way::ToServer(number)));
                let state = Arc::clone(&shared);
                thread::spawn(move || pass(server, client, &state, Way::ToClient));
            }
        });
        Proxy { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.state.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// From now on, what the connections so far send is held back, as in a network that is slow. It arrives when it is
    /// released, also if the sender has closed its connection meanwhile.
    pub(crate) fn hold(&self) {
        *self.state.held.lock().unwrap() = self.connections();
    }

    pub(crate) fn release(&self) {
        *self.state.held.lock().unwrap() = 0;
        self.state.released.notify_all();
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl State {
    fn is(&self, fault: Fault) -> bool {
        self.fault.load(Ordering::SeqCst) == fault as u8
    }
}

/// The direction of data, with the number of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer(usize),
    ToClient,
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State, way: Way) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if state.is(Fault::Silence) {
            continue;
        }
        if way == Way::ToClient && state.is(Fault::LoseAnswer) {
            state.fault.store(Fault::None as u8, Ordering::SeqCst);
            break;
        }
        if let Way::ToServer(number) = way {
            let held = state.held.lock().unwrap();
            drop(state.released.wait_while(held, |held| number <= *held).unwrap());
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other side may still have something to read.
    let _ = to.shutdown(Shutdown::Write);
    if way == Way::ToClient {
        let _ = from.shutdown(Shutdown::Both);
    }
}
