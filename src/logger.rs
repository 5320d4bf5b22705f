//! For apps that log with the `log` crate: a logger around the app's own.
//!
//! It sees each record first, hands those of an event token to the worker, and passes all of them on. The
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
/// A record belongs to the event token that it has as a key-value (`event_token = token`), or else to
/// the scope in which it is logged: [`with_event_token`], or [`WithEventToken`] for futures. Other
/// records are passed on and nothing else. Made by
/// [`Builder::build_logger`](crate::Builder::build_logger).
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
/// Records of the builder's level (INFO by default) and above, with their key-values behind the text. The
/// app's own logger decides by itself what it shows, and never sees an event token: it finds the
/// redaction that [`EventToken`](crate::EventToken) prints.
///
/// The reports of the worker go to the app's own logger, at the target `tracing_bizproc`.
pub struct BizprocLogger<L> {
    producer: Producer,
    /// For the scopes. Leaked once, as the layer does.
    weak: &'static WeakProducer,
    level: LevelFilter,
    /// Down to this level, marked records are written.
    marked_from: LevelFilter,
    /// Leaked once, as the layer does.
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
        // Nothing else notices a logger that was never installed, or whose level was lowered later.
        producer.search_by(move |meant| {
            let max = log::max_level();
            let is_hidden = meant == Meant::Activity && max < level.min(LevelFilter::Info);
            is_hidden.then(|| Hidden::Records(max.as_str())).into_iter().collect()
        });
        BizprocLogger { producer, weak, level, marked_from, fields, own }
    }

    /// Makes this the logger of the process, and lets records through that either it or the app's own
    /// logger wants: `own_level` is the latter's (`filter()` of an `env_logger::Logger`).
    ///
    /// # Errors
    /// When the process has a logger already.
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
        // The queue has counted the refusal, and the caller does not need to know.
        let _counted = self.producer.offer(LogLine { tag, metadata, at, fields, span: None });
    }
}

impl<L: Log> Log for BizprocLogger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.own.enabled(metadata) || self.wants(metadata) && scope::current().is_some()
    }

    fn log(&self, record: &Record<'_>) {
        let found = Found::of(record.key_values(), self.fields);
        let has_token = found.event_token.is_some();
        if self.lets_in(record.metadata(), &found) {
            self.write(record, found);
        }
        if !self.own.enabled(record.metadata()) {
            return;
        }
        match has_token {
            // A token is a secret, and a record may have it as text.
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

/// A level of tracing's as one of the `log` crate.
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

/// Where this crate reports its own trouble: never to the portal.
const OWN_TARGET: &str = "tracing_bizproc";

#[cfg(test)]
mod tests;
