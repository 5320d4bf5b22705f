//! The layer: its interface to the subscriber. [`capture`] handles spans and events.

use std::any::TypeId;
use std::fmt;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::line::{Clock, Seen};
use crate::queue::Producer;

mod callsites;
mod capture;
mod entered;
mod host;
mod level;
mod recent;
mod scope;
mod search;
mod visit;

use capture::Capture;
pub(crate) use level::EventLevel;

/// Delivers the events inside spans that have an `event_token` field.
///
/// An event belongs to the nearest span of its own scope that has a token: `parent: &span` and
/// `parent: None` are honoured. The innermost token is used; a token on the event itself has priority over
/// all spans. A token that is recorded later is used from then on, also for spans that are already open
/// inside. Recording another token replaces it. A field `portal` in the same span or event names the portal
/// of the process.
///
/// Spans without a token add their fields to the events inside them. Fields that are recorded later
/// appear only in later events. Inner spans that are already open do not get them.
///
/// # What it lets through
///
/// Events and spans of its level ([`Builder::level`](crate::Builder::level)) and above, and all spans
/// that declare `event_token`. This is a filter of this layer only: other layers still see what it
/// hides, and it does not raise the level of the process. If a span is disabled for all layers (by the
/// maximum level, or by a filter for the whole subscriber), it cannot tag anything. So tag spans at INFO
/// or above, whatever the level of the events is.
///
/// # Filters
///
/// For levels by target, or levels that change at run time, build the layer with the lowest level and
/// add a filter: `bizproc.with_filter(..)`. The filter has to let the **spans** with the token pass, not
/// only the events: your targets at INFO, and `tracing_bizproc` at INFO if you use the span of an
/// [`Activity`](crate::app::Activity). The same is true for a filter of the whole subscriber. What is hidden
/// is counted ([`Snapshot::unseen`](crate::stats::Snapshot::unseen)), and a report names what to add to the
/// filter.
///
/// With [`Targets`](tracing_subscriber::filter::Targets), for this layer only:
///
/// ```
/// # mod my_app {
/// # pub fn work(event_token: &tracing_bizproc::EventToken) {
/// # tracing::info_span!("order", event_token = event_token.as_field())
/// #     .in_scope(|| tracing::info!("received"));
/// # }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("http://127.0.0.1:9/rest/1/secret/")?;
/// use tracing::level_filters::LevelFilter;
/// use tracing_subscriber::filter::Targets;
/// use tracing_subscriber::prelude::*;
///
/// let shown = Targets::new()
///     .with_target("my_app", LevelFilter::INFO)
///     .with_target("tracing_bizproc", LevelFilter::INFO);
/// # let shown = shown.with_target(module_path!(), LevelFilter::INFO);
/// # let builder = tracing_bizproc::builder(webhook).shutdown_timeout(std::time::Duration::ZERO);
/// # let (bizproc, guard) = builder.build()?;
/// tracing_subscriber::registry().with(bizproc.with_filter(shown)).init();
/// # my_app::work(&tracing_bizproc::EventToken::parse("5e4a77.1|A|1.ff")?);
/// # assert_eq!(guard.handle().stats().accepted(), 1);
/// # Ok(()) }
/// ```
///
/// With an `EnvFilter` for the whole subscriber. The default is used if `RUST_LOG` is not set. The
/// crate's name is added in any case, so that `RUST_LOG=my_app=debug` does not hide the spans of
/// activities:
///
/// ```
/// # mod my_app {
/// # pub fn work(event_token: &tracing_bizproc::EventToken) {
/// # tracing::info_span!("order", event_token = event_token.as_field())
/// #     .in_scope(|| tracing::info!("received"));
/// # }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("http://127.0.0.1:9/rest/1/secret/")?;
/// use tracing::level_filters::LevelFilter;
/// use tracing_subscriber::EnvFilter;
/// use tracing_subscriber::prelude::*;
///
/// let shown = EnvFilter::builder()
///     .with_default_directive(LevelFilter::INFO.into())
///     .from_env()?
///     .add_directive("tracing_bizproc=info".parse()?);
/// # let builder = tracing_bizproc::builder(webhook).shutdown_timeout(std::time::Duration::ZERO);
/// # let (bizproc, guard) = builder.build()?;
/// tracing_subscriber::registry()
///     .with(shown)
///     .with(tracing_subscriber::fmt::layer())
///     .with(bizproc)
///     .init();
/// # my_app::work(&tracing_bizproc::EventToken::parse("5e4a77.1|A|1.ff")?);
/// # assert_eq!(guard.handle().stats().accepted(), 1);
/// # Ok(()) }
/// ```
///
/// A filter may be inside of a [`reload::Layer`](tracing_subscriber::reload::Layer). (Do not put this
/// layer itself inside of one: nobody could see then that it has a filter of its own, and other layers
/// would get fewer events.)
///
/// # Records of the `log` crate
///
/// Inside a tagged span, a record that `tracing_log::LogTracer` turns into an event is a line like
/// others. It has its own level and target, for filters, too. LogTracer drops key-values:
/// `info!(amount = 99.5; "Paid")` arrives as `Paid`.
///
/// # On which subscribers
///
/// The [`Registry`](tracing_subscriber::Registry) with any layers, and
/// `tracing_subscriber::fmt().finish()`. There the level and the filter of `fmt()` are those of the
/// whole process: the level of this layer can only show less, and `with_filter` is not available. A
/// subscriber of your own has to implement [`LookupSpan`]. If it wraps a Registry, its `downcast_raw`
/// has to find the Registry. Otherwise tracing-subscriber never clears a closed span: memory grows, and
/// the worker keeps looking for lines of these spans.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::BizprocLayer;
/// use tracing_bizproc::auth::Webhook;
/// use tracing_subscriber::{Registry, prelude::*};
///
/// let webhook = Webhook::new("https://example.bitrix24.com/rest/1/s3cr3t/")?;
/// let (bizproc, _guard) = tracing_bizproc::builder(webhook).build()?;
/// let bizproc: BizprocLayer<Registry> = bizproc;
/// let subscriber = tracing_subscriber::registry().with(bizproc);
/// # Ok(()) }
/// ```
pub struct BizprocLayer<S> {
    /// Tells the subscriber which callsites this layer needs, independently of other layers.
    filter: Filtered<Nothing, EventLevel, S>,
    /// Whether the subscriber supports filters of single layers. If not, the filter is not used at all.
    has_filters: bool,
    capture: Capture,
}

/// The filter has no layer inside: see `impl Layer for BizprocLayer`.
struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {}

pub(crate) fn layer<S>(producer: Producer, level: impl Into<EventLevel>) -> BizprocLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let level = level.into();
    let (filter, capture) = (Nothing.with_filter(level), Capture::new(producer, level));
    BizprocLayer { filter, has_filters: true, capture }
}

impl<S> BizprocLayer<S> {
    /// With another clock than the exact one for its events.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.capture.clock = clock;
        self
    }
}

// `Filtered` does what a filter of a single layer needs: it marks the layer, adds the interest in each
// callsite, and keeps notes on the thread, which only its own callbacks remove. But two costs of these
// callbacks are too high:
//
// - It looks a span up each time that the span is entered, left or closed, although our layer does
//   nothing then. That is half of what an untagged span costs.
// - The note of an `enabled!` stays on the thread until the next span or event, and then hides that.
//
// So it has no layer inside. It is called only if it has a note to remove. The capture decides by the
// metadata which spans and events this layer handles.
impl<S> Layer<S> for BizprocLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let sees_all_spans =
            host::enters_as_the_registry::<S>() && host::has_directly::<Self, S>(dispatch, self);
        self.capture.on_register_dispatch(dispatch, sees_all_spans);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        self.has_filters = host::has_filters::<S>();
        if self.has_filters {
            self.filter.on_layer(subscriber);
        }
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.capture.note_callsite(metadata);
        match self.has_filters {
            true => self.filter.register_callsite(metadata),
            false => Interest::always(),
        }
    }

    // Called before a span or an event in two cases only: another thread is registering the callsite at
    // this moment and may not have called our `register_callsite` yet; or another layer's interest in
    // the callsite is "sometimes".
    fn enabled(&self, metadata: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        self.capture.note_callsite(metadata);
        if !self.has_filters {
            return true;
        }
        self.capture.expect_filter_notes(metadata);
        self.filter.enabled(metadata, ctx)
    }

    /// If the subscriber has no filters of single layers, a hint would be the level of the whole
    /// process. `None` leaves the level to the subscriber below.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        if self.has_filters { self.filter.max_level_hint() } else { None }
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let seen = self.capture.seen();
        if seen.concerns_spans() {
            self.some_span(attrs, id.clone(), ctx, seen);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        self.capture.on_record(id, values, &ctx);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.capture.on_enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.capture.on_exit(id);
    }

    // `event_enabled` keeps its default, which lets events pass: the filter never looks at the values of
    // an event.

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let seen = self.capture.seen();
        if !seen.concerns_events() {
            return;
        }
        if seen.has_filter_notes() {
            self.filter.on_event(event, ctx.clone());
        }
        if seen.event_may_be_ours() {
            self.capture.on_event(event, &ctx, seen);
        }
    }

    /// Shows the subscriber that this layer has its own filter. Without this, our level would become the
    /// level of the whole process.
    #[expect(
        unsafe_code,
        reason = "the method is declared unsafe, and there is no other way to it"
    )]
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        if !self.has_filters {
            return None;
        }
        // SAFETY: The pointer has to point to a value of the type `id` that is valid as long as `self`
        // is. `Filtered` guarantees that for itself, and it is a field of `self`.
        unsafe { self.filter.downcast_raw(id) }
    }
}

impl<S> BizprocLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    /// A span while there is something to do for spans. Takes its arguments by value, in registers: what is
    /// handed on by reference is written to the stack also where there is nothing to do. Each way ends with a
    /// call, so that no registers are saved before.
    #[inline(never)]
    fn some_span(&self, attrs: &Attributes<'_>, id: Id, ctx: Context<'_, S>, seen: Seen) {
        match seen.has_filter_notes() {
            true => self.noted_span(attrs, id, ctx, seen),
            false => self.capture.on_new_span(attrs, id, ctx, seen),
        }
    }

    /// A span while there may be a note of the filter on this thread.
    #[inline(never)]
    fn noted_span(&self, attrs: &Attributes<'_>, id: Id, ctx: Context<'_, S>, seen: Seen) {
        self.filter.on_new_span(attrs, &id, ctx.clone());
        if seen.span_may_be_ours() {
            self.capture.on_new_span(attrs, id, ctx, seen);
        }
    }
}

impl<S> fmt::Debug for BizprocLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BizprocLayer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
