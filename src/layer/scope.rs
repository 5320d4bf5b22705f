//! What a span knows: whose log its events are for, and the fields to show with them.
//!
//! Found out once, when the span is created, and inherited from the span around it, so that an event
//! never walks up its scope. What can change later is the tag, and that is shared: all spans inside a
//! span that declares the token field hold its [`Slot`].

use std::sync::atomic::{
    AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_core::Metadata;
use tracing_subscriber::registry::{Extensions, ExtensionsMut};

use crate::line::{Alive, EventToken, Live, Packed, PortalId, SpanFields, Tag};

/// Tells two of our layers in one subscriber apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerId(pub(super) u32);

/// The states of one span: one for each of our layers, and so nearly always one.
pub(super) struct SpanStates {
    first: (LayerId, SpanState),
    more: Vec<(LayerId, SpanState)>,
}

impl SpanStates {
    pub(super) fn get<'a>(extensions: &'a Extensions<'_>, id: LayerId) -> Option<&'a SpanState> {
        let states = extensions.get::<SpanStates>()?;
        if states.first.0 == id {
            return Some(&states.first.1);
        }
        states.more.iter().find(|state| state.0 == id).map(|state| &state.1)
    }

    pub(super) fn put(extensions: &mut ExtensionsMut<'_>, id: LayerId, state: SpanState) {
        match extensions.get_mut::<SpanStates>() {
            Some(states) => states.more.push((id, state)),
            None => {
                extensions.replace(SpanStates { first: (id, state), more: Vec::new() });
            }
        }
    }

    /// Adds fields that were recorded late, or replaces earlier values of them.
    pub(super) fn add_fields(
        extensions: &mut ExtensionsMut<'_>,
        id: LayerId,
        metadata: &'static Metadata<'static>,
        newer: Packed,
    ) {
        let Some(states) = extensions.get_mut::<SpanStates>() else { return };
        let all = std::iter::once(&mut states.first).chain(&mut states.more);
        if let Some((_, state)) = all.into_iter().find(|state| state.0 == id) {
            state.add_fields(metadata, newer);
        }
    }
}

/// What events directly in a span need.
#[derive(Clone)]
pub(super) struct SpanState {
    /// The nearest span around (this one included) that declares the token field.
    pub(super) slot: Arc<Slot>,
    /// Innermost first, the fields of the spans inside the tagged one.
    pub(super) fields: Option<Arc<SpanFields>>,
    owns_slot: bool,
    /// Whether the head of `fields` is this span's own. Else it is inherited.
    owns_fields: bool,
}

impl SpanState {
    /// A span that has its token from the start. The fields around it belong to another log, and its
    /// own are not shown.
    pub(super) fn tagged(slot: Slot) -> SpanState {
        SpanState { slot: Arc::new(slot), fields: None, owns_slot: true, owns_fields: false }
    }

    /// A span that declares the token field and may get a token later. Until then its events belong to
    /// the span around it, if that is tagged.
    pub(super) fn taggable(
        parent: Option<SpanState>,
        metadata: &'static Metadata<'static>,
        fields: Packed,
        portal: Option<PortalId>,
        alive: &'static Alive,
    ) -> SpanState {
        let (up, around) = match parent {
            Some(parent) => (Some(parent.slot), parent.fields),
            None => (None, None),
        };
        let slot = Arc::new(Slot::empty(up, portal, alive));
        let fields = chain(around, metadata, fields, slot.late);
        SpanState { slot, fields, owns_slot: true, owns_fields: true }
    }

    /// The state of a span directly inside this one that does not declare the token field.
    pub(super) fn inner(self, metadata: &'static Metadata<'static>, fields: Packed) -> SpanState {
        let mut inner = SpanState { owns_slot: false, owns_fields: false, ..self };
        inner.add_fields(metadata, fields);
        inner
    }

    pub(super) fn own_slot(&self) -> Option<&Slot> {
        self.owns_slot.then_some(&*self.slot)
    }

    /// Whether fields of this span are ever shown.
    pub(super) fn keeps_fields(&self) -> bool {
        !self.owns_slot || self.slot.late != 0
    }

    fn add_fields(&mut self, metadata: &'static Metadata<'static>, newer: Packed) {
        if newer.len() == 0 {
            return;
        }
        self.fields = match self.fields.take() {
            // Replaced, not changed: lines that wait show what was so when they were logged.
            Some(own) if self.owns_fields => {
                let fields = own.fields.updated(&newer);
                let SpanFields { ref up, metadata, late, depth, .. } = *own;
                Some(Arc::new(SpanFields { up: up.clone(), metadata, fields, late, depth }))
            }
            around => {
                let depth = around.as_ref().map_or(0, |around| around.depth);
                self.owns_fields = depth < SpanFields::MAX_DEPTH;
                chain(around, metadata, newer, 0)
            }
        };
    }
}

/// Puts a span's fields in front of those around it.
fn chain(
    up: Option<Arc<SpanFields>>,
    metadata: &'static Metadata<'static>,
    fields: Packed,
    late: u64,
) -> Option<Arc<SpanFields>> {
    let depth = up.as_ref().map_or(0, |up| up.depth) + 1;
    match (depth <= SpanFields::MAX_DEPTH, late) {
        (true, _) => Some(Arc::new(SpanFields { up, metadata, fields, late, depth })),
        (false, 0) => up,
        // It has to be in its chain, where the chain ends once the span is tagged.
        (false, _) => Some(Arc::new(SpanFields { up: None, metadata, fields, late, depth: 1 })),
    }
}

/// The place for a token in a span that declares the token field.
pub(super) struct Slot {
    /// Where to look while this slot is empty. `None` for one that was filled from the start: tags are
    /// replaced, but never removed.
    up: Option<Arc<Slot>>,
    /// What [`SpanFields::late`] of this span is. 0: filled from the start, and not in any chain.
    late: u64,
    /// The tag that the span was made with.
    given: Option<Arc<Tag>>,
    /// The first tag that was recorded where none was given. Read without a lock, as `given` is, since
    /// most slots never have another.
    first: OnceLock<Arc<Tag>>,
    /// Whether `latest` is to be asked, and not `first`.
    replaced: AtomicBool,
    latest: Mutex<Latest>,
    _live: Live,
}

#[derive(Default)]
struct Latest {
    /// May be recorded before the token is.
    portal: Option<PortalId>,
    tag: Option<Arc<Tag>>,
}

impl Slot {
    pub(super) fn tagged(tag: Arc<Tag>, alive: &'static Alive) -> Slot {
        Slot {
            up: None,
            late: 0,
            given: Some(tag),
            first: OnceLock::new(),
            replaced: AtomicBool::new(false),
            latest: Mutex::default(),
            _live: Live::slot(alive),
        }
    }

    fn empty(up: Option<Arc<Slot>>, portal: Option<PortalId>, alive: &'static Alive) -> Slot {
        static LATE: AtomicU64 = AtomicU64::new(1);
        Slot {
            up,
            late: LATE.fetch_add(1, Relaxed),
            given: None,
            first: OnceLock::new(),
            replaced: AtomicBool::new(false),
            latest: Mutex::new(Latest { portal, tag: None }),
            _live: Live::slot(alive),
        }
    }

    /// The tag that counts now: this slot's, or else the next one's up.
    pub(super) fn tag(&self) -> Option<Arc<Tag>> {
        self.own_tag().or_else(|| self.up.as_ref()?.tag())
    }

    fn own_tag(&self) -> Option<Arc<Tag>> {
        if !self.replaced.load(Acquire) {
            return self.earliest().cloned();
        }
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).tag.clone()
    }

    fn earliest(&self) -> Option<&Arc<Tag>> {
        self.given.as_ref().or_else(|| self.first.get())
    }

    /// The tag of which no more lines will come, if any came.
    pub(super) fn ended(&self) -> Option<Arc<Tag>> {
        if !self.replaced.load(Acquire) {
            return self.earliest().filter(|tag| tag.has_logged()).cloned();
        }
        self.own_tag()
    }

    /// Takes a token or a portal that was recorded later. Returns the tag that this replaces.
    pub(super) fn record(
        &self,
        event_token: Option<EventToken>,
        portal: Option<PortalId>,
        make: impl FnOnce(EventToken, Option<PortalId>, u64) -> Arc<Tag>,
    ) -> Option<Arc<Tag>> {
        if event_token.is_none() && portal.is_none() {
            return None;
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let old = latest.tag.clone().or_else(|| self.earliest().cloned());
        let kept = old.as_ref().map(|tag| tag.event_token.clone());
        latest.portal = portal
            .or_else(|| latest.portal.take())
            .or_else(|| old.as_ref().and_then(|tag| tag.portal.clone()));
        let event_token = event_token.or(kept)?;
        if let Some(old) = &old {
            if old.event_token == event_token && old.portal == latest.portal {
                return None;
            }
        }
        let tag = make(event_token, latest.portal.clone(), self.late);
        if old.is_some() || self.first.set(tag.clone()).is_err() {
            latest.tag = Some(tag);
            self.replaced.store(true, Release);
        }
        old
    }
}
