//! The filter around the layer: which callsites it wants.

use tracing_core::subscriber::Interest;
use tracing_core::{LevelFilter, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use super::declares_token;

/// Lets events and spans of a level and above pass, and all spans that declare `event_token`.
#[derive(Clone, Copy)]
pub(super) struct EventLevel(pub(super) LevelFilter);

impl EventLevel {
    /// Whether a callsite declares the token field.
    pub(super) fn declares(self, metadata: &Metadata<'_>) -> bool {
        declares_token(metadata)
    }

    #[inline]
    pub(super) fn wants(self, metadata: &Metadata<'_>) -> bool {
        let shown = *metadata.level() <= self.0;
        (shown || metadata.is_span() && declares_token(metadata)) && metadata.target() != OWN_TARGET
    }
}

/// Where this crate reports its own trouble: never to the portal.
const OWN_TARGET: &str = "tracing_bizproc";

impl<S> Filter<S> for EventLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    /// Answers "always" or "never". With "sometimes", every event of the process would have to ask
    /// [`enabled`].
    ///
    /// [`enabled`]: Filter::enabled
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    /// Without a hint the whole process would run at TRACE. Not below INFO, at which spans are tagged.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        match self.0 {
            LevelFilter::OFF => Some(LevelFilter::OFF),
            level => Some(level.max(LevelFilter::INFO)),
        }
    }
}
