//! Reads a segment's file, also if it is damaged.

use super::frame::{Found, Frames};
use super::header::LENGTH;
use super::record::{self, Item, Keys, Names};
use super::salt::Salt;

/// What a scan has found in addition to the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// How many lines the file has or had, according to its records.
    pub(super) lines: u32,
    /// The largest number of a batch.
    pub(super) batch: Option<u64>,
    /// There is more data after its valid lines.
    pub(super) surplus: bool,
}

/// Hands over the contents of the file's records, until the callback returns false. `most`: how many valid lines
/// the file has, if this is known. Data after them counts as not stored, but could not be cut off.
pub(super) fn scan<'a>(
    file: &'a [u8],
    salt: Salt,
    keys: &Keys,
    most: Option<u32>,
    each: &mut dyn FnMut(Item<'a, '_>) -> bool,
) -> Scanned {
    let mut names = Names::new(keys.clone());
    let mut scanned = Scanned::default();
    for found in Frames::new(file.get(LENGTH..).unwrap_or_default(), salt) {
        let (before, lines, payload) = match found {
            Found::Record { before, lines, payload } => (before, lines, Some(payload)),
            Found::Damaged { before, lines } => (before, lines, None),
            Found::Unknown => continue,
        };
        let up_to = before.saturating_add(lines);
        if most.is_some_and(|most| up_to > most) {
            scanned.surplus = true;
            continue;
        }
        if before < scanned.lines {
            continue;
        }
        scanned.lines = up_to;
        let mut go_on = true;
        let mut hand_over = |item: Item<'a, '_>| go_on &= go_on && each(item);
        // The lines of a damaged record are in the count.
        let read = payload.map(|payload| record::read(payload, &mut names, &mut hand_over));
        if let Some(Ok(batch)) = read {
            scanned.batch = scanned.batch.max(batch);
        }
        if !go_on {
            break;
        }
    }
    scanned
}
