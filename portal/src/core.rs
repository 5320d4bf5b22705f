//! The shared state of the threads of one portal: its data behind one lock, its clock, its condition variable.

mod cloud;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::faults::FaultPlan;
use crate::journal::Journal;
use crate::limits::{OperatingMeter, RateLimit};
use crate::settings::Settings;
use crate::state::{Processes, Registry, Templates};
use crate::tls::Tls;
use crate::wire::Trust;

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
    pub(crate) registry: Registry,
    pub(crate) templates: Templates,
    /// The application whose workflows the portal starts; nothing until there is one.
    pub(crate) own_app: Option<String>,
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
    /// Which certificates it trusts when it calls handlers over https.
    pub(crate) trust: Trust,
    /// Nothing without https.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Moves the portal; set once it is served.
    pub(crate) mover: OnceLock<Mover>,
    /// For what the portal does by itself.
    pub(crate) runtime: Handle,
}

/// What a portal has for https.
pub(crate) struct Security {
    pub(crate) trust: Trust,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Moves a portal to another name, or to wherever it can.
pub(crate) type Mover = Box<dyn Fn(Option<&str>) -> io::Result<()> + Send + Sync>;

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
    /// Grows each time that the portal moves to other ports.
    pub(crate) generation: u64,
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
    /// Its name, if it has one, and those that it had before.
    pub(crate) domain: Option<String>,
    pub(crate) former_domains: Vec<String>,
}

impl Addresses {
    /// The root of the portal by the numbers of its address, over TLS if it is wanted and there.
    pub(crate) fn url(&self, tls: bool) -> String {
        match self.https.filter(|_| tls) {
            Some(address) => format!("https://{address}/"),
            None => format!("http://{}/", self.http),
        }
    }

    /// The root of the portal as the portal itself says it: by its name.
    pub(crate) fn public_url(&self, tls: bool) -> String {
        let scheme = if tls && self.https.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.host(self.domain.as_deref(), tls))
    }

    /// A name with the port behind it, where that is not the usual one.
    pub(crate) fn host(&self, name: Option<&str>, tls: bool) -> String {
        let (address, usual) = match self.https.filter(|_| tls) {
            Some(address) => (address, 443),
            None => (self.http, 80),
        };
        match name {
            None => address.to_string(),
            Some(name) if address.port() == usual => name.to_owned(),
            Some(name) => format!("{name}:{}", address.port()),
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
        security: Security,
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
            trust: security.trust,
            tls: security.tls,
            mover: OnceLock::new(),
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

    /// The root of the authorization server's own methods.
    pub(crate) fn server_endpoint(&self, tls: bool) -> String {
        let (addresses, name) = (self.addresses(), self.world().settings.oauth_host.clone());
        if name.is_empty() {
            return format!("{}rest/", addresses.public_url(tls));
        }
        let scheme = if tls && addresses.https.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/rest/", addresses.host(Some(&name), tls))
    }

    /// The world, locked: for a moment only, and never across an await.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client id of the application that the portal's own workflows belong to, which is
    /// installed if there is none yet.
    pub(crate) fn own_app(&self) -> String {
        let mut world = self.world();
        let fresh = || {
            let mut oauth = self.cloud.oauth();
            let client_id = oauth.register();
            oauth.install(&client_id, &self.identity.member_id);
            client_id
        };
        world.own_app.get_or_insert_with(fresh).clone()
    }

    /// Wakes the threads that wait for a change.
    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
        self.bell.notify_all();
        self.cloud.changed();
    }

    /// Blocks until `condition` is true, or until `patience` has passed. Returns whether it is true.
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
