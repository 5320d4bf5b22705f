//! Stores batches.

use super::{Place, Run, SEGMENT_LINES, SEGMENT_NAMES};
use crate::error::SpoolError;
use crate::journal::codec::{Base, nanos, put_content};
use crate::journal::{Batch, Chunk, Content};
use crate::spool::frame::{self, HEAD};
use crate::spool::header::Header;
use crate::spool::index::Index;
use crate::spool::record::{self, NameKeys};
use crate::spool::segment::{Kind, Segment, Span};
use crate::spool::writer::{Failed, Writer};

/// A record ends when it has this number of bytes.
const RECORD_BYTES: usize = 64 << 10;

/// The largest batch, in bytes of text, with 16 bytes added for each line. So a segment has at most 2 million
/// lines.
const MOST_TEXT: usize = 32 << 20;

impl Run {
    /// Stores a batch, unless it is stored already. Returns the new end of the run.
    pub(in crate::spool) fn append(
        &mut self,
        batch: u64,
        chunks: &[Chunk],
    ) -> Result<Place, SpoolError> {
        let bytes = chunks.iter().map(text).sum();
        if bytes > MOST_TEXT {
            return Err(SpoolError::TooLarge { bytes });
        }
        if Some(batch) <= self.batch
            || chunks.iter().all(|chunk| record::slots(&chunk.content) == 0)
        {
            self.batch = self.batch.max(Some(batch));
            return Ok(self.end());
        }
        let number = self.ready()?;
        let sync = self.setup.fsync;
        let Some((writer, segment)) = self.writer.as_mut().zip(self.segments.get_mut(&number))
        else {
            return Ok(self.end());
        };
        let keys = put_batch(writer, segment.slots, batch, chunks);
        if let Err(failed) = writer.write(sync) {
            return Err(self.fail(failed));
        }
        segment.bytes = writer.bytes;
        let index = self.indexes.of(number);
        note(segment, index, &keys, chunks);
        self.batch = Some(batch);
        Ok(self.end())
    }

    /// Makes sure that there is a segment to write to. Returns its number.
    pub(super) fn ready(&mut self) -> Result<u32, SpoolError> {
        if let Some(writer) = &self.writer {
            let lines = self.segments.get(&writer.number).map_or(0, |segment| segment.lines);
            if writer.bytes < self.setup.segment_bytes
                && lines < SEGMENT_LINES
                && writer.dictionary.len() < SEGMENT_NAMES
            {
                return Ok(writer.number);
            }
            self.end_segment()?;
        }
        let number = self.next;
        let before = self.segments.get(&number.wrapping_sub(1)).map_or(0, |before| before.lines);
        let header = Header { publisher: self.publisher, segment: number, before, rewritten: None };
        let disk = &*self.setup.disk;
        let path = self.file(number);
        let mut writer = Writer::create(disk, path.clone(), &header, self.setup.keys.clone())?;
        if self.setup.fsync {
            let synced = writer.sync().map_err(|failed| failed.error).and_then(|()| {
                let synced = disk.sync_dir(&self.path);
                synced.map_err(|error| SpoolError::new("syncing", &self.path, error))
            });
            if let Err(error) = synced {
                // It is created again the next time, under the same name.
                let _ = disk.remove_file(&path);
                return Err(error);
            }
        }
        let mut segment = Segment::new(number);
        segment.bytes = writer.bytes;
        self.segments.insert(number, segment);
        self.indexes.put(number, Index::default());
        self.writer = Some(writer);
        self.next += 1;
        self.doubtful = false;
        Ok(number)
    }

    /// Ends the segment that is being written.
    pub(super) fn end_segment(&mut self) -> Result<(), SpoolError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        match self.setup.fsync {
            true => writer.sync().map_err(|failed| failed.error),
            false => Ok(()),
        }
    }

    pub(super) fn fail(&mut self, failed: Failed) -> SpoolError {
        if failed.give_up {
            self.writer = None;
            self.doubtful = true;
            if let Some(mut last) = self.segments.last_entry() {
                last.get_mut().surplus = true;
            }
        }
        failed.error
    }
}

/// Puts a batch together, in the writer's buffer. Returns the keys of each chunk.
fn put_batch(writer: &mut Writer, first: u32, batch: u64, chunks: &[Chunk]) -> Vec<NameKeys> {
    let Writer { buffer, dictionary, salt, bytes, .. } = writer;
    buffer.clear();
    dictionary.begin(*bytes);
    let mut keys = Vec::with_capacity(chunks.len());
    // The place of the open record in the buffer, and its first slot.
    let mut open = None;
    let mut base = Base::default();
    let mut slot = first;
    for chunk in chunks {
        let slots = record::slots(&chunk.content) as u32;
        let &mut (start, from) = open.get_or_insert_with(|| {
            let start = buffer.len();
            buffer.resize(start + HEAD, 0);
            record::begin_lines(batch, slot, buffer);
            base = Base::default();
            (start, slot)
        });
        let name = (chunk.portal.as_ref(), &chunk.event_token);
        keys.push(record::put_chunk(dictionary, name, 0, buffer));
        put_content(&chunk.content, &mut base, buffer);
        slot += slots;
        if buffer.len() - start >= RECORD_BYTES {
            frame::close(&mut buffer[start..], *salt, from, slot - from);
            open = None;
        }
    }
    if let Some((start, from)) = open {
        frame::close(&mut buffer[start..], *salt, from, slot - from);
    }
    keys
}

/// Records what was written.
fn note(segment: &mut Segment, mut index: Option<&mut Index>, keys: &[NameKeys], chunks: &[Chunk]) {
    let mut slot = segment.slots;
    for (keys, chunk) in keys.iter().zip(chunks) {
        let mut find = |no, slot| {
            if let Some(index) = &mut index {
                index.add(keys.log, no, slot);
            }
        };
        let (no, at, kind) = match &chunk.content {
            Content::Lines(lines) => {
                let mut span: Option<Span> = None;
                for line in lines {
                    Span::widen(&mut span, line.no, nanos(line.at));
                    find(line.no, slot);
                    slot += 1;
                }
                if let Some(span) = span {
                    segment.add_lines(slot, lines.len() as u32, span, keys.portal);
                }
                continue;
            }
            Content::Missed(gap) => (gap.no, None, Kind::Sign),
            Content::End(end) => (end.no, Some(end.deadline), Kind::End),
            Content::Seal(seal) => (seal.no, Some(seal.at), Kind::Sign),
        };
        segment.add(slot, no, at.map(nanos), keys.portal, kind);
        find(no, slot);
        slot += 1;
    }
}

/// About how many bytes a batch takes in a file.
pub(in crate::spool) fn bytes(batch: &Batch) -> u64 {
    batch.chunks.iter().map(text).sum::<usize>() as u64
}

fn text(chunk: &Chunk) -> usize {
    match &chunk.content {
        Content::Lines(lines) => lines.iter().map(|line| line.body.len() + 16).sum(),
        Content::Missed(_) | Content::Seal(_) => 0,
        Content::End(end) => end.values.len() + end.message.as_ref().map_or(0, String::len),
    }
}
