//! The event token and the portal, which say to which log a line belongs. Both are checked here, once.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The key of one waiting activity (or robot), which names the workflow's log to write to.
///
/// It is a secret: anybody who has it can write to the log and complete the activity. `Debug` and
/// `Display` therefore show only the readable workflow id at its start.
///
/// # As a span's field
///
/// ```
/// # use tracing_bizproc::EventToken;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let token = EventToken::parse("5e4a77.12345678|A1|7.c0ffee")?;
/// let span = tracing::info_span!("order", event_token = token.as_field());
/// # Ok(()) }
/// ```
///
/// Passed like this, the layer gets the whole token and every other layer prints the redaction.
/// (`event_token = %token` would give the redaction to all of them, ours too.)
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventToken(Carried);

/// The text of a token, and the value that a layer gets of it. The type is private: nobody else can take the
/// token out of a field, and an `EventToken` need not be an error.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Carried(Arc<str>);

impl EventToken {
    /// Longest usable token, in bytes. Real ones have about 130.
    pub const MAX_LEN: usize = 1024;

    /// Checks what can be checked without the portal: not empty, at most 1 KiB, no control
    /// characters, and not the redaction that `Display` prints.
    #[inline]
    pub fn parse(text: &str) -> Result<EventToken, InvalidEventToken> {
        // A function of its own, so that the token itself is returned in registers.
        check(text)?;
        Ok(EventToken(Carried(text.into())))
    }

    /// The token as a value for a span's or an event's `event_token` field.
    ///
    /// It is passed as an error value, because that is the only kind of field value that a layer can
    /// convert back to its type.
    pub fn as_field(&self) -> &(dyn Error + 'static) {
        &self.0
    }

    /// The token in the value of a field, if it has one: [`as_field`](EventToken::as_field), or the token of an
    /// activity's span.
    pub(crate) fn from_field(value: &(dyn Error + 'static)) -> Option<EventToken> {
        let carried = value.downcast_ref::<Carried>().cloned().map(EventToken);
        carried.or_else(|| value.downcast_ref::<Offered>().map(|offered| offered.take().clone()))
    }

    /// The secret itself, for the request.
    pub(crate) fn expose(&self) -> &str {
        &self.0.0
    }

    /// A hash that is different for nearly all tokens. Portals sign their tokens, so nobody can choose
    /// one to collide.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hash = 0_u64;
        for chunk in self.expose().as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(SPREADS);
        }
        let hash = (hash ^ hash >> 32).wrapping_mul(SPREADS);
        Fingerprint((hash >> 32) as u32)
    }

    /// What tokens of one workflow have in common: the id of the workflow, or the whole token if it has
    /// no id.
    pub(crate) fn workflow(&self) -> &str {
        self.workflow_id().unwrap_or(self.expose())
    }

    /// The readable start of `workflowId|activityName|eventId.signature`.
    fn workflow_id(&self) -> Option<&str> {
        let (id, _) = self.expose().split_once('|')?;
        let readable = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'.');
        (matches!(id.len(), 1..=40) && id.bytes().all(readable)).then_some(id)
    }
}

/// See [`EventToken::fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(crate) u32);

/// An odd number near 2^64 divided by the golden ratio.
const SPREADS: u64 = 0x9E37_79B9_7F4A_7C15;

/// An event token as a field of a span. It knows whether a layer has taken it: if a filter hides the
/// span from the layer, the layer is not called.
#[derive(Debug)]
pub(crate) struct Offered {
    event_token: EventToken,
    taken: AtomicBool,
}

impl Offered {
    pub(crate) fn new(event_token: &EventToken) -> Offered {
        Offered { event_token: event_token.clone(), taken: AtomicBool::new(false) }
    }

    /// The value for the field.
    pub(crate) fn as_field(&self) -> &(dyn Error + 'static) {
        self
    }

    fn take(&self) -> &EventToken {
        self.taken.store(true, Relaxed);
        &self.event_token
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Relaxed)
    }
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event_token.fmt(f)
    }
}

impl Error for Offered {}

fn check(text: &str) -> Result<(), InvalidEventToken> {
    if text.is_empty() {
        Err(InvalidEventToken::Empty)
    } else if text.len() > EventToken::MAX_LEN {
        Err(InvalidEventToken::TooLong)
    } else if is_printable_ascii(text) {
        Ok(())
    } else if text.chars().any(char::is_control) {
        Err(InvalidEventToken::ControlCharacter)
    } else if text.contains(REDACTED) {
        Err(InvalidEventToken::Redacted)
    } else {
        Ok(())
    }
}

/// All real tokens are printable ASCII. Sixteen bytes at a time, which the compiler has instructions
/// for; the last sixteen overlap the others, so that no byte is left over.
fn is_printable_ascii(text: &str) -> bool {
    const PRINTABLE: u8 = b'~' - b' ';
    let bytes = text.as_bytes();
    let Some(last) = bytes.last_chunk::<16>() else {
        return bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    };
    let mut worst = last.map(|byte| byte.wrapping_sub(b' '));
    for chunk in bytes.chunks_exact(16) {
        for (worst, byte) in worst.iter_mut().zip(chunk) {
            *worst = (*worst).max(byte.wrapping_sub(b' '));
        }
    }
    // No early end, which would be a branch for each byte.
    worst.iter().fold(true, |all, byte| all & (*byte <= PRINTABLE))
}

/// Stands for the secret part in `Debug` and `Display`.
const REDACTED: &str = "…";

impl fmt::Display for EventToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.workflow_id() {
            Some(id) => write!(f, "{id}|{REDACTED}"),
            None => f.write_str(REDACTED),
        }
    }
}

impl fmt::Debug for EventToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventToken({self})")
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EventToken(self.clone()).fmt(f)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&EventToken(self.clone()), f)
    }
}

/// Errors are the only values of fields that a layer can convert back to their type.
impl Error for Carried {}

impl FromStr for EventToken {
    type Err = InvalidEventToken;

    fn from_str(text: &str) -> Result<Self, InvalidEventToken> {
        EventToken::parse(text)
    }
}

impl TryFrom<&str> for EventToken {
    type Error = InvalidEventToken;

    fn try_from(text: &str) -> Result<Self, InvalidEventToken> {
        EventToken::parse(text)
    }
}

impl TryFrom<String> for EventToken {
    type Error = InvalidEventToken;

    fn try_from(text: String) -> Result<Self, InvalidEventToken> {
        EventToken::parse(&text)
    }
}

/// Why a text cannot be an event token. Never repeats the text.
///
/// ```
/// use tracing_bizproc::EventToken;
/// use tracing_bizproc::error::InvalidEventToken;
///
/// let event_token = EventToken::parse("5e4a77.12345678|A1|7.c0ffee")?;
/// // What it prints is not what it is.
/// let error = EventToken::parse(&event_token.to_string()).unwrap_err();
/// assert_eq!(error, InvalidEventToken::Redacted);
/// # Ok::<(), InvalidEventToken>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEventToken {
    /// There is nothing in it.
    #[error("the event token is empty")]
    Empty,
    /// It has more than [`EventToken::MAX_LEN`] bytes.
    #[error("the event token is longer than {} bytes", EventToken::MAX_LEN)]
    TooLong,
    /// It has a line break or another control character in it.
    #[error("the event token contains a control character")]
    ControlCharacter,
    /// It is what an [`EventToken`] prints, not what it is.
    #[error(
        "the event token is redacted: write `event_token = token.as_field()`, not `%token` or `?token`"
    )]
    Redacted,
}

impl InvalidEventToken {
    pub(crate) const ALL: [InvalidEventToken; 4] = [
        InvalidEventToken::Empty,
        InvalidEventToken::TooLong,
        InvalidEventToken::ControlCharacter,
        InvalidEventToken::Redacted,
    ];
}

/// Which portal a line is for: its `member_id`, or a name under which its credentials were given.
///
/// ```
/// use tracing::info_span;
/// use tracing_bizproc::PortalId;
///
/// let portal = PortalId::from("da45a03b265edd8787f8a258d793cc5d");
/// let span = info_span!("order", portal = portal.as_str());
/// # drop(span);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortalId(Arc<str>);

impl PortalId {
    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for PortalId {
    fn from(id: &str) -> PortalId {
        PortalId(id.into())
    }
}

impl From<String> for PortalId {
    fn from(id: String) -> PortalId {
        PortalId(id.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "68f1e5d2a3b4c1.12345678|A12345_6789_1011_1213|42.\
        0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn only_the_workflow_id_is_ever_shown() {
        let event_token = EventToken::parse(REAL).unwrap();
        assert_eq!(event_token.to_string(), "68f1e5d2a3b4c1.12345678|…");
        assert_eq!(format!("{event_token:?}"), "EventToken(68f1e5d2a3b4c1.12345678|…)");
        assert_eq!(event_token.workflow(), "68f1e5d2a3b4c1.12345678");
        assert_eq!(event_token.expose(), REAL);
    }

    #[test]
    fn a_token_of_another_form_shows_nothing_and_has_its_own_workflow() {
        for text in ["secret", "Secret|x|1.ff", "|x|1.ff", &format!("{}|x", "a".repeat(41))] {
            let event_token = EventToken::parse(text).unwrap();
            assert_eq!(event_token.to_string(), "…");
            assert_eq!(event_token.workflow(), text);
        }
    }

    #[test]
    fn printable_ascii_is_checked_at_every_position() {
        for at in 0..20 {
            for char in (0..=0xff).map(char::from) {
                let mut text = "~ ".repeat(10);
                text.replace_range(at..=at, char.encode_utf8(&mut [0; 2]));
                assert_eq!(
                    is_printable_ascii(&text),
                    matches!(char, ' '..='~'),
                    "{char:?} at {at}"
                );
            }
        }
    }

    #[test]
    fn unusable_texts_are_named_and_not_repeated() {
        let cases = [
            (String::new(), InvalidEventToken::Empty),
            ("s3cr3t".repeat(171), InvalidEventToken::TooLong),
            ("s3cr3t\n".to_owned(), InvalidEventToken::ControlCharacter),
            ("s3cr3t\u{85}".to_owned(), InvalidEventToken::ControlCharacter),
            (EventToken::parse(REAL).unwrap().to_string(), InvalidEventToken::Redacted),
        ];
        for (text, why) in cases {
            let error = EventToken::try_from(text).unwrap_err();
            assert_eq!(error, why);
            assert!(!format!("{error} {error:?}").contains("s3cr3t"));
        }
        assert!(EventToken::parse(&"x".repeat(EventToken::MAX_LEN)).is_ok());
    }

    #[test]
    fn as_a_field_other_crates_see_only_a_redacted_form() {
        let event_token = EventToken::parse(REAL).unwrap();
        let field = event_token.as_field();
        assert_eq!(field.to_string(), "68f1e5d2a3b4c1.12345678|…");
        assert_eq!(format!("{field:?}"), "EventToken(68f1e5d2a3b4c1.12345678|…)");
        assert_eq!(EventToken::from_field(field), Some(event_token.clone()));
        let offered = Offered::new(&event_token);
        assert_eq!(EventToken::from_field(offered.as_field()), Some(event_token));
        assert!(offered.is_taken());
        assert_eq!(EventToken::from_field(&fmt::Error), None);
    }
}
