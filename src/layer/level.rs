//! Which callsites are ours: the filter around the layer.

use tracing_core::subscriber::Interest;
use tracing_core::{LevelFilter, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use super::declares_token;

/// Lets events and spans of a level and above through, and of all spans those that declare
/// `event_token`.
///
/// A filter of the layer's own: what it hides from the layer other layers still see, and it does not
/// raise the level of the process. A span that is disabled for everybody (by the maximum level, or by
/// a filter that is not a layer's own) cannot tag anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLevel(LevelFilter);

impl EventLevel {
    /// Lets `level` and what is more severe through.
    pub fn new(level: impl Into<LevelFilter>) -> EventLevel {
        EventLevel(level.into())
    }

    fn wants(self, metadata: &Metadata<'_>) -> bool {
        if *metadata.level() <= self.0 {
            metadata.target() != OWN_TARGET
        } else {
            metadata.is_span() && declares_token(metadata)
        }
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

    /// Without a hint the whole process would run at TRACE.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0)
    }
}
