//! One run's folder: its segments, and what is done with them.
//!
//! A folder stands for itself: marks of what it holds are written into it, too, also by another process
//! that has taken it over. Who holds its lock is the only one who reads or writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, Lock, child};
use super::index::Indexes;
use super::record::{Item, Keys, NameKeys};
use super::salt::Salt;
use super::scan::scan;
use super::segment::Segment;
use super::writer::Writer;
use crate::error::SpoolError;
use crate::journal::{Evicted, Mark, MarkKind};

mod append;
mod mark;
mod read;
mod recover;
mod sweep;

pub(super) use self::read::Reading;
pub(super) use self::recover::Recovery;

/// What all runs of a spool have in common.
pub(super) struct Setup {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keys: Keys,
    /// Answers only when what was written will survive power loss.
    pub(super) fsync: bool,
    /// A segment is ended when its file has so many bytes.
    pub(super) segment_bytes: u64,
}

/// A segment is also ended when it has so many lines, which bounds what an index of it takes.
const SEGMENT_LINES: u32 = 32_768;

/// And when it has so many names, which bounds what the writer keeps.
const SEGMENT_NAMES: usize = 8_192;

/// More than a segment ever has: what is longer was not written by us, and not read to its end.
const MOST_BYTES: u64 = 128 << 20;

/// A folder whose lock we hold.
pub(super) struct Run {
    setup: Arc<Setup>,
    path: PathBuf,
    publisher: u128,
    segments: BTreeMap<u32, Segment>,
    /// The segment that is being written. It is the last one.
    writer: Option<Writer>,
    /// The number of the next segment.
    next: u32,
    /// The largest number of a batch.
    batch: u64,
    indexes: Indexes,
    /// Marks that could not be written. What they say is true in memory.
    unwritten: Vec<Mark>,
    /// Files were deleted of which others had marks, and that was not synced.
    unsynced: bool,
    /// What was lost and has not been told yet.
    pub(super) lost: Vec<Evicted>,
    _lock: Box<dyn Lock>,
}

/// A place among a run's lines: a segment and a slot in it.
pub(super) type Place = (u32, u32);

impl Run {
    pub(super) fn new(
        setup: Arc<Setup>,
        path: PathBuf,
        publisher: u128,
        lock: Box<dyn Lock>,
    ) -> Self {
        Run {
            setup,
            path,
            publisher,
            segments: BTreeMap::new(),
            writer: None,
            next: 1,
            batch: 0,
            indexes: Indexes::default(),
            unwritten: Vec::new(),
            unsynced: false,
            lost: Vec::new(),
            _lock: lock,
        }
    }

    pub(super) fn publisher(&self) -> u128 {
        self.publisher
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Whether nothing in it is left to be settled.
    pub(super) fn is_drained(&self) -> bool {
        self.segments.values().all(|segment| segment.live == 0)
    }

    /// Where it ends.
    pub(super) fn end(&self) -> Place {
        let last = self.segments.last_key_value();
        last.map_or((self.next, 0), |(number, segment)| (*number, segment.slots))
    }

    fn file(&self, number: u32) -> PathBuf {
        child(&self.path, &segment_name(number))
    }

    /// Reads a segment's file and hands over what it holds, until that returns false.
    fn scan(
        &self,
        number: u32,
        each: &mut dyn FnMut(Item<'_, '_>) -> bool,
    ) -> Result<(), SpoolError> {
        let Some(segment) = self.segments.get(&number) else { return Ok(()) };
        let path = self.file(number);
        let bytes = self.setup.disk.read(&path, segment.bytes);
        let bytes = bytes.map_err(|error| SpoolError::new("reading", &path, error))?;
        let salt = Salt::of(self.publisher, number);
        scan(&bytes, salt, &self.setup.keys, Some(segment.lines), each);
        Ok(())
    }

    /// The lines that a mark is about: their segments and slots.
    fn slots_of(
        &mut self,
        keys: NameKeys,
        (from, up_to): (u64, u64),
    ) -> Result<Vec<Place>, SpoolError> {
        let about = |segment: &&Segment| {
            segment.live > 0 && segment.meets(from, up_to) && segment.may_hold(keys.portal)
        };
        let numbers: Vec<_> = self.segments.values().filter(about).map(|s| s.number).collect();
        let mut places = Vec::new();
        for number in numbers {
            if !self.indexes.has(number) {
                self.load_index(number)?;
            }
            let slots = self.indexes.slots(number, keys.log, from, up_to);
            places.extend(slots.into_iter().map(|slot| (number, slot)));
        }
        Ok(places)
    }

    fn load_index(&mut self, number: u32) -> Result<(), SpoolError> {
        let mut index = super::index::Index::default();
        let segment = &self.segments[&number];
        self.scan(number, &mut |item| {
            if let Item::Piece { name: Some(name), slot, piece, .. } = item {
                if !segment.is_settled(slot) {
                    index.add(name.keys.log, piece.no(), slot);
                }
            }
            true
        })?;
        self.indexes.put(number, index);
        Ok(())
    }

    /// Notes what a mark in segment `within` says about a line.
    fn note(&mut self, within: u32, (number, slot): Place, kind: MarkKind) -> bool {
        let new = self.segments.get_mut(&number).is_some_and(|segment| segment.note(slot, kind));
        if new && number != within {
            if let Some(segment) = self.segments.get_mut(&within) {
                segment.speaks_of.insert(number);
            }
        }
        new
    }
}

/// The name of a segment's file.
fn segment_name(number: u32) -> String {
    format!("{number:08x}.seg")
}

/// The number in the name of a segment's file.
fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}
