//! Chunks as bytes. For any bytes, the result is a chunk or an error. Reading never panics, and never allocates
//! more than the size of the input.
//!
//! Numbers have as many bytes as they need, seven bits in each. The number and the time of a line are stored as
//! differences to those of the line before it (`Base`).

use std::sync::Arc;

use tracing_core::Level;

use super::{About, Chunk, Content, StoredGap, StoredLine, StoredSeal};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;

mod bytes;
mod piece;

pub(crate) use bytes::{Base, Bytes, nanos, put_number, time};
use bytes::{put_bytes, put_signed};
pub(crate) use piece::{EndPiece, LinePiece, Piece};

/// The first byte of a chunk that can be read by itself.
const VERSION: u8 = 1;

/// Appends a chunk that can be read by itself.
pub fn encode(chunk: &Chunk, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_name(chunk.portal.as_ref(), &chunk.event_token, out);
    put_about(chunk.about.as_deref(), out);
    put_content(&chunk.content, &mut Base::default(), out);
}

/// Reads a chunk that [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Chunk, Unreadable> {
    let mut bytes = Bytes(bytes);
    match bytes.byte()? {
        VERSION => (),
        version => return Err(Unreadable::Version { version }),
    }
    let (portal, event_token) = take_name(&mut bytes)?;
    let about = take_about(&mut bytes)?.map(Arc::new);
    let mut content = None;
    take_content(&mut bytes, &mut Base::default(), &mut |piece| match (&mut content, piece) {
        (Some(Content::Lines(lines)), Piece::Line(line)) => lines.push(line.stored()),
        (content, Piece::Line(line)) => *content = Some(Content::Lines(vec![line.stored()])),
        (content, Piece::Missed(gap)) => *content = Some(Content::Missed(gap)),
        (content, Piece::End(end)) => *content = Some(Content::End(end.stored())),
        (content, Piece::Seal(seal)) => *content = Some(Content::Seal(seal)),
    })?;
    if !bytes.0.is_empty() {
        return Err(Unreadable::Damaged);
    }
    Ok(Chunk { portal, event_token, content: content.unwrap_or(Content::Lines(Vec::new())), about })
}

/// Why bytes are not a chunk. The error repeats nothing of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It was written by a newer version of this crate.
    #[error(
        "format {version} was written by a newer version of tracing-bizproc: update this program"
    )]
    #[non_exhaustive]
    Version {
        /// The version of its format.
        version: u8,
    },
    /// The bytes have changed since they were written.
    #[error("the data are damaged")]
    Damaged,
}

pub(crate) fn put_content(content: &Content, base: &mut Base, out: &mut Vec<u8>) {
    match content {
        Content::Lines(lines) => put_lines(lines, base, out),
        Content::Missed(gap) => {
            out.push(MISSED);
            base.put(gap.no, gap.since, out);
            put_number(gap.lines, out);
            put_bytes(gap.reason.label().as_bytes(), out);
        }
        Content::End(end) => {
            let flags = u8::from(end.failed)
                | u8::from(end.message.is_some()) << 1
                | u8::from(end.waits_until.is_some()) << 2;
            out.extend_from_slice(&[END, flags]);
            base.put(end.no, end.deadline, out);
            put_bytes(end.values.as_bytes(), out);
            if let Some(message) = &end.message {
                put_bytes(message.as_bytes(), out);
            }
            if let Some(until) = end.waits_until {
                put_signed(nanos(until).wrapping_sub(base.at), out);
            }
        }
        Content::Seal(seal) => {
            out.push(SEAL);
            base.put(seal.no, seal.at, out);
        }
    }
}

/// Lines of one chunk, or some of them.
pub(crate) fn put_lines(lines: &[StoredLine], base: &mut Base, out: &mut Vec<u8>) {
    out.push(LINES);
    put_number(lines.len() as u64, out);
    for line in lines {
        let flags = u8::from(line.cut > 0) << 3 | u8::from(line.tried) << 4;
        out.push(level_to_byte(line.level) | flags);
        base.put(line.no, line.at, out);
        if line.cut > 0 {
            put_number(line.cut, out);
        }
        put_bytes(line.body.as_bytes(), out);
    }
}

/// Hands over the parts of a chunk one by one. A chunk without lines has no parts.
pub(crate) fn take_content<'a>(
    bytes: &mut Bytes<'a>,
    base: &mut Base,
    each: &mut dyn FnMut(Piece<'a>),
) -> Result<(), Unreadable> {
    match bytes.byte()? {
        LINES => {
            for _ in 0..bytes.number()? {
                let flags = bytes.byte()?;
                let level = byte_to_level(flags & 7)?;
                let (no, at) = base.take(bytes)?;
                let cut = if flags & 8 != 0 { bytes.number()? } else { 0 };
                let body = bytes.bytes()?;
                let tried = flags & 16 != 0;
                each(Piece::Line(LinePiece { no, at, level, cut, tried, body }));
            }
        }
        MISSED => {
            let (no, since) = base.take(bytes)?;
            let lines = bytes.number()?;
            let label = bytes.bytes()?;
            let reason = DropReason::ALL.iter().find(|reason| reason.label().as_bytes() == label);
            // The reason was added in a later version.
            let reason = reason.copied().unwrap_or(DropReason::Internal);
            each(Piece::Missed(StoredGap { no, lines, since, reason }));
        }
        END => {
            let flags = bytes.byte()?;
            let (no, deadline) = base.take(bytes)?;
            let values = bytes.bytes()?;
            let message = if flags & 2 != 0 { Some(bytes.bytes()?) } else { None };
            let waits_until = match flags & 4 {
                0 => None,
                _ => Some(time(base.at.wrapping_add(bytes.signed()?))),
            };
            let failed = flags & 1 != 0;
            each(Piece::End(EndPiece { no, values, message, failed, deadline, waits_until }));
        }
        SEAL => {
            let (no, at) = base.take(bytes)?;
            each(Piece::Seal(StoredSeal { no, at }));
        }
        _ => return Err(Unreadable::Damaged),
    }
    Ok(())
}

const LINES: u8 = 0;
const MISSED: u8 = 1;
const END: u8 = 2;
const SEAL: u8 = 3;

/// How another process writes the chunk.
fn put_about(about: Option<&About>, out: &mut Vec<u8>) {
    let Some(about) = about else { return out.push(0) };
    out.push(1 | u8::from(about.waits_until.is_some()) << 1);
    put_bytes(about.language.to_string().as_bytes(), out);
    put_bytes(about.line_time.to_string().as_bytes(), out);
    put_bytes(about.line_prefix.as_bytes(), out);
    if let Some(until) = about.waits_until {
        put_signed(nanos(until), out);
    }
}

fn take_about(bytes: &mut Bytes<'_>) -> Result<Option<About>, Unreadable> {
    let flags = bytes.byte()?;
    if flags > 3 {
        return Err(Unreadable::Damaged);
    }
    if flags & 1 == 0 {
        return Ok(None);
    }
    // A later version wrote these words. Then the log is written in the default language and with the default time.
    let language = bytes.str()?.parse().unwrap_or_default();
    let line_time = bytes.str()?.parse().unwrap_or_default();
    let line_prefix = bytes.str()?.to_owned();
    let waits_until = if flags & 2 != 0 { Some(time(bytes.signed()?)) } else { None };
    Ok(Some(About { language, line_time, line_prefix, waits_until }))
}

/// The log that a chunk belongs to.
pub(crate) fn put_name(portal: Option<&PortalId>, event_token: &EventToken, out: &mut Vec<u8>) {
    match portal {
        None => out.push(0),
        Some(portal) => {
            out.push(1);
            put_bytes(portal.as_str().as_bytes(), out);
        }
    }
    put_bytes(event_token.expose().as_bytes(), out);
}

pub(crate) fn take_name(
    bytes: &mut Bytes<'_>,
) -> Result<(Option<PortalId>, EventToken), Unreadable> {
    let portal = match bytes.byte()? {
        0 => None,
        1 => Some(PortalId::from(bytes.str()?)),
        _ => return Err(Unreadable::Damaged),
    };
    let event_token = EventToken::parse(bytes.str()?).map_err(|_| Unreadable::Damaged)?;
    Ok((portal, event_token))
}

fn level_to_byte(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

fn byte_to_level(byte: u8) -> Result<Level, Unreadable> {
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    levels.get(usize::from(byte)).copied().ok_or(Unreadable::Damaged)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::format::{Language, LineTime, UtcOffset};
    use crate::journal::StoredEnd;

    pub(crate) fn any_time() -> impl Strategy<Value = SystemTime> {
        prop_oneof![any::<i64>(), 1_700_000_000_000_000_000..1_900_000_000_000_000_000_i64]
            .prop_map(time)
    }

    pub(crate) fn any_content() -> impl Strategy<Value = Content> {
        let level = (0..5_u8).prop_map(|byte| byte_to_level(byte).unwrap());
        let line =
            (any::<u64>(), any_time(), level, ".{0,20}", any::<u64>(), any::<bool>()).prop_map(
                |(no, at, level, body, cut, tried)| StoredLine { no, at, level, body, cut, tried },
            );
        let reason = prop::sample::select(DropReason::ALL);
        let gap = (any::<u64>(), any::<u64>(), any_time(), reason)
            .prop_map(|(no, lines, since, reason)| StoredGap { no, lines, since, reason });
        let end =
            (
                any::<u64>(),
                ".{0,20}",
                prop::option::of(".{0,20}"),
                any::<bool>(),
                any_time(),
                prop::option::of(any_time()),
            )
                .prop_map(|(no, values, message, failed, deadline, waits_until)| {
                    StoredEnd { no, values, message, failed, deadline, waits_until }
                });
        prop_oneof![
            prop::collection::vec(line, 0..5).prop_map(Content::Lines),
            gap.prop_map(Content::Missed),
            end.prop_map(Content::End),
            (any::<u64>(), any_time()).prop_map(|(no, at)| Content::Seal(StoredSeal { no, at })),
        ]
    }

    fn any_about() -> impl Strategy<Value = About> {
        let language = prop::sample::select(vec![Language::English, Language::Russian]);
        let minutes = (-18 * 60..=18 * 60_i16).prop_map(UtcOffset::minutes);
        let line_time = prop_oneof![
            Just(LineTime::Viewer),
            Just(LineTime::Utc),
            Just(LineTime::None),
            minutes.prop_map(LineTime::Offset),
        ];
        (language, line_time, ".{0,20}", prop::option::of(any_time())).prop_map(
            |(language, line_time, line_prefix, waits_until)| About {
                language,
                line_time,
                line_prefix,
                waits_until,
            },
        )
    }

    fn any_chunk() -> impl Strategy<Value = Chunk> {
        let name = (prop::option::of(".{0,20}"), "[ -~]{1,60}");
        (name, any_content(), prop::option::of(any_about())).prop_map(
            |((portal, event_token), content, about)| Chunk {
                about: about.map(Arc::new),
                portal: portal.map(PortalId::from),
                event_token: EventToken::parse(&event_token).unwrap(),
                content,
            },
        )
    }

    proptest! {
        #[test]
        fn a_chunk_is_read_as_it_was_written(chunk in any_chunk()) {
            let mut bytes = Vec::new();
            encode(&chunk, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(chunk));
            for length in 0..bytes.len() {
                prop_assert!(decode(&bytes[..length]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_a_chunk_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_chunk_of_a_newer_version_differs_from_a_damaged_one() {
        assert_eq!(decode(&[VERSION + 1, 1, 2]), Err(Unreadable::Version { version: VERSION + 1 }));
        assert_eq!(decode(&[VERSION, 9]), Err(Unreadable::Damaged));
        assert_eq!(decode(&[]), Err(Unreadable::Damaged));
    }

    /// A chunk that claims billions of lines either has them or is damaged. Nothing is allocated because of the
    /// claim alone.
    #[test]
    fn a_claimed_count_does_not_allocate() {
        let mut bytes = vec![VERSION];
        put_name(None, &EventToken::parse("t").unwrap(), &mut bytes);
        bytes.push(LINES);
        put_number(u64::MAX, &mut bytes);
        assert_eq!(decode(&bytes), Err(Unreadable::Damaged));
    }
}
