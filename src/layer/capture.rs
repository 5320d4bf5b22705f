//! The hot path: finds the tagged span of an event, packs the event, and pushes it.
//!
//! All of this runs on the callers' threads. It never blocks (except with `Overflow::Block`), never
//! panics or prints, and formats only what it sends. It holds no lock while user code runs.
//!
//! What an event costs, step by step:
//! 1. one load, if no span that could be tagged is alive in the process;
//! 2. its span, which is on top of the thread's own stack (see [`Stacks`]), and what was found of that
//!    span before (see [`recent`]); the first time, a look-up of the span's data, where its creation has
//!    left a [`SpanState`]. This costs the same at any depth;
//! 3. one clock read, and its fields as typed bytes (see [`visit`](super::visit));
//! 4. a box for these bytes, if they are many, and a push (see `queue`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing_core::dispatcher::WeakDispatch;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::fields::Names;
use crate::line::{Alive, Clock, EventToken, Live, LogLine, Packed, Packer, Seen, Tag};
use crate::queue::{Producer, WeakProducer, enter};
use crate::stats::Unseen;

use super::callsites::{Answer, Answers, Callsites};
use super::entered::{Current, Stacks};
use super::level::EventLevel;
use super::recent::{self, Found, Stamp};
use super::scope::{Inherited, LayerId, MakeTag, SpanState, SpanStates};
use super::search::Search;
use super::visit::{LineVisitor, Look, LookingVisitor, MarkVisitor, TokenVisitor};

/// How to go on with an event.
enum Step {
    /// It is delivered, or not ours.
    Done,
    /// Its span has to be looked up.
    LookUp,
    /// Its span is the one with this id, of which nothing valid was noted.
    In(u64),
    /// The Registry knows which span it is in.
    Ask,
}

/// What [`BizprocLayer`](super::BizprocLayer) does.
//
// In this order, so that what each event reads is on few cache lines, before the large tables.
#[repr(C)]
pub(super) struct Capture {
    alive: &'static Alive,
    /// The spans that each thread has entered, if the layer is told of all of them.
    entered: Stacks,
    id: LayerId,
    level: EventLevel,
    pub(super) clock: Clock,
    producer: Producer,
    /// For the spans. Leaked once (a few hundred bytes), so that tagged spans need no reference counts for it.
    weak: &'static WeakProducer,
    /// The subscriber of this layer (see [`Capture::with_enabled_ancestor`]), and hidden spans.
    search: Arc<Search>,
    /// Callsites whose spans have or had a [`SpanState`].
    callsites: Callsites,
    /// What follows from the names and the level of each callsite.
    answers: Answers,
}

impl Capture {
    pub(super) fn new(producer: Producer, level: EventLevel) -> Capture {
        static LAYERS: AtomicUsize = AtomicUsize::new(0);
        let alive = producer.alive();
        let id = LayerId(LAYERS.fetch_add(1, Relaxed));
        let weak = Box::leak(Box::new(producer.downgrade()));
        let (callsites, answers) = (Callsites::default(), Answers::default());
        let search = Arc::new(Search::new(level));
        let searching = Arc::clone(&search);
        producer.search_by(move |meant| searching.hidden(meant));
        let entered = Stacks::unused(id);
        let clock = Clock::default();
        Capture { producer, weak, alive, id, level, clock, entered, callsites, answers, search }
    }

    /// `sees_all_spans`: whether no filter of the layer hides spans from it.
    pub(super) fn on_register_dispatch(&self, dispatch: &Dispatch, sees_all_spans: bool) {
        if sees_all_spans {
            self.entered.start();
        }
        let _ = self.search.dispatch.set(dispatch.downgrade());
    }

    #[cfg(test)]
    pub(super) fn remembers(&self) -> bool {
        self.entered.are_used()
    }

    #[inline]
    pub(super) fn on_enter(&self, id: &Id) {
        self.entered.enter(id);
    }

    #[inline]
    pub(super) fn on_exit(&self, id: &Id) {
        self.entered.exit(id);
    }

    /// Without this, events of the callsite are ignored while no tagged span is alive.
    pub(super) fn note_callsite(&self, metadata: &Metadata<'_>) {
        if self.token_field(metadata).is_some() && self.level.wants(metadata) {
            self.search.note_asked(metadata);
            match metadata.is_event() {
                true => self.alive.note_event_callsite(),
                false => self.alive.note_span_callsite(),
            }
        }
    }

    /// The filter is asked about something of this callsite. If it hides that, it notes it on the thread.
    pub(super) fn expect_filter_notes(&self, metadata: &Metadata<'_>) {
        if !self.level.wants(metadata) {
            self.alive.expect_filter_notes();
        }
    }

    /// Whether there is something to do.
    #[inline]
    pub(super) fn seen(&self) -> Seen {
        self.alive.read()
    }

    #[inline]
    pub(super) fn on_record<S>(&self, id: &Id, values: &Record<'_>, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if self.alive.read().has_slots() {
            self.record(id, values, ctx);
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.producer.layer_dropped();
    }
}

// The slow parts of the callbacks. Not inlined, so that a callback with nothing to do saves no registers and
// reserves no stack: a third of its instructions.
impl Capture {
    /// A span while some may be ours.
    #[inline]
    pub(super) fn on_new_span<S>(
        &self,
        attrs: &Attributes<'_>,
        id: Id,
        ctx: Context<'_, S>,
        seen: Seen,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        match self.answers.known(attrs.metadata()) {
            Some(answer) if answer.is_special || seen.has_slots() => {
                self.new_span(attrs, id, ctx, answer);
            }
            Some(_) => self.entered.idle(),
            None => self.first_span(attrs, id, ctx, seen),
        }
    }

    /// The first span of its callsite, or one of which the answer was replaced by another callsite's.
    #[cold]
    #[inline(never)]
    fn first_span<S>(&self, attrs: &Attributes<'_>, id: Id, ctx: Context<'_, S>, seen: Seen)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let answer = self.answer(attrs.metadata());
        if answer.is_special || seen.has_slots() {
            self.new_span(attrs, id, ctx, answer);
        }
    }

    /// Leaves a [`SpanState`] in a span that declares the token field or is inside one that does. Also
    /// in one that our level hides: its fields are not shown, but events inside it need not walk up.
    #[inline(never)]
    fn new_span<S>(&self, attrs: &Attributes<'_>, id: Id, ctx: Context<'_, S>, answer: Answer)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(_inside) = enter() else { return };
        let Some(span) = ctx.span(&id) else { return };
        let token = if answer.is_special { self.token_field(attrs.metadata()) } else { None };
        if token.is_some() {
            self.entered.wake();
        }
        let is_shown = answer.is_wanted;
        let around =
            || self.with_state(&span.parent()?, |state| Some(state.inherited(self.make_tag())));
        let state = match token.filter(|_| is_shown) {
            Some(token) => self.tagged_state(attrs, token, around),
            None => match around() {
                Some(around) => {
                    let fields = match is_shown {
                        true => {
                            let look = self.look(attrs.metadata(), None);
                            packed(|visitor| attrs.record(visitor), &look)
                        }
                        false => Packed::default(),
                    };
                    SpanState::inside(around, attrs.metadata(), fields)
                }
                None => return,
            },
        };
        self.callsites.insert(attrs.metadata());
        // Only the lock is taken inside of the closure: a state that the closure owns is copied once more.
        let Some(mut extensions) = self.unless_poisoned(|| span.extensions_mut()) else { return };
        let is_shared = SpanStates::put(&mut extensions, self.id, state);
        drop(extensions);
        if is_shared {
            self.producer.note_shared_spans();
        }
    }

    fn tagged_state(
        &self,
        attrs: &Attributes<'_>,
        token: (Field, &'static Names),
        around: impl FnOnce() -> Option<Inherited>,
    ) -> SpanState {
        let names = token.1;
        let mut found = TokenVisitor::new(token);
        attrs.record(&mut found);
        let portal = found.portal.take();
        match self.usable(&mut found) {
            Some(event_token) => {
                SpanState::tagged(event_token, portal, self.producer.tagged_span(), self.weak)
            }
            None => {
                let look = self.look(attrs.metadata(), Some(names));
                let fields = packed(|visitor| attrs.record(visitor), &look);
                let live = Live::slot(self.alive);
                SpanState::taggable(around(), attrs.metadata(), fields, portal, live, self.weak)
            }
        }
    }

    /// A token or other fields of a span, recorded after its creation.
    #[inline(never)]
    fn record<S>(&self, id: &Id, values: &Record<'_>, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(_inside) = enter() else { return };
        let Some(span) = ctx.span(id) else { return };
        let state = |read: &mut dyn FnMut(&SpanState)| {
            self.unless_poisoned(|| SpanStates::get(&span.extensions(), self.id).map(read));
        };
        let mut shows_fields = None;
        state(&mut |state| shows_fields = Some(state.shows_fields()));
        let Some(shows_fields) = shows_fields else { return };
        let shows_fields = shows_fields && self.answer(span.metadata()).is_wanted;
        // Without the lock on the extensions, because code of the app runs in between.
        let token = self.token_field(span.metadata());
        let declares = token.as_ref().map(|(_, names)| *names);
        if let Some(token) = token {
            let mut found = TokenVisitor::new(token);
            values.record(&mut found);
            let portal = found.portal.take();
            let event_token = self.usable(&mut found);
            if event_token.is_some() || portal.is_some() {
                let mut place = None;
                state(&mut |state| place = Some(state.place(self.make_tag())));
                let replaced =
                    place.and_then(|place| place.record(event_token, portal, self.make_tag()));
                self.alive.note_change();
                if let Some(replaced) = replaced {
                    self.producer.span_closed(replaced);
                }
            }
        }
        if shows_fields {
            let look = self.look(span.metadata(), declares);
            let newer = packed(|visitor| values.record(visitor), &look);
            self.unless_poisoned(|| {
                SpanStates::add_fields(&mut span.extensions_mut(), self.id, span.metadata(), newer);
            });
        }
    }

    /// An event while some may be ours.
    #[inline(never)]
    pub(super) fn on_event<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>, seen: Seen)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        match self.event_if_known(event, seen) {
            Step::Done => {}
            Step::In(id) => self.event_in_known(event, ctx, id),
            Step::Ask => self.event_asked(event, ctx),
            Step::LookUp => self.event_looked_up(event, ctx),
        }
    }

    /// Delivers the event, if that takes no look-up. Not generic, so that it is compiled together with
    /// what it calls.
    #[inline(never)]
    fn event_if_known(&self, event: &Event<'_>, seen: Seen) -> Step {
        let metadata = event.metadata();
        if seen.events_declare() && self.answer(metadata).is_special {
            return self.event_that_may_declare(event, seen);
        }
        if !seen.has_slots() {
            return Step::Done;
        }
        let current = match event.is_contextual() {
            true => self.entered.current(),
            false => Current::Unknown,
        };
        if current == Current::NotOurs {
            return Step::Done;
        }
        let answer = self.answer(metadata);
        if !answer.is_wanted {
            return Step::Done;
        }
        match current {
            Current::Span(id) => self.event_in(event, id, answer.is_special),
            Current::Unsure => Step::Ask,
            Current::Unknown | Current::NotOurs => Step::LookUp,
        }
    }

    /// Delivers an event in the span with this id, if something valid was noted of it.
    #[inline]
    fn event_in(&self, event: &Event<'_>, id: u64, is_special: bool) -> Step {
        let stamp = Stamp::now(self.alive.changes(), id);
        let Some(found) = recent::recall(self.id, id, stamp) else { return Step::In(id) };
        if let Some(_inside) = enter() {
            self.found_event(event, found, is_special);
        }
        Step::Done
    }

    #[cold]
    fn event_that_may_declare(&self, event: &Event<'_>, seen: Seen) -> Step {
        let Some(_inside) = enter() else { return Step::Done };
        match self.own_tag(event) {
            Some(tag) => self.special_event(event, (tag, None)),
            None if seen.has_slots() => return Step::LookUp,
            None => {}
        }
        Step::Done
    }

    /// An event of which only the Registry knows in which span it is.
    #[inline(never)]
    fn event_asked<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let current = ctx.current_span();
        let Some(id) = current.id() else { return };
        self.entered.note_current(id);
        let is_special = self.answer(event.metadata()).is_special;
        if let Step::In(id) = self.event_in(event, id.into_u64(), is_special) {
            self.event_in_known(event, ctx, id);
        }
    }

    #[inline(never)]
    fn event_in_known<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>, id: u64)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(_inside) = enter() else { return };
        if let Some(found) = self.known_scope(id, ctx) {
            self.found_event(event, found, self.answer(event.metadata()).is_special);
        }
    }

    #[inline(never)]
    fn event_looked_up<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(_inside) = enter() else { return };
        if let Some(found) = self.scope(event, ctx) {
            self.found_event(event, found, self.answer(event.metadata()).is_special);
        }
    }

    #[inline]
    fn found_event(&self, event: &Event<'_>, found: Found, is_special: bool) {
        match is_special {
            true => self.special_event(event, found),
            false => self.deliver(event, found, None),
        }
    }

    /// An event of which some field needs a look. Apart from the others, which are faster without it.
    #[inline(never)]
    fn special_event(&self, event: &Event<'_>, found: Found) {
        if self.is_let_in(event) {
            let declares = self.token_field(event.metadata()).map(|(_, names)| names);
            let look = self.look(event.metadata(), declares);
            self.deliver(event, found, Some(&look));
        }
    }

    #[inline]
    fn deliver(&self, event: &Event<'_>, found: Found, look: Option<&Look>) {
        let ((tag, span), metadata) = (found, event.metadata());
        if !self.producer.admits(&tag) {
            return;
        }
        let at = self.clock.now();
        let mut packer = Packer::new();
        pack(&mut packer, |visitor| event.record(visitor), look);
        // Charged before the line is put together. What was written piece by piece can be copied as a
        // whole only once the pieces have reached the cache, and the charge waits for that anyway.
        let bytes = LogLine::bytes_of(&tag, span.as_deref(), packer.len());
        let charged = self.producer.charge(&tag, bytes);
        let line = || LogLine { tag, metadata, at, fields: packer.take(), span };
        // The queue has counted the refusal, and the caller does not need to know.
        let _counted = self.producer.offer_charged(charged, line);
    }

    /// As [`scope`](Self::scope), of the span that is known to be the current one. Notes what it finds.
    fn known_scope<S>(&self, id: u64, ctx: &Context<'_, S>) -> Option<Found>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let stamp = Stamp::now(self.alive.changes(), id);
        let span = ctx.span(&Id::from_u64(id))?;
        let read = |state: &SpanState| {
            let found = (state.tag(self.make_tag())?, state.fields.clone());
            recent::note(self.id, id, stamp, &found, &state.noted_by);
            Some(found)
        };
        // A span gets its state when it is made, or never.
        let not_ours = || {
            self.entered.note_not_ours(id);
            None
        };
        if !self.callsites.may_contain(span.metadata()) {
            return not_ours();
        }
        let look = || SpanStates::get(&span.extensions(), self.id).map_or_else(not_ours, read);
        self.unless_poisoned(look).flatten()
    }

    /// The log of the event, and the fields of the spans inside the tagged one.
    fn scope<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>) -> Option<Found>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if event.is_root() {
            return None;
        }
        let current = ctx.current_span();
        let id = event.parent().or_else(|| current.id())?;
        let read = |state: &SpanState| Some((state.tag(self.make_tag())?, state.fields.clone()));
        match ctx.span(id) {
            Some(span) => self.with_state(&span, read),
            None => self.with_enabled_ancestor(id, event, ctx, read),
        }
    }

    /// Reads the state of a span, if it has one.
    #[inline]
    fn with_state<S, R>(
        &self,
        span: &SpanRef<'_, S>,
        read: impl FnOnce(&SpanState) -> Option<R>,
    ) -> Option<R>
    where
        S: for<'a> LookupSpan<'a>,
    {
        if !self.callsites.may_contain(span.metadata()) {
            return None;
        }
        self.unless_poisoned(|| read(SpanStates::get(&span.extensions(), self.id)?)).flatten()
    }

    /// Uses the extensions of a span. If another layer panicked while it held their lock, the lock is
    /// poisoned, and tracing-subscriber panics at each further use.
    #[inline]
    fn unless_poisoned<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.producer.note_unseen(Unseen::Poisoned);
        }
        done.ok()
    }

    /// Reads the state of the nearest span around a span that a filter around this layer hides from it.
    /// `Context::lookup_current` would look down the thread's stack of entered spans instead, and find
    /// another process's where the hidden span was given its parent by hand.
    #[cold]
    fn with_enabled_ancestor<S, R>(
        &self,
        id: &Id,
        event: &Event<'_>,
        ctx: &Context<'_, S>,
        read: impl FnOnce(&SpanState) -> Option<R>,
    ) -> Option<R>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(dispatch) = self.search.dispatch.get().and_then(WeakDispatch::upgrade) else {
            // `Option<Layer>` does not pass the dispatch on: the stack is right but for that case.
            let current = if event.is_contextual() { ctx.lookup_current() } else { None };
            return self.with_state(&current?, read);
        };
        // The registry itself shows a span's parents whatever is filtered.
        let Some(registry) = dispatch.downcast_ref::<Registry>() else {
            // The stack might lead to another process's span.
            self.producer.note_unseen(Unseen::Enclosed);
            return None;
        };
        let hidden = registry.span(id)?;
        let enabled = hidden.scope().skip(1).find_map(|span| ctx.span(&span.id()))?;
        self.with_state(&enabled, read)
    }

    /// A token on the event itself. There is no span inside of it, so the line has no fields of spans.
    #[inline(never)]
    fn own_tag(&self, event: &Event<'_>) -> Option<Arc<Tag>> {
        let metadata = event.metadata();
        let token = self.token_field(metadata).filter(|_| self.level.wants(metadata))?;
        let mut found = TokenVisitor::new(token);
        event.record(&mut found);
        let portal = found.portal.take();
        Some(self.producer.tag(self.usable(&mut found)?, portal, Tag::OF_EVENT))
    }

    /// By reference, because moving bytes that were just written is slow.
    #[inline]
    fn usable(&self, found: &mut TokenVisitor) -> Option<EventToken> {
        match found.event_token.take()? {
            Ok(event_token) => Some(event_token),
            Err(why) => {
                self.producer.note_unusable(why);
                None
            }
        }
    }

    #[inline]
    fn token_field(&self, metadata: &Metadata<'_>) -> Option<(Field, &'static Names)> {
        self.level.fields.token_field(metadata)
    }

    /// How to check the fields of a callsite. `declares`: see [`Look`].
    fn look(&self, metadata: &Metadata<'_>, declares: Option<&'static Names>) -> Look {
        Look { fields: self.level.fields, declares, is_event: metadata.is_event() }
    }

    #[inline]
    fn answer(&self, metadata: &'static Metadata<'static>) -> Answer {
        self.answers.get(metadata, || {
            let fields = self.level.fields;
            let needs_look = metadata.is_event() && fields.need_look(metadata);
            let is_special = needs_look || fields.token_field(metadata).is_some();
            Answer { is_special, is_wanted: self.level.wants(metadata) }
        })
    }

    /// Whether an event that may have the marker is written.
    fn is_let_in(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let marked = self.level.fields.marker_field(metadata).and_then(|marker| {
            let mut found = MarkVisitor::new(marker);
            event.record(&mut found);
            found.marked
        });
        marked.unwrap_or_else(|| self.level.shows(metadata))
    }

    fn make_tag(&self) -> impl MakeTag {
        |event_token, portal, tagged_by| self.producer.tag(event_token, portal, tagged_by)
    }
}

/// Packs the fields of a span.
fn packed(record: impl FnOnce(&mut dyn Visit), look: &Look) -> Packed {
    let mut packer = Packer::new();
    pack(&mut packer, record, Some(look));
    packer.take()
}

#[inline]
fn pack(packer: &mut Packer, record: impl FnOnce(&mut dyn Visit), look: Option<&Look>) {
    match look {
        None => record(&mut LineVisitor::new(packer)),
        Some(look) => record(&mut LookingVisitor::new(packer, look)),
    }
    packer.finish();
}
