//! One entry of a process log under construction: safe text, the lines that end in it, its tries.

use std::time::{Instant, SystemTime};

use crate::format::Words;
use crate::protocol::text::LINE_MARK;
use crate::stats::DropReason;

/// Lines of one event token that travel as one command.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) text: String,
    /// Lines whose last piece is in `text`. A line that is continued elsewhere counts there.
    pub(crate) lines: u32,
    /// Bytes of the budget that these lines hold.
    pub(crate) bytes: usize,
    /// Number of the newest line, for flushes.
    pub(crate) last_seq: u64,
    /// When its first line was taken in.
    pub(crate) since: Instant,
    /// The time of its first line, by the clock of the app.
    pub(crate) since_wall: SystemTime,
    /// The last line is continued in the token's next entry.
    pub(crate) unfinished: bool,
    /// Its first line began in an earlier entry, and counts here.
    pub(crate) continued: bool,
    /// What has become of it so far.
    pub(crate) tries: Tries,
    /// Lines missing before it, told at its head.
    pub(crate) gap: Option<Gap>,
    /// Lines of this workflow that the portal no longer shows once it stores this entry.
    pub(crate) rolled_off: u64,
}

/// The history of an entry that was sent before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    /// Times that the portal answered "locked" or "not found yet".
    pub(crate) waited: u32,
    /// Times that the portal stumbled over it when it was alone in its request.
    pub(crate) alone: u32,
    /// How many requests of its lane had run when it was first alone.
    pub(crate) alone_since: u64,
    /// It may stand in the log already.
    pub(crate) in_doubt: bool,
    /// The latest try is why: that try counts as written, once.
    pub(crate) just_in_doubt: bool,
    /// It counts as sent in the workflow's budget.
    pub(crate) budgeted: bool,
}

impl Tries {
    /// It is sent alone from now on, so that it cannot cost its neighbours.
    pub(crate) fn solo(&self) -> bool {
        self.alone > 0
    }
}

impl Entry {
    pub(crate) fn new(since: Instant, since_wall: SystemTime) -> Self {
        Entry {
            text: String::new(),
            lines: 0,
            bytes: 0,
            last_seq: 0,
            since,
            since_wall,
            unfinished: false,
            continued: false,
            tries: Tries::default(),
            gap: None,
            rolled_off: 0,
        }
    }

    /// Appends the message as it is sent: notices, then the lines.
    pub(crate) fn write_message(&self, words: &Words, out: &mut String) {
        if self.tries.in_doubt {
            notice(out, |out| words.possible_repeat(out, SHORT_NOTICE));
        }
        if let Some(gap) = &self.gap {
            notice(out, |out| words.missing(out, &gap.lost, (0, 0), gap.since, LONG_NOTICE));
        }
        if self.rolled_off > 0 {
            notice(out, |out| words.rolled_off(out, self.rolled_off, SHORT_NOTICE));
        }
        out.push_str(&self.text);
    }
}

/// "• (3 lines missing since 12:00:05 UTC: queue full)"
fn notice(out: &mut String, say: impl FnOnce(&mut String)) {
    out.push(LINE_MARK);
    out.push_str(" (");
    say(out);
    out.push_str(")\n");
}

/// Lines of a token that are missing from its log.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    since: SystemTime,
    lost: Vec<(DropReason, u64)>,
}

impl Gap {
    pub(crate) fn new(reason: DropReason, lines: u64, since: SystemTime) -> Self {
        Gap { since, lost: vec![(reason, lines)] }
    }

    pub(crate) fn merge(&mut self, other: Gap) {
        self.since = self.since.min(other.since);
        for (reason, lines) in other.lost {
            match self.lost.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, sum)) => *sum += lines,
                None => self.lost.push((reason, lines)),
            }
        }
    }
}

/// Adds to a gap that may not be there yet.
pub(crate) fn widen(gap: &mut Option<Gap>, more: Gap) {
    match gap {
        Some(gap) => gap.merge(more),
        None => *gap = Some(more),
    }
}

/// Bytes kept free in every entry for the notices above.
pub(crate) const NOTICE_BYTES: usize = 1_000;
const LONG_NOTICE: usize = 560;
const SHORT_NOTICE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Language, LineTime};
    use std::time::{Duration, UNIX_EPOCH};

    fn message(entry: &Entry, language: Language) -> String {
        let mut out = String::new();
        entry.write_message(&Words::of(language, LineTime::Utc), &mut out);
        out
    }

    #[test]
    fn a_gap_says_how_many_since_when_and_why() {
        let since = UNIX_EPOCH + Duration::from_secs(86_400 * 3 + 12 * 3_600 + 5);
        let mut entry = Entry::new(Instant::now(), UNIX_EPOCH);
        entry.gap = Some(Gap::new(DropReason::QueueFull, 1, since));
        let told = message(&entry, Language::English);
        assert_eq!(told, "• (1 line missing since 12:00:05 UTC: queue full)\n");

        let earlier = since - Duration::from_secs(5);
        widen(&mut entry.gap, Gap::new(DropReason::Evicted, 2, earlier));
        widen(&mut entry.gap, Gap::new(DropReason::QueueFull, 1, since));
        assert_eq!(
            message(&entry, Language::English),
            "• (4 lines missing since 12:00:00 UTC: queue full (2), made room for newer lines (2))\n"
        );
        assert_eq!(
            message(&entry, Language::Russian),
            "• (4 строки пропущены с 12:00:00 UTC: очередь переполнена (2), место отдано более новым \
             строкам (2))\n"
        );
    }

    #[test]
    fn notices_of_every_kind_fit_their_room() {
        let mut entry = Entry::new(Instant::now(), UNIX_EPOCH);
        entry.tries.in_doubt = true;
        entry.rolled_off = u64::MAX;
        for &reason in DropReason::ALL {
            widen(&mut entry.gap, Gap::new(reason, u64::MAX / 16, UNIX_EPOCH));
        }
        for language in [Language::English, Language::Russian] {
            let notices = message(&entry, language);
            assert_eq!(notices.lines().count(), 3);
            assert!(notices.len() <= NOTICE_BYTES, "{}", notices.len());
        }
    }
}
