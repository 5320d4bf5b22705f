//! Which callsites are ours: the filter around the layer.

use tracing_core::subscriber::Interest;
use tracing_core::{LevelFilter, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use crate::fields::Fields;

/// Lets events and spans of a level and above through, of all spans those that declare the event
/// token, and of all events those that may be marked.
#[derive(Clone, Copy)]
pub(crate) struct EventLevel {
    level: LevelFilter,
    /// Leaked, a few hundred bytes for each layer.
    pub(super) fields: &'static Fields,
}

impl EventLevel {
    pub(crate) fn new(level: LevelFilter, fields: Fields) -> Self {
        EventLevel { level, fields: Box::leak(Box::new(fields)) }
    }

    /// Whether nothing is let in at all.
    pub(super) fn is_off(self) -> bool {
        self.level == LevelFilter::OFF && self.fields.lowest_marked() == LevelFilter::OFF
    }

    /// Whether a callsite declares the token field.
    pub(super) fn declares(self, metadata: &Metadata<'_>) -> bool {
        self.fields.token_field(metadata).is_some()
    }

    #[inline]
    pub(super) fn wants(self, metadata: &Metadata<'_>) -> bool {
        (self.shows(metadata) || self.wants_below(metadata)) && metadata.target() != OWN_TARGET
    }

    /// Whether the level is enough by itself.
    #[inline]
    pub(super) fn shows(self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    #[inline]
    fn wants_below(self, metadata: &Metadata<'_>) -> bool {
        match metadata.is_span() {
            true => self.fields.token_field(metadata).is_some(),
            false => self.fields.may_be_marked(metadata),
        }
    }
}

impl From<LevelFilter> for EventLevel {
    fn from(level: LevelFilter) -> Self {
        static USUAL: Fields = Fields::new();
        EventLevel { level, fields: &USUAL }
    }
}

/// Where this crate reports its own trouble: never to the portal.
const OWN_TARGET: &str = "tracing_bizproc";

impl<S> Filter<S> for EventLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    /// Says always or never: a "sometimes" would have every event of the process ask [`enabled`].
    ///
    /// [`enabled`]: Filter::enabled
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    /// Without a hint the whole process would run at TRACE. Not below INFO, at which spans are tagged.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        match self.level.max(self.fields.lowest_marked()) {
            LevelFilter::OFF => Some(LevelFilter::OFF),
            level => Some(level.max(LevelFilter::INFO)),
        }
    }
}
