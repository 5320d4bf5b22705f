//! The builder: options, their defaults, and their check.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tracing_core::{LevelFilter, Subscriber};
use tracing_subscriber::registry::LookupSpan;

use crate::error::BuildError;
use crate::fields::Fields;
use crate::handle::{Handle, WorkerGuard};
use crate::journal::Journal;
use crate::journal::desk::Desk;
use crate::journal::driver::Driver;
use crate::layer::{self, BizprocLayer, EventLevel};
use crate::line::Packed;
#[cfg(feature = "log")]
use crate::logger::BizprocLogger;
use crate::protocol::text::ENTRY_BYTES;
use crate::queue::{self, Consumer, Limits, Overflow, Producer};
use crate::stats::Stats;
use crate::transport::Transport;
use crate::transport::auth::Credentials;
use crate::transport::http::{Fingerprint, Http, HttpOptions};
use crate::transport::nowhere::Nowhere;
use crate::worker::Worker;
use crate::worker::coalescer::Plan;
use crate::worker::engine::Engine;
use crate::worker::lane::Rules;
use crate::worker::ledger::Ledger;
use crate::worker::operating::OPERATING_LIMIT;
use crate::worker::outbox::Outbox;
use crate::worker::rate::Quota;
use crate::worker::render::LINE_BYTES;
use crate::worker::report::{self, ReportSink};
use crate::worker::retry::{RetryPolicy, UnknownOutcome};
use crate::worker::runtime::WorkerRuntime;
use crate::worker::schedule::{Retention, Schedule};

mod config;
#[cfg(any(test, feature = "relay"))]
mod deliver;
mod keeping;
mod lines;
mod publishing;

#[cfg(test)]
pub(crate) use deliver::delivering;
use keeping::Keep;
pub(crate) use keeping::{Keeping, Role};
use lines::Lines;

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
/// request to its handler: see [`Handle::activity`].
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
/// succeeds. A call of the app ([`Handle::call`]) returns the error
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

    /// How long the first line of an entry waits for more. Default: 1 s. At most `max_hold`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The log grows sooner, by smaller entries.
    /// let builder = builder.linger(Duration::from_millis(200));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long a line waits at most for the schedule of entries (see [`Retention`]). Default: 10
    /// minutes. A longer time keeps more of a long story within the portal's 50 entries.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // A story of a whole day fits, and its lines appear up to an hour late.
    /// let builder = builder.max_hold(Duration::from_secs(3_600)).max_age(Duration::from_secs(7_200));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = max_hold;
        self
    }

    /// How many entries of a workflow the portal keeps. Default: [`Retention::Cloud`].
    ///
    /// ```
    /// use tracing_bizproc::config::Retention;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The portal keeps all entries.
    /// let builder = builder.retention(Retention::SelfHosted);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// A line at this level, or a more severe one, sends its entry at once. Default: none does.
    /// Every entry counts against the workflow's entry budget.
    ///
    /// ```
    /// use tracing::Level;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // An error is in the log as soon as the portal takes it.
    /// let builder = builder.send_at_once_from(Level::ERROR);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn send_at_once_from(mut self, level: tracing_core::Level) -> Self {
        self.ahead_from = Some(level);
        self
    }

    /// Largest entry, in bytes of UTF-8. Default and maximum: 60,000, because the portal's column holds
    /// 65,535 (server behaviour). At least 2,000. A longer line continues in the next entry.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A proxy before the portal takes less.
    /// let builder = builder.entry_bytes(20_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn entry_bytes(mut self, bytes: usize) -> Self {
        self.entry_bytes = bytes;
        self
    }

    /// Longest line in the log, in bytes of UTF-8. Default: 59,000, which fits into one entry. At least
    /// 256 plus the length of `line_prefix`, at most 1,048,576. A longer line is cut, and says how many
    /// bytes are missing. A cloud portal keeps the newest 50 entries: a few lines of 1 MiB would fill all
    /// of them.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // Nobody reads more of a line.
    /// let builder = builder.line_bytes(4_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn line_bytes(mut self, bytes: usize) -> Self {
        self.line_bytes = bytes;
        self
    }

    /// Largest request body, in bytes. Default: 1,000,000. At least 500,000, so that one entry
    /// always fits.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A proxy before the portal takes half a megabyte.
    /// let builder = builder.request_bytes(500_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.request_bytes = bytes;
        self
    }

    /// The portal's limit of requests. Default: [`Quota::Standard`].
    ///
    /// ```
    /// use tracing_bizproc::config::Quota;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Three replicas share the limit of one address.
    /// let builder = builder.quota(Quota::Custom { per_second: 0.6, burst: 13 });
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    /// Server time that the portal allows for a method in ten minutes ("operating" in the REST API
    /// limits). Default: 420 s, the smallest known limit. A refusal lowers it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Leave half of it to the other calls of the app.
    /// let builder = builder.operating_limit(Duration::from_secs(210));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn operating_limit(mut self, limit: Duration) -> Self {
        self.operating_limit = limit;
        self
    }

    /// What happens to a line if the queue is full or the budget is spent. Default:
    /// [`Overflow::DropNewest`].
    ///
    /// ```
    /// use tracing_bizproc::config::Overflow;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The newest lines matter most.
    /// let builder = builder.overflow(Overflow::DropOldest);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = overflow;
        self
    }

    /// Lines in the queue between the callers and the worker. Default: 8,192; at most 16,777,216. This
    /// limit and those below are exact up to 512 lines and 128 KiB. Threads that log at the same moment may
    /// exceed larger limits, by about 248 lines at most.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // Threads that log much at the same moment need more room.
    /// let builder = builder.queue_lines(65_536);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn queue_lines(mut self, lines: usize) -> Self {
        self.limits.queue = lines;
        self
    }

    /// Lines that may be pending: accepted, and not yet acknowledged, late or lost. With a spool, lines that are
    /// only on disk do not count. Default: 65,536; at most 67,108,864.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A portal may be away for longer before lines are refused.
    /// let builder = builder.pending_lines(1_000_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn pending_lines(mut self, lines: usize) -> Self {
        self.limits.lines = lines;
        self
    }

    /// Bytes that pending lines may use: their fields, long fields of the spans around them, and about 150
    /// for each line itself; or their text, if it is longer because many characters had to be escaped.
    /// Default: 16 MiB; at least `entry_bytes`, at most 16 GiB. A line that is larger than this limit is
    /// accepted if no other line is pending.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A small machine.
    /// let builder = builder.pending_bytes(4 << 20);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn pending_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// The share of `pending_lines` and `pending_bytes` that one portal may use, above 0 and at most 1, so
    /// that a portal that cannot be reached leaves room for the others. Default: 0.5; with a webhook,
    /// which has one portal, 1. Further lines are dropped, and counted as
    /// [`PortalShare`](crate::stats::DropReason::PortalShare): the newest, or the portal's oldest under
    /// [`Overflow::DropOldest`].
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // No portal may hold more than a tenth of what may be pending.
    /// let builder = builder.portal_share(0.1);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn portal_share(mut self, share: f64) -> Self {
        self.portal_share = share;
        self
    }

    /// The share of `queue_lines`, `pending_lines` and `pending_bytes` that one event token may use, above 0
    /// and at most 1, so that a token that logs without end leaves room for the others, and they lose
    /// nothing. Default: 0.75. If several tokens log much, each gets less, so that some room is always
    /// left. Further lines are refused, and counted as [`TokenShare`](crate::stats::DropReason::TokenShare).
    ///
    /// With [`Overflow::DropOldest`], if a token uses more than a sixteenth of what may be pending, its own
    /// oldest lines are dropped first. Limits of up to 1,024 lines or 256 KiB are not shared like this. 1
    /// switches the share off.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A workflow that logs without end takes a quarter of the room at most.
    /// let builder = builder.token_share(0.25);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn token_share(mut self, share: f64) -> Self {
        self.limits.token_share = share;
        self
    }

    /// How long the delivery of a line is tried. After that the line is lost. Default: 1 hour. Must be
    /// longer than `max_hold`. Not with a spool: set the `max_age` of the spool then. Both together are an error of
    /// `build`. With `publish_to`, it is how long a line waits for the journal, and the default is 24 hours.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // What is ten minutes late is of no use.
    /// let builder = builder.max_age(Duration::from_secs(600)).max_hold(Duration::from_secs(60));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// What happens to an entry if it is unknown whether the portal wrote it. Default:
    /// [`UnknownOutcome::Repeat`].
    ///
    /// ```
    /// use tracing_bizproc::config::UnknownOutcome;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Rather a gap than a line that may stand there twice.
    /// let builder = builder.on_unknown_outcome(UnknownOutcome::GiveUp);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn on_unknown_outcome(mut self, choice: UnknownOutcome) -> Self {
        self.retry.on_unknown = choice;
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

    /// How long it may take to connect, DNS and TLS included. Default: 10 s. It is part of
    /// `request_timeout`, so it is never longer.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.connect_timeout(Duration::from_secs(3));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self
    }

    /// How long a request may take, from the connection to the last byte of the answer. Default: 75 s,
    /// because the portal stops its own work after 60 s. A request that is given up has an unknown outcome,
    /// unless its body was not sent yet.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // A portal that does not answer in 20 s is asked again.
    /// let builder = builder.request_timeout(Duration::from_secs(20));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.http.timeout = timeout;
        self
    }

    /// Certificates to trust in addition to those of the system, as PEM. Default: none.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let builder = tracing_bizproc::disabled();
    /// // The portal has a certificate of the company's own authority.
    /// let builder = builder.extra_roots(std::fs::read("company-ca.pem")?);
    /// # drop(builder);
    /// # Ok(())
    /// # }
    /// ```
    pub fn extra_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.extra_roots = pem.into();
        self
    }

    /// Trusts the certificate with this SHA-256 fingerprint, whatever its issuer, names and dates: for a
    /// test portal with a self-signed certificate. Can be called several times, to trust several
    /// certificates. Default: none.
    ///
    /// `openssl x509 -in box.pem -noout -fingerprint -sha256` prints it. Run this on the portal's own
    /// machine: over the network, somebody could give you another certificate.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
    /// let builder = tracing_bizproc::builder(webhook).trust_certificate(
    ///     "9F:86:D0:81:88:4C:7D:65:9A:2F:EA:A0:C5:5A:D0:15:\
    ///      A3:BF:4F:1B:2B:0B:82:2C:D1:5D:6C:15:B0:F0:0A:08",
    /// );
    /// # let (layer, guard) = builder.build()?;
    /// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn trust_certificate(mut self, fingerprint: impl AsRef<str>) -> Self {
        match fingerprint.as_ref().parse::<Fingerprint>() {
            Ok(fingerprint) => self.http.fingerprints.push(fingerprint),
            // `build` reports it, as for every option.
            Err(()) => self.fingerprints_are_right = false,
        }
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

    /// Starts the worker's thread.
    fn start(&self, sink: ReportSink) -> Result<(Producer, WorkerGuard), BuildError> {
        self.check()?;
        match self.credentials.clone() {
            Some(credentials) => self.start_with(Http::new(credentials, self.http.clone())?, sink),
            None => self.start_with(Nowhere, sink),
        }
    }

    fn start_with(
        &self,
        transport: impl Transport,
        sink: ReportSink,
    ) -> Result<(Producer, WorkerGuard), BuildError> {
        // Any number will do: it only keeps replicas from retrying at the same moments.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        // Where nothing is sent, nothing is kept.
        let keeping = match self.credentials {
            Some(_) => self.open_journal()?,
            None => None,
        };
        let parts = self.parts_with(seed, keeping);
        let Parts { producer, consumer, engine, stats, tick, journal } = parts;
        let (desk, driver) = journal.unzip();
        let worker = Worker::new(consumer, engine, transport, stats.clone(), tick)
            .with_sink(sink)
            .with_journal(desk);
        driver.map_or(Ok(()), Driver::start).map_err(BuildError::Thread)?;
        let runtime = WorkerRuntime::new().map_err(BuildError::Runtime)?;
        let thread = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                queue::mark_worker_thread();
                worker.run_on(&runtime);
            })
            .map_err(BuildError::Thread)?;
        producer.when_closed(move || report::report_closed(sink));
        let bizproc = Handle::new(producer.clone(), stats, self.patience());
        let guard =
            WorkerGuard::new(bizproc, self.shutdown_timeout, self.fail_with.clone(), thread);
        Ok((producer, guard))
    }

    /// The journal of one run.
    fn open_journal(&self) -> Result<Option<Keeping>, BuildError> {
        match &self.publish {
            Some(journal) => Ok(Some(self.open_published(journal.clone())?)),
            None => self.keep.open(),
        }
    }

    /// Everything but the thread and the transport.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn parts(&self, seed: u64) -> Parts {
        self.parts_with(seed, self.open_journal().expect("the spool can be opened"))
    }

    fn parts_with(&self, seed: u64, keeping: Option<Keeping>) -> Parts {
        let stats = Arc::new(Stats::default());
        let (producer, consumer) = queue::queue(self.limits);
        let words = self.lines.words(&stats);
        let rules = Rules {
            plan: Arc::new(Plan {
                linger: self.linger,
                max_hold: self.max_hold,
                entry_bytes: self.entry_bytes,
                ahead_from: self.ahead_from,
                schedule: Schedule::new(self.retention),
            }),
            quota: self.quota,
            operating_limit: self.operating_limit,
            request_bytes: self.request_bytes,
            retry: RetryPolicy {
                max_age: keeping.as_ref().map_or(self.line_age(), |keeping| keeping.max_age),
                ..self.retry
            },
            words: words.clone(),
            portal_share: self.portal_share,
            default_portal: self.credentials.as_ref().is_none_or(Credentials::have_default_portal),
        };
        let renderer = self.lines.renderer(words, &stats, self.line_bytes);
        let ledger = Ledger::new(stats.clone(), consumer.shares(), self.limits.bytes);
        let mut engine = Engine::new(rules, self.limits, renderer, ledger, seed);
        let journal = keeping.map(|keeping| {
            let publisher = keeping.publisher;
            if keeping.role == Role::Publish {
                return self.publishing(keeping, &mut engine);
            }
            let most_bytes = (self.limits.bytes / 4).clamp(LEAST_OUTBOX, MOST_OUTBOX);
            let outbox = Outbox::new(publisher, keeping.bound, most_bytes);
            #[expect(clippy::disallowed_methods, reason = "the run begins here")]
            engine.keep(outbox, Instant::now());
            let (desk, driver) = Driver::new(keeping.journal, publisher);
            match keeping.role {
                Role::Keep | Role::Publish => (desk, driver),
                Role::Deliver => {
                    engine.deliver();
                    (desk, driver.shared())
                }
            }
        });
        Parts { producer, consumer, engine, stats, tick: self.tick(), journal }
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

    /// How often the worker looks at its queue while lines may come.
    fn tick(&self) -> Duration {
        let tick = self.linger / 4;
        let bounds = [self.keep.bound(), self.publish.as_ref().map(|_| publishing::BOUND)];
        // Then lines have another eighth to gather, and what stores them has the rest.
        let bound = bounds.into_iter().flatten().min().map(|bound| bound / 8);
        bound.map_or(tick, |bound| bound.min(tick)).clamp(LEAST_TICK, LONGEST_TICK)
    }

    fn check(&self) -> Result<(), BuildError> {
        self.check_keep()?;
        self.check_publishing()?;
        let wrong = |option, problem| Err(BuildError::Option { option, problem });
        let max_age = self.line_age();
        for (option, duration) in [("max_age", max_age), ("request_timeout", self.http.timeout)] {
            if duration > YEAR {
                return wrong(option, "must not be longer than a year");
            }
        }
        if !self.fingerprints_are_right {
            return wrong(
                "trust_certificate",
                "needs a SHA-256 fingerprint: 64 hexadecimal digits, as `openssl x509 -noout \
                 -fingerprint -sha256` prints them",
            );
        }
        if self.linger > self.max_hold {
            return wrong("linger", "must not be longer than max_hold");
        }
        if self.max_hold >= max_age {
            return wrong("max_age", "must be longer than max_hold");
        }
        if !(2_000..=ENTRY_BYTES).contains(&self.entry_bytes) {
            return wrong("entry_bytes", "must be between 2,000 and 60,000 bytes");
        }
        if !(LEAST_LINE..=Packed::MAX_LEN).contains(&self.line_bytes) {
            return wrong("line_bytes", "must be between 256 and 1,048,576 bytes");
        }
        if self.request_bytes < 500_000 {
            return wrong("request_bytes", "must be at least 500,000 bytes");
        }
        if let Some(problem) = self.fields.problem() {
            return wrong("fields", problem);
        }
        if !self.retention.is_valid() {
            return wrong("retention", "needs kept >= 1, base > 0, and growth between 1 and 10");
        }
        if !self.quota.is_valid() {
            return wrong("quota", "needs per_second >= 0.001 and burst >= 1");
        }
        if self.operating_limit < Duration::from_secs(1) {
            return wrong("operating_limit", "must be at least 1 s");
        }
        if self.limits.queue == 0 || self.limits.queue > MOST_QUEUED {
            return wrong("queue_lines", "must be between 1 and 16,777,216 lines");
        }
        if self.limits.lines == 0 || self.limits.lines > queue::MOST_LINES {
            return wrong("pending_lines", "must be between 1 and 67,108,864 lines");
        }
        if !(self.portal_share > 0.0 && self.portal_share <= 1.0) {
            return wrong("portal_share", "must be above 0 and at most 1");
        }
        if !(self.limits.token_share > 0.0 && self.limits.token_share <= 1.0) {
            return wrong("token_share", "must be above 0 and at most 1");
        }
        if self.limits.bytes < self.entry_bytes || self.limits.bytes as u64 > queue::MOST_BYTES {
            return wrong("pending_bytes", "must be between entry_bytes and 16 GiB");
        }
        if !self.lines.time.is_valid() {
            return wrong("line_time", "must have an offset of at most 18 hours");
        }
        let prefix = self.lines.prefix_bytes();
        if prefix > lines::MOST_PREFIX {
            return wrong("line_prefix", "must not be longer than 200 bytes in the log");
        }
        if self.line_bytes < LEAST_LINE + prefix {
            return wrong("line_bytes", "must be at least 256 bytes longer than line_prefix");
        }
        if self.http.timeout.is_zero() {
            return wrong("request_timeout", "must be above zero");
        }
        if self.http.connect_timeout.is_zero() {
            return wrong("connect_timeout", "must be above zero");
        }
        Ok(())
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

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) engine: Engine,
    pub(crate) stats: Arc<Stats>,
    /// How often the queue is looked at while lines may come.
    pub(crate) tick: Duration,
    /// Both ends of the journal's driver.
    pub(crate) journal: Option<(Desk, Driver)>,
}

/// A number that no other run has.
fn random() -> u128 {
    let half = || u128::from(std::hash::RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

/// What the worker may hold for its journal at the least, in bytes.
const LEAST_OUTBOX: usize = 1 << 20;
/// The same at the most: a second's worth of very many lines.
const MOST_OUTBOX: usize = 16 << 20;
/// One portal's share of the budget, where there may be many.
const PORTAL_SHARE: f64 = 0.5;
/// One token's share of the queue and of the budget.
const TOKEN_SHARE: f64 = 0.75;
/// The worker's thread.
const THREAD: &str = "tracing-bizproc";
/// No option is longer, because clocks cannot count further.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const LEAST_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_millis(250);
/// Room for a line's time, a few words, and the note that it was cut.
const LEAST_LINE: usize = 256;
/// The queue's slots are allocated at once.
const MOST_QUEUED: usize = 1 << 24;
