//! The builder: the options, their defaults and their checks, and the start of the worker.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tracing_core::{LevelFilter, Subscriber};
use tracing_subscriber::registry::LookupSpan;

use crate::error::BuildError;
use crate::fields::Fields;
use crate::handle::WorkerGuard;
use crate::journal::Journal;
use crate::layer::{self, BizprocLayer, EventLevel};
#[cfg(feature = "log")]
use crate::logger::BizprocLogger;
use crate::protocol::text::ENTRY_BYTES;
use crate::queue::{Limits, Overflow};
use crate::transport::auth::Credentials;
use crate::transport::http::HttpOptions;
use crate::worker::operating::OPERATING_LIMIT;
use crate::worker::rate::Quota;
use crate::worker::render::LINE_BYTES;
use crate::worker::report::ReportSink;
use crate::worker::retry::RetryPolicy;
use crate::worker::schedule::Retention;

mod check;
mod config;
#[cfg(any(test, feature = "relay"))]
mod deliver;
mod entries;
mod keeping;
mod limits;
mod lines;
mod publishing;
mod requests;
mod start;

#[cfg(test)]
pub(crate) use deliver::delivering;
use keeping::Keep;
#[cfg(test)]
pub(crate) use keeping::{Keeping, Role};
use lines::Lines;
#[cfg(any(test, fuzzing, feature = "simulation"))]
pub(crate) use start::Parts;

/// Starts building a layer that writes with these [`Credentials`]: a webhook of one portal, the OAuth
/// tokens of an app on many portals, or your own provider.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::auth::Webhook;
/// use tracing_subscriber::prelude::*;
///
/// let webhook = Webhook::new("https://b24.example/rest/1/secret/")?;
/// let (bizproc, _guard) = tracing_bizproc::builder(webhook).build()?;
/// tracing_subscriber::registry().with(bizproc).init();
/// # Ok(())
/// # }
/// ```
///
/// An app that is installed on many portals uses its OAuth credentials. The tokens come with each
/// request to its handler: see [`Handle::activity`](crate::Handle::activity).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::auth::{FileStore, OAuth};
/// use tracing_subscriber::prelude::*;
///
/// let app = OAuth::new("local.5e4a77", "the app's secret", FileStore::new("tokens.json"));
/// let (bizproc, _guard) = tracing_bizproc::builder(app).build()?;
/// tracing_subscriber::registry().with(bizproc).init();
/// # Ok(())
/// # }
/// ```
pub fn builder(credentials: impl Into<Credentials>) -> Builder {
    let credentials = credentials.into();
    let portal_share = match credentials {
        Credentials::Webhook(_) => 1.0,
        Credentials::OAuth(_) | Credentials::Provider(_) => PORTAL_SHARE,
    };
    with_defaults(Some(credentials), portal_share)
}

/// Starts building a layer that sends nothing, for development without a portal. The types are those of
/// [`builder`], so the rest of the app does not change.
///
/// No event is accepted, all counters stay zero, a flush is complete at once, and the end of an activity
/// succeeds. A call of the app ([`Handle::call`](crate::Handle::call)) returns the error
/// [`CallError::UnknownPortal`](crate::error::CallError::UnknownPortal). No connection is made.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::auth::Webhook;
/// use tracing_bizproc::error::WebhookError;
/// use tracing_subscriber::prelude::*;
///
/// let builder = match Webhook::from_env() {
///     Ok(webhook) => tracing_bizproc::builder(webhook),
///     Err(WebhookError::NotSet { .. }) => tracing_bizproc::disabled(),
///     Err(error) => return Err(error.into()),
/// };
/// let (bizproc, _guard) = builder.build()?;
/// tracing_subscriber::registry().with(bizproc).init();
/// # Ok(())
/// # }
/// ```
pub fn disabled() -> Builder {
    with_defaults(None, 1.0)
}

fn with_defaults(credentials: Option<Credentials>, portal_share: f64) -> Builder {
    Builder {
        credentials,
        portal_share,
        level: LevelFilter::INFO,
        fields: Fields::new(),
        limits: Limits {
            queue: 8_192,
            lines: 65_536,
            bytes: 16 << 20,
            overflow: Overflow::default(),
            token_share: TOKEN_SHARE,
        },
        linger: Duration::from_secs(1),
        max_hold: Duration::from_secs(600),
        entry_bytes: ENTRY_BYTES,
        line_bytes: LINE_BYTES,
        ahead_from: None,
        retention: Retention::default(),
        quota: Quota::default(),
        operating_limit: OPERATING_LIMIT,
        request_bytes: 1_000_000,
        retry: RetryPolicy::default(),
        lines: Lines::default(),
        shutdown_timeout: Duration::from_secs(5),
        fail_with: None,
        http: HttpOptions::default(),
        fingerprints_are_right: true,
        max_age: None,
        keep: Keep::default(),
        publish: None,
    }
}

/// Options of the layer and its worker. Every option has a default; see [`builder`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// use std::time::Duration;
/// use tracing_bizproc::config::{Quota, Retention};
///
/// let builder = tracing_bizproc::builder(webhook)
///     .linger(Duration::from_millis(500))
///     .retention(Retention::SelfHosted)
///     .quota(Quota::Unlimited);
/// # let (layer, guard) = builder.build()?;
/// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
/// # drop(guard);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is built before `build`"]
#[derive(Clone)]
pub struct Builder {
    /// `None`: nothing is sent.
    credentials: Option<Credentials>,
    portal_share: f64,
    level: LevelFilter,
    fields: Fields,
    limits: Limits,
    linger: Duration,
    max_hold: Duration,
    entry_bytes: usize,
    line_bytes: usize,
    ahead_from: Option<tracing_core::Level>,
    retention: Retention,
    quota: Quota,
    operating_limit: Duration,
    request_bytes: usize,
    retry: RetryPolicy,
    lines: Lines,
    shutdown_timeout: Duration,
    fail_with: Option<String>,
    http: HttpOptions,
    /// Whether all given fingerprints are valid.
    fingerprints_are_right: bool,
    /// How long the delivery of a line is tried, if it was set. A spool has its own.
    max_age: Option<Duration>,
    /// What keeps lines beyond the process.
    keep: Keep,
    /// Where lines are published.
    publish: Option<Arc<dyn Journal>>,
}

impl Builder {
    /// Events at this level and more severe ones are written. Default: INFO.
    ///
    /// This is a filter of this layer only: it does not change what other layers see.
    ///
    /// ```
    /// use tracing::Level;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.level(Level::DEBUG);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn level(mut self, level: impl Into<LevelFilter>) -> Self {
        self.level = level.into();
        self
    }

    /// Which fields contain the event token, are private, are shortened, or select single events. Default:
    /// [`Fields::new`].
    ///
    /// ```
    /// use tracing_bizproc::fields::Fields;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Only other logs show the card, and a comment is shown up to 200 bytes.
    /// let builder = builder.fields(Fields::new().private(["card"]).shorten("comment", 200));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }

    /// How long dropping the guard waits for pending lines, at most. Default: 5 s.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The platform kills the process 10 s after SIGTERM.
    /// let builder = builder.shutdown_timeout(Duration::from_secs(8));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Ends activities that are still open when the app ends, with this text as the last line of their log,
    /// as [`Activity::fail`](crate::app::Activity::fail) does. Their workflows go on without return values.
    /// Default: such activities stay open and are reported, and their workflows wait.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.fail_open_activities("The app was stopped: start the workflow again");
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn fail_open_activities(mut self, text: impl Into<String>) -> Self {
        self.fail_with = Some(text.into());
        self
    }

    /// Starts the worker's thread, which sends nothing before the first line, and returns the layer and
    /// the guard that closes the worker. Keep the guard until the end of `main`: see [`WorkerGuard`].
    ///
    /// One layer is enough for many portals: its credentials are then [`OAuth`](crate::auth::OAuth), or a
    /// [provider](Credentials::provider) such as a map of webhooks. Two layers in one subscriber would
    /// send every line twice.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
    /// use tracing_subscriber::prelude::*;
    ///
    /// let (bizproc, _guard) = tracing_bizproc::builder(webhook).build()?;
    /// tracing_subscriber::registry().with(bizproc).init();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When an option is out of its bounds, or when the thread, its runtime or the HTTP client cannot be
    /// created.
    pub fn build<S>(self) -> Result<(BizprocLayer<S>, WorkerGuard), BuildError>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let (producer, guard) = self.start(ReportSink::Tracing)?;
        let layer = layer::layer(producer, self.event_level());
        Ok((layer.with_clock(self.lines.clock), guard))
    }

    /// As [`build`](Self::build), for an app that logs with the `log` crate. Returns a logger that wraps
    /// the app's own logger and passes every record to it. See [`BizprocLogger`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let builder = tracing_bizproc::disabled();
    /// let own = env_logger::Builder::from_default_env().build();
    /// let own_level = own.filter();
    /// let (logger, _guard) = builder.build_logger(own)?;
    /// logger.init(own_level)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build).
    #[cfg(feature = "log")]
    pub fn build_logger<L: log::Log>(
        self,
        own: L,
    ) -> Result<(BizprocLogger<L>, WorkerGuard), BuildError> {
        let (producer, guard) = self.start(ReportSink::Log)?;
        let (level, fields) = match self.credentials {
            Some(_) => (self.level, self.fields),
            None => (LevelFilter::OFF, Fields::new()),
        };
        Ok((BizprocLogger::new(producer, level, fields, own), guard))
    }

    /// How long the delivery of a line is tried.
    fn line_age(&self) -> Duration {
        let default = match self.publish {
            Some(_) => publishing::MAX_AGE,
            None => self.retry.max_age,
        };
        self.keep.max_age().or(self.max_age).unwrap_or(default)
    }

    pub(crate) fn event_level(&self) -> EventLevel {
        match self.credentials {
            Some(_) => EventLevel::new(self.level, self.fields.clone()),
            None => EventLevel::new(LevelFilter::OFF, Fields::new()),
        }
    }

    /// Lines that wait longer are late: the schedule holds none for so long.
    pub(crate) fn patience(&self) -> Duration {
        self.max_hold.max(self.linger) + Duration::from_secs(60)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("credentials", &self.credentials)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// A number that no other run has.
fn random() -> u128 {
    let half = || u128::from(std::hash::RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

/// One portal's share of the budget, where there may be many.
const PORTAL_SHARE: f64 = 0.5;
/// One token's share of the queue and of the budget.
const TOKEN_SHARE: f64 = 0.75;
/// No option is longer, because clocks cannot count further.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
