//! Stores the states of lines.

use super::{Place, Run};
use crate::error::SpoolError;
use crate::journal::{Mark, MarkKind};
use crate::spool::frame::{self, HEAD};
use crate::spool::record;

/// How many marks that could not be written are kept. If a mark is forgotten, it is still stored that its lines
/// were tried. So if the process is killed then, they are repeated with a mark.
const MOST_UNWRITTEN: usize = 4_096;

impl Run {
    /// Applies marks to this run's lines. Marks that change nothing are not written.
    pub(in crate::spool) fn mark(&mut self, marks: &[&Mark]) -> Result<(), SpoolError> {
        if self.doubtful {
            // They may be about lines whose write failed, but which are in the file nevertheless.
            self.ready()?;
        }
        let mut changes: Vec<(MarkKind, Vec<Place>)> = Vec::new();
        let mut written: Vec<&Mark> = Vec::new();
        let keys = |mark: &&Mark| self.setup.keys.of(mark.portal.as_ref(), &mark.event_token);
        let keyed: Vec<_> =
            marks.iter().map(|mark| (keys(mark), (mark.from, mark.up_to))).collect();
        for (&mark, mut places) in marks.iter().zip(self.places_of(&keyed)?) {
            places.retain(|(number, slot)| {
                self.segments.get(number).is_some_and(|segment| !segment.is_settled(*slot))
            });
            if !places.is_empty() {
                changes.push((mark.kind, places));
                written.push(mark);
            }
        }
        let within = self.write_marks(&written);
        for (kind, places) in changes {
            // Settled lines are settled even if the mark could not be written. So their file can be deleted, which
            // makes room on a full disk.
            if within.is_ok() || kind == MarkKind::Settled {
                for place in places {
                    self.note(*within.as_ref().unwrap_or(&0), place, kind);
                }
            }
        }
        self.sweep();
        let Err(error) = within else { return Ok(()) };
        let settled = written.into_iter().filter(|mark| mark.kind == MarkKind::Settled);
        let room = MOST_UNWRITTEN.saturating_sub(self.unwritten.len());
        let settled: Vec<_> = settled.take(room).cloned().collect();
        self.unwritten.extend(settled);
        Err(error)
    }

    /// Writes marks, with those that could not be written before. Returns the segment that contains them.
    fn write_marks(&mut self, marks: &[&Mark]) -> Result<u32, SpoolError> {
        if marks.is_empty() && self.unwritten.is_empty() {
            return Ok(0);
        }
        let number = self.ready()?;
        let segment = self.segments.get(&number);
        let Some((writer, before)) = self.writer.as_mut().zip(segment.map(|s| s.lines)) else {
            return Ok(0);
        };
        writer.buffer.clear();
        writer.buffer.resize(HEAD, 0);
        writer.dictionary.begin(writer.bytes);
        record::begin_marks(&mut writer.buffer);
        for mark in self.unwritten.iter().chain(marks.iter().copied()) {
            let name = (mark.portal.as_ref(), &mark.event_token);
            let said = (mark.kind, mark.from, mark.up_to);
            record::put_mark(&mut writer.dictionary, name, said, &mut writer.buffer);
        }
        frame::close(&mut writer.buffer, writer.salt, before, 0);
        // A settled line was marked as tried before, and this mark was synced. So after a loss of power, the line
        // is repeated with a mark. More is not promised.
        let sync = self.setup.fsync && marks.iter().any(|mark| mark.kind == MarkKind::Tried);
        if let Err(failed) = writer.write(sync) {
            return Err(self.fail(failed));
        }
        let bytes = writer.bytes;
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes = bytes;
        }
        let late = std::mem::take(&mut self.unwritten);
        for mark in late {
            // This changes nothing in memory, but this segment is needed while the segment of the lines exists.
            let about: Vec<_> = self
                .segments
                .values()
                .filter(|segment| segment.number != number && segment.meets(mark.from, mark.up_to))
                .map(|segment| segment.number)
                .collect();
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.speaks_of.extend(about);
            }
        }
        Ok(number)
    }
}
