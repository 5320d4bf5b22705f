//! The contents of a record: lines and ends with their places, or marks.
//!
//! The first time that a token is used in a stretch of 1 MiB, its name is written in full. After that, it is a
//! small number. So a damaged record makes at most the rest of its stretch unreadable.
//!
//! Each line has a *slot*: its place among all lines of its segment, which it keeps when the segment is
//! compacted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::journal::codec::{
    Base, Bytes, Piece, Unreadable, put_name, put_number, take_content, take_name,
};
use crate::journal::{Content, MarkKind};
use crate::line::{EventToken, PortalId};

/// The log that an item belongs to.
pub(super) type Name = (Option<PortalId>, EventToken);

/// Stands for a [`Name`] in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u64);

/// Makes keys of names, with a secret of this process.
#[derive(Clone, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    pub(super) fn of(&self, portal: Option<&PortalId>, event_token: &EventToken) -> NameKeys {
        let log = Key(self.0.hash_one((portal, event_token)));
        NameKeys { log, portal: self.portal(portal) }
    }

    pub(super) fn portal(&self, portal: Option<&PortalId>) -> Key {
        Key(self.0.hash_one(portal))
    }
}

/// The names that were written into a segment.
pub(super) struct Dictionary {
    keys: Keys,
    names: HashMap<Name, Known>,
    /// The present stretch of the file.
    stretch: u32,
    /// Names that the present batch has added or written again, and their stretch before that.
    fresh: Vec<(Name, Option<u32>)>,
}

#[derive(Clone, Copy)]
struct Known {
    number: u32,
    keys: NameKeys,
    stretch: u32,
}

/// The keys of a name and of its portal in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameKeys {
    pub(super) log: Key,
    pub(super) portal: Key,
}

/// After how many bytes of a file names are written in full again.
const STRETCH: u64 = 1 << 20;

impl Dictionary {
    pub(super) fn new(keys: Keys) -> Self {
        Dictionary { keys, names: HashMap::new(), stretch: 0, fresh: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Begins a batch at this place of the file.
    pub(super) fn begin(&mut self, offset: u64) {
        self.fresh.clear();
        self.stretch = u32::try_from(offset / STRETCH).unwrap_or(u32::MAX);
    }

    /// The batch was not written.
    pub(super) fn take_back(&mut self) {
        for (name, stretch) in self.fresh.drain(..).rev() {
            match (stretch, self.names.get_mut(&name)) {
                (Some(stretch), Some(known)) => known.stretch = stretch,
                _ => drop(self.names.remove(&name)),
            }
        }
    }

    fn put(
        &mut self,
        portal: Option<&PortalId>,
        event_token: &EventToken,
        out: &mut Vec<u8>,
    ) -> NameKeys {
        let name = (portal.cloned(), event_token.clone());
        let next = self.names.len() as u32;
        let known = self.names.get(&name).copied();
        let (number, keys) = match known {
            Some(known) => (known.number, known.keys),
            None => (next, self.keys.of(portal, event_token)),
        };
        let in_full = known.is_none_or(|known| known.stretch != self.stretch);
        put_number(u64::from(number) << 1 | u64::from(in_full), out);
        if in_full {
            put_name(portal, event_token, out);
            self.names.insert(name.clone(), Known { number, keys, stretch: self.stretch });
            self.fresh.push((name, known.map(|known| known.stretch)));
        }
        keys
    }
}

/// Begins a record of lines: `slot` is that of the first.
pub(super) fn begin_lines(batch: u64, slot: u32, out: &mut Vec<u8>) {
    out.push(LINES);
    put_number(batch, out);
    put_number(u64::from(slot), out);
}

/// Begins a chunk, `gap` slots behind the one before: its content follows.
pub(super) fn put_chunk(
    dictionary: &mut Dictionary,
    (portal, event_token): (Option<&PortalId>, &EventToken),
    gap: u32,
    out: &mut Vec<u8>,
) -> NameKeys {
    let keys = dictionary.put(portal, event_token, out);
    put_number(u64::from(gap), out);
    keys
}

/// Begins a record of marks.
pub(super) fn begin_marks(out: &mut Vec<u8>) {
    out.push(MARKS);
}

/// Appends a mark to it.
pub(super) fn put_mark(
    dictionary: &mut Dictionary,
    (portal, event_token): (Option<&PortalId>, &EventToken),
    (kind, from, up_to): (MarkKind, u64, u64),
    out: &mut Vec<u8>,
) {
    dictionary.put(portal, event_token, out);
    out.push(match kind {
        MarkKind::Tried => 0,
        MarkKind::Returned => 1,
        MarkKind::Settled => 2,
    });
    put_number(from, out);
    put_number(up_to.saturating_sub(from), out);
}

const LINES: u8 = 1;
const MARKS: u8 = 2;

/// The names that were read from a segment.
pub(super) struct Names {
    keys: Keys,
    known: Vec<Option<NameRead>>,
}

/// A name with what stands for it in memory.
#[derive(Clone)]
pub(super) struct NameRead {
    pub(super) name: Name,
    pub(super) keys: NameKeys,
}

/// More names than a segment ever has.
const MOST_NAMES: u64 = 1 << 20;

impl Names {
    pub(super) fn new(keys: Keys) -> Self {
        Names { keys, known: Vec::new() }
    }

    /// Reads a name. `None`: the record with the full name is damaged.
    fn take(&mut self, bytes: &mut Bytes<'_>) -> Result<Option<&NameRead>, Unreadable> {
        let number = bytes.number()?;
        let (number, in_full) = (number >> 1, number & 1 != 0);
        let place = usize::try_from(number).map_err(|_| Unreadable::Damaged)?;
        if in_full && number < MOST_NAMES {
            let name = take_name(bytes)?;
            // It is the same name again, in a later stretch.
            let same = self
                .known
                .get(place)
                .is_some_and(|known| known.as_ref().is_some_and(|known| known.name == name));
            if !same {
                if self.known.len() <= place {
                    self.known.resize_with(place + 1, || None);
                }
                let keys = self.keys.of(name.0.as_ref(), &name.1);
                self.known[place] = Some(NameRead { name, keys });
            }
        } else if in_full {
            return Err(Unreadable::Damaged);
        }
        Ok(self.known.get(place).and_then(Option::as_ref))
    }
}

/// A part of a record's contents.
pub(super) enum Item<'a, 'n> {
    Piece {
        /// `None`: its token is not known any more.
        name: Option<&'n NameRead>,
        slot: u32,
        /// It is the first of a chunk.
        first: bool,
        piece: Piece<'a>,
    },
    Mark {
        name: Option<&'n NameRead>,
        kind: MarkKind,
        from: u64,
        up_to: u64,
    },
}

/// Hands over the contents of a record. Returns the number of its batch, if it is a record of lines.
pub(super) fn read<'a>(
    payload: &'a [u8],
    names: &mut Names,
    each: &mut dyn FnMut(Item<'a, '_>),
) -> Result<Option<u64>, Unreadable> {
    let mut bytes = Bytes(payload);
    match bytes.byte()? {
        LINES => read_lines(bytes, names, each).map(Some),
        MARKS => {
            while !bytes.0.is_empty() {
                let name = names.take(&mut bytes)?;
                let kind = match bytes.byte()? {
                    0 => MarkKind::Tried,
                    1 => MarkKind::Returned,
                    2 => MarkKind::Settled,
                    _ => return Err(Unreadable::Damaged),
                };
                let from = bytes.number()?;
                let up_to = from.saturating_add(bytes.number()?);
                each(Item::Mark { name, kind, from, up_to });
            }
            Ok(None)
        }
        _ => Err(Unreadable::Damaged),
    }
}

/// More slots than a segment ever has.
const MOST_SLOTS: u32 = 1 << 22;

fn read_lines<'a>(
    mut bytes: Bytes<'a>,
    names: &mut Names,
    each: &mut dyn FnMut(Item<'a, '_>),
) -> Result<u64, Unreadable> {
    let batch = bytes.number()?;
    let slot =
        |bytes: &mut Bytes<'_>| u32::try_from(bytes.number()?).map_err(|_| Unreadable::Damaged);
    let mut next = slot(&mut bytes)?;
    let mut base = Base::default();
    while !bytes.0.is_empty() {
        let name = names.take(&mut bytes)?;
        next = next.checked_add(slot(&mut bytes)?).ok_or(Unreadable::Damaged)?;
        let mut first = true;
        let mut too_many = false;
        take_content(&mut bytes, &mut base, &mut |piece| {
            if next >= MOST_SLOTS {
                too_many = true;
                return;
            }
            each(Item::Piece { name, slot: next, first, piece });
            first = false;
            next += 1;
        })?;
        if too_many {
            return Err(Unreadable::Damaged);
        }
    }
    Ok(batch)
}

/// How many slots a chunk takes.
pub(super) fn slots(content: &Content) -> usize {
    match content {
        Content::Lines(lines) => lines.len(),
        Content::Missed(_) | Content::End(_) | Content::Seal(_) => 1,
    }
}
