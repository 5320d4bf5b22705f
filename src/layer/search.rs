//! Looks for callsites that declare an event token and are hidden from the layer.
//!
//! A layer hears nothing of what a filter hides from it. But `tracing` tells a new subscriber all
//! callsites that were passed so far: so a subscriber that wants nothing is made for a moment, and then
//! our own is asked about those that declare a token. It is the worker's thread that does this, and
//! seldom.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_core::dispatcher::{WeakDispatch, get_default};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber, callsite};
use tracing_subscriber::Registry;

use super::level::EventLevel;
use crate::stats::{Hidden, Meant};

/// What a search needs of the layer.
pub(super) struct Search {
    level: EventLevel,
    /// Whose layer this is.
    pub(super) dispatch: OnceLock<WeakDispatch>,
    /// The callsite that is asked about, until the layer is asked about it.
    asked: AtomicPtr<Metadata<'static>>,
}

impl Search {
    pub(super) fn new(level: EventLevel) -> Search {
        let asked = AtomicPtr::new(ptr::null_mut());
        Search { level, dispatch: OnceLock::new(), asked }
    }

    /// The layer is asked about a callsite.
    pub(super) fn note_asked(&self, metadata: &Metadata<'_>) {
        let asked = self.asked.load(SeqCst);
        if ptr::addr_eq(asked, metadata) {
            self.asked.store(ptr::null_mut(), SeqCst);
        }
    }

    /// What is hidden. Nothing if the layer is not that of the whole process: others' spans are then
    /// not meant for it.
    pub(super) fn hidden(&self, meant: Meant) -> Vec<Hidden> {
        if self.level.is_off() {
            return Vec::new();
        }
        let Some(own) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return Vec::new();
        };
        let registry = |dispatch: &Dispatch| dispatch.downcast_ref::<Registry>().map(ptr::from_ref);
        if registry(&own).is_none() || get_default(|global| registry(global)) != registry(&own) {
            return Vec::new();
        }
        let level = LevelFilter::current().min(tracing::level_filters::STATIC_MAX_LEVEL);
        if level < LevelFilter::INFO {
            // Callsites above that level are known to nobody.
            return match meant {
                Meant::Activity => vec![Hidden::Level(level)],
                Meant::Code => Vec::new(),
            };
        }
        let meant = passed(self.level).into_iter().filter(|metadata| self.level.wants(metadata));
        meant.filter(|metadata| self.is_hidden(&own, metadata)).map(Hidden::Callsite).collect()
    }

    fn is_hidden(&self, own: &Dispatch, metadata: &'static Metadata<'static>) -> bool {
        self.asked.store(ptr::from_ref(metadata).cast_mut(), SeqCst);
        let interest = own.register_callsite(metadata);
        let was_asked = self.asked.swap(ptr::null_mut(), SeqCst).is_null();
        interest.is_never() || !was_asked
    }
}

/// Callsites that were passed and declare a token.
fn passed(level: EventLevel) -> Vec<&'static Metadata<'static>> {
    let found = Arc::<Mutex<Vec<_>>>::default();
    drop(Dispatch::new(Collector { level, found: found.clone() }));
    // So that the interest of each callsite is again what it was.
    callsite::rebuild_interest_cache();
    std::mem::take(&mut found.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A subscriber that wants nothing, and notes callsites.
struct Collector {
    level: EventLevel,
    found: Arc<Mutex<Vec<&'static Metadata<'static>>>>,
}

impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.level.declares(metadata) {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).push(metadata);
        }
        Interest::never()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    /// The level of the process stays what the others make it.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
