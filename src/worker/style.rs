//! The style of lines and notices of another process. That process decides it.

use std::sync::Arc;

use crate::format::Words;
use crate::journal::About;
use crate::protocol::text::{push_safe, split_at_boundary};

/// The style of some process.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) words: Words,
    /// The text after the time of each line. Already made safe.
    pub(crate) prefix: String,
}

/// The styles in use. There are few: one for each configuration of an app.
#[derive(Debug, Default)]
pub(crate) struct Styles(Vec<(About, Arc<Style>)>);

impl Styles {
    /// Returns the style that a process has asked for. `words`: the words of this process.
    pub(crate) fn of(&mut self, about: &About, words: &Words) -> Arc<Style> {
        let same = |known: &About| {
            known.language == about.language
                && known.line_time == about.line_time
                && known.line_prefix == about.line_prefix
        };
        if let Some(at) = self.0.iter().position(|(known, _)| same(known)) {
            // The style that was used last is found first.
            self.0.swap(0, at);
            return self.0[0].1.clone();
        }
        if self.0.len() >= MOST_STYLES {
            self.0.pop();
        }
        let words = words.in_style(about.language, about.line_time);
        let mut prefix = String::new();
        push_safe(&mut prefix, &about.line_prefix, words.astral());
        let prefix = split_at_boundary(&prefix, MOST_PREFIX).0.to_owned();
        let style = Arc::new(Style { words, prefix });
        self.0.insert(0, (about.clone(), style.clone()));
        style
    }
}

/// Whether two lines may be in one entry.
pub(crate) fn is_same(one: Option<&Arc<Style>>, other: Option<&Arc<Style>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// The largest number of styles in memory. Others are made again when they are needed.
const MOST_STYLES: usize = 64;
/// The longest prefix in the log, in bytes. The app's builder checks this, too.
const MOST_PREFIX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Language, LineTime};

    #[test]
    fn a_style_is_made_once_and_its_prefix_is_safe_and_short() {
        let words = Words::of(Language::English, LineTime::Utc);
        let mut styles = Styles::default();
        let about = |prefix: &str| About {
            language: Language::Russian,
            line_time: LineTime::Viewer,
            line_prefix: prefix.to_owned(),
            waits_until: None,
        };
        let style = styles.of(&about("shop: "), &words);
        assert_eq!(style.prefix, "shop: ");
        let later = About { waits_until: Some(std::time::UNIX_EPOCH), ..about("shop: ") };
        assert!(Arc::ptr_eq(&style, &styles.of(&later, &words)));
        assert!(!Arc::ptr_eq(&style, &styles.of(&about(""), &words)));
        assert!(Arc::ptr_eq(&style, &styles.of(&about("shop: "), &words)));
        let long = styles.of(&about(&"•\n".repeat(1_000)), &words);
        assert!(long.prefix.len() <= MOST_PREFIX && !long.prefix.contains('\n'));
        for n in 0..1_000 {
            styles.of(&about(&n.to_string()), &words);
        }
        assert!(styles.0.len() <= MOST_STYLES);
    }
}
