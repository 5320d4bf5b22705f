//! Makes a segment's file smaller: writes its needed parts to a new file, which replaces it.
//!
//! So a blocked portal keeps only its own lines on disk, and not the lines of all other portals from the same
//! time.

use std::collections::BTreeSet;

use super::{Run, Segment, UNFINISHED, segment_name};
use crate::error::SpoolError;
use crate::journal::codec::{Base, Piece, put_content};
use crate::journal::{Content, MarkKind};
use crate::spool::disk::child;
use crate::spool::frame::{self, HEAD};
use crate::spool::header::Header;
use crate::spool::record::{self, Item, Name, NameKeys};
use crate::spool::writer::Writer;

/// A segment is rewritten if at most a quarter of its lines is left.
const LEFT: u32 = 4;

/// A smaller file is not rewritten.
const LEAST_BYTES: u64 = 4 << 10;

/// Consecutive lines, or an end.
struct Kept {
    name: Name,
    slot: u32,
    content: Content,
}

struct KeptMark {
    name: Name,
    keys: NameKeys,
    said: (MarkKind, u64, u64),
}

impl Run {
    /// The segment with the smallest needed part, if a rewrite is worth it.
    pub(in crate::spool) fn worth_rewriting(&self) -> Option<u32> {
        let open = self.writer.as_ref().map(|writer| writer.number);
        let worth = self.segments.values().filter(|segment| {
            Some(segment.number) != open
                && segment.bytes >= LEAST_BYTES
                && segment.live.saturating_mul(LEFT) < segment.lines
        });
        let left =
            |segment: &&Segment| (u64::from(segment.live) << 20) / u64::from(segment.lines.max(1));
        worth.min_by_key(left).map(|segment| segment.number)
    }

    /// Writes a segment's file again, with what is not settled and the marks that are needed. Nothing
    /// changes if that fails.
    pub(in crate::spool) fn rewrite(&mut self, number: u32) -> Result<(), SpoolError> {
        let Some(segment) = self.segments.get(&number) else { return Ok(()) };
        let mut kept: Vec<Kept> = Vec::new();
        let mut marks = Vec::new();
        self.scan(number, &mut |item| {
            match item {
                Item::Piece { name: Some(name), slot, first, piece } => {
                    if !segment.is_settled(slot) {
                        keep(&mut kept, &name.name, (slot, first), piece);
                    }
                }
                Item::Mark { name: Some(name), kind, from, up_to } => {
                    let (name, keys) = (name.name.clone(), name.keys);
                    marks.push(KeptMark { name, keys, said: (kind, from, up_to) });
                }
                Item::Piece { name: None, .. } | Item::Mark { name: None, .. } => (),
            }
            true
        })?;
        let slots = kept.iter().flat_map(|kept| (kept.slot..).take(record::slots(&kept.content)));
        let readable: BTreeSet<_> = slots.collect();
        let lines = readable.len() as u32;
        self.lose(number, &readable);
        let mut speaks_of = BTreeSet::new();
        let marks = self.still_needed(number, marks, &mut speaks_of)?;
        let before = self.segments.get(&number.wrapping_sub(1)).map_or(0, |before| before.lines);
        let header =
            Header { publisher: self.publisher, segment: number, before, rewritten: Some(lines) };
        let bytes = self.write_again(&header, &kept, &marks)?;
        let Some(segment) = self.segments.get_mut(&number) else { return Ok(()) };
        segment.bytes = bytes;
        segment.lines = lines;
        segment.surplus = false;
        segment.speaks_of = speaks_of;
        self.indexes.remove(number);
        Ok(())
    }

    /// Marks about lines that are still in the files of older segments.
    fn still_needed(
        &mut self,
        number: u32,
        marks: Vec<KeptMark>,
        speaks_of: &mut BTreeSet<u32>,
    ) -> Result<Vec<KeptMark>, SpoolError> {
        let about = self.segments.get(&number).map(|segment| segment.speaks_of.clone());
        let mut needed = Vec::new();
        for mark in marks {
            let (kind, from, up_to) = mark.said;
            let mut is_needed = false;
            for &older in about.iter().flatten() {
                let meets = |s: &Segment| s.meets(from, up_to) && s.may_hold(mark.keys.portal);
                if !self.segments.get(&older).is_some_and(meets) {
                    continue;
                }
                self.load_index(older)?;
                let segment = &self.segments[&older];
                let slots = self.indexes.slots(older, mark.keys.log, from, up_to);
                let about_this = slots.into_iter().any(|slot| match kind {
                    MarkKind::Settled => segment.is_settled(slot),
                    MarkKind::Tried | MarkKind::Returned => !segment.is_settled(slot),
                });
                if about_this {
                    is_needed = true;
                    speaks_of.insert(older);
                }
            }
            if is_needed {
                needed.push(mark);
            }
        }
        Ok(needed)
    }

    /// Returns how many bytes the new file has.
    fn write_again(
        &self,
        header: &Header,
        kept: &[Kept],
        marks: &[KeptMark],
    ) -> Result<u64, SpoolError> {
        let disk = &*self.setup.disk;
        let path = self.file(header.segment);
        let new = child(&self.path, &format!("{}{UNFINISHED}", segment_name(header.segment)));
        // A file that a crash has left.
        let _ = disk.remove_file(&new);
        let written = Writer::create(disk, new.clone(), header, self.setup.keys.clone()).and_then(
            |mut writer| {
                self.put_kept(&mut writer, kept, marks);
                // This is synced in any case: the new name must not be on disk before the contents of the file.
                writer.write(true).map_err(|failed| failed.error)?;
                let renamed = disk.rename(&new, &path);
                renamed.map_err(|error| SpoolError::new("renaming", &new, error))?;
                Ok(writer.bytes)
            },
        );
        if written.is_err() {
            let _ = disk.remove_file(&new);
        } else if self.setup.fsync {
            // If this fails, a loss of power brings the old file back, which has the same contents.
            let _ = disk.sync_dir(&self.path);
        }
        written
    }

    fn put_kept(&self, writer: &mut Writer, kept: &[Kept], marks: &[KeptMark]) {
        let Some(segment) = self.segments.get(&writer.number) else { return };
        let Writer { buffer, dictionary, salt, bytes, .. } = writer;
        buffer.clear();
        dictionary.begin(*bytes);
        let mut tried = Vec::new();
        let mut lines = 0;
        for Kept { name, slot, content } in kept {
            let start = buffer.len();
            buffer.resize(start + HEAD, 0);
            record::begin_lines(0, *slot, buffer);
            record::put_chunk(dictionary, (name.0.as_ref(), &name.1), 0, buffer);
            put_content(content, &mut Base::default(), buffer);
            let slots = record::slots(content) as u32;
            frame::close(&mut buffer[start..], *salt, lines, slots);
            lines += slots;
            let numbers = numbers(content);
            let is_tried = |(at, _): &(usize, &u64)| segment.is_tried(slot + *at as u32);
            let of_this = numbers.iter().enumerate().filter(is_tried);
            tried.extend(of_this.map(|(_, no)| (name, (MarkKind::Tried, *no, *no))));
        }
        let marks = marks.iter().map(|mark| (&mark.name, mark.said)).chain(tried);
        let start = buffer.len();
        buffer.resize(start + HEAD, 0);
        record::begin_marks(buffer);
        for (name, said) in marks {
            record::put_mark(dictionary, (name.0.as_ref(), &name.1), said, buffer);
        }
        frame::close(&mut buffer[start..], *salt, lines, 0);
    }
}

/// Adds a part to the kept ones. It joins the lines before it, if it follows them in the same chunk.
fn keep(kept: &mut Vec<Kept>, name: &Name, (slot, first): (u32, bool), piece: Piece<'_>) {
    let content = match piece {
        Piece::Line(line) => {
            if let (false, Some(Kept { slot: from, content: Content::Lines(lines), .. })) =
                (first, kept.last_mut())
            {
                if *from as usize + lines.len() == slot as usize {
                    return lines.push(line.stored());
                }
            }
            Content::Lines(vec![line.stored()])
        }
        Piece::Missed(gap) => Content::Missed(gap),
        Piece::End(end) => Content::End(end.stored()),
        Piece::Seal(seal) => Content::Seal(seal),
    };
    kept.push(Kept { name: name.clone(), slot, content });
}

fn numbers(content: &Content) -> Vec<u64> {
    match content {
        Content::Lines(lines) => lines.iter().map(|line| line.no).collect(),
        Content::Missed(gap) => vec![gap.no],
        Content::End(end) => vec![end.no],
        Content::Seal(seal) => vec![seal.no],
    }
}
