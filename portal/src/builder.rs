//! `PortalBuilder`: the settings of a portal before it starts.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::clock::Clock;
use crate::cloud::Cloud;
use crate::core::{Addresses, Core, Identity, World};
use crate::faults::FaultPlan;
use crate::journal::Journal;
use crate::limits::RateLimit;
use crate::portal::Portal;
use crate::random::Random;
use crate::rest::{Credentials, Webhook};
use crate::settings::{
    Charset, Retention, ServerTime, Settings, SqlMode, Statuses, Substitution, Tariff,
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
    host_names: Vec<String>,
    pub(crate) port: u16,
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

    /// Bytes that a body may have; a larger one is answered with 413 and a page of HTML.
    /// Default: 8 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
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
    pub(crate) fn into_core(self, seed: u64, addresses: Addresses) -> Arc<Core> {
        let mut random = Random::from_seed(seed);
        let key = TokenKey::new(random.hex().as_bytes());
        let code = random.hex()[..16].to_owned();
        let member_id = random.hex();
        let webhook = Webhook {
            id: 1,
            user: 1,
            code: code.clone(),
            scopes: vec!["bizproc".to_owned()],
            revoked: false,
        };
        let world = World {
            settings: self.settings,
            processes: Processes::new(key, random),
            journal: Journal::new(JOURNAL_BYTES),
            rate: RateLimit::default(),
            credentials: Credentials { webhooks: vec![webhook] },
            faults: FaultPlan::default(),
        };
        let identity = Identity { member_id, webhook: (1, code), host_names: self.host_names };
        let cloud = self.cloud.unwrap_or_else(Cloud::new);
        Core::new(world, identity, addresses, cloud, self.clock.unwrap_or_else(Clock::running))
    }
}
