//! The folder of one run: its segments, and the work on them.
//!
//! A folder can be read by itself: marks of its lines are written into the same folder, also by another process
//! that has taken it over. Only the process that holds the lock reads or writes it.

use std::collections::{BTreeMap, BTreeSet};
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
mod evict;
mod mark;
mod read;
mod recover;
mod rewrite;
mod sweep;

pub(super) use self::append::bytes;
pub(super) use self::read::Reading;
pub(super) use self::recover::Recovery;

/// The data that all runs of a spool share.
pub(super) struct Setup {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keys: Keys,
    /// Whether it answers only when the written data survives a loss of power.
    pub(super) fsync: bool,
    /// A segment ends when its file has this number of bytes.
    pub(super) segment_bytes: u64,
}

/// A segment also ends at this number of lines, which limits the size of its index.
const SEGMENT_LINES: u32 = 32_768;

/// It also ends at this number of names, which limits the memory of the writer.
const SEGMENT_NAMES: usize = 8_192;

/// Larger than any segment. A larger file was not written by this crate, and is not read to its end.
const MOST_BYTES: u64 = 128 << 20;

/// After this number of failed reads, a file counts as lost.
const MOST_FAILURES: u8 = 3;

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
    batch: Option<u64>,
    indexes: Indexes,
    /// Marks that could not be written. They are applied in memory.
    unwritten: Vec<Mark>,
    /// The last segment may have more on disk than is known here. This ends when another segment follows, whose
    /// header says what is valid.
    doubtful: bool,
    /// Files were deleted whose lines have marks in other files, and the deletion was not synced.
    unsynced: bool,
    /// Losses that are not reported yet.
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
            batch: None,
            indexes: Indexes::default(),
            unwritten: Vec::new(),
            doubtful: false,
            unsynced: false,
            lost: Vec::new(),
            _lock: lock,
        }
    }

    /// Its folder has vanished, and this is the new one. Returns the lines that were lost with the old one.
    pub(super) fn begin_anew(&mut self, path: PathBuf, lock: Box<dyn Lock>) -> Vec<Evicted> {
        let numbers: Vec<_> = self.segments.keys().copied().collect();
        for number in numbers {
            self.lose(number, &BTreeSet::new());
        }
        let setup = self.setup.clone();
        let new = Run {
            next: self.next,
            batch: self.batch,
            ..Run::new(setup, path, self.publisher, lock)
        };
        std::mem::replace(self, new).lost
    }

    pub(super) fn publisher(&self) -> u128 {
        self.publisher
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Whether nothing in it is left to settle.
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

    /// Reads a segment's file and hands over its contents, until the callback returns false.
    fn scan(
        &self,
        number: u32,
        each: &mut dyn FnMut(Item<'_, '_>) -> bool,
    ) -> Result<(), SpoolError> {
        let Some(segment) = self.segments.get(&number) else { return Ok(()) };
        let path = self.file(number);
        let bytes = match self.setup.disk.read(&path, segment.bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                segment.failures.set(segment.failures.get().saturating_add(1));
                return Err(match segment.failures.get() < MOST_FAILURES {
                    true => SpoolError::new("reading", &path, error),
                    false => SpoolError::Vanished { path },
                });
            }
        };
        let salt = Salt::of(self.publisher, number);
        scan(&bytes, salt, &self.setup.keys, Some(segment.lines), each);
        Ok(())
    }

    /// The lines of each mark, by segment and slot. Each segment is examined once, because its index may have
    /// to be read from its file.
    fn places_of(
        &mut self,
        marks: &[(NameKeys, (u64, u64))],
    ) -> Result<Vec<Vec<Place>>, SpoolError> {
        let mut places = vec![Vec::new(); marks.len()];
        let numbers: Vec<_> = self.segments.keys().copied().collect();
        for number in numbers {
            let Some(segment) = self.segments.get(&number).filter(|s| s.live > 0) else { continue };
            let about = |(keys, (from, up_to)): &(NameKeys, (u64, u64))| {
                segment.meets(*from, *up_to) && segment.may_hold(keys.portal)
            };
            let about: Vec<_> = (0..marks.len()).filter(|&n| about(&marks[n])).collect();
            if about.is_empty() {
                continue;
            }
            match self.load_index(number) {
                Err(SpoolError::Vanished { .. }) => self.lose(number, &BTreeSet::new()),
                loaded => loaded?,
            }
            for n in about {
                let (keys, (from, up_to)) = marks[n];
                let slots = self.indexes.slots(number, keys.log, from, up_to);
                places[n].extend(slots.into_iter().map(|slot| (number, slot)));
            }
        }
        Ok(places)
    }

    /// Makes sure that there is an index of all lines in a segment's file, settled ones too.
    fn load_index(&mut self, number: u32) -> Result<(), SpoolError> {
        if self.indexes.has(number) {
            return Ok(());
        }
        let mut index = super::index::Index::default();
        self.scan(number, &mut |item| {
            if let Item::Piece { name: Some(name), slot, piece, .. } = item {
                index.add(name.keys.log, piece.no(), slot);
            }
            true
        })?;
        self.indexes.put(number, index);
        Ok(())
    }

    /// Applies a mark in segment `within` to a line.
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

/// The ending of the name of a file that will replace a segment when it is complete.
const UNFINISHED: &str = ".new";

/// The number in the name of a segment's file.
fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}
