//! Takes over a folder that another process has left.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::{MOST_BYTES, Run, Setup, segment_name, segment_number};
use crate::error::SpoolError;
use crate::journal::codec::{Piece, nanos, time};
use crate::journal::{Evicted, Held, MarkKind};
use crate::line::PortalId;
use crate::spool::disk::{Lock, child};
use crate::spool::header::{Header, LENGTH, Unfit};
use crate::spool::index::Index;
use crate::spool::record::{Item, NameRead};
use crate::spool::salt::Salt;
use crate::spool::scan::scan;
use crate::spool::segment::{Bits, Kind, Segment};
use crate::stats::DropReason;

/// A folder that is being taken over, segment by segment, oldest first. Nothing in it is changed before everything
/// is read.
pub(in crate::spool) struct Recovery {
    run: Run,
    todo: VecDeque<Todo>,
    /// What is not settled, for each portal.
    held: HashMap<Option<PortalId>, Live>,
    /// Segments that have lost lines, or have lines that are not valid.
    damaged: Vec<u32>,
}

/// What one portal has that is not settled.
#[derive(Default)]
struct Live {
    lines: u64,
    /// Ends and notices.
    others: u64,
}

impl Live {
    fn count(&mut self, is_line: bool) -> &mut u64 {
        if is_line { &mut self.lines } else { &mut self.others }
    }
}

struct Todo {
    number: u32,
    /// Valid lines of its file, if that is known.
    lines: Option<u32>,
    /// Whether its slots have gaps.
    rewritten: bool,
}

struct ReadMark {
    name: NameRead,
    kind: MarkKind,
    numbers: (u64, u64),
}

impl Recovery {
    /// Reads the headers. A folder with a newer format is not changed.
    pub(in crate::spool) fn begin(
        setup: Arc<Setup>,
        path: PathBuf,
        publisher: u128,
        lock: Box<dyn Lock>,
    ) -> Result<Recovery, SpoolError> {
        if setup.fsync {
            setup.disk.sync_dir(&path).map_err(|e| SpoolError::new("syncing", &path, e))?;
        }
        let names = setup.disk.list(&path).map_err(|e| SpoolError::new("listing", &path, e))?;
        let mut numbers: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let mut headers = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let path = child(&path, &segment_name(*number));
            let bytes = setup.disk.read(&path, LENGTH as u64);
            let bytes = bytes.map_err(|e| SpoolError::new("reading", &path, e))?;
            headers.push(match Header::read(&bytes) {
                Ok(header) => Some(header),
                Err(Unfit::Damaged) => None,
                Err(Unfit::Newer(version)) => return Err(SpoolError::Newer { path, version }),
            });
        }
        let mut todo = VecDeque::with_capacity(numbers.len());
        for (at, number) in numbers.iter().enumerate() {
            let next = headers.get(at + 1).copied().flatten();
            let next = next.filter(|next| next.segment == number.wrapping_add(1));
            let lines = headers[at]
                .and_then(|header| header.rewritten.or_else(|| next.map(|next| next.before)));
            let rewritten = headers[at].is_some_and(|header| header.rewritten.is_some());
            todo.push_back(Todo { number: *number, lines, rewritten });
        }
        let mut run = Run::new(setup, path, publisher, lock);
        run.next = numbers.last().map_or(1, |last| last.saturating_add(1));
        Ok(Recovery { run, todo, held: HashMap::new(), damaged: Vec::new() })
    }

    /// Reads about this number of bytes more. Returns whether everything is read.
    pub(in crate::spool) fn step(&mut self, bytes: u64) -> Result<bool, SpoolError> {
        let mut read = 0;
        while read < bytes {
            let Some(todo) = self.todo.pop_front() else { return Ok(true) };
            read += self.recover(&todo)?;
        }
        Ok(self.todo.is_empty())
    }

    /// Returns the run, and its portals with something that is not settled.
    pub(in crate::spool) fn finish(mut self) -> (Run, Vec<Held>) {
        for number in self.damaged {
            // A loss is reported once, and not again by the next process that takes the folder over. If this write
            // fails, the loss is reported again.
            let _ = self.run.rewrite(number);
        }
        self.run.sweep();
        let held = self.held.into_iter().filter(|(_, live)| live.lines + live.others > 0);
        (self.run, held.map(|(portal, Live { lines, .. })| Held { portal, lines }).collect())
    }

    fn recover(&mut self, todo: &Todo) -> Result<u64, SpoolError> {
        let Run { setup, publisher, .. } = &self.run;
        let path = self.run.file(todo.number);
        let failed = |error| SpoolError::new("reading", &path, error);
        let bytes = setup.disk.read(&path, MOST_BYTES).map_err(failed)?;
        if setup.fsync {
            // From now on, these lines survive the same failures as the lines of this run.
            setup.disk.sync_file(&path).map_err(|e| SpoolError::new("syncing", &path, e))?;
        }
        let mut segment = Segment::new(todo.number);
        segment.bytes = bytes.len() as u64;
        let mut index = Index::default();
        let mut marks = Vec::new();
        let mut readable = Bits::default();
        let salt = Salt::of(*publisher, todo.number);
        let scanned = scan(&bytes, salt, &setup.keys, todo.lines, &mut |item| {
            match item {
                Item::Piece { name: Some(name), slot, piece, .. } => {
                    let kind = match piece {
                        Piece::Line(_) => Kind::Line,
                        Piece::End(_) => Kind::End,
                        Piece::Missed(_) | Piece::Seal(_) => Kind::Sign,
                    };
                    let is_line = kind == Kind::Line;
                    let is_notice = matches!(piece, Piece::Missed(_));
                    let at = (!is_notice).then(|| nanos(piece.at()));
                    segment.add(slot, piece.no(), at, name.keys.portal, kind);
                    index.add(name.keys.log, piece.no(), slot);
                    readable.set(slot, slot, true);
                    if !self.held.contains_key(&name.name.0) {
                        self.held.insert(name.name.0.clone(), Live::default());
                    }
                    if let Some(live) = self.held.get_mut(&name.name.0) {
                        *live.count(is_line) += 1;
                    }
                }
                Item::Mark { name: Some(name), kind, from, up_to } => {
                    marks.push(ReadMark { name: name.clone(), kind, numbers: (from, up_to) });
                }
                // It is in the count of lines that are not there.
                Item::Piece { name: None, .. } => (),
                // Without the name, the meaning of the mark is unknown. The lines come back, as if the mark had
                // not been written.
                Item::Mark { name: None, .. } => (),
            }
            true
        });
        let found = segment.lines;
        segment.lines = todo.lines.unwrap_or(scanned.lines).max(found);
        if !todo.rewritten {
            segment.slots = segment.slots.max(segment.lines);
        }
        if segment.slots > found {
            for slot in (0..segment.slots).filter(|slot| !readable.has(*slot)) {
                segment.leave_out(slot);
            }
        }
        let lines = u64::from(segment.lines - found);
        if lines > 0 {
            let changed = || setup.disk.status(&path).map_or(time(0), |status| status.changed);
            let since = segment.oldest.map_or_else(changed, time);
            let reason = DropReason::SpoolDamaged;
            let lost = Evicted { of: None, numbers: None, lines, ends: 0, since, reason };
            self.run.lost.push(lost);
        }
        segment.surplus = scanned.surplus;
        if lines > 0 || scanned.surplus {
            self.damaged.push(todo.number);
        }
        self.run.batch = self.run.batch.max(scanned.batch);
        self.run.segments.insert(todo.number, segment);
        self.run.indexes.put(todo.number, index);
        self.apply(todo.number, marks)?;
        Ok(bytes.len() as u64)
    }

    fn apply(&mut self, within: u32, marks: Vec<ReadMark>) -> Result<(), SpoolError> {
        let keyed: Vec<_> = marks.iter().map(|mark| (mark.name.keys, mark.numbers)).collect();
        let all = self.run.places_of(&keyed)?;
        for (ReadMark { name, kind, .. }, places) in marks.into_iter().zip(all) {
            for (number, slot) in places {
                let is_line = self.run.segments.get(&number).is_some_and(|s| s.is_line(slot));
                if self.run.note(within, (number, slot), kind) && kind == MarkKind::Settled {
                    if let Some(live) = self.held.get_mut(&name.name.0) {
                        let count = live.count(is_line);
                        *count = count.saturating_sub(1);
                    }
                }
            }
        }
        Ok(())
    }
}
