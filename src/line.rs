//! What travels from the caller to the worker: the log ([`Tag`]) and the line ([`LogLine`]).
//!
//! Owns the shape of a line while it waits. It makes no text: the worker does that. It reads the clock
//! for an event, and when a line is refused, and takes a lock only for a tag that was replaced.

use std::mem::size_of;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tracing_core::Metadata;

use crate::stats::DropReason;

mod clock;
mod live;
mod packed;
mod record;
mod token;

pub(crate) use clock::Clock;
pub(crate) use live::{Alive, Live, Seen};
pub use packed::Value;
pub(crate) use packed::{FIELDS_LEFT_OUT, Kind, Packed, Packer, Sink};
#[cfg(feature = "log")]
pub(crate) use record::{RECORD_FIELDS, RECORD_TARGET};
pub use token::{EventToken, InvalidEventToken, PortalId};
pub(crate) use token::{Fingerprint, Offered};

/// To which log lines belong. Shared by all lines of a tagged span, or owned by the one line of a tagged
/// event.
///
/// As long as a tag is alive, or a span that may get one, the worker looks at the queue regularly, so
/// that a push never has to wake it.
//
// In this order, so that what each event reads is on one cache line with the reference counts before it.
#[repr(C)]
pub(crate) struct Tag {
    /// The span whose later record made this tag; 0 if the token was there when the span was made;
    /// [`Tag::OF_EVENT`]. See [`LogLine::spans`].
    tagged_by: u64,
    /// Whether a line of this tag was accepted, so that the span's close is worth a message.
    logged: AtomicBool,
    /// Why the last of the refused lines was refused, as the number of a [`DropReason`].
    refused_for: AtomicU8,
    /// Lines of this tag that were refused at the door since the worker last asked.
    refused: AtomicU32,
    pub(crate) event_token: EventToken,
    /// `None`: the default portal.
    pub(crate) portal: Option<PortalId>,
    /// When the first of the refused lines was refused, in Unix seconds.
    refused_since: AtomicU64,
    /// What the span's token was replaced by, if it was. Set on the span's first tag only.
    replaced: OnceLock<Mutex<Option<Arc<Tag>>>>,
    /// The index of this token in the worker. The first line sets it, so that other lines need no search by
    /// the text of the token (8 % of a line with 10,000 tokens).
    pub(crate) place: AtomicUsize,
    /// The token's fingerprint after its first use, for the same reason; 0 before.
    fingerprint: AtomicU32,
    _live: Live,
}

impl Tag {
    /// The tag belongs to an event, and so to one line only; there is no span.
    pub(crate) const OF_EVENT: u64 = u64::MAX;

    pub(crate) fn new(
        event_token: EventToken,
        portal: Option<PortalId>,
        tagged_by: u64,
        live: Live,
    ) -> Tag {
        Tag {
            event_token,
            portal,
            tagged_by,
            logged: AtomicBool::new(false),
            refused: AtomicU32::new(0),
            refused_since: AtomicU64::new(0),
            refused_for: AtomicU8::new(0),
            replaced: OnceLock::new(),
            place: AtomicUsize::new(usize::MAX),
            fingerprint: AtomicU32::new(0),
            _live: live,
        }
    }

    /// The current tag of the span, if this was its first one.
    #[inline]
    pub(crate) fn latest(self: &Arc<Tag>) -> Arc<Tag> {
        match self.replaced.get() {
            None => self.clone(),
            Some(latest) => self.or_first(&latest.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn or_first(self: &Arc<Tag>, latest: &Option<Arc<Tag>>) -> Arc<Tag> {
        latest.as_ref().unwrap_or(self).clone()
    }

    /// As [`latest`](Self::latest), if its end [matters](Self::end_matters).
    pub(crate) fn ended(self: &Arc<Tag>) -> Option<Arc<Tag>> {
        match self.replaced.get() {
            None => self.end_matters().then(|| self.clone()),
            Some(_) => Some(self.latest()).filter(|tag| tag.end_matters()),
        }
    }

    /// Replaces the tag of the span, if `other` returns a new one. Returns the old one.
    pub(crate) fn replace(
        self: &Arc<Tag>,
        other: impl FnOnce(&Tag) -> Option<Arc<Tag>>,
    ) -> Option<Arc<Tag>> {
        let mut latest = self
            .replaced
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self.or_first(&latest);
        *latest = Some(other(&old)?);
        Some(old)
    }

    /// The token's fingerprint.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self.fingerprint.load(Relaxed) {
            0 => {
                let fingerprint = self.event_token.fingerprint();
                self.fingerprint.store(fingerprint.0, Relaxed);
                fingerprint
            }
            noted => Fingerprint(noted),
        }
    }

    /// Bytes of the tag, with its token and its portal.
    fn bytes(&self) -> usize {
        let portal = self.portal.as_ref().map_or(0, |portal| portal.as_str().len());
        size_of::<Tag>() + self.event_token.expose().len() + portal
    }

    /// The spans inside of the one that this tag is of, from `span` on.
    fn spans_inside<'a>(
        &self,
        span: Option<&'a SpanFields>,
    ) -> impl Iterator<Item = &'a SpanFields> + use<'a> {
        // A span that was tagged from the start begins a chain of its own. One that was tagged
        // later is a member of the chain that its children had inherited by then: stop there.
        let tagged_by = self.tagged_by;
        std::iter::successors(span, |span| span.up.as_deref())
            .take_while(move |span| tagged_by == 0 || span.tagged_by != tagged_by)
    }

    /// The bytes of these spans' long fields.
    #[cold]
    fn bytes_around(&self, span: Option<&SpanFields>) -> usize {
        self.spans_inside(span).map(|span| span.fields.boxed_bytes()).sum()
    }

    /// Notes that a line was sent. Reads first, because all threads of a span share the flag.
    #[inline]
    pub(crate) fn note_line(&self) {
        if !self.logged.load(Relaxed) {
            self.logged.store(true, Relaxed);
        }
    }

    /// Whether the worker must get the close: it has got lines, or the log must mention refused ones.
    pub(crate) fn end_matters(&self) -> bool {
        self.logged.load(Relaxed) || self.has_refused()
    }

    pub(crate) fn note_refusal(&self, reason: DropReason) {
        self.refused_for.store(reason as u8, Relaxed);
        if self.refused.fetch_add(1, Relaxed) == 0 {
            // The clock is read once for each gap, not for each refused line.
            #[expect(clippy::disallowed_methods, reason = "it is the time of an event")]
            let now = SystemTime::now();
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.refused_since.store(since.as_secs(), Relaxed);
        }
    }

    /// Whether there are refused lines that the worker does not know yet.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused.load(Relaxed) > 0
    }

    /// The lines of this tag that were refused since the last call, for a mark in the log itself.
    pub(crate) fn take_refused(&self) -> Option<Missed> {
        if !self.has_refused() {
            return None;
        }
        let since = Duration::from_secs(self.refused_since.load(Relaxed));
        let reason = self.refused_for.load(Relaxed);
        let reason = *DropReason::ALL.get(usize::from(reason))?;
        let lines = self.refused.swap(0, Relaxed).into();
        Some(Missed { lines, since: SystemTime::UNIX_EPOCH + since, reason })
    }
}

/// Lines that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) lines: u64,
    pub(crate) since: SystemTime,
    pub(crate) reason: DropReason,
}

/// One event, packed on the caller's thread. The worker makes text of it.
pub(crate) struct LogLine {
    pub(crate) tag: Arc<Tag>,
    pub(crate) metadata: &'static Metadata<'static>,
    pub(crate) at: SystemTime,
    pub(crate) fields: Packed,
    /// The spans around the event, innermost first. Read them through [`LogLine::spans`].
    pub(crate) span: Option<Arc<SpanFields>>,
}

impl LogLine {
    /// The charge of the line while it is pending: its own fields, the long fields of the spans around it,
    /// which each line repeats, and the tag if it belongs to this line only.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        LogLine::bytes_of(&self.tag, self.span.as_deref(), self.fields.len())
    }

    /// As [`bytes`](Self::bytes), for a line with this number of own bytes.
    #[inline]
    pub(crate) fn bytes_of(tag: &Tag, span: Option<&SpanFields>, own: usize) -> usize {
        let around = match (span, tag.tagged_by) {
            (None, Tag::OF_EVENT) => tag.bytes(),
            (None, _) => 0,
            (Some(span), 0) => span.boxed_bytes,
            (Some(_), _) => tag.bytes_around(span),
        };
        OVERHEAD + own + around
    }

    /// The event's own fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let is_record = record::is_record(self.metadata);
        self.fields
            .iter(self.metadata)
            .filter(move |(name, _)| !is_record || !record::is_origin(name))
    }

    /// The spans between the tagged span (exclusive) and the event, innermost first. Spans without
    /// fields are left out.
    pub(crate) fn spans(&self) -> impl Iterator<Item = &SpanFields> {
        self.tag.spans_inside(self.span.as_deref()).filter(|span| span.fields.len() > 0)
    }
}

/// A span's own fields, and through `up` those of the spans around it.
pub(crate) struct SpanFields {
    pub(crate) up: Option<Arc<SpanFields>>,
    pub(crate) metadata: &'static Metadata<'static>,
    pub(crate) fields: Packed,
    /// For a span that may be tagged later: the number of its tags. Otherwise 0.
    pub(crate) tagged_by: u64,
    /// How many spans there are through `up`. Bounded by [`SpanFields::MAX_DEPTH`].
    pub(crate) depth: u16,
    /// Bytes of its long fields, and of those through `up`.
    boxed_bytes: usize,
}

impl SpanFields {
    /// Spans that are nested deeper add no fields. A chain is dropped recursively, so without a limit it
    /// could overflow the stack.
    pub(crate) const MAX_DEPTH: u16 = 64;

    pub(crate) fn new(
        up: Option<Arc<SpanFields>>,
        metadata: &'static Metadata<'static>,
        fields: Packed,
        tagged_by: u64,
    ) -> SpanFields {
        let (depth, around) = up.as_ref().map_or((0, 0), |up| (up.depth, up.boxed_bytes));
        let boxed_bytes = around + fields.boxed_bytes();
        SpanFields { up, metadata, fields, tagged_by, depth: depth + 1, boxed_bytes }
    }

    /// The span's own fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.fields.iter(self.metadata)
    }
}

/// What a line costs besides its packed fields: itself, its slot's stamp, and malloc's header.
const OVERHEAD: usize = size_of::<LogLine>() + 8 + 16;

#[cfg(test)]
impl Tag {
    /// A tag that no queue counts as alive.
    pub(crate) fn detached(event_token: &str, portal: Option<&str>) -> Arc<Tag> {
        let event_token = EventToken::parse(event_token).unwrap();
        Arc::new(Tag::new(event_token, portal.map(PortalId::from), 0, Live::none()))
    }
}

#[cfg(test)]
impl LogLine {
    /// A line at INFO that says `message`.
    pub(crate) fn saying(tag: &Arc<Tag>, message: &str) -> LogLine {
        let metadata = tracing::callsite!(
            name: "sample",
            kind: tracing::metadata::Kind::EVENT,
            target: "sample",
            level: tracing::Level::INFO,
            fields: message
        );
        let metadata = tracing_core::Callsite::metadata(metadata);
        let mut packer = Packer::new();
        let field = metadata.fields().field("message").unwrap();
        packer.str(&field, message, usize::MAX);
        LogLine {
            tag: tag.clone(),
            metadata,
            at: SystemTime::UNIX_EPOCH,
            fields: packer.take(),
            span: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_charged_its_text_and_its_own_size() {
        let tag = Tag::detached("t", None);
        let short = LogLine::saying(&tag, "");
        let long = LogLine::saying(&tag, &"x".repeat(1_000));
        assert!(short.bytes() >= size_of::<LogLine>());
        assert_eq!(long.bytes(), short.bytes() + 1_000);
    }

    /// Regression: 65,536 events with their own tokens of 1 KiB used 85 MB that were not charged.
    #[test]
    fn an_event_with_its_own_token_is_charged_that_too() {
        let event_token = EventToken::parse(&"t".repeat(1_000)).unwrap();
        let of_span = Arc::new(Tag::new(event_token.clone(), None, 0, Live::none()));
        let portal = Some(PortalId::from("member"));
        let own = Arc::new(Tag::new(event_token, portal, Tag::OF_EVENT, Live::none()));
        let plain = LogLine::saying(&of_span, "x").bytes();
        assert_eq!(LogLine::saying(&own, "x").bytes(), plain + size_of::<Tag>() + 1_006);
    }

    #[test]
    fn a_line_is_charged_the_long_fields_of_its_spans() {
        let packed = |len| LogLine::saying(&Tag::detached("t", None), &"x".repeat(len)).fields;
        let tag = Tag::detached("t", None);
        let mut line = LogLine::saying(&tag, "");
        let (plain, metadata) = (line.bytes(), line.metadata);
        let span = |up, len, late| Some(Arc::new(SpanFields::new(up, metadata, packed(len), late)));
        let around = span(span(None, 10, 0), 1_000, 0);
        let taggable = span(around, 2_000, 7);
        line.span = span(taggable, 4_000, 0);
        assert_eq!(line.bytes(), plain + 7_000 + 3 * line.fields.len());
        let late = EventToken::parse("u").unwrap();
        line.tag = Arc::new(Tag::new(late, None, 7, Live::none()));
        assert_eq!(line.bytes(), plain + 4_000 + line.fields.len());
    }

    #[test]
    fn a_tag_with_only_refused_lines_ends_like_one_that_logged() {
        let tag = Tag::detached("t", None);
        assert!(tag.ended().is_none(), "nobody knows of it");
        tag.note_refusal(DropReason::QueueFull);
        assert!(tag.ended().is_some());
        let latest = Tag::detached("u", None);
        tag.replace(|_| Some(latest.clone()));
        assert!(tag.ended().is_none(), "its own loss was told when it was replaced");
        latest.note_refusal(DropReason::QueueFull);
        assert!(Arc::ptr_eq(&tag.ended().unwrap(), &latest));
    }

    #[test]
    fn refused_lines_are_reported_once() {
        let tag = Tag::detached("t", None);
        tag.note_refusal(DropReason::QueueFull);
        tag.note_refusal(DropReason::BudgetSpent);
        let missed = tag.take_refused().unwrap();
        assert_eq!((missed.lines, missed.reason), (2, DropReason::BudgetSpent));
        assert!(missed.since > SystemTime::UNIX_EPOCH);
        assert_eq!(tag.take_refused(), None);
    }
}
