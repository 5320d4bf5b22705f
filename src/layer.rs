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
mod level;
mod scope;
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
/// anything.
///
/// Levels by target, or levels that change at run time, are another filter's affair: build the layer
/// with the lowest level and add it as `bizproc.with_filter(..)`, which may be a
/// [`reload::Layer`](tracing_subscriber::reload::Layer) around a filter. (Not one around this layer:
/// it hides that the layer has a filter of its own, and so would silence others.)
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
    BizprocLayer { filter: Nothing.with_filter(level), capture: Capture::new(producer, level) }
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
        self.filter.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.capture.note_callsite(metadata);
        self.filter.register_callsite(metadata)
    }

    // Asked on the way to a span or an event whose callsite another thread is registering at this
    // moment, and may not have come to our `register_callsite` with. Asked also where another layer's
    // interest in the callsite is "sometimes", but nowhere else.
    fn enabled(&self, metadata: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        self.capture.note_callsite(metadata);
        self.filter.enabled(metadata, ctx)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter.max_level_hint()
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        self.filter.on_new_span(attrs, id, ctx.clone());
        self.capture.on_new_span(attrs, id, ctx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        self.capture.on_record(id, values, &ctx);
    }

    fn event_enabled(&self, event: &Event<'_>, ctx: Context<'_, S>) -> bool {
        self.filter.event_enabled(event, ctx)
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        self.filter.on_event(event, ctx.clone());
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
