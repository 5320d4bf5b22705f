//! The process log of one workflow: what is kept, and for how long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::php;
use crate::settings::{Charset, Retention, SqlMode};

/// Entries that the cloud keeps per workflow, of all kinds together (server behaviour).
const CLOUD_ENTRIES: usize = 50;
/// Deletions at most, each time the log is trimmed (server behaviour).
const DELETIONS_PER_HIT: usize = 100;
/// What a MySQL TEXT column holds.
const NOTE_BYTES: usize = 65_535;

/// An entry of the process log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Its place in the order of everything that was written to this portal.
    pub sequence: u64,
    /// The server's time of the call.
    pub at: UnixTime,
    /// The name of the activity that wrote it.
    pub activity: String,
    /// What wrote it.
    pub kind: EntryKind,
    /// The text as it is stored; empty for a note that was trimmed to nothing.
    pub text: Arc<str>,
}

/// The kinds of entry that this portal writes, by the numbers of the tracking table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// An activity began (1).
    Executed,
    /// An activity ended (2).
    Closed,
    /// A line that an application or a user wrote (5).
    Custom,
    /// A report, which does not count towards the cloud's 50 entries (6).
    Report,
    /// The workflow failed (4).
    Fault,
}

impl EntryKind {
    fn counts(self) -> bool {
        self != Self::Report
    }
}

/// Why a text could not be stored. An exception while writing ends the workflow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SqlError(pub(crate) &'static str);

/// The log of one workflow.
#[derive(Debug, Default)]
pub(crate) struct TrackingLog {
    entries: VecDeque<Entry>,
    rolled_off: usize,
}

impl TrackingLog {
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    pub(crate) fn rolled_off(&self) -> usize {
        self.rolled_off
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    pub(crate) fn drop_older_than(&mut self, age: Duration, now: UnixTime) {
        self.entries.retain(|entry| !entry.kind.counts() || now.since(entry.at) <= age);
    }

    /// What the portal does after each hit: the cloud rolls old entries off.
    pub(crate) fn trim(&mut self, retention: Retention) {
        if retention == Retention::SelfHosted {
            return;
        }
        let counting = self.entries.iter().filter(|entry| entry.kind.counts()).count();
        let mut surplus = counting.saturating_sub(CLOUD_ENTRIES).min(DELETIONS_PER_HIT);
        self.rolled_off += surplus;
        self.entries.retain(|entry| {
            let goes = surplus > 0 && entry.kind.counts();
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// The text that the column `ACTION_NOTE` holds after it was given `message`.
pub(crate) fn stored_note(
    message: &[u8],
    sql_mode: SqlMode,
    charset: Charset,
) -> Result<Arc<str>, SqlError> {
    let message = php::trim(message);
    // MySQL reads as far as it understands: up to a broken byte, or to a character that the
    // column's charset does not have.
    let readable = match std::str::from_utf8(message) {
        Ok(text) => text,
        Err(broken) => std::str::from_utf8(&message[..broken.valid_up_to()])
            .expect("valid_up_to ends a valid prefix"),
    };
    let four_bytes = match charset {
        Charset::Utf8mb4 => None,
        Charset::Utf8mb3 => readable.find(|character: char| character > '\u{ffff}'),
    };
    let storable = &readable[..four_bytes.unwrap_or(readable.len())];
    let fitting = &storable[..floor_char_boundary(storable, NOTE_BYTES)];
    match sql_mode {
        SqlMode::Strict if storable.len() < message.len() => {
            Err(SqlError("Incorrect string value for column 'ACTION_NOTE'"))
        }
        SqlMode::Strict if fitting.len() < storable.len() => {
            Err(SqlError("Data too long for column 'ACTION_NOTE'"))
        }
        _ => Ok(fitting.into()),
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, kind: EntryKind) -> Entry {
        let at = UnixTime::default();
        Entry { sequence, at, activity: "A1".into(), kind, text: "x".into() }
    }

    #[test]
    fn the_cloud_keeps_the_newest_fifty_entries_and_reports_do_not_count() {
        let mut log = TrackingLog::default();
        log.push(entry(0, EntryKind::Report));
        for sequence in 1..=55 {
            log.push(entry(sequence, EntryKind::Custom));
            log.trim(Retention::Cloud);
        }
        let kept: Vec<u64> = log.entries().map(|entry| entry.sequence).collect();
        assert_eq!(kept[..2], [0, 6]);
        assert_eq!(kept.len(), 51);
        assert_eq!(log.rolled_off(), 5);
    }

    #[test]
    fn at_most_a_hundred_entries_are_deleted_after_a_hit() {
        let mut log = TrackingLog::default();
        (0..300).for_each(|sequence| log.push(entry(sequence, EntryKind::Custom)));
        log.trim(Retention::SelfHosted);
        assert_eq!(log.entries().len(), 300);
        log.trim(Retention::Cloud);
        assert_eq!(log.entries().len(), 200);
    }

    #[test]
    fn a_long_note_is_cut_in_lax_mode_and_fails_in_strict_mode() {
        let fits = "я".repeat(32_767) + "x";
        let long = "я".repeat(32_768);
        for mode in [SqlMode::Lax, SqlMode::Strict] {
            let stored = stored_note(fits.as_bytes(), mode, Charset::Utf8mb4).unwrap();
            assert_eq!(stored.len(), 65_535);
        }
        let cut = stored_note(long.as_bytes(), SqlMode::Lax, Charset::Utf8mb4).unwrap();
        assert_eq!(cut.len(), 65_534);
        assert!(stored_note(long.as_bytes(), SqlMode::Strict, Charset::Utf8mb4).is_err());
    }

    #[test]
    fn a_four_byte_character_cuts_or_fails_on_utf8mb3() {
        let text = "до 😀 после".as_bytes();
        let lax = |charset| stored_note(text, SqlMode::Lax, charset).unwrap().to_string();
        assert_eq!(lax(Charset::Utf8mb4), "до 😀 после");
        assert_eq!(lax(Charset::Utf8mb3), "до ");
        assert!(stored_note(text, SqlMode::Strict, Charset::Utf8mb3).is_err());
        assert!(stored_note(text, SqlMode::Strict, Charset::Utf8mb4).is_ok());
    }

    #[test]
    fn broken_bytes_end_a_note() {
        let stored = stored_note(b"ab\xffcd", SqlMode::Lax, Charset::Utf8mb4).unwrap();
        assert_eq!(&*stored, "ab");
        assert!(stored_note(b"ab\xffcd", SqlMode::Strict, Charset::Utf8mb4).is_err());
    }

    #[test]
    fn a_note_of_blanks_is_stored_as_nothing() {
        assert_eq!(&*stored_note(b" \n ", SqlMode::Strict, Charset::Utf8mb4).unwrap(), "");
    }
}
