//! One entry of a process log under construction: safe text, the lines that end in it, its tries.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::gaps::GapId;
use super::incoming::{Incoming, Stamp};
use super::retry::{FAILS_FOR, TRIES_ALONE};
use super::style::Style;
use crate::format::Words;
use crate::journal::{Number, Publisher};
use crate::protocol::text::LINE_MARK;
use crate::stats::DropReason;

mod text;

use text::Text;

/// Lines of one event token that travel as one command.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) text: Text,
    /// Lines whose last piece is in `text`. A line that is continued elsewhere counts there.
    pub(crate) lines: u32,
    /// Bytes of the budget that these lines hold.
    pub(crate) bytes: usize,
    /// The place of the newest line among all that were taken in, for flushes.
    pub(crate) last_seq: u64,
    /// Which lines these are, in a journal.
    pub(crate) stamps: Stamps,
    /// When its first line came here.
    pub(crate) since: Instant,
    /// From when on the age of its first line counts: earlier, where the line was read from a journal.
    pub(crate) born: Instant,
    /// The same of its newest line. Until that is too old, the entry is not.
    pub(crate) newest: Instant,
    /// The time of its first line, by the clock of the app.
    pub(crate) since_wall: SystemTime,
    /// The last line is continued in the token's next entry.
    pub(crate) unfinished: bool,
    /// Its first line began in an earlier entry, and counts here.
    pub(crate) continued: bool,
    /// The history of its tries.
    pub(crate) tries: Tries,
    /// Lines that are missing before it; the entry begins with a notice about them. Boxed, because most
    /// entries have none.
    pub(crate) gap: Option<Box<Gap>>,
    /// How another process wants its notices to read.
    pub(crate) style: Option<Arc<Style>>,
    /// Lines of this workflow that the portal no longer shows once it stores this entry.
    pub(crate) rolled_off: u64,
}

/// Which lines an entry holds, by their numbers in a journal. Numbers between them that belong to other
/// tokens are not meant. All are of one publisher. Lines that are in no journal have none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamps {
    pub(crate) publisher: Publisher,
    /// Of the first line, whole or not. 0: there is none.
    pub(crate) from: Number,
    /// Of the last line, whole or not.
    pub(crate) up_to: Number,
    /// Of the last line that ends here. 0: there is none.
    pub(crate) whole: Number,
}

impl Stamps {
    const NONE: Stamps = Stamps { publisher: Publisher(0), from: 0, up_to: 0, whole: 0 };

    /// Lines that end here, and so are settled with the entry.
    pub(crate) fn ended(self) -> Option<(Number, Number)> {
        (self.from > 0 && self.whole >= self.from).then_some((self.from, self.whole))
    }

    /// Lines of which this entry holds at least a piece.
    pub(crate) fn all(self) -> Option<(Number, Number)> {
        (self.from > 0).then_some((self.from, self.up_to))
    }

    /// Whether there is one of these lines among them.
    pub(crate) fn meets(&self, publisher: Publisher, from: Number, up_to: Number) -> bool {
        self.publisher == publisher && self.from > 0 && self.from <= up_to && from <= self.up_to
    }

    /// The same without the line that goes on from an earlier entry, which stands in the log.
    pub(crate) fn begun(self, continued: bool) -> Option<(Number, Number)> {
        let from = self.from + u64::from(continued);
        (self.from > 0 && self.up_to >= from).then_some((from, self.up_to))
    }
}

/// The history of an entry that was sent before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    /// How often the portal answered "locked" or "not found".
    pub(crate) waited: u32,
    /// How often the portal failed with it, when it was alone in its request or the only cause.
    alone: u32,
    /// How many of these failures were not part of an outage: other requests ran since the one before.
    blamed: u32,
    /// How many requests of its lane had run at the latest of these failures.
    ran: u64,
    /// When the first of these failures was.
    failing_since: Option<Instant>,
    /// It may be in the log already.
    pub(crate) in_doubt: bool,
    /// The latest try is the reason: it counts as written once.
    pub(crate) just_in_doubt: bool,
    /// It counts as sent in the workflow's budget.
    pub(crate) budgeted: bool,
    /// The journal was told that it is sent.
    pub(crate) announced: bool,
}

impl Tries {
    /// It is sent alone from now on, so that it cannot affect others.
    pub(crate) fn solo(&self) -> bool {
        self.alone > 0
    }

    /// The portal failed with it alone. `ran`: how many requests of its lane have run so far.
    pub(crate) fn failed_alone(&mut self, ran: u64, now: Instant) {
        self.blamed += u32::from(self.alone == 0 || ran > self.ran);
        self.alone += 1;
        self.ran = ran;
        self.failing_since.get_or_insert(now);
    }

    /// How often the portal failed with it alone.
    pub(crate) fn alone(&self) -> u32 {
        self.alone
    }

    /// Whether the portal goes on failing with it while other requests run. A few failures in a bad minute of the
    /// portal are no reason to give it up, and failures of a portal that has no other requests may be an outage.
    pub(crate) fn is_hopeless(&self, now: Instant) -> bool {
        let for_long = |since: Instant| now.saturating_duration_since(since) >= FAILS_FOR;
        self.blamed >= TRIES_ALONE && self.failing_since.is_some_and(for_long)
    }
}

impl Entry {
    pub(crate) fn new(since: Instant, since_wall: SystemTime) -> Self {
        Entry {
            text: Text::default(),
            lines: 0,
            bytes: 0,
            last_seq: 0,
            stamps: Stamps::NONE,
            since,
            born: since,
            newest: since,
            since_wall,
            unfinished: false,
            continued: false,
            tries: Tries::default(),
            gap: None,
            style: None,
            rolled_off: 0,
        }
    }

    /// An entry that begins with this line, or with a piece of it.
    pub(crate) fn of(line: &Incoming<'_>, now: Instant) -> Self {
        let mut entry = Entry::new(now, line.at);
        (entry.born, entry.newest) = (line.since, line.since);
        let Stamp { publisher, no } = line.stamp;
        let no = if line.in_order { no } else { 0 };
        entry.stamps = Stamps { publisher, from: no, up_to: no, whole: 0 };
        entry.tries.in_doubt = line.tried;
        entry
    }

    /// Whether this line may be in this entry. Lines of its token that are in the journal only must not be
    /// between those that an entry has the numbers of: marks of the entry would be theirs, too.
    pub(crate) fn takes(&self, line: &Incoming<'_>) -> bool {
        let has_numbers = self.stamps.from > 0;
        let follows = !has_numbers || line.stamp.no > self.stamps.up_to;
        self.stamps.publisher == line.stamp.publisher
            && self.tries.in_doubt == line.tried
            && has_numbers == line.in_order
            && follows
    }

    /// Something without text that comes behind its lines has this name: it is settled with them. Returns `false`
    /// if that is not possible.
    pub(crate) fn goes_along(&mut self, stamp: Stamp) -> bool {
        let Stamps { publisher, from, up_to, .. } = self.stamps;
        let follows = publisher == stamp.publisher && from > 0 && stamp.no > up_to;
        if follows {
            self.stamps.up_to = stamp.no;
            self.stamps.whole = stamp.no;
        }
        follows
    }

    /// A line, or a piece of it, was appended.
    pub(crate) fn has_taken(&mut self, line: &Incoming<'_>, whole: bool) {
        self.last_seq = line.seq;
        self.newest = self.newest.max(line.since);
        if line.in_order {
            self.stamps.up_to = line.stamp.no;
            if whole {
                self.stamps.whole = line.stamp.no;
            }
        }
    }

    /// Whether it holds nothing but a notice about missing lines.
    pub(crate) fn is_notice(&self) -> bool {
        self.text.len() == 0
    }

    /// Appends the message as it is sent: notices, then the lines.
    ///
    /// `words`: those of this process.
    pub(crate) fn write_message(&self, words: &Words, out: &mut String) {
        let words = self.style.as_ref().map_or(words, |style| &style.words);
        if self.tries.in_doubt {
            notice(out, |out| words.possible_repeat(out, SHORT_NOTICE));
        }
        if let Some(gap) = &self.gap {
            notice(out, |out| {
                let unsure = (gap.doubtful, gap.retold);
                words.missing(out, &gap.lost, unsure, gap.since, LONG_NOTICE);
            });
        }
        if self.rolled_off > 0 {
            notice(out, |out| words.rolled_off(out, self.rolled_off, SHORT_NOTICE));
        }
        self.text.write(out);
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
    /// How many of these lines may be in the log: an answer was lost.
    doubtful: u64,
    /// How many of these lines a notice may have reported already: its answer was lost.
    retold: u64,
    /// An entry with only this notice has failed, or the notice is old. It waits for a new line or an end of its token;
    /// otherwise it would be tried for ever.
    pub(crate) waits: bool,
    /// When the newest of these lines was noted as lost; `None` while no token has it.
    pub(crate) newest: Option<Instant>,
    /// What is kept of it in a journal.
    pub(crate) kept: Vec<GapId>,
}

impl Gap {
    pub(crate) fn new(reason: DropReason, lines: u64, since: SystemTime) -> Self {
        Gap {
            since,
            lost: vec![(reason, lines)],
            doubtful: 0,
            retold: 0,
            waits: false,
            newest: None,
            kept: Vec::new(),
        }
    }

    /// The lines that are missing, by reason, and since when.
    pub(crate) fn lost(&self) -> (&[(DropReason, u64)], SystemTime) {
        (&self.lost, self.since)
    }

    /// Lines that were lost with an entry that may be in the log.
    pub(crate) fn in_doubt(mut self) -> Self {
        self.doubtful = self.lines();
        self
    }

    /// The lines of a notice that was lost, or that may be in the log if it is `in_doubt`.
    pub(crate) fn untold(mut self, in_doubt: bool) -> Self {
        if in_doubt {
            self.retold = self.lines();
        }
        self
    }

    pub(crate) fn merge(&mut self, other: Gap) {
        self.since = self.since.min(other.since);
        self.doubtful += other.doubtful;
        self.retold += other.retold;
        self.waits &= other.waits;
        self.kept.extend(other.kept);
        for (reason, lines) in other.lost {
            match self.lost.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, sum)) => *sum += lines,
                None => self.lost.push((reason, lines)),
            }
        }
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lost.iter().map(|(_, lines)| lines).sum()
    }
}

/// Adds to a gap that may not be there yet.
pub(crate) fn widen(gap: &mut Option<Box<Gap>>, more: Gap) {
    match gap {
        Some(gap) => gap.merge(more),
        None => *gap = Some(Box::new(more)),
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
    use crate::line::{LogLine, Tag};
    use std::time::{Duration, UNIX_EPOCH};

    fn message(entry: &Entry, language: Language) -> String {
        let mut out = String::new();
        entry.write_message(&Words::of(language, LineTime::Utc), &mut out);
        out
    }

    /// The notice of a gap.
    fn notice(gap: &Gap, language: Language) -> String {
        let mut entry = Entry::new(Instant::now(), UNIX_EPOCH);
        entry.gap = Some(Box::new(gap.clone()));
        message(&entry, language)
    }

    #[test]
    fn an_entry_with_numbers_takes_only_later_lines_of_the_journal() {
        let now = Instant::now();
        let tag = Tag::detached("5c1dc1c3f00001.78875596|A1|1.abcdef", None);
        let log_line = LogLine::saying(&tag, "x");
        let line =
            |no, in_order| Incoming { in_order, ..Incoming::new(&log_line, no, Publisher(7), now) };
        let mut entry = Entry::of(&line(10, true), now);
        entry.has_taken(&line(10, true), true);
        assert!(entry.takes(&line(11, true)));
        assert!(!entry.takes(&line(10, true)));
        assert!(!entry.takes(&line(21, false)), "11 to 20 may be in the journal only");

        let mut entry = Entry::of(&line(478, false), now);
        entry.has_taken(&line(478, false), true);
        assert!(!entry.takes(&line(299, true)));
        assert!(entry.takes(&line(479, false)));
        assert_eq!((entry.stamps.all(), entry.stamps.ended()), (None, None));
    }

    #[test]
    fn a_gap_says_how_many_since_when_and_why() {
        let since = UNIX_EPOCH + Duration::from_secs(86_400 * 3 + 12 * 3_600 + 5);
        let mut gap = Gap::new(DropReason::QueueFull, 1, since);
        assert_eq!(
            notice(&gap, Language::English),
            "• (1 line missing since 12:00:05 UTC: queue full)\n"
        );

        gap.merge(Gap::new(DropReason::Evicted, 2, since - Duration::from_secs(5)));
        gap.merge(Gap::new(DropReason::QueueFull, 1, since));
        assert_eq!(
            notice(&gap, Language::English),
            "• (4 lines missing since 12:00:00 UTC: queue full (2), made room for newer lines (2))\n"
        );
        assert_eq!(
            notice(&gap, Language::Russian),
            "• (4 строки пропущены с 12:00:00 UTC: очередь переполнена (2), место отдано более новым \
             строкам (2))\n"
        );
    }

    #[test]
    fn a_gap_says_what_is_not_certain() {
        let lost = Gap::new(DropReason::OutcomeUnknown, 3, UNIX_EPOCH).in_doubt();
        assert_eq!(
            notice(&lost, Language::English),
            "• (3 lines may be missing since 00:00:00 UTC: outcome unknown)\n"
        );
        assert_eq!(
            notice(&lost, Language::Russian),
            "• (3 строки, возможно, пропущены с 00:00:00 UTC: неизвестно, записаны ли они)\n"
        );
        let mut more = Gap::new(DropReason::QueueFull, 4, UNIX_EPOCH);
        more.merge(lost.untold(true));
        assert_eq!(
            notice(&more, Language::English),
            "• (7 lines missing since 00:00:00 UTC: queue full (4), outcome unknown (3); 3 of them may \
             be in the log; 3 of them may have been reported before)\n"
        );
        assert_eq!(
            notice(&more, Language::Russian),
            "• (7 строк пропущено с 00:00:00 UTC: очередь переполнена (4), неизвестно, записаны ли они \
             (3); 3 из них, возможно, есть в журнале; 3 из них, возможно, уже упомянуты раньше)\n"
        );
    }

    #[test]
    fn a_failed_notice_waits_for_new_lines_or_a_new_gap() {
        let mut gap = Gap::new(DropReason::RetriesSpent, 1, UNIX_EPOCH);
        gap.waits = true;
        let mut again = gap.clone();
        again.merge(gap.clone());
        assert!(again.waits);
        gap.merge(Gap::new(DropReason::QueueFull, 1, UNIX_EPOCH));
        assert!(!gap.waits);
    }

    #[test]
    fn a_notice_about_one_dropped_line_is_in_the_singular() {
        let mut entry = Entry::new(Instant::now(), UNIX_EPOCH);
        for (language, lines, told) in [
            (Language::English, 1, "(1 older line is no"),
            (Language::English, 2, "(2 older lines are no"),
            (Language::Russian, 1, " 1 более раннюю строку)"),
            (Language::Russian, 2, " 2 более ранние строки)"),
            (Language::Russian, 11, " 11 более ранних строк)"),
        ] {
            entry.rolled_off = lines;
            let out = message(&entry, language);
            assert!(out.contains(told), "{out}");
        }
    }

    #[test]
    fn notices_of_every_kind_fit_their_room() {
        let mut entry = Entry::new(Instant::now(), UNIX_EPOCH);
        entry.tries.in_doubt = true;
        entry.rolled_off = u64::MAX;
        for &reason in DropReason::ALL {
            let most = u64::MAX / (DropReason::COUNT as u64 + 1);
            let gap = Gap::new(reason, most, UNIX_EPOCH).in_doubt().untold(true);
            widen(&mut entry.gap, gap);
        }
        widen(&mut entry.gap, Gap::new(DropReason::QueueFull, 1, UNIX_EPOCH));
        for (language, last) in
            [(Language::English, "reported before)"), (Language::Russian, "раньше)")]
        {
            let mut out = String::new();
            entry.write_message(&Words::of(language, LineTime::Viewer), &mut out);
            assert_eq!(out.lines().count(), 3);
            assert!(out.lines().nth(1).is_some_and(|gap| gap.ends_with(last)), "{out}");
            assert!(out.len() <= NOTICE_BYTES, "{}", out.len());
        }
    }
}
