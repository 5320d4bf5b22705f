//! Reads the fields of spans and events: the token, and the values to show.
//!
//! User code runs here (`Debug` and `Display` impls). It may log, so nothing is locked or borrowed
//! meanwhile. It may panic, and the panic is caught, because without our layer this code might not have
//! run at all.

use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing_core::field::{Field, Visit};

use crate::fields::{EVENT_TOKEN, Fields, Names};
use crate::line::{EventToken, InvalidEventToken, Kind, Packed, Packer, PortalId, Sink};

/// Packs all fields, of a callsite of which no field needs a look.
pub(super) struct LineVisitor<'a> {
    packer: &'a mut Packer,
}

/// Packs the fields that may be written, as far as they may be.
pub(super) struct LookingVisitor<'a> {
    line: LineVisitor<'a>,
    look: &'a Look,
}

/// How to look at the fields of a callsite of which some need it.
pub(super) struct Look {
    pub(super) fields: &'static Fields,
    /// If the callsite declares the token field: by which names, so that a portal beside it is ours too.
    pub(super) declares: Option<&'static Names>,
    pub(super) is_event: bool,
}

impl Look {
    /// How much is written of a field; `None` if it is not written.
    fn limit(&self, field: &Field) -> Option<usize> {
        let name = field.name();
        if self.declares.is_some_and(|names| names.contain(name)) || self.fields.hides(name) {
            return None;
        }
        Some(self.fields.limit_of(name, self.is_event))
    }

    /// Text of the field that is known to hold tokens is one, whatever the callsite declares.
    fn limit_of_text(&self, field: &Field) -> Option<usize> {
        if self.fields.is_token(field.name()) { None } else { self.limit(field) }
    }

    /// Only an event is marked: on a span, it is a field like others.
    fn marks(&self, field: &Field) -> bool {
        self.is_event && self.fields.is_marker(field.name())
    }
}

impl<'a> LineVisitor<'a> {
    #[inline]
    pub(super) fn new(packer: &'a mut Packer) -> LineVisitor<'a> {
        LineVisitor { packer }
    }

    /// Packs what `write` writes, or a note that it panicked.
    #[inline]
    fn write(&mut self, field: &Field, limit: usize, write: impl FnOnce(&mut Sink<'_>)) {
        let start = self.packer.len();
        let packer = &mut *self.packer;
        if catch_unwind(AssertUnwindSafe(|| packer.text(field, limit, write))).is_err() {
            self.packer.truncate(start);
            self.packer.unwritable(field);
        }
    }
}

impl Visit for LineVisitor<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.packer.word(field, Kind::I64, value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.packer.word(field, Kind::U64, value.to_le_bytes());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.packer.word(field, Kind::F64, value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.packer.word(field, Kind::Bool, u64::from(value).to_le_bytes());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.packer.wide(field, Kind::I128, value.to_le_bytes());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.packer.wide(field, Kind::U128, value.to_le_bytes());
    }

    // A token is never shown, whatever is known of the callsite.
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != EVENT_TOKEN {
            self.packer.str(field, value, usize::MAX);
        }
    }

    /// With its sources, which are what the owner of a process wants to know.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if field.name() != EVENT_TOKEN {
            self.write(field, usize::MAX, |sink| write_chain(sink, value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != EVENT_TOKEN {
            self.write(field, usize::MAX, |sink| write_debug(sink, value));
        }
    }
}

impl<'a> LookingVisitor<'a> {
    pub(super) fn new(packer: &'a mut Packer, look: &'a Look) -> LookingVisitor<'a> {
        LookingVisitor { line: LineVisitor::new(packer), look }
    }

    fn writes(&self, field: &Field) -> bool {
        self.look.limit(field).is_some()
    }
}

impl Visit for LookingVisitor<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if self.writes(field) {
            self.line.record_i64(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if self.writes(field) {
            self.line.record_u64(field, value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if self.writes(field) {
            self.line.record_f64(field, value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        // Of this type, the marker has had its effect.
        if !self.look.marks(field) && self.writes(field) {
            self.line.record_bool(field, value);
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        if self.writes(field) {
            self.line.record_i128(field, value);
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        if self.writes(field) {
            self.line.record_u128(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(limit) = self.look.limit_of_text(field) {
            self.line.packer.str(field, value, limit);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if let Some(limit) = self.look.limit_of_text(field) {
            self.line.write(field, limit, |sink| write_chain(sink, value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if let Some(limit) = self.look.limit_of_text(field) {
            self.line.write(field, limit, |sink| write_debug(sink, value));
        }
    }
}

#[inline]
fn write_debug(sink: &mut Sink<'_>, value: &dyn Debug) {
    // The error comes from the sink when it is full, or from the impl. The text so far is kept.
    let _enough = write!(sink, "{value:?}");
}

/// An error and its sources: "order not saved: disk full". A source that stands in the text already,
/// since some errors show their source themselves, is not repeated.
fn write_chain(sink: &mut Sink<'_>, error: &(dyn Error + 'static)) {
    let mut all = Bounded::new(Packed::MAX_LEN);
    let _enough = write!(all, "{error}");
    let sources = std::iter::successors(error.source(), |&error| error.source());
    for source in sources.take(MOST_SOURCES) {
        let mut text = Bounded::new(Packed::MAX_LEN);
        let _enough = write!(text, "{source}");
        if !all.0.contains(&text.0) {
            let _enough = write!(all, ": {}", text.0);
        }
    }
    let _enough = sink.write_str(&all.0);
}

/// Nobody reads more causes than that; and a chain may have no end.
const MOST_SOURCES: usize = 16;

/// Looks for the marker of an event.
pub(super) struct MarkVisitor {
    marker: Field,
    pub(super) marked: Option<bool>,
}

impl MarkVisitor {
    pub(super) fn new(marker: Field) -> MarkVisitor {
        MarkVisitor { marker, marked: None }
    }
}

impl Visit for MarkVisitor {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if *field == self.marker {
            self.marked = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Looks for the token and its portal, and formats nothing else.
pub(super) struct TokenVisitor {
    /// The field that may hold the token: cheaper to compare than its name.
    token: Field,
    names: &'static Names,
    pub(super) event_token: Option<Result<EventToken, InvalidEventToken>>,
    pub(super) portal: Option<PortalId>,
}

impl TokenVisitor {
    #[inline]
    pub(super) fn new((token, names): (Field, &'static Names)) -> TokenVisitor {
        TokenVisitor { token, names, event_token: None, portal: None }
    }

    /// By its name only where the name was declared twice.
    fn is_token(&self, field: &Field) -> bool {
        *field == self.token || field.name() == self.names.event_token
    }

    fn take(&mut self, field: &Field, text: &str) {
        if self.is_token(field) {
            self.event_token = Some(EventToken::parse(text));
        } else if field.name() == self.names.portal && !text.is_empty() {
            let mut ends = (0..=text.len().min(MOST_PORTAL)).rev();
            let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            self.portal = Some(PortalId::from(&text[..end]));
        }
    }
}

/// A portal's name has 32 bytes. Of a longer text only so many are kept, because the budget does not
/// count them.
const MOST_PORTAL: usize = 256;

impl Visit for TokenVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match self.is_token(field).then(|| EventToken::from_field(value)).flatten() {
            Some(event_token) => self.event_token = Some(Ok(event_token)),
            None => self.record_debug(field, &format_args!("{value}")),
        }
    }

    /// `%display` and `?debug`, and whatever has no method of its own here.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !self.is_token(field) && field.name() != self.names.portal {
            return;
        }
        // What was cut is too long to be a token, and found to be so.
        let mut text = Bounded::new(8 * EventToken::MAX_LEN);
        let written = catch_unwind(AssertUnwindSafe(|| write!(text, "{value:?}")));
        if written.is_ok() {
            self.take(field, &unquoted(text.0));
        }
    }
}

/// The start of a text: it ends with the piece that passes a limit.
struct Bounded(String, usize);

impl Bounded {
    fn new(limit: usize) -> Self {
        Bounded(String::new(), limit)
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > self.1 {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Removes the quotes and escapes that `?text` adds to a string.
fn unquoted(text: String) -> String {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else { return text };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let char = match char {
            '\\' => unescaped(&mut chars),
            _ => Some(char),
        };
        match char {
            Some(char) => plain.push(char),
            // No `Debug` of a string writes that.
            None => return text,
        }
    }
    plain
}

/// The character that an escape stands for; its backslash was taken off.
fn unescaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    match chars.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '0' => Some('\0'),
        'u' => {
            let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            *chars = rest.chars();
            char::from_u32(u32::from_str_radix(code, 16).ok()?)
        }
        char @ ('\\' | '"' | '\'') => Some(char),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_unquoted_again() {
        for text in ["plain", "a\"b", "tab\tline\n", "back\\slash", "\u{85}\u{202e}", "it's", ""] {
            assert_eq!(unquoted(format!("{text:?}")), text);
        }
    }

    #[test]
    fn a_text_that_was_not_quoted_stays() {
        for text in ["plain", "\"", "\"half", "\"bad \\q\"", "\"cut \\u{12\""] {
            assert_eq!(unquoted(text.to_owned()), text);
        }
    }
}
