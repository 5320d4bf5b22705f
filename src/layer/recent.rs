//! What a thread has found of the spans in which it logged last, so that it need not look them up again.
//!
//! It holds weak references only: a thread that sleeps keeps no tag alive, and no span. What it has found
//! is valid as long as these counters have the values that they had before the look:
//!
//! - `changes`, of the layer: a token or a portal was recorded;
//! - `closes`, of a group of ids: a span with such an id has closed, or its fields were recorded. So an id
//!   that is used again is never taken for the earlier span. Only spans of which a thread has noted
//!   something count here, and there are many groups, so that a span that closes seldom disturbs others.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use super::scope::LayerId;
use crate::line::{SpanFields, Tag};

/// To which log the events of a span belong, and the fields of the spans inside the tagged one.
pub(super) type Found = (Arc<Tag>, Option<Arc<SpanFields>>);

/// The counters as they were before a look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    changes: u64,
    closes: u64,
}

impl Stamp {
    #[inline]
    pub(super) fn now(changes: u64, id: u64) -> Stamp {
        Stamp { changes, closes: CLOSES[group(id)].load(SeqCst) }
    }
}

/// What was found of a span, if it is still valid.
#[inline]
pub(super) fn recall(layer: LayerId, id: u64, stamp: Stamp) -> Option<Found> {
    RECENT
        .try_with(|recent| {
            let noted = recent[place(id)].noted.try_borrow().ok()?;
            if noted.id != id || noted.stamp != Some(stamp) || noted.layer != layer {
                return None;
            }
            let fields = match &noted.fields {
                Some(fields) => Some(fields.upgrade()?),
                None => None,
            };
            Some((noted.tag.upgrade()?, fields))
        })
        .ok()
        .flatten()
}

/// Notes what was found of a span: at the second time, because many spans log but once. `noted_by` is
/// the span's own, and is told.
pub(super) fn note(layer: LayerId, id: u64, stamp: Stamp, found: &Found, noted_by: &NotedBy) {
    let _ = RECENT.try_with(|recent| {
        let Ok(mut noted) = recent[place(id)].noted.try_borrow_mut() else { return };
        if noted.id != id || noted.layer != layer {
            *noted = Noted { layer, id, ..Noted::NOTHING };
            return;
        }
        noted_by.group.store(1 + group(id) as u32, Relaxed);
        noted.tag = Arc::downgrade(&found.0);
        noted.fields = found.1.as_ref().map(Arc::downgrade);
        noted.stamp = Some(stamp);
    });
}

/// Of a span: whether some thread has noted something of it.
#[derive(Default)]
pub(super) struct NotedBy {
    /// The group of the span's id, plus one. Written while the span's extensions are locked for reading,
    /// and read while they are locked for writing, or by the last who has them.
    group: AtomicU32,
}

impl NotedBy {
    /// What was noted is not valid any more.
    #[inline]
    pub(super) fn invalidate(&self) {
        if let Some(group) = self.group.load(Relaxed).checked_sub(1) {
            CLOSES[group as usize].fetch_add(1, SeqCst);
        }
    }
}

const PLACES: usize = 16;

/// On a cache line of its own, because a thread that logs seldom has to fetch what it looks at.
#[repr(align(64))]
struct Place {
    noted: RefCell<Noted>,
}

struct Noted {
    layer: LayerId,
    /// No span's id is 0.
    id: u64,
    /// `None`: nothing was noted yet.
    stamp: Option<Stamp>,
    tag: Weak<Tag>,
    fields: Option<Weak<SpanFields>>,
}

impl Noted {
    const NOTHING: Noted =
        Noted { layer: LayerId(0), id: 0, stamp: None, tag: Weak::new(), fields: None };
}

thread_local! {
    static RECENT: [Place; PLACES] =
        const { [const { Place { noted: RefCell::new(Noted::NOTHING) } }; PLACES] };
}

/// The Registry numbers spans from below, by the thread that made them.
#[inline]
fn place(id: u64) -> usize {
    (id ^ id >> 38) as usize % PLACES
}

const GROUPS: usize = 128;

static CLOSES: [AtomicU64; GROUPS] = [const { AtomicU64::new(0) }; GROUPS];

#[inline]
fn group(id: u64) -> usize {
    (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57) as usize % GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same place, and the same count of closes.
    #[test]
    fn what_was_noted_of_a_span_is_not_taken_for_another_ones() {
        let alike = |id: &u64| place(*id) == place(1) && group(*id) == group(1);
        let other = (2..).find(alike).expect("there are few places and groups");
        let layer = LayerId(0);
        let stamp = Stamp::now(0, 1);
        let found = |token| (Tag::detached(token, None), None);
        let (first, second) = (found("a"), found("b"));
        let note = |id, found: &Found| note(layer, id, stamp, found, &NotedBy::default());
        let recalled = |id| recall(layer, id, stamp).map(|(tag, _)| tag);
        let is = |tag: Option<Arc<Tag>>, found: &Found| {
            tag.is_some_and(|tag| Arc::ptr_eq(&tag, &found.0))
        };
        note(1, &first);
        assert!(recalled(1).is_none(), "many spans log once");
        note(1, &first);
        assert!(is(recalled(1), &first) && recalled(other).is_none());
        note(other, &second);
        assert!(recalled(1).is_none() && recalled(other).is_none());
        note(other, &second);
        assert!(is(recalled(other), &second) && recalled(1).is_none());
        let changed = Stamp { changes: stamp.changes + 1, ..stamp };
        assert!(recall(layer, other, changed).is_none());
        assert!(recall(LayerId(1), other, stamp).is_none());
    }
}
