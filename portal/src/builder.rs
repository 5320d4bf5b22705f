//! `PortalBuilder`: the settings of a portal before it starts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::cloud::Cloud;
use crate::core::{Addresses, Core, Identity, World};
use crate::faults::FaultPlan;
use crate::journal::Journal;
use crate::limits::{OperatingLimit, OperatingMeter, RateLimit};
use crate::portal::Portal;
use crate::random::Random;
use crate::rest::Credentials;
use crate::settings::{
    Charset, Condition, EventSend, OwnEntries, Retention, ServerTime, Settings, SqlMode, Statuses,
    Substitution, Tariff,
};
use crate::state::{Processes, TokenKey};

/// Bytes of messages that the journal keeps.
const JOURNAL_BYTES: usize = 256 << 20;

/// Settings of a portal to be. Every one has a default: without any, the portal is a self-hosted
/// one that limits nothing.
#[derive(Clone, Default)]
pub struct PortalBuilder {
    settings: Settings,
    clock: Option<Clock>,
    seed: Option<u64>,
    cloud: Option<Arc<Cloud>>,
    pub(crate) host_names: Vec<String>,
    pub(crate) port: u16,
    pub(crate) tls_port: Option<u16>,
}

impl fmt::Debug for PortalBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortalBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PortalBuilder {
    /// The plan, and with it the rate limit. Default: [`Tariff::Unlimited`].
    pub fn tariff(mut self, tariff: Tariff) -> Self {
        self.settings.tariff = tariff;
        self
    }

    /// How long the log keeps its entries. Default: [`Retention::SelfHosted`].
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Which statuses errors have. Default: [`Statuses::Documented`].
    pub fn statuses(mut self, statuses: Statuses) -> Self {
        self.settings.statuses = statuses;
        self
    }

    /// What a batch does with `$result[..]`. Default: [`Substitution::Newer`].
    pub fn substitution(mut self, substitution: Substitution) -> Self {
        self.settings.substitution = substitution;
        self
    }

    /// What the database does with a text that it cannot hold. Default: [`SqlMode::Lax`].
    pub fn sql_mode(mut self, sql_mode: SqlMode) -> Self {
        self.settings.sql_mode = sql_mode;
        self
    }

    /// Which characters the database can hold. Default: [`Charset::Utf8mb4`].
    pub fn charset(mut self, charset: Charset) -> Self {
        self.settings.charset = charset;
        self
    }

    /// How much server time a command takes. Default: [`ServerTime::Measured`].
    pub fn server_time(mut self, server_time: ServerTime) -> Self {
        self.settings.server_time = server_time;
        self
    }

    /// How much server time a method may use up. Default: as much as it likes, as on a
    /// self-hosted portal.
    pub fn operating(mut self, limit: OperatingLimit) -> Self {
        self.settings.operating = Some(limit);
        self
    }

    /// What is the matter with the portal as a whole. Default: nothing.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.settings.condition = condition;
        self
    }

    /// What the portal itself writes into logs. Default: [`OwnEntries::None`].
    pub fn own_entries(mut self, own_entries: OwnEntries) -> Self {
        self.settings.own_entries = own_entries;
        self
    }

    /// What `bizproc.event.send` does before it answers. Default: [`EventSend::AtOnce`].
    pub fn event_send(mut self, event_send: EventSend) -> Self {
        self.settings.event_send = event_send;
        self
    }

    /// Bytes that a body may have; a larger one is answered with 413 and a page of HTML.
    /// Default: 8 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// How long a hit may take, by the machine's own clock; then a proxy answers with 504 and a
    /// page of HTML, while the portal goes on executing. Default: 60 seconds.
    pub fn request_limit(mut self, limit: Duration) -> Self {
        self.settings.request_limit = limit;
        self
    }

    /// The clock. Default: [`Clock::running`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The seed of all identifiers and secrets. Default: another one each time.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The port. Default: any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Speaks https too, at any free port, with a certificate for 127.0.0.1, `localhost` and the
    /// host names, by an authority that is made at start. Default: it does not.
    pub fn tls(self) -> Self {
        self.tls_port(0)
    }

    /// The same at this port.
    pub fn tls_port(mut self, port: u16) -> Self {
        self.tls_port = Some(port);
        self
    }

    /// A name of this machine by which clients will call, besides `localhost` and `127.0.0.1`.
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.host_names.push(name.into());
        self
    }

    /// Starts the portal beside another one: they share the OAuth server and the page.
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

    /// The seed that was asked for, or a fresh one.
    pub(crate) fn settled_seed(&self) -> u64 {
        self.seed.unwrap_or_else(Random::fresh_seed)
    }

    /// The portal without its server.
    pub(crate) fn into_core(
        self,
        seed: u64,
        addresses: Addresses,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Core> {
        let mut random = Random::from_seed(seed);
        let key = TokenKey::new(random.hex().as_bytes());
        let mut credentials = Credentials::new(Random::from_seed(random.next()));
        let webhook = credentials.create(&["bizproc"]);
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
        };
        Core::new(world, identity, addresses, cloud, clock, runtime)
    }
}
