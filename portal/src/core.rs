//! What the threads of one portal share: its world behind one lock, its clock, its bell.

mod cloud;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::faults::FaultPlan;
use crate::journal::Journal;
use crate::limits::{OperatingMeter, RateLimit};
use crate::settings::Settings;
use crate::state::Processes;

pub(crate) use cloud::Cloud;

/// Everything that a portal knows. It decides; it does no I/O.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) processes: Processes,
    pub(crate) journal: Journal,
    pub(crate) rate: RateLimit,
    pub(crate) operating: OperatingMeter,
    pub(crate) credentials: Credentials,
    pub(crate) faults: FaultPlan,
}

/// A portal, seen from its threads.
pub(crate) struct Core {
    world: Mutex<World>,
    bell: Condvar,
    version: watch::Sender<u64>,
    addresses: Mutex<Addresses>,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    /// For what the portal does by itself.
    pub(crate) runtime: Handle,
}

/// What a portal is known by, and what never changes while it runs.
pub(crate) struct Identity {
    /// Stays the same when the portal moves to another address.
    pub(crate) member_id: String,
    /// User and code of the first webhook.
    pub(crate) webhook: (u64, String),
    /// Names of this machine, besides 127.0.0.1 and localhost.
    pub(crate) host_names: Vec<String>,
}

/// Where a portal can be reached.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Grows each time that the portal moves.
    pub(crate) generation: u64,
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
}

impl Addresses {
    /// The root of the portal, over TLS if it is wanted and there.
    pub(crate) fn url(&self, tls: bool) -> String {
        match self.https.filter(|_| tls) {
            Some(address) => format!("https://{address}/"),
            None => format!("http://{}/", self.http),
        }
    }
}

impl Core {
    pub(crate) fn new(
        world: World,
        identity: Identity,
        addresses: Addresses,
        cloud: Arc<Cloud>,
        clock: Clock,
        runtime: Handle,
    ) -> Arc<Self> {
        let core = Arc::new(Self {
            world: Mutex::new(world),
            bell: Condvar::new(),
            version: watch::Sender::new(0),
            addresses: Mutex::new(addresses),
            cloud,
            clock,
            identity,
            runtime,
        });
        core.cloud.join(&core);
        core
    }

    /// The portal moves; its former addresses send callers on from now on.
    pub(crate) fn set_addresses(&self, addresses: Addresses) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Where the portal can be reached now.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The world, locked: for a moment only, and never across an await.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits that something has changed.
    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
        self.bell.notify_all();
        self.cloud.changed();
    }

    /// Blocks until `condition` holds, or until `patience` is at an end; says whether it holds.
    pub(crate) fn wait_for(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut versions = self.version.subscribe();
        loop {
            versions.borrow_and_update();
            if condition(self) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let world = self.world();
            if !versions.has_changed().unwrap_or(false) {
                // A change between this look and the wait is seen at the next tick.
                let tick = left.min(Duration::from_millis(5));
                drop(self.bell.wait_timeout(world, tick));
            }
        }
    }
}
