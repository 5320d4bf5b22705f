//! The texts of this crate in a log, in the language of the customer.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use tracing_core::Level;

use super::language::Language;
use super::time::{LineTime, write_clock};
use crate::protocol::text::{Astral, GUARD, push_safe, split_at_boundary};
use crate::stats::{DropReason, Stats};

/// The texts that this crate itself writes into a log: for levels, missing lines, repeats and cuts.
///
/// [`Language`] has English and Russian. For other languages, implement this trait. A method that you do
/// not implement returns English. The texts are made safe like every line. If a method panics, the English
/// text is used, and counted as a [failure](crate::stats::Snapshot::format_failures).
///
/// ```
/// use std::borrow::Cow;
/// use tracing::Level;
/// use tracing_bizproc::format::Wording;
///
/// struct German;
///
/// impl Wording for German {
///     fn level(&self, level: Level) -> Cow<'_, str> {
///         match level {
///             Level::ERROR => "FEHLER".into(),
///             Level::WARN => "WARNUNG".into(),
///             _ => "".into(),
///         }
///     }
///
///     fn missing(&self, lines: u64, since: &str, reasons: &str) -> Cow<'_, str> {
///         let noun = if lines == 1 { "Zeile fehlt" } else { "Zeilen fehlen" };
///         format!("{lines} {noun} seit {since}: {reasons}").into()
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// let builder = tracing_bizproc::builder(webhook).wording(German);
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
pub trait Wording: Send + Sync + 'static {
    /// The word before a line of this level. Empty: the level is not shown.
    ///
    /// English: `ERROR`, `WARNING`, and nothing for other levels.
    fn level(&self, level: Level) -> Cow<'_, str> {
        Language::English.level(level)
    }

    /// Lines are missing. `since` is a placeholder: the time of the first missing line replaces it.
    /// `reasons` is a list of [`reason`](Self::reason)s.
    ///
    /// English: `3 lines missing since 12:00:05 UTC: queue full`.
    fn missing(&self, lines: u64, since: &str, reasons: &str) -> Cow<'_, str> {
        Cow::Owned(Language::English.missing(lines, since, reasons).into_owned())
    }

    /// As [`missing`](Self::missing), if it is not known whether they are missing: an answer was lost.
    ///
    /// English: `3 lines may be missing since 12:00:05 UTC: outcome unknown`.
    fn may_be_missing(&self, lines: u64, since: &str, reasons: &str) -> Cow<'_, str> {
        Cow::Owned(Language::English.may_be_missing(lines, since, reasons).into_owned())
    }

    /// Some of the missing lines may be in the log. This text follows [`missing`](Self::missing), after a
    /// semicolon.
    ///
    /// English: `2 of them may be in the log`.
    fn may_be_there(&self, lines: u64) -> Cow<'_, str> {
        Cow::Owned(Language::English.may_be_there(lines).into_owned())
    }

    /// Some of the missing lines may have been reported before. This text follows
    /// [`missing`](Self::missing), after a semicolon.
    ///
    /// English: `2 of them may have been reported before`.
    fn may_be_told(&self, lines: u64) -> Cow<'_, str> {
        Cow::Owned(Language::English.may_be_told(lines).into_owned())
    }

    /// Why lines are missing.
    ///
    /// English: [`DropReason::as_str`].
    fn reason(&self, reason: DropReason) -> Cow<'_, str> {
        Language::English.reason(reason)
    }

    /// An entry may be in the log twice.
    ///
    /// English: `possible repeat: the answer to the first try was lost`.
    fn possible_repeat(&self) -> Cow<'_, str> {
        Language::English.possible_repeat()
    }

    /// The portal has removed the oldest lines of the workflow from its log.
    ///
    /// English: `10 older lines are no longer shown by the portal`.
    fn rolled_off(&self, lines: u64) -> Cow<'_, str> {
        Cow::Owned(Language::English.rolled_off(lines).into_owned())
    }

    /// A value was cut. This text follows the rest of the value, in parentheses.
    ///
    /// English: `1200 bytes more`.
    fn more_bytes(&self, bytes: u64) -> Cow<'_, str> {
        Cow::Owned(Language::English.more_bytes(bytes).into_owned())
    }

    /// The name of the field that counts the fields that did not fit. `=` and a number follow.
    ///
    /// English: `fields_left_out`.
    fn fields_left_out(&self) -> Cow<'_, str> {
        Language::English.fields_left_out()
    }

    /// A value could not be written, because its `Debug` or `Display` panicked. This text replaces it, in
    /// parentheses.
    ///
    /// English: `could not be written`.
    fn unwritable(&self) -> Cow<'_, str> {
        Language::English.unwritable()
    }
}

/// The wording in use. Its panics are caught, and its texts are limited. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Words {
    wording: Arc<dyn Wording>,
    /// Computed once, because every line has a level.
    levels: Arc<[String; 5]>,
    fields_left_out: Arc<str>,
    time: LineTime,
    astral: Astral,
    stats: Arc<Stats>,
}

impl Words {
    pub(crate) fn new(
        wording: Arc<dyn Wording>,
        time: LineTime,
        astral: Astral,
        stats: Arc<Stats>,
    ) -> Self {
        let (levels, fields_left_out) = (Arc::default(), Arc::from(""));
        let mut words = Words { wording, levels, fields_left_out, time, astral, stats };
        words.levels = Arc::new(LEVELS.map(|level| words.said(|wording| wording.level(level))));
        words.fields_left_out = words.said(|wording| wording.fields_left_out()).into();
        words
    }

    /// Words of another process, with its language and times. What the portal can store is decided here.
    pub(crate) fn in_style(&self, language: Language, time: LineTime) -> Self {
        Words::new(Arc::new(language), time, self.astral, self.stats.clone())
    }

    pub(crate) fn time(&self) -> LineTime {
        self.time
    }

    pub(crate) fn astral(&self) -> Astral {
        self.astral
    }

    /// The word before a line of this level. Empty for most levels.
    pub(crate) fn level(&self, level: Level) -> &str {
        let place = match level {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        &self.levels[place]
    }

    pub(super) fn fields_left_out(&self) -> &str {
        &self.fields_left_out
    }

    /// "3 lines missing since 12:00:05 UTC: queue full", safe and not longer than `room`. Of these
    /// lines, `doubtful` may be in the log, and of `retold` a notice may have reported before.
    pub(crate) fn missing(
        &self,
        out: &mut String,
        lost: &[(DropReason, u64)],
        (doubtful, retold): (u64, u64),
        since: SystemTime,
        room: usize,
    ) {
        let lines = lost.iter().fold(0, |sum: u64, (_, lines)| sum.saturating_add(*lines));
        let mut reasons = String::new();
        for (n, &(reason, count)) in lost.iter().enumerate() {
            let told = self.said(|wording| wording.reason(reason));
            let count = if lost.len() > 1 { format!(" ({count})") } else { String::new() };
            // Keeps room for the rest of the notice. Further reasons are left out.
            if n > 0 && reasons.len() + told.len() + count.len() + 2 > room / 2 {
                reasons.push_str(", …");
                break;
            }
            if n > 0 {
                reasons.push_str(", ");
            }
            reasons.push_str(&told);
            reasons.push_str(&count);
        }
        let mut clock = String::new();
        let time = if self.time == LineTime::None { LineTime::Utc } else { self.time };
        // Writing to a String cannot fail.
        let _ = write_clock(&mut clock, time, since);
        let mut said = self.said(|wording| match doubtful >= lines {
            true => wording.may_be_missing(lines, TIME_GOES_HERE, &reasons),
            false => wording.missing(lines, TIME_GOES_HERE, &reasons),
        });
        if doubtful > 0 && doubtful < lines {
            said += "; ";
            said += &self.said(|wording| wording.may_be_there(doubtful));
        }
        if retold > 0 {
            said += "; ";
            said += &self.said(|wording| wording.may_be_told(retold));
        }
        let before = out.len();
        self.push(out, &said, room.saturating_sub(clock.len()));
        // Inserted after the text was made safe, because it may be a tag of the portal.
        if let Some(place) = out[before..].find(TIME_GOES_HERE) {
            let place = before + place;
            out.replace_range(place..place + TIME_GOES_HERE.len(), &clock);
        }
    }

    /// "possible repeat: ..", safe and not longer than `room`.
    pub(crate) fn possible_repeat(&self, out: &mut String, room: usize) {
        self.push(out, &self.said(|wording| wording.possible_repeat()), room);
    }

    /// "10 older lines ..", safe and not longer than `room`.
    pub(crate) fn rolled_off(&self, out: &mut String, lines: u64, room: usize) {
        self.push(out, &self.said(|wording| wording.rolled_off(lines)), room);
    }

    /// The message that ends an activity: safe, with the word for its level, within `room` bytes.
    pub(crate) fn last_message(&self, level: Level, message: &str, room: usize) -> String {
        let mut out = String::new();
        let word = self.level(level);
        let text = if word.is_empty() { message.to_owned() } else { format!("{word}: {message}") };
        push_safe(&mut out, &text, self.astral);
        self.shorten(&mut out, room);
        // PHP counts "0" as empty, and then the portal writes its default text.
        if out == "0" {
            out.push(GUARD);
        }
        out
    }

    /// Cuts safe text down to `room` bytes, and says how many are missing.
    fn shorten(&self, safe: &mut String, room: usize) {
        if safe.len() <= room {
            return;
        }
        let kept = split_at_boundary(safe, room.saturating_sub(TELLS_CUT)).0.len();
        let missing = safe.len() - kept;
        safe.truncate(kept);
        self.cut(safe, missing as u64);
    }

    /// "… (1200 bytes more)", safe and not longer than [`TELLS_CUT`].
    pub(crate) fn cut(&self, out: &mut String, missing: u64) {
        let said = format!("{CUT} ({})", self.more_bytes(missing));
        self.push(out, &said, TELLS_CUT);
    }

    /// "1200 bytes more". Not safe yet, as a value is not.
    pub(crate) fn more_bytes(&self, bytes: u64) -> String {
        self.said(|wording| wording.more_bytes(bytes))
    }

    /// "could not be written". Not safe yet, as a value is not.
    pub(crate) fn unwritable(&self) -> String {
        self.said(|wording| wording.unwritable())
    }

    /// Appends text, made safe, within `room` bytes.
    fn push(&self, out: &mut String, text: &str, room: usize) {
        let before = out.len();
        push_safe(out, text, self.astral);
        if out.len() - before > room {
            let kept = split_at_boundary(&out[before..], room.saturating_sub(CUT.len())).0.len();
            out.truncate(before + kept);
            out.push_str(CUT);
        }
    }

    /// The text of the wording. It is code of the app: if it panics, the English text is used.
    fn said(&self, what: impl Fn(&dyn Wording) -> Cow<'_, str>) -> String {
        let said = catch_unwind(AssertUnwindSafe(|| what(&*self.wording).into_owned()));
        said.unwrap_or_else(|_| {
            self.stats.format_failed();
            what(&Language::English).into_owned()
        })
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("time", &self.time).finish_non_exhaustive()
    }
}

/// Placeholder for a time until the text around it is safe. A private-use character.
const TIME_GOES_HERE: &str = "\u{E000}";
/// Room for the note that the end of a text was cut, in any language.
pub(crate) const TELLS_CUT: usize = 64;
/// Ends a text that was too long.
const CUT: &str = "…";
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

#[cfg(test)]
impl Words {
    /// Words without a counter of failures.
    pub(crate) fn of(wording: impl Wording, time: LineTime) -> Self {
        Words::new(Arc::new(wording), time, Astral::Escape, Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn missing(words: &Words, lost: &[(DropReason, u64)]) -> String {
        let mut out = String::new();
        words.missing(&mut out, lost, (0, 0), UNIX_EPOCH + Duration::from_secs(43_205), 600);
        out
    }

    #[test]
    fn russian_numbers_have_three_forms() {
        let words = Words::of(Language::Russian, LineTime::Utc);
        for (lines, said) in [
            (1, "1 строка пропущена"),
            (2, "2 строки пропущены"),
            (4, "4 строки пропущены"),
            (5, "5 строк пропущено"),
            (11, "11 строк пропущено"),
            (12, "12 строк пропущено"),
            (21, "21 строка пропущена"),
            (22, "22 строки пропущены"),
            (111, "111 строк пропущено"),
            (1_001, "1001 строка пропущена"),
        ] {
            let notice = missing(&words, &[(DropReason::QueueFull, lines)]);
            assert_eq!(notice, format!("{said} с 12:00:05 UTC: очередь переполнена"));
        }
    }

    #[test]
    fn uncertain_losses_say_may_be_missing() {
        let told = |language, doubtful, retold| {
            let mut out = String::new();
            let lost = [(DropReason::OutcomeUnknown, 3)];
            let words = Words::of(language, LineTime::Utc);
            words.missing(&mut out, &lost, (doubtful, retold), UNIX_EPOCH, 600);
            out
        };
        for (language, doubtful, retold, said) in [
            (Language::English, 3, 0, "3 lines may be missing since 00:00:00 UTC: outcome unknown"),
            (
                Language::English,
                1,
                2,
                "3 lines missing since 00:00:00 UTC: outcome unknown; 1 of them may be in the log; \
                 2 of them may have been reported before",
            ),
            (
                Language::Russian,
                3,
                0,
                "3 строки, возможно, пропущены с 00:00:00 UTC: неизвестно, записаны ли они",
            ),
            (
                Language::Russian,
                1,
                2,
                "3 строки пропущены с 00:00:00 UTC: неизвестно, записаны ли они; 1 из них, возможно, \
                 есть в журнале; 2 из них, возможно, уже упомянуты раньше",
            ),
        ] {
            assert_eq!(told(language, doubtful, retold), said);
        }
    }

    #[test]
    fn a_shortened_text_says_how_much_is_missing() {
        let words = Words::of(Language::English, LineTime::Utc);
        let mut text = "слово ".repeat(100);
        let before = text.len();
        words.shorten(&mut text, before);
        assert_eq!(text.len(), before);
        words.shorten(&mut text, 200);
        assert!(text.len() <= 200, "{}", text.len());
        let (kept, cut) = text.split_once("… (").unwrap();
        assert_eq!(cut, format!("{} bytes more)", before - kept.len()));
        for (language, missing, said) in [
            (Language::English, 1, "… (1 byte more)"),
            (Language::English, u64::MAX, "… (18446744073709551615 bytes more)"),
            (Language::Russian, 1, "… (ещё 1 байт)"),
            (Language::Russian, 22, "… (ещё 22 байта)"),
            (Language::Russian, u64::MAX, "… (ещё 18446744073709551615 байт)"),
        ] {
            let mut out = String::new();
            Words::of(language, LineTime::Utc).cut(&mut out, missing);
            assert_eq!(out, said);
        }
    }

    #[test]
    fn a_notice_shows_its_time_like_a_line() {
        let lost = [(DropReason::Evicted, 2), (DropReason::QueueFull, 1)];
        let notice = missing(&Words::of(Language::English, LineTime::Viewer), &lost);
        assert_eq!(
            notice,
            "3 lines missing since [timestamp=43205]12:00:05 UTC[/timestamp]: \
             made room for newer lines (2), queue full (1)"
        );
        let notice = missing(&Words::of(Language::English, LineTime::None), &lost[..1]);
        assert!(notice.contains("since 12:00:05 UTC: "), "{notice}");
    }

    #[test]
    fn the_texts_of_each_language_are_different_and_fit_their_room() {
        for language in [Language::English, Language::Russian] {
            let words = Words::of(language, LineTime::Viewer);
            let lost: Vec<_> =
                DropReason::ALL.iter().map(|reason| (*reason, u64::MAX / 16)).collect();
            let notice = missing(&words, &lost);
            assert!(notice.len() <= 600 && notice.ends_with('…'), "{}: {notice}", notice.len());
            let mut told: Vec<_> =
                DropReason::ALL.iter().map(|reason| language.reason(*reason)).collect();
            told.sort();
            told.dedup();
            assert_eq!(told.len(), DropReason::ALL.len());
        }
        for reason in DropReason::ALL {
            assert_ne!(Language::Russian.reason(*reason), Language::English.reason(*reason));
        }
    }

    /// Panics in each method, or returns a text that is too long or looks like another line.
    struct Hostile(bool);

    impl Wording for Hostile {
        fn level(&self, _: Level) -> Cow<'_, str> {
            panic!("a wording of the app's")
        }

        fn missing(&self, _: u64, since: &str, _: &str) -> Cow<'_, str> {
            match self.0 {
                true => panic!("a wording of the app's"),
                false => format!("•\n$result[c0] {since}{}", "слово ".repeat(5_000)).into(),
            }
        }
    }

    #[test]
    fn a_wording_that_panics_is_replaced_by_english_and_counted() {
        let stats = Arc::<Stats>::default();
        let wording = Arc::new(Hostile(true));
        let words = Words::new(wording, LineTime::Utc, Astral::Escape, stats.clone());
        assert_eq!(words.level(Level::ERROR), "ERROR");
        assert_eq!(
            missing(&words, &[(DropReason::QueueFull, 1)]),
            "1 line missing since 12:00:05 UTC: queue full"
        );
        assert_eq!(stats.format_failures(), 5 + 1, "five levels, one notice");
    }

    #[test]
    fn a_wording_cannot_break_or_overflow_a_line() {
        let words = Words::of(Hostile(false), LineTime::Viewer);
        let notice = missing(&words, &[(DropReason::QueueFull, 1)]);
        assert!(notice.len() <= 600, "{}", notice.len());
        assert!(notice.starts_with("· ¶ $\u{2060}result[c0] [timestamp=43205]"), "{notice}");
    }
}
