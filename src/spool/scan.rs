//! Reads a segment's file, whatever has become of it.

use super::frame::{Found, Frames};
use super::header::LENGTH;
use super::record::{self, Item, Keys, Names};
use super::salt::Salt;

/// What was found beside the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// How many lines the file has, or had, as far as its records tell.
    pub(super) lines: u32,
    /// The largest number of a batch.
    pub(super) batch: u64,
    /// Something in it is no record, or not a whole one.
    pub(super) damaged: bool,
}

/// Hands over what the file's records hold, until that returns false. `most`: how many lines it has, if
/// that is known. What stands behind them was not stored, but could not be cut off.
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
            Found::Unknown => {
                scanned.damaged = true;
                continue;
            }
        };
        let up_to = before.saturating_add(lines);
        if before < scanned.lines || most.is_some_and(|most| up_to > most) {
            scanned.damaged = true;
            continue;
        }
        scanned.damaged |= before > scanned.lines || payload.is_none();
        scanned.lines = up_to;
        let mut go_on = true;
        let mut hand_over = |item: Item<'a, '_>| go_on &= go_on && each(item);
        match payload.map(|payload| record::read(payload, &mut names, &mut hand_over)) {
            Some(Ok(batch)) => scanned.batch = scanned.batch.max(batch.unwrap_or(0)),
            Some(Err(_)) => scanned.damaged = true,
            None => (),
        }
        if !go_on {
            break;
        }
    }
    scanned
}
