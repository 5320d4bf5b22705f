//! `PortalBuilder`: a portal before it starts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Portal;
use crate::clock::Clock;
use crate::core::{Addresses, Cloud, Core, Identity, Security, World};
use crate::credentials::{ADMIN, Credentials};
use crate::faults::FaultPlan;
use crate::journal::Journal;
use crate::limits::{OperatingMeter, RateLimit};
use crate::random::Random;
use crate::settings::{
    Authorization, BlankSubscription, Charset, Condition, EventSend, Language, MissingMethods,
    OperatingLimit, OwnEntries, Retention, ServerTime, Setting, Settings, SqlMode, Statuses,
    Substitution, Tariff, each_setting,
};
use crate::state::{Processes, Registry, Templates, TokenKey};
use crate::tls::Tls;
use crate::wire::Trust;

/// Bytes of messages that the journal keeps.
const JOURNAL_BYTES: usize = 256 << 20;

/// Settings of a portal. Every setting has a default: without any change, the portal is self-hosted and has no
/// limits.
#[derive(Clone, Default)]
pub struct PortalBuilder {
    settings: Settings,
    clock: Option<Clock>,
    seed: Option<u64>,
    cloud: Option<Arc<Cloud>>,
    pub(super) domain: Option<String>,
    pub(crate) host_names: Vec<String>,
    trusted: Trusted,
    pub(crate) port: u16,
    pub(crate) tls_port: Option<u16>,
}

/// Which certificates to trust over https.
#[derive(Clone, Default)]
enum Trusted {
    #[default]
    Nobody,
    #[cfg(feature = "_tls")]
    Authority(String),
    #[cfg(feature = "_tls")]
    Anybody,
}

impl fmt::Debug for PortalBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortalBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The methods of the builder that set a setting.
macro_rules! builder_methods {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident, $set:ident: $type:ty = $default:expr $(, given $given:ty)?;
    )+) => {
        impl PortalBuilder {
            $(builder_method!($(#[doc = $doc])+ $name: $type $(, $given)?);)+
        }
    };
}

macro_rules! builder_method {
    ($(#[doc = $doc:literal])+ $name:ident: $type:ty) => {
        $(#[doc = $doc])+
        pub fn $name(mut self, $name: $type) -> Self {
            self.settings.$name = $name;
            self
        }
    };
    ($(#[doc = $doc:literal])+ $name:ident: $type:ty, $given:ty) => {
        $(#[doc = $doc])+
        pub fn $name(mut self, $name: $given) -> Self {
            self.settings.$name = $name.into();
            self
        }
    };
}

each_setting!(builder_methods);

impl PortalBuilder {
    /// All limits of a cloud portal: the rate limit of a standard plan, 480 seconds of server time for a
    /// method, 50 entries for a log, and the license of that plan.
    pub fn cloud(self) -> Self {
        let limit = OperatingLimit::new(Duration::from_secs(480));
        let plan = self.tariff(Tariff::Standard).operating(limit).license("std");
        plan.retention(Retention::Cloud).own_entries(OwnEntries::Activities)
    }

    /// Changes a setting by its name and its value in words, such as `tariff` and `standard`, as
    /// the command line does.
    ///
    /// # Errors
    ///
    /// There is no such setting, or its value is not valid. The text says which values are.
    pub fn setting(mut self, name: &str, words: &str) -> Result<Self, String> {
        let setting = Setting::named(name).ok_or_else(|| format!("there is no setting {name}"))?;
        setting.set(&mut self.settings, words)?;
        Ok(self)
    }

    /// The clock. Default: [`Clock::running`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The seed of all identifiers and secrets. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The port. Default: any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Also serves https, at any free port, with a certificate for 127.0.0.1, `localhost` and the host names.
    /// Its authority is created at the start. Default: no https.
    #[cfg(feature = "_tls")]
    pub fn tls(self) -> Self {
        self.tls_port(0)
    }

    /// The same at this port.
    #[cfg(feature = "_tls")]
    pub fn tls_port(mut self, port: u16) -> Self {
        self.tls_port = Some(port);
        self
    }

    /// The portal's own name, in every answer and handler request: `domain`, `client_endpoint`.
    /// The port follows it, unless it is the usual one. Clients must
    /// resolve it to 127.0.0.1 themselves; [`Portal::webhook_url`] and similar methods still return the IP
    /// address. Default: none; then addresses have the IP address.
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    /// Another name of this machine by which clients will call, besides `localhost`, `127.0.0.1`
    /// and the portal's own name.
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.host_names.push(name.into());
        self
    }

    /// Calls handlers over https if this authority, in PEM, has issued their certificates. Default: such a
    /// handler is not called, and [`Portal::sent`] says why.
    #[cfg(feature = "_tls")]
    pub fn handler_ca(mut self, pem: impl Into<String>) -> Self {
        self.trusted = Trusted::Authority(pem.into());
        self
    }

    /// Calls handlers over https with any certificate.
    #[cfg(feature = "_tls")]
    pub fn trust_any_handler(mut self) -> Self {
        self.trusted = Trusted::Anybody;
        self
    }

    /// Starts the portal together with another one: they share the OAuth server and the page.
    pub fn beside(mut self, other: &Portal) -> Self {
        self.cloud = Some(other.cloud());
        self
    }

    /// Starts the portal on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The port is taken, or no thread can be started.
    pub fn start(self) -> io::Result<Portal> {
        Portal::start(self)
    }

    /// The given seed, or a random one.
    pub(crate) fn settled_seed(&self) -> u64 {
        self.seed.unwrap_or_else(Random::fresh_seed)
    }

    /// Authority and certificate, if the portal is to have any.
    #[cfg(feature = "_tls")]
    pub(super) fn make_tls(&self, addresses: &Addresses) -> io::Result<Option<Tls>> {
        let Some(address) = addresses.https else { return Ok(None) };
        let names: Vec<String> = self.domain.iter().chain(&self.host_names).cloned().collect();
        Tls::make(&names, &format!("{}-{}", std::process::id(), address.port())).map(Some)
    }

    /// Without the feature nobody can ask for it.
    #[cfg(not(feature = "_tls"))]
    pub(super) fn make_tls(&self, _addresses: &Addresses) -> io::Result<Option<Tls>> {
        Ok(None)
    }

    pub(super) fn trust(&self) -> io::Result<Trust> {
        match &self.trusted {
            Trusted::Nobody => Ok(Trust::Nobody),
            #[cfg(feature = "_tls")]
            Trusted::Authority(pem) => crate::tls::authority(pem),
            #[cfg(feature = "_tls")]
            Trusted::Anybody => crate::tls::anybody(),
        }
    }

    /// The portal without its server.
    pub(crate) fn into_core(
        self,
        seed: u64,
        addresses: Addresses,
        security: Security,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Core> {
        let mut random = Random::from_seed(seed);
        let key = TokenKey::new(random.hex().as_bytes());
        let mut credentials = Credentials::new(Random::from_seed(random.next()));
        let webhook = credentials.create(ADMIN, &["bizproc"]);
        let member_id = random.hex();
        let identity = Identity { member_id, webhook, host_names: self.host_names };
        let oauth_random = Random::from_seed(random.next());
        let cloud = self.cloud.unwrap_or_else(|| Cloud::new(oauth_random));
        let clock = self.clock.unwrap_or_else(Clock::running);
        let world = World {
            settings: self.settings,
            processes: Processes::new(key, random),
            journal: Journal::new(JOURNAL_BYTES),
            rate: RateLimit::default(),
            operating: OperatingMeter::default(),
            credentials,
            faults: FaultPlan::default(),
            registry: Registry::default(),
            templates: Templates::new(clock.now()),
            own_app: None,
        };
        Core::new(world, identity, addresses, cloud, clock, security, runtime)
    }
}
