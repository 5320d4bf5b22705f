//! What a span knows: to which log its events belong, and the fields to show with them.
//!
//! This is computed once, when the span is created, from the span around it, so that an event never
//! walks up its scope. Only the tag can change later, and it is shared: all spans inside a span that
//! declares the token field hold its [`Place`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_core::Metadata;
use tracing_subscriber::registry::{Extensions, ExtensionsMut};

use crate::line::{EventToken, Live, Packed, PortalId, SpanFields, Tag};
use crate::queue::WeakProducer;

use super::recent::NotedBy;

/// Tells two of our layers in one subscriber apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayerId(pub(super) usize);

/// The states of one span: one for each of our layers, and so nearly always one.
pub(super) struct SpanStates {
    id: LayerId,
    state: SpanState,
    more: Option<Box<SpanStates>>,
}

impl SpanStates {
    pub(super) fn get<'a>(extensions: &'a Extensions<'_>, id: LayerId) -> Option<&'a SpanState> {
        let mut states = extensions.get::<SpanStates>()?;
        while states.id != id {
            states = states.more.as_deref()?;
        }
        Some(&states.state)
    }

    /// Whether another layer has put its state there before.
    #[inline]
    pub(super) fn put(extensions: &mut ExtensionsMut<'_>, id: LayerId, state: SpanState) -> bool {
        let earlier = extensions.replace(SpanStates { id, state, more: None });
        let is_shared = earlier.is_some();
        if is_shared {
            if let Some(states) = extensions.get_mut::<SpanStates>() {
                states.more = earlier.map(Box::new);
            }
        }
        is_shared
    }

    /// Adds fields that were recorded late, or replaces earlier values of them.
    pub(super) fn add_fields(
        extensions: &mut ExtensionsMut<'_>,
        id: LayerId,
        metadata: &'static Metadata<'static>,
        newer: Packed,
    ) {
        let mut states = extensions.get_mut::<SpanStates>();
        while let Some(found) = states {
            if found.id == id {
                return found.state.add_fields(metadata, newer);
            }
            states = found.more.as_deref_mut();
        }
    }
}

/// What events directly in a span need.
///
/// Its drop is the span's close: the registry clears a closed span's extensions, and needs no look-up
/// for that, as `Layer::on_close` would.
pub(super) struct SpanState {
    source: Source,
    /// Innermost first, the fields of the spans inside the tagged one.
    pub(super) fields: Option<Arc<SpanFields>>,
    /// Whether the head of `fields` is this span's own. Else it is inherited.
    owns_fields: bool,
    /// Of a span that declares the token field: whom to tell when it closes.
    owner: Option<&'static WeakProducer>,
    /// For the threads that log in this span.
    pub(super) noted_by: NotedBy,
}

impl SpanState {
    /// A span that has its token from the start. The fields around it belong to another log, and its
    /// own are not shown.
    #[inline]
    pub(super) fn tagged(
        event_token: EventToken,
        portal: Option<PortalId>,
        live: Live,
        owner: &'static WeakProducer,
    ) -> SpanState {
        let early = Early { event_token, portal, tag: OnceLock::new(), _live: live };
        let source = Source::Early(early);
        let noted_by = NotedBy::default();
        SpanState { source, fields: None, owns_fields: false, owner: Some(owner), noted_by }
    }

    /// A span that declares the token field and may get a token later. Until then its events belong to
    /// the span around it, if that is tagged.
    pub(super) fn taggable(
        around: Option<Inherited>,
        metadata: &'static Metadata<'static>,
        fields: Packed,
        portal: Option<PortalId>,
        live: Live,
        owner: &'static WeakProducer,
    ) -> SpanState {
        static TAGGED_BY: AtomicU64 = AtomicU64::new(1);
        let tagged_by = TAGGED_BY.fetch_add(1, Relaxed);
        let (up, fields_around) = match around {
            Some(Inherited { place, fields }) => (Some(place), fields),
            None => (None, None),
        };
        let (first, portal) = (OnceLock::new(), Mutex::new(portal));
        let slot = Slot { up, tagged_by, first, portal, _live: live };
        SpanState {
            source: Source::Place(Place::Late(Arc::new(slot))),
            fields: chain(fields_around, metadata, fields, tagged_by),
            owns_fields: true,
            owner: Some(owner),
            noted_by: NotedBy::default(),
        }
    }

    /// A span inside of another one.
    pub(super) fn inside(
        around: Inherited,
        metadata: &'static Metadata<'static>,
        fields: Packed,
    ) -> SpanState {
        let Inherited { place, fields: fields_around } = around;
        let source = Source::Place(place);
        let mut state = SpanState {
            source,
            fields: fields_around,
            owns_fields: false,
            owner: None,
            noted_by: NotedBy::default(),
        };
        state.add_fields(metadata, fields);
        state
    }

    /// The tag that counts now, for an event directly in this span.
    pub(super) fn tag(&self, make: impl MakeTag) -> Option<Arc<Tag>> {
        match &self.source {
            Source::Early(early) => Some(early.tag(make).latest()),
            Source::Place(place) => place.tag(),
        }
    }

    /// What a span directly inside this one starts with.
    pub(super) fn inherited(&self, make: impl MakeTag) -> Inherited {
        Inherited { place: self.place(make), fields: self.fields.clone() }
    }

    /// Whether the span's own fields are shown: those of one that had its token from the start are not.
    pub(super) fn shows_fields(&self) -> bool {
        !matches!(self.source, Source::Early(_))
    }

    /// The place where this span and the spans inside it look for its token.
    pub(super) fn place(&self, make: impl MakeTag) -> Place {
        match &self.source {
            Source::Early(early) => Place::Given(early.tag(make).clone()),
            Source::Place(place) => place.clone(),
        }
    }

    /// The span closes. Returns the tag of which no more lines will come, if any came or were refused.
    fn ended(&self) -> Option<Arc<Tag>> {
        let first = match &self.source {
            Source::Early(early) => early.tag.get()?,
            Source::Place(Place::Given(tag)) => tag,
            Source::Place(Place::Late(slot)) => slot.first.get()?,
        };
        first.ended()
    }

    /// Adds fields that were recorded, or replaces earlier values of them.
    pub(super) fn add_fields(&mut self, metadata: &'static Metadata<'static>, newer: Packed) {
        if newer.len() == 0 {
            return;
        }
        self.noted_by.invalidate();
        self.fields = match self.fields.take() {
            // Replaced, not changed: lines that wait show the values of the time when they were logged.
            Some(own) if self.owns_fields => {
                let fields = own.fields.updated(&newer);
                Some(Arc::new(SpanFields::new(own.up.clone(), own.metadata, fields, own.tagged_by)))
            }
            around => {
                let depth = around.as_ref().map_or(0, |around| around.depth);
                self.owns_fields = depth < SpanFields::MAX_DEPTH;
                chain(around, metadata, newer, 0)
            }
        };
    }
}

impl Drop for SpanState {
    fn drop(&mut self) {
        self.noted_by.invalidate();
        if let Some(owner) = self.owner {
            if let Some(tag) = self.ended() {
                owner.span_closed(tag);
            }
        }
    }
}

/// Puts a span's fields in front of those around it.
fn chain(
    up: Option<Arc<SpanFields>>,
    metadata: &'static Metadata<'static>,
    fields: Packed,
    tagged_by: u64,
) -> Option<Arc<SpanFields>> {
    let is_full = up.as_ref().is_some_and(|up| up.depth >= SpanFields::MAX_DEPTH);
    match (is_full, tagged_by) {
        (false, _) => Some(Arc::new(SpanFields::new(up, metadata, fields, tagged_by))),
        (true, 0) => up,
        // The span has to be in its own chain, because the chain ends there once the span is tagged.
        (true, _) => Some(Arc::new(SpanFields::new(None, metadata, fields, tagged_by))),
    }
}

/// What a span inside of another one starts with.
pub(super) struct Inherited {
    place: Place,
    fields: Option<Arc<SpanFields>>,
}

/// Makes a tag of a token, a portal, and the [`SpanFields::tagged_by`] of its span.
pub(super) trait MakeTag: Fn(EventToken, Option<PortalId>, u64) -> Arc<Tag> {}

impl<F: Fn(EventToken, Option<PortalId>, u64) -> Arc<Tag>> MakeTag for F {}

/// Where a span's tag comes from.
enum Source {
    /// The span had its token from the start.
    Early(Early),
    /// A place that it shares with the spans inside, or with those around it.
    Place(Place),
}

/// A token that was there when its span was made. Its tag is made once somebody needs it, for an event
/// or a span inside: one that has neither is an eighth cheaper.
struct Early {
    event_token: EventToken,
    portal: Option<PortalId>,
    tag: OnceLock<Arc<Tag>>,
    _live: Live,
}

impl Early {
    fn tag(&self, make: impl MakeTag) -> &Arc<Tag> {
        self.tag.get_or_init(|| make(self.event_token.clone(), self.portal.clone(), 0))
    }
}

/// Where the tag of the nearest span that declares the token field is found.
#[derive(Clone)]
pub(super) enum Place {
    /// The span had its token from the start. If it is replaced, the tag knows by what.
    Given(Arc<Tag>),
    /// The span may get one.
    Late(Arc<Slot>),
}

/// The place for a token that may be recorded later.
pub(super) struct Slot {
    /// Where to look while this slot is empty.
    up: Option<Place>,
    /// What [`SpanFields::tagged_by`] of this span is.
    tagged_by: u64,
    /// The first tag. Read without a lock.
    first: OnceLock<Arc<Tag>>,
    /// May be recorded before the token is.
    portal: Mutex<Option<PortalId>>,
    _live: Live,
}

impl Drop for Slot {
    /// Dropped one after the other, and not recursively: the stack could overflow.
    fn drop(&mut self) {
        let mut up = self.up.take();
        while let Some(Place::Late(slot)) = up {
            up = Arc::into_inner(slot).and_then(|mut slot| slot.up.take());
        }
    }
}

impl Place {
    /// The tag that counts now: this span's, or else the next one's up.
    fn tag(&self) -> Option<Arc<Tag>> {
        // A loop and not a recursion: an app may nest its spans without limit.
        let mut place = self;
        loop {
            match place {
                Place::Given(tag) => return Some(tag.latest()),
                Place::Late(slot) => match slot.first.get() {
                    Some(tag) => return Some(tag.latest()),
                    None => place = slot.up.as_ref()?,
                },
            }
        }
    }

    /// Takes a token or a portal that was recorded later. Returns the tag that this replaces.
    pub(super) fn record(
        &self,
        event_token: Option<EventToken>,
        portal: Option<PortalId>,
        make: impl MakeTag,
    ) -> Option<Arc<Tag>> {
        match self {
            Place::Given(first) => replace(first, event_token, portal, 0, &make),
            Place::Late(slot) => {
                let mut known = slot.portal.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(first) = slot.first.get() {
                    return replace(first, event_token, portal, slot.tagged_by, &make);
                }
                *known = portal.or_else(|| known.take());
                let tag = make(event_token?, known.clone(), slot.tagged_by);
                // The lock is held, so no other thread was faster.
                let _set = slot.first.set(tag);
                None
            }
        }
    }
}

/// Replaces the tag that began as `first`, unless nothing changes. What is not given stays.
fn replace(
    first: &Arc<Tag>,
    event_token: Option<EventToken>,
    portal: Option<PortalId>,
    tagged_by: u64,
    make: impl MakeTag,
) -> Option<Arc<Tag>> {
    first.replace(|old| {
        let event_token = event_token.unwrap_or_else(|| old.event_token.clone());
        let portal = portal.or_else(|| old.portal.clone());
        let changes = old.event_token != event_token || old.portal != portal;
        changes.then(|| make(event_token, portal, tagged_by))
    })
}
