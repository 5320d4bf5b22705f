//! Reads the fields of spans and events: the token, and the values to show.
//!
//! User code runs here (`Debug` and `Display` impls). It may log, so nothing is locked or borrowed
//! meanwhile. It may panic, and the panic is caught, because without our layer this code might not have
//! run at all.

use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing_core::field::{Field, Visit};

use super::{EVENT_TOKEN, PORTAL};
use crate::line::{EventToken, InvalidEventToken, Kind, Offered, Packer, PortalId};

/// Packs all fields but the token and its portal.
pub(super) struct LineVisitor<'a> {
    packer: Packer<'a>,
    /// Whether the callsite declares the token field, so that a portal beside it is ours too.
    declares: bool,
}

impl<'a> LineVisitor<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>, declares: bool) -> LineVisitor<'a> {
        LineVisitor { packer: Packer::new(bytes), declares }
    }

    /// Says how many fields found no room.
    #[inline]
    pub(super) fn finish(self) {
        self.packer.finish();
    }

    #[inline]
    fn skips(&self, field: &Field) -> bool {
        self.declares && matches!(field.name(), EVENT_TOKEN | PORTAL)
    }

    /// A token is never shown, whatever fields the callsite declares.
    #[inline]
    fn skips_text(&self, field: &Field) -> bool {
        field.name() == EVENT_TOKEN || self.skips(field)
    }

    #[inline]
    fn word(&mut self, field: &Field, kind: Kind, word: [u8; 8]) {
        if !self.skips(field) {
            self.packer.word(field, kind, word);
        }
    }
}

impl Visit for LineVisitor<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.word(field, Kind::I64, value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.word(field, Kind::U64, value.to_le_bytes());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.word(field, Kind::F64, value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.word(field, Kind::Bool, u64::from(value).to_le_bytes());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        if !self.skips(field) {
            self.packer.wide(field, Kind::I128, value.to_le_bytes());
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        if !self.skips(field) {
            self.packer.wide(field, Kind::U128, value.to_le_bytes());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if !self.skips_text(field) {
            self.packer.str(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.skips_text(field) {
            return;
        }
        let start = self.packer.len();
        let packer = &mut self.packer;
        let written = catch_unwind(AssertUnwindSafe(|| {
            // The error comes from the sink when it is full, or from the impl. The text so far is kept.
            packer.text(field, |sink| {
                let _enough = write!(sink, "{value:?}");
            });
        }));
        if written.is_err() {
            self.packer.truncate(start);
            self.packer.str(field, PANICKED);
        }
    }
}

/// Stands for a value whose impl panicked.
const PANICKED: &str = "(panicked while being formatted)";

/// Looks for the token and its portal, and formats nothing else.
pub(super) struct TokenVisitor {
    /// The field that may hold the token: cheaper to compare than its name.
    token: Field,
    pub(super) event_token: Option<Result<EventToken, InvalidEventToken>>,
    pub(super) portal: Option<PortalId>,
}

impl TokenVisitor {
    #[inline]
    pub(super) fn new(token: Field) -> TokenVisitor {
        TokenVisitor { token, event_token: None, portal: None }
    }

    /// By its name only where the name was declared twice.
    fn is_token(&self, field: &Field) -> bool {
        *field == self.token || field.name() == EVENT_TOKEN
    }

    fn take(&mut self, field: &Field, text: &str) {
        if self.is_token(field) {
            self.event_token = Some(EventToken::parse(text));
        } else if field.name() == PORTAL && !text.is_empty() {
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
        match value.downcast_ref::<EventToken>() {
            Some(event_token) if self.is_token(field) => {
                self.event_token = Some(Ok(event_token.clone()));
            }
            _ => match value.downcast_ref::<Offered>() {
                Some(offered) if self.is_token(field) => {
                    self.event_token = Some(Ok(offered.take().clone()));
                }
                _ => self.record_debug(field, &format_args!("{value}")),
            },
        }
    }

    /// `%display` and `?debug`, and whatever has no method of its own here.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !self.is_token(field) && field.name() != PORTAL {
            return;
        }
        let mut text = Short(String::new());
        let written = catch_unwind(AssertUnwindSafe(|| write!(text, "{value:?}")));
        if written.is_ok() {
            // What was cut is too long to be a token, and found to be so.
            self.take(field, &unquoted(text.0));
        }
    }
}

/// Text of a field that is a token or nothing: its start is enough to see that it is too long.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > 8 * EventToken::MAX_LEN {
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
