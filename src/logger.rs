//! For apps that log with the `log` crate: a logger that wraps the app's own logger.
//!
//! It gets each record first, sends records with an event token to the worker, and passes all records on. The
//! worker, the queue and their promises are those of the layer.

use std::fmt;

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::fields::Fields;
use crate::line::LogLine;
use crate::queue::{Producer, WeakProducer, enter};
use crate::stats::{Hidden, Meant};

mod pairs;
mod record;
mod scope;

use pairs::{Found, Shown};
pub use scope::{LogScope, Scoped, WithEventToken, with_event_token};

/// Writes records of the `log` crate into the log of a business process, and passes every record on to
/// the app's own logger.
///
/// A record belongs to the event token in its key-values (`event_token = token`). Without one, it belongs to
/// the scope in which it is logged: [`with_event_token`], or [`WithEventToken`] for futures. Other records
/// are only passed on. [`Builder::build_logger`](crate::Builder::build_logger) creates this logger.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("http://127.0.0.1:9/rest/1/secret/")?;
/// use log::info;
/// use tracing_bizproc::EventToken;
/// use tracing_bizproc::logger::with_event_token;
///
/// let own = env_logger::Builder::from_default_env().build();
/// let own_level = own.filter();
/// # let builder = tracing_bizproc::builder(webhook).shutdown_timeout(std::time::Duration::ZERO);
/// # /*
/// let (logger, guard) = tracing_bizproc::builder(webhook).build_logger(own)?;
/// # */
/// # let (logger, guard) = builder.build_logger(own)?;
/// logger.init(own_level)?;
///
/// let event_token = EventToken::parse("5e4a77.12345678|A1|7.c0ffee")?;
/// with_event_token(&event_token, || {
///     info!(amount = 99.5; "Card charged");
/// });
/// info!(event_token; "Receipt sent");
/// # assert_eq!(guard.handle().stats().accepted(), 2);
/// # Ok(()) }
/// ```
///
/// # What is written
///
/// It writes records of the builder's level (INFO by default) and above, with their key-values after the text.
/// The app's own logger decides by itself what it shows. It never sees an event token, only its redacted form
/// (the `Display` of [`EventToken`](crate::EventToken)).
///
/// The reports of the worker go to the app's own logger, with the target `tracing_bizproc`.
pub struct BizprocLogger<L> {
    producer: Producer,
    /// For the scopes. Leaked once, as in the layer.
    weak: &'static WeakProducer,
    level: LevelFilter,
    /// Marked records are written from this level on.
    marked_from: LevelFilter,
    /// Leaked once, as in the layer.
    fields: &'static Fields,
    own: L,
}

impl<L: Log> BizprocLogger<L> {
    pub(crate) fn new(
        producer: Producer,
        level: tracing_core::LevelFilter,
        fields: Fields,
        own: L,
    ) -> Self {
        let weak = Box::leak(Box::new(producer.downgrade()));
        let (level, marked_from) = (of_log(level), of_log(fields.lowest_marked()));
        let fields = Box::leak(Box::new(fields));
        // Finds a logger that was never installed, or whose level was lowered later.
        producer.search_by(move |meant| {
            let max = log::max_level();
            let is_hidden = meant == Meant::Activity && max < level.min(LevelFilter::Info);
            is_hidden.then(|| Hidden::Records(max.as_str())).into_iter().collect()
        });
        BizprocLogger { producer, weak, level, marked_from, fields, own }
    }

    /// Makes this the logger of the process. The maximum level is the more verbose one of its own level and
    /// `own_level`, the level of the app's own logger (`filter()` of an `env_logger::Logger`).
    ///
    /// # Errors
    /// When the process already has a logger.
    pub fn init(self, own_level: LevelFilter) -> Result<(), SetLoggerError>
    where
        L: 'static,
    {
        let level = own_level.max(self.level).max(self.marked_from);
        log::set_boxed_logger(Box::new(self))?;
        log::set_max_level(level);
        Ok(())
    }

    /// Whether records like this are written, if they have a token.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level.max(self.marked_from) && metadata.target() != OWN_TARGET
    }

    /// Whether a record is written, if it has a token: by its level, or by its marker.
    fn lets_in(&self, metadata: &Metadata<'_>, found: &Found) -> bool {
        self.wants(metadata) && found.marked.unwrap_or(metadata.level() <= self.level)
    }

    fn write(&self, record: &Record<'_>, found: Found) {
        let Some(_inside) = enter() else { return };
        let tag = match found.event_token {
            Some(Ok(event_token)) => self.producer.tag(event_token, found.portal, 0),
            Some(Err(why)) => return self.producer.note_unusable(why),
            None => match scope::current().and_then(|scope| scope.tag(&self.producer, self.weak)) {
                Some(tag) => tag,
                None => return,
            },
        };
        if !self.producer.admits(&tag) {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "the one look at the clock for each record")]
        let at = std::time::SystemTime::now();
        let (metadata, fields) = record::packed(record, self.fields);
        // If the line is refused, the queue has counted it.
        let _counted = self.producer.offer(LogLine { tag, metadata, at, fields, span: None });
    }
}

impl<L: Log> Log for BizprocLogger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.own.enabled(metadata) || self.wants(metadata) && scope::current().is_some()
    }

    fn log(&self, record: &Record<'_>) {
        let found = Found::of(record.key_values(), self.fields);
        let has_secret = found.has_secret;
        if self.lets_in(record.metadata(), &found) {
            self.write(record, found);
        }
        if !self.own.enabled(record.metadata()) {
            return;
        }
        match has_secret {
            // A token is a secret, and a record may contain it as text.
            true => self.own.log(
                &record.to_builder().key_values(&Shown(record.key_values(), self.fields)).build(),
            ),
            false => self.own.log(record),
        }
    }

    fn flush(&self) {
        self.own.flush();
    }
}

impl<L> Drop for BizprocLogger<L> {
    fn drop(&mut self) {
        self.producer.layer_dropped();
    }
}

impl<L> fmt::Debug for BizprocLogger<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BizprocLogger").field("level", &self.level).finish_non_exhaustive()
    }
}

/// Converts a level of `tracing` to one of the `log` crate.
fn of_log(level: tracing_core::LevelFilter) -> LevelFilter {
    match level.into_level() {
        None => LevelFilter::Off,
        Some(tracing_core::Level::ERROR) => LevelFilter::Error,
        Some(tracing_core::Level::WARN) => LevelFilter::Warn,
        Some(tracing_core::Level::INFO) => LevelFilter::Info,
        Some(tracing_core::Level::DEBUG) => LevelFilter::Debug,
        Some(tracing_core::Level::TRACE) => LevelFilter::Trace,
    }
}

/// The target of the reports of this crate. They are never sent to the portal.
const OWN_TARGET: &str = "tracing_bizproc";

#[cfg(test)]
mod tests;
