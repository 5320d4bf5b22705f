//! The layer, as a subscriber sees it. What it does with spans and events stands in [`capture`].

use std::any::TypeId;
use std::fmt;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::queue::Producer;

mod callsites;
mod capture;
mod host;
mod level;
mod scope;
mod search;
mod visit;

use capture::Capture;
pub(crate) use level::EventLevel;

/// Delivers the events inside spans that have an `event_token` field.
///
/// An event belongs to the nearest span of its own scope that has a token: `parent: &span` and
/// `parent: None` are honoured, the innermost token wins, and a token on the event itself wins over
/// all spans. A token that is recorded later counts from then on, also for spans that were opened
/// inside before; recording another one replaces it. A `portal` field beside the token says which
/// portal the process runs on.
///
/// Spans without a token add their fields to the events inside them. Fields recorded later are added
/// to what comes later: spans that are open by then keep what they inherited.
///
/// # What it lets through
///
/// Events and spans of its level ([`Builder::level`](crate::Builder::level)) and above, and of all
/// spans those that declare `event_token`. This is a filter of the layer's own: what it hides from
/// this layer other layers still see, and it does not raise the level of the process. A span that is
/// disabled for everybody (by the maximum level, or by a filter that is not a layer's own) cannot tag
/// anything: so tag spans at INFO or above, whatever the level of the events is.
///
/// # Filters
///
/// Levels by target, or levels that change at run time, are another filter's affair: build the layer
/// with the lowest level and add it as `bizproc.with_filter(..)`. Such a filter has to let the **spans**
/// with the token through, not only the events: of your targets at INFO, and of `tracing_bizproc` at
/// INFO if you use the span of an [`Activity`](crate::Activity). The same holds for a filter of the whole
/// subscriber. What is hidden is counted ([`Snapshot::unseen`](crate::Snapshot::unseen)), and a report
/// names what to add to the filter.
///
/// With [`Targets`](tracing_subscriber::filter::Targets), of this layer alone:
///
/// ```
/// # mod my_app {
/// # pub fn work(event_token: &tracing_bizproc::EventToken) {
/// # tracing::info_span!("order", event_token = event_token.tag())
/// #     .in_scope(|| tracing::info!("received"));
/// # }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::Webhook::new("http://127.0.0.1:9/rest/1/secret/")?;
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
/// With an `EnvFilter`, of the whole subscriber. Its default holds where `RUST_LOG` is not set; the crate's
/// name is added in any case, so that `RUST_LOG=my_app=debug` does not hide the spans of activities:
///
/// ```
/// # mod my_app {
/// # pub fn work(event_token: &tracing_bizproc::EventToken) {
/// # tracing::info_span!("order", event_token = event_token.tag())
/// #     .in_scope(|| tracing::info!("received"));
/// # }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::Webhook::new("http://127.0.0.1:9/rest/1/secret/")?;
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
/// A filter may be inside of a [`reload::Layer`](tracing_subscriber::reload::Layer). (Not this layer
/// itself: that hides that it has a filter of its own, and so would silence others.)
///
/// # Records of the `log` crate
///
/// What `tracing_log::LogTracer` makes an event of is a line like others, inside a tagged span: with the
/// record's own level and target, by which filters see it, too. LogTracer hands no key-values on:
/// `info!(amount = 99.5; "Paid")` arrives as `Paid`.
///
/// # On which subscribers
///
/// The [`Registry`](tracing_subscriber::Registry) with any layers, and
/// `tracing_subscriber::fmt().finish()`. The latter's own level and filter are those of the whole
/// process: a level of this layer can only show less, and there is no `with_filter` there. A subscriber of your own has to implement
/// [`LookupSpan`]. If it wraps a Registry, let its `downcast_raw` pass the Registry on: otherwise
/// tracing-subscriber never clears a closed span, so that memory grows and the worker keeps looking for
/// lines of these spans.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::{BizprocLayer, Webhook};
/// use tracing_subscriber::{Registry, prelude::*};
///
/// let webhook = Webhook::new("https://example.bitrix24.com/rest/1/s3cr3t/")?;
/// let (bizproc, _guard) = tracing_bizproc::builder(webhook).build()?;
/// let bizproc: BizprocLayer<Registry> = bizproc;
/// let subscriber = tracing_subscriber::registry().with(bizproc);
/// # Ok(()) }
/// ```
pub struct BizprocLayer<S> {
    /// Tells the subscriber which callsites are ours, and keeps that apart from what others want.
    filter: Filtered<Nothing, EventLevel, S>,
    /// Whether the subscriber has filters of layers. If not, the filter is not used at all.
    has_filters: bool,
    capture: Capture,
}

/// What is behind the filter: see `impl Layer for BizprocLayer`.
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

// `Filtered` has what a filter of a layer's own needs of a subscriber: its mark, its share of each
// callsite's interest, its notes on the thread, which only its own callbacks take back. But of these
// callbacks two things are not to be had:
//
// - It looks a span up each time that it is entered, left or closed, to find out whether a layer that
//   does nothing then may see it: half of what an untagged span costs.
// - A note of an `enabled!` stays on the thread until the next span or event, which it then hides.
//
// So there is nothing behind it. It is called for its own sake, where it has something to take back, and
// the capture decides for itself what is ours: that follows from the metadata alone.
impl<S> Layer<S> for BizprocLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.capture.on_register_dispatch(dispatch);
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

    // Asked on the way to a span or an event whose callsite another thread is registering at this
    // moment, and may not have come to our `register_callsite` with. Asked also where another layer's
    // interest in the callsite is "sometimes", but nowhere else.
    fn enabled(&self, metadata: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        self.capture.note_callsite(metadata);
        !self.has_filters || self.filter.enabled(metadata, ctx)
    }

    /// Without filters of layers, a hint would be the level of the whole process. None leaves that to
    /// the subscriber below.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        if self.has_filters { self.filter.max_level_hint() } else { None }
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if self.has_filters {
            self.filter.on_new_span(attrs, id, ctx.clone());
        }
        self.capture.on_new_span(attrs, id, ctx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        self.capture.on_record(id, values, &ctx);
    }

    // `event_enabled` is left to its default, which lets events through: the filter never decides by an
    // event's values, and so would write its note on the thread anew as it is.

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if self.has_filters {
            self.filter.on_event(event, ctx.clone());
        }
        self.capture.on_event(event, &ctx);
    }

    /// Shows the subscriber the mark by which it knows a layer with a filter of its own. Without it,
    /// our level would be taken for the level of the whole process.
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
        // SAFETY: What is asked of an implementation is that its pointer is to a value of the type
        // `id`, valid for as long as `self` is. `Filtered` keeps that for itself, and is a part of us.
        unsafe { self.filter.downcast_raw(id) }
    }
}

impl<S> fmt::Debug for BizprocLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BizprocLayer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
