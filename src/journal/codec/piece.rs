//! The parts of a chunk, as they are read: their texts are borrowed from the input.

use std::time::SystemTime;

use tracing_core::Level;

use crate::journal::{StoredEnd, StoredGap, StoredLine, StoredSeal};

/// A part of a chunk with its own number. Its texts are borrowed from the input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    Line(LinePiece<'a>),
    Missed(StoredGap),
    End(EndPiece<'a>),
    Seal(StoredSeal),
}

#[cfg(feature = "spool")]
impl Piece<'_> {
    pub(crate) fn no(&self) -> u64 {
        match self {
            Piece::Line(line) => line.no,
            Piece::Missed(gap) => gap.no,
            Piece::End(end) => end.no,
            Piece::Seal(seal) => seal.no,
        }
    }

    /// When it was logged. An end is as old as its deadline.
    pub(crate) fn at(&self) -> SystemTime {
        match self {
            Piece::Line(line) => line.at,
            Piece::Missed(gap) => gap.since,
            Piece::End(end) => end.deadline,
            Piece::Seal(seal) => seal.at,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LinePiece<'a> {
    pub(crate) no: u64,
    pub(crate) at: SystemTime,
    pub(super) level: Level,
    pub(super) cut: u64,
    pub(super) tried: bool,
    pub(super) body: &'a [u8],
}

impl LinePiece<'_> {
    pub(crate) fn stored(&self) -> StoredLine {
        StoredLine {
            no: self.no,
            at: self.at,
            level: self.level,
            body: text(self.body),
            cut: self.cut,
            tried: self.tried,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EndPiece<'a> {
    pub(super) no: u64,
    pub(super) values: &'a [u8],
    pub(super) message: Option<&'a [u8]>,
    pub(super) failed: bool,
    pub(super) deadline: SystemTime,
    pub(super) waits_until: Option<SystemTime>,
}

impl EndPiece<'_> {
    pub(crate) fn stored(&self) -> StoredEnd {
        StoredEnd {
            no: self.no,
            values: text(self.values),
            message: self.message.map(text),
            failed: self.failed,
            deadline: self.deadline,
            waits_until: self.waits_until,
        }
    }
}

/// Only UTF-8 is written, and a checksum shows that the bytes are unchanged.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
