//! Makes the text of a line in two steps. First the body: the output of the format, up to the longest line. A
//! journal stores the body. Then it is made safe, and gets its mark and its time. Knows nothing about entries.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use super::entry::NOTICE_BYTES;
use super::style::{self, Style};
use crate::format::{Format, Line, Sink, Story, TELLS_CUT, Words, unix_seconds, write_clock};
use crate::line::LogLine;
use crate::protocol::text::{ENTRY_BYTES, LINE_MARK, push_safe, split_at_boundary};
use crate::stats::Stats;

/// Renders lines. Keeps a buffer and the text of the last second, because lines come in bursts.
pub(crate) struct Renderer {
    words: Words,
    /// `None`: [`Story`], which is written directly.
    format: Option<Arc<dyn Format>>,
    /// The prefix, after the time of each line. Safe.
    prefix: String,
    /// Longest line, in bytes.
    line_bytes: usize,
    stats: Arc<Stats>,
    raw: Capped,
    safe: String,
    stamp: String,
    stamp_second: Option<i64>,
    /// The style of another process, whose lines are made now.
    style: Option<Arc<Style>>,
}

impl Renderer {
    pub(crate) fn new(
        words: Words,
        format: Option<Arc<dyn Format>>,
        prefix: &str,
        line_bytes: usize,
        stats: Arc<Stats>,
    ) -> Self {
        let mut safe_prefix = String::new();
        push_safe(&mut safe_prefix, prefix, words.astral());
        Renderer {
            words,
            format,
            prefix: safe_prefix,
            line_bytes,
            stats,
            raw: Capped { text: String::new(), most: line_bytes, more: 0 },
            safe: String::new(),
            stamp: String::new(),
            stamp_second: None,
            style: None,
        }
    }

    /// The words of this process.
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// The next lines are made in this style; `None`: in that of this process.
    pub(crate) fn dress(&mut self, style: Option<Arc<Style>>) {
        if !style::is_same(self.style.as_ref(), style.as_ref()) {
            self.stamp_second = None;
            self.style = style;
        }
    }

    /// Makes `line` one safe line without a line break. Returns its length.
    #[cfg(test)]
    fn render(&mut self, line: &LogLine) -> usize {
        self.write_body(line);
        self.finish(line.at)
    }

    /// Writes the output of the format, up to the longest line. Not safe yet.
    pub(crate) fn write_body(&mut self, line: &LogLine) {
        self.raw.clear();
        let view = Line::new(line, &self.words);
        match &self.format {
            Some(format) if write_own(&mut self.raw, &**format, &view) => {}
            Some(_) => {
                self.stats.format_failed();
                self.raw.clear();
                write_story(&mut self.raw, &view);
            }
            None => write_story(&mut self.raw, &view),
        }
    }

    /// What was written last, and how many bytes it was cut by.
    pub(crate) fn body(&self) -> (&str, u64) {
        (&self.raw.text, self.raw.more)
    }

    /// The same for a body that was written before, by this renderer or by another.
    pub(crate) fn render_body(&mut self, body: &str, cut: u64, at: SystemTime) -> usize {
        self.raw.clear();
        // The limit may be another one than it was.
        let _ = self.raw.write_str(body);
        self.raw.more += cut;
        self.finish(at)
    }

    /// Makes the body that was written last one safe line without a line break, with its mark and its
    /// time, and says how long it is.
    pub(crate) fn finish(&mut self, at: SystemTime) -> usize {
        self.restamp(at);
        self.safe.clear();
        self.safe.push_str(&self.stamp);
        push_safe(&mut self.safe, self.raw.text.trim_end(), self.words.astral());
        if self.raw.more > 0 || self.safe.len() > self.line_bytes {
            self.cut();
        }
        self.safe.len()
    }

    /// The last line.
    pub(crate) fn text(&self) -> &str {
        &self.safe
    }

    /// Makes the text behind the stamp once more, as much of it as there is room for, and tells the rest.
    #[cold]
    fn cut(&mut self) {
        let room = self.line_bytes.saturating_sub(TELLS_CUT);
        self.safe.truncate(self.stamp.len());
        // Piece by piece, and near the end each character by itself: only then it is known how long its
        // safe form is.
        let (mut rest, mut by_character) = (self.raw.text.as_str(), false);
        let mut word_end = None;
        while let Some(first) = rest.chars().next() {
            let before = self.safe.len();
            let piece = if by_character { first.len_utf8() } else { PIECE };
            let (next, after) = split_at_boundary(rest, piece);
            push_safe(&mut self.safe, next, self.words.astral());
            if self.safe.len() <= room {
                rest = after;
                if next.ends_with(' ') {
                    word_end = Some((self.safe.len(), rest));
                }
                continue;
            }
            self.safe.truncate(before);
            if by_character {
                break;
            }
            by_character = true;
        }
        let word_end = word_end.filter(|(end, _)| self.safe.len() - end <= LONGEST_WORD);
        if let (false, Some((end, from))) = (rest.is_empty(), word_end) {
            self.safe.truncate(end);
            rest = from;
        }
        let words = self.style.as_ref().map_or(&self.words, |style| &style.words);
        words.cut(&mut self.safe, rest.len() as u64 + self.raw.more);
        self.safe.shrink_to(self.line_bytes);
    }

    /// Brings `stamp` to a line's second: "• [timestamp=5]00:00:05 UTC[/timestamp] ".
    fn restamp(&mut self, at: SystemTime) {
        let second = unix_seconds(at);
        if self.stamp_second == Some(second) {
            return;
        }
        self.stamp_second = Some(second);
        self.stamp.clear();
        self.stamp.push(LINE_MARK);
        self.stamp.push(' ');
        let bare = self.stamp.len();
        // Writing to a String cannot fail.
        let (time, prefix) = match &self.style {
            Some(style) => (style.words.time(), style.prefix.as_str()),
            None => (self.words.time(), self.prefix.as_str()),
        };
        let _ = write_clock(&mut self.stamp, time, at);
        if self.stamp.len() > bare {
            self.stamp.push(' ');
        }
        self.stamp.push_str(prefix);
    }
}

/// Writes the output of a format of the app. Returns `false` if it failed.
fn write_own(out: &mut Capped, format: &dyn Format, line: &Line<'_>) -> bool {
    let mut sink = Patient { out, has_enough: false };
    let written = catch_unwind(AssertUnwindSafe(|| format.format(line, &mut sink)));
    match written {
        // Its error may come from the full buffer.
        Ok(written) => written.is_ok() || sink.has_enough,
        Err(_) => false,
    }
}

fn write_story(out: &mut Capped, line: &Line<'_>) {
    // The sink accepts everything, so only the `Display` of a value could fail. Its output so far is kept.
    let _ = Story::write(out, line);
}

/// Text up to a limit, and how many bytes were not kept.
#[derive(Debug)]
struct Capped {
    text: String,
    most: usize,
    more: u64,
}

impl Capped {
    fn clear(&mut self) {
        self.text.clear();
        self.more = 0;
    }
}

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = if self.more == 0 { self.most.saturating_sub(self.text.len()) } else { 0 };
        let kept = match text.len() <= room {
            true => text,
            false => split_at_boundary(text, room).0,
        };
        self.text.push_str(kept);
        self.more += (text.len() - kept.len()) as u64;
        Ok(())
    }
}

impl Sink for Capped {
    /// One number tells it all where the line is cut, too.
    fn write_missing(&mut self, bytes: u64, words: &Words) -> fmt::Result {
        match self.more {
            0 => write!(self, "… ({})", words.more_bytes(bytes)),
            _ => {
                self.more = self.more.saturating_add(bytes);
                Ok(())
            }
        }
    }
}

/// Lets a format of the app write more than is kept, so that the line can say how much is missing; but with a
/// limit.
struct Patient<'a> {
    out: &'a mut Capped,
    has_enough: bool,
}

impl Write for Patient<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_str(text)?;
        self.has_enough |= self.out.more > MOST_BYTES;
        if self.has_enough { Err(fmt::Error) } else { Ok(()) }
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").field("words", &self.words).finish_non_exhaustive()
    }
}

/// Default of the longest line: it fits into one entry. In bytes.
pub(crate) const LINE_BYTES: usize = ENTRY_BYTES - NOTICE_BYTES;
/// Bytes of a long line that are made safe at a time.
const PIECE: usize = 256;
/// A line is cut between two words, unless the last one is longer than this. In bytes.
const LONGEST_WORD: usize = 64;
/// A format is stopped when it has written this much more than is kept.
const MOST_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Full, Json, Language, LineTime, MessageOnly};
    use crate::line::{Packed, Tag};

    fn rendered(text: &str, line_bytes: usize) -> String {
        let words = Words::of(Language::English, LineTime::Utc);
        let mut renderer = Renderer::new(words, None, "", line_bytes, Arc::default());
        let len = renderer.render(&LogLine::saying(&Tag::detached("t", None), text));
        assert_eq!(len, renderer.text().len());
        renderer.text().to_owned()
    }

    #[test]
    fn a_line_up_to_its_limit_is_whole() {
        let head = "• 00:00:00 UTC ".len();
        for len in [0, 1, 300, 983] {
            let text = "x".repeat(len);
            assert_eq!(rendered(&text, 1_000).len(), head + len, "{len}");
        }
    }

    /// Regression: three lines of 1 MiB made 55 entries, more than the portal keeps.
    #[test]
    fn a_longer_line_is_cut_and_says_how_much_is_missing() {
        for (text, shown) in [("x", "x"), ("слово ", "слово "), ("\u{1}", "\\u{1}")] {
            for times in [2_000, 100_000] {
                let line = rendered(&text.repeat(times), 1_000);
                assert!(line.len() <= 1_000 && line.len() > 900, "{} of {text:?}", line.len());
                let (kept, cut) = line.rsplit_once("… (").unwrap();
                let kept = kept.strip_prefix("• 00:00:00 UTC ").unwrap();
                let kept = kept.matches(shown).count();
                let cut: usize = cut.strip_suffix(" bytes more)").unwrap().parse().unwrap();
                assert_eq!(kept * text.len() + cut, times * text.len(), "{text:?}");
            }
        }
    }

    fn rendered_by(format: impl Format, text: &str, prefix: &str) -> String {
        let words = Words::of(Language::Russian, LineTime::None);
        let stats = Arc::<Stats>::default();
        let mut renderer =
            Renderer::new(words, Some(Arc::new(format)), prefix, 1_000, stats.clone());
        renderer.render(&LogLine::saying(&Tag::detached("t", None), text));
        assert_eq!(stats.format_failures(), 0);
        renderer.text().to_owned()
    }

    #[test]
    fn the_limit_applies_to_every_format_and_its_note_has_the_language_of_the_log() {
        let text = "слово ".repeat(10_000);
        let own = |line: &Line<'_>, out: &mut dyn Write| match line.message() {
            Some(message) => write!(out, "{message}"),
            None => Ok(()),
        };
        for line in [
            rendered_by(MessageOnly, &text, ""),
            rendered_by(own, &text, ""),
            rendered_by(Full, &text, ""),
            rendered_by(Json, &text, ""),
            rendered_by(Story, &text, "Магазин: "),
        ] {
            assert!(line.len() <= 1_000 && line.len() > 900, "{}", line.len());
            assert!(line.contains("слово … (ещё ") && line.ends_with(')'), "{line}");
        }
        let line = rendered_by(own, &text, "");
        let (kept, cut) = line.rsplit_once("… (ещё ").unwrap();
        let cut: usize = cut.split_once(' ').unwrap().0.parse().unwrap();
        assert_eq!(kept.strip_prefix("• ").unwrap().len() + cut, text.len());
    }

    /// It says only how much it had written until it was told to stop.
    #[test]
    fn a_format_that_never_ends_is_stopped() {
        let endless = |_: &Line<'_>, out: &mut dyn Write| -> fmt::Result {
            loop {
                out.write_str("слово ")?;
            }
        };
        let line = rendered_by(endless, "", "");
        assert!(line.len() <= 1_000 && line.contains("… (ещё 10"), "{line}");
    }

    #[test]
    fn a_cut_line_also_counts_the_missing_bytes_of_a_cut_value() {
        let text = "x".repeat(Packed::MAX_LEN + 5_000);
        let line = rendered(&text, 1_000);
        let (kept, cut) = line.rsplit_once("… (").unwrap();
        let cut: usize = cut.strip_suffix(" bytes more)").unwrap().parse().unwrap();
        assert_eq!(kept.strip_prefix("• 00:00:00 UTC ").unwrap().len() + cut, text.len());
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_longer_than_its_limit(text: String, times in 1..200_usize, most in 256..2_000_usize) {
            let line = rendered(&text.repeat(times), most);
            proptest::prop_assert!(line.len() <= most);
        }
    }
}
