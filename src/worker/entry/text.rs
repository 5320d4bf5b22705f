//! The text of an entry, which grows in chunks.

/// Text that only grows, and is not copied when it does.
///
/// A `String` doubles: it copies all that it has, and leaves blocks behind that fit nothing else. With
/// 10,000 entries that gather lines, this was a quarter of what a line cost.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// Chunks that get no more text.
    full: Vec<String>,
    last: String,
    /// Bytes in `full`.
    before: usize,
}

impl Text {
    #[inline]
    pub(crate) fn push(&mut self, text: &str) {
        if text.len() > self.last.capacity() - self.last.len() {
            self.grow(text.len());
        }
        self.last.push_str(text);
    }

    /// Starts a new line, unless there is no text yet.
    #[inline]
    pub(crate) fn break_line(&mut self) {
        if self.last.is_empty() {
            return;
        }
        if self.last.len() == self.last.capacity() {
            self.grow(1);
        }
        self.last.push('\n');
    }

    /// Makes room for `more` bytes. Short texts double, as usual: most entries stay short.
    #[cold]
    fn grow(&mut self, more: usize) {
        if self.last.len() < CHUNK / 2 {
            self.last.reserve(more);
            return;
        }
        let chunk = String::with_capacity(CHUNK.max(more));
        let full = std::mem::replace(&mut self.last, chunk);
        self.before += full.len();
        self.full.push(full);
    }

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.before + self.last.len()
    }

    /// Gives back room that it does not need, if that is much. For text that may wait for long.
    pub(crate) fn shrink(&mut self) {
        if self.last.capacity() - self.last.len() > self.len() / 4 {
            self.last.shrink_to_fit();
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        out.reserve(self.len());
        for chunk in self.full.iter().chain([&self.last]) {
            out.push_str(chunk);
        }
    }
}

/// Bytes of a chunk, unless a single line is longer.
const CHUNK: usize = 2_048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_string_would_be(
            pieces in proptest::collection::vec(("\\PC{0,40}", 0..80_usize), 0..40)
        ) {
            let (mut text, mut plain) = (Text::default(), String::new());
            for (piece, times) in pieces {
                let piece = piece.repeat(times);
                text.push(&piece);
                plain.push_str(&piece);
                prop_assert_eq!(text.len(), plain.len());
            }
            text.shrink();
            let mut written = "before ".to_owned();
            text.write(&mut written);
            prop_assert_eq!(written, format!("before {plain}"));
        }
    }

    #[test]
    fn a_line_break_stands_between_lines_only() {
        let (mut text, mut written) = (Text::default(), String::new());
        for line in ["one", "two", &"x".repeat(CHUNK), "three"] {
            text.break_line();
            text.push(line);
        }
        text.write(&mut written);
        assert_eq!(written, format!("one\ntwo\n{}\nthree", "x".repeat(CHUNK)));
    }

    #[test]
    fn what_was_written_stays_where_it_is_and_little_room_is_left_over() {
        let mut text = Text::default();
        let line = "x".repeat(140);
        (0..400).for_each(|_| text.push(&line));
        let first = text.full[0].as_ptr();
        (0..400).for_each(|_| text.push(&line));
        assert_eq!(text.full[0].as_ptr(), first);
        let held: usize = text.full.iter().chain([&text.last]).map(String::capacity).sum();
        assert!(held < text.len() + text.len() / 10 + CHUNK, "{held} for {}", text.len());
    }

    #[test]
    fn a_short_text_that_waits_holds_no_more_than_it_needs() {
        let mut text = Text::default();
        (0..10).for_each(|_| text.push("a line"));
        text.shrink();
        assert!(text.last.capacity() <= text.len() * 5 / 4, "{}", text.last.capacity());
    }
}
