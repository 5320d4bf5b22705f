//! The layer, as a subscriber sees it: which callsites are ours, and which callbacks are worth a look.
//!
//! What is done with a span or an event that is ours stands in [`capture`].

use std::any::TypeId;
use std::fmt;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::queue::Producer;

mod capture;
mod level;
mod scope;
mod visit;

use capture::{Capture, declares_token};
use capture::{EVENT_TOKEN, PORTAL};
use level::EventLevel;

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
    filtered: Filtered<Capture, EventLevel, S>,
    /// What the filter has always let through, whatever its level was.
    always: EventLevel,
}

pub(crate) fn layer<S>(producer: Producer, level: LevelFilter) -> BizprocLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let always = EventLevel(level);
    BizprocLayer { filtered: Capture::new(producer).with_filter(always), always }
}

impl<S> BizprocLayer<S> {
    /// Changes the level from which on events are lines.
    ///
    /// For a layer inside a [`reload::Layer`](tracing_subscriber::reload::Layer), whose handle has
    /// the subscriber ask anew: `handle.modify(|bizproc| bizproc.set_level(Level::DEBUG))`.
    pub fn set_level(&mut self, level: impl Into<LevelFilter>) {
        let level = level.into();
        *self.filtered.filter_mut() = EventLevel(level);
        self.always = EventLevel(level.min(self.always.0));
    }
}

// `Filtered` as it is would look a span up each time that it is entered, left or closed, to find out
// whether a layer that does nothing then may see it. These callbacks end here instead, which is half of
// what an untagged span costs. Everything else is `Filtered`'s.
impl<S> Layer<S> for BizprocLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.filtered.on_register_dispatch(dispatch);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        self.filtered.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.filtered.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        self.filtered.enabled(metadata, ctx)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filtered.max_level_hint()
    }

    // While nothing can be ours, `Filtered` would only find on the thread that its filter did not say
    // no, and then call what does nothing: 5 % of an untagged span. A filter that never says no has left
    // nothing to find.
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let seen = self.filtered.inner().seen();
        if !(seen.no_span_is_ours() && self.always.wants(attrs.metadata())) {
            self.filtered.on_new_span(attrs, id, ctx);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        self.filtered.on_record(id, values, ctx);
    }

    fn event_enabled(&self, event: &Event<'_>, ctx: Context<'_, S>) -> bool {
        self.filtered.event_enabled(event, ctx)
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        self.filtered.on_event(event, ctx);
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
        unsafe { self.filtered.downcast_raw(id) }
    }
}

impl<S> fmt::Debug for BizprocLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BizprocLayer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
