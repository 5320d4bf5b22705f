//! Makes text of a line: its mark, its time, and what the format writes. Knows nothing of entries.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::entry::NOTICE_BYTES;
use crate::format::{Format, Line, Out, Story, Words, unix_seconds, write_clock};
use crate::line::LogLine;
use crate::protocol::text::{ENTRY_BYTES, LINE_MARK, push_safe, split_at_boundary};
use crate::stats::Stats;

/// Renders lines. Holds scratch space and the last second's text, since lines come in bursts.
pub(crate) struct Renderer {
    words: Words,
    /// `None`: [`Story`], which is written without detours.
    format: Option<Arc<dyn Format>>,
    /// Behind each line's time. Safe.
    prefix: String,
    /// Longest line, in bytes.
    line_bytes: usize,
    stats: Arc<Stats>,
    raw: Capped,
    safe: String,
    stamp: String,
    stamp_second: Option<i64>,
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
        }
    }

    /// Makes `line` one safe line without a line break, and says how long it is.
    pub(crate) fn render(&mut self, line: &LogLine) -> usize {
        self.restamp(line);
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
        self.safe.clear();
        self.safe.push_str(&self.stamp);
        let head = self.safe.len();
        push_safe(&mut self.safe, self.raw.text.trim_end(), self.words.astral());
        if self.raw.more > 0 || self.safe.len() > self.line_bytes {
            self.cut(head);
        }
        self.safe.len()
    }

    /// The line that was made last.
    pub(crate) fn text(&self) -> &str {
        &self.safe
    }

    /// Makes the text behind `head` once more, as much of it as there is room for, and tells the rest.
    #[cold]
    fn cut(&mut self, head: usize) {
        let room = self.line_bytes.saturating_sub(TELLS_CUT);
        self.safe.truncate(head);
        // Piece by piece, since only then it is known how long its safe form is.
        let (mut rest, mut piece) = (self.raw.text.as_str(), PIECE);
        while !rest.is_empty() && piece > 0 {
            let before = self.safe.len();
            let (next, after) = split_at_boundary(rest, piece);
            push_safe(&mut self.safe, next, self.words.astral());
            if next.is_empty() || self.safe.len() > room {
                self.safe.truncate(before);
                piece /= 4;
            } else {
                rest = after;
            }
        }
        let missing = (rest.len() + self.raw.more) as u64;
        self.words.cut(&mut self.safe, missing, TELLS_CUT);
        self.safe.shrink_to(self.line_bytes);
    }

    /// Brings `stamp` to the second of `line`: "• [timestamp=5]00:00:05 UTC[/timestamp] ".
    fn restamp(&mut self, line: &LogLine) {
        let second = unix_seconds(line.at);
        if self.stamp_second == Some(second) {
            return;
        }
        self.stamp_second = Some(second);
        self.stamp.clear();
        self.stamp.push(LINE_MARK);
        self.stamp.push(' ');
        let bare = self.stamp.len();
        // Writing to a String cannot fail.
        let _ = write_clock(&mut self.stamp, self.words.time(), line.at);
        if self.stamp.len() > bare {
            self.stamp.push(' ');
        }
        self.stamp.push_str(&self.prefix);
    }
}

/// Writes what a format of the app's makes of a line; `false` when it failed.
fn write_own(out: &mut Capped, format: &dyn Format, line: &Line<'_>) -> bool {
    let written = catch_unwind(AssertUnwindSafe(|| format.format(line, &mut Ending(out))));
    match written {
        Ok(Ok(())) => true,
        // Its error was our "enough".
        Ok(Err(fmt::Error)) => out.more > 0,
        Err(_) => false,
    }
}

fn write_story(out: &mut Capped, line: &Line<'_>) {
    // It takes all, so that only a value's own `Display` could fail: what it wrote stands.
    let _ = Story::write(out, line);
}

/// Text up to a limit, and how many bytes were not taken.
#[derive(Debug)]
struct Capped {
    text: String,
    most: usize,
    more: usize,
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
        self.more += text.len() - kept.len();
        Ok(())
    }
}

impl Out for Capped {
    fn cut(&mut self, missing: u64, words: &Words) -> fmt::Result {
        if self.more == 0 {
            return write!(self, "… ({})", words.more_bytes(missing));
        }
        self.more += missing as usize;
        Ok(())
    }
}

/// The same for a format of the app's, which is told when it is enough: it may have no end.
struct Ending<'a>(&'a mut Capped);

impl Write for Ending<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)?;
        if self.0.more > 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").field("words", &self.words).finish_non_exhaustive()
    }
}

/// Longest line, unless the user says otherwise: it fits one entry. In bytes.
pub(crate) const LINE_BYTES: usize = ENTRY_BYTES - NOTICE_BYTES;
/// Room for the mark of a cut.
const TELLS_CUT: usize = 64;
/// Bytes of a long line that are made safe at a time.
const PIECE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Language, LineTime};
    use crate::line::Tag;

    fn rendered_in(language: Language, text: &str, line_bytes: usize) -> String {
        let words = Words::of(language, LineTime::Utc);
        let mut renderer = Renderer::new(words, None, "", line_bytes, Arc::default());
        let len = renderer.render(&LogLine::saying(&Tag::detached("t", None), text));
        assert_eq!(len, renderer.text().len());
        renderer.text().to_owned()
    }

    fn rendered(text: &str, line_bytes: usize) -> String {
        rendered_in(Language::English, text, line_bytes)
    }

    #[test]
    fn a_line_up_to_its_limit_is_whole() {
        let head = "• 00:00:00 UTC ".len();
        for len in [0, 1, 300, 983] {
            let text = "x".repeat(len);
            assert_eq!(rendered(&text, 1_000).len(), head + len, "{len}");
        }
    }

    /// Three lines of a mebibyte once made 55 entries, more than the portal keeps.
    #[test]
    fn a_longer_line_is_cut_and_tells_how_much_is_missing() {
        for (text, shown) in [("x", "x"), ("слово ", "слово "), ("\u{1}", "\\u{1}")] {
            for times in [2_000, 100_000] {
                let line = rendered(&text.repeat(times), 1_000);
                assert!(line.len() <= 1_000 && line.len() > 900, "{} of {text:?}", line.len());
                let (kept, cut) = line.rsplit_once("… (").unwrap();
                let kept = kept.strip_prefix("• 00:00:00 UTC ").unwrap();
                let kept = match shown == text {
                    true => kept.len(),
                    false => kept.matches(shown).count() * text.len(),
                };
                let cut: usize = cut.strip_suffix(" bytes more)").unwrap().parse().unwrap();
                assert_eq!(kept + cut, times * text.len(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_cut_is_told_in_the_logs_language() {
        let line = rendered_in(Language::Russian, &"слово ".repeat(2_000), 1_000);
        assert!(line.contains("… (ещё ") && line.ends_with(')') && line.len() <= 1_000, "{line}");
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_longer_than_its_limit(text: String, times in 1..200_usize, most in 256..2_000_usize) {
            let line = rendered(&text.repeat(times), most);
            proptest::prop_assert!(line.len() <= most);
        }
    }
}
