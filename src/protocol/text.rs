//! Makes text safe for a `LOG_MESSAGE`, and finds where a line may be cut.
//!
//! Pure and total: any `&str` is accepted. The result cannot break the storage of the portal, the portal
//! replaces and interprets nothing in it, and it cannot look like another line. It never fails, and
//! never drops a character without a visible replacement.
//!
//! Two safe pieces are also safe when they are joined. So a line may be put together from its parts
//! without another check.

use std::fmt::Write as _;

/// Largest entry: the portal's note column holds 65,535 bytes (MySQL TEXT, server behaviour); the
/// rest is room for what the portal adds.
pub(crate) const ENTRY_BYTES: usize = 60_000;

/// The first character of every line, because the page collapses line breaks. It is never inside a line: see
/// [`push_safe`].
pub(crate) const LINE_MARK: char = '•';

/// Replaces [`LINE_MARK`] inside of a line.
const MARK_IN_TEXT: char = '·';

/// Replaces line breaks inside of a line.
const BREAK_IN_TEXT: &str = " ¶ ";

/// WORD JOINER: it is invisible, does not join letters, and breaks every pattern that the portal looks for.
pub(crate) const GUARD: char = '\u{2060}';

/// What happens to characters above U+FFFF, which some installations cannot store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Astral {
    /// Written as `\u{1F600}`.
    Escape,
    /// Written as they are: the portal is known to store them.
    Keep,
}

/// Appends `text` to `out` in a safe form: it cannot break the storage of the portal, the portal
/// replaces and interprets nothing in it, and it cannot look like another line.
///
/// - `$result[..]` and similar expressions, `{=..}` and `[timestamp=..]` get an invisible guard inside;
/// - a run of line breaks becomes ` ¶ `, a tab becomes a space;
/// - other control characters, bidirectional controls and invisible characters are written as `\u{..}`; the
///   joiners U+200C and U+200D are kept, because some languages need them, and so are selectors for the look
///   of the symbol before them;
/// - [`LINE_MARK`] becomes `·`.
pub(crate) fn push_safe(out: &mut String, text: &str, astral: Astral) {
    out.reserve(text.len());
    let bytes = text.as_bytes();
    // text[copied..at] is safe and waits to be copied in one piece.
    let (mut copied, mut at) = (0, 0);
    loop {
        at += plain_run(&bytes[at..]);
        let Some(c) = text[at..].chars().next() else { break };
        let next = at + c.len_utf8();
        match judge(c, &text[..at], &bytes[next..], astral) {
            Fate::Keep => {}
            Fate::Guard => {
                out.push_str(&text[copied..next]);
                out.push(GUARD);
                copied = next;
            }
            fate => {
                out.push_str(&text[copied..at]);
                copied = next;
                match fate {
                    Fate::Replace(with) => out.push(with),
                    Fate::Break => {
                        copied += breaks_ahead(&text[next..]);
                        out.push_str(BREAK_IN_TEXT);
                    }
                    _ => {
                        // Writing to a String cannot fail.
                        let _ = write!(out, "\\u{{{:X}}}", u32::from(c));
                    }
                }
            }
        }
        at = next.max(copied);
    }
    out.push_str(&text[copied..]);
}

/// The longest prefix of `text` that fits into `max_bytes` without splitting a character, and the rest. If
/// there is a space near the end, the prefix ends after it. Both halves of safe text are safe.
///
/// The prefix is empty only if the first character does not fit.
pub(crate) fn split_at_boundary(text: &str, max_bytes: usize) -> (&str, &str) {
    if text.len() <= max_bytes {
        return (text, "");
    }
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let near = end.saturating_sub(SPLIT_SLACK.min(max_bytes / 4));
    // A space is one byte in UTF-8 and never part of another character.
    if let Some(space) = text.as_bytes()[near..end].iter().rposition(|&b| b == b' ') {
        end = near + space + 1;
    }
    text.split_at(end)
}

/// Whether [`push_safe`] does not change a character of a JSON string, between the text `before` it and the
/// `rest` of the string.
pub(crate) fn stays(c: char, before: &str, rest: &str) -> bool {
    let rest = if rest.is_empty() { "\"" } else { rest };
    matches!(judge(c, before, rest.as_bytes(), Astral::Escape), Fate::Keep)
}

/// How far back from the limit a space is looked for, in bytes.
const SPLIT_SLACK: usize = 128;

/// What happens to one character.
enum Fate {
    Keep,
    /// Kept, with the guard after it.
    Guard,
    Replace(char),
    Escape,
    Break,
}

fn judge(c: char, before: &str, rest: &[u8], astral: Astral) -> Fate {
    match c {
        // "batch": `$result[key]` and the like in a command are replaced by earlier results, by
        // prefix and without regard to case (server behaviour).
        '$' if SUBSTITUTED.iter().any(|word| begins(rest, word)) => Fate::Guard,
        // `{=user:..}`: an expression that the log page evaluates (server behaviour).
        '{' if begins(rest, b"=") => Fate::Guard,
        // `[timestamp=N]..[/timestamp]`: a date that the log page renders (server behaviour).
        '[' if begins(rest, b"timestamp") || begins(rest, b"/timestamp") => Fate::Guard,
        LINE_MARK => Fate::Replace(MARK_IN_TEXT),
        '\t' => Fate::Replace(' '),
        _ if is_break(c) => Fate::Break,
        '\u{FE0E}' | '\u{FE0F}' if selects(before, rest, astral) => Fate::Keep,
        _ if is_hidden(c) => Fate::Escape,
        '\u{10000}'.. if astral == Astral::Escape => Fate::Escape,
        _ => Fate::Keep,
    }
}

/// Whether the portal might replace something in `text` in a batch. Stricter than the portal, which needs a key
/// in brackets after the word.
pub(crate) fn is_substituted(text: &str) -> bool {
    let bytes = text.as_bytes();
    let behind =
        bytes.iter().enumerate().filter(|(_, b)| **b == b'$').map(|(n, _)| &bytes[n + 1..]);
    behind.into_iter().any(|rest| SUBSTITUTED.iter().any(|word| begins(rest, word)))
}

/// The words after `$` that the portal replaces ("batch", server behaviour).
const SUBSTITUTED: [&[u8]; 5] = [b"result", b"next", b"total", b"time", b"error"];

/// Whether `rest` begins with `word`, or with the beginning of `word` at its end: text that is appended later
/// might complete it. U+017F folds to `s` if the portal's patterns are Unicode-aware.
fn begins(rest: &[u8], word: &[u8]) -> bool {
    let mut at = 0;
    for &wanted in word {
        match rest.get(at) {
            None => return true,
            Some(&b) if b.eq_ignore_ascii_case(&wanted) => at += 1,
            Some(0xC5) if wanted == b's' && rest.get(at + 1) == Some(&0xBF) => at += 2,
            Some(_) => return false,
        }
    }
    true
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The length of the line breaks at the start of `text`, which belong to the run before it.
fn breaks_ahead(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_break).len()
}

/// Characters that are invisible, or that change how others look: controls, default-ignorable characters
/// (DerivedCoreProperties.txt, Unicode 16), annotations and noncharacters.
///
/// U+200C and U+200D are kept, because some languages need them. U+2060, the guard, is kept so that safe text
/// does not change when it is made safe again.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, grapheme joiner, zero-width space, byte order mark.
            '\u{AD}' | '\u{34F}' | '\u{200B}' | '\u{FEFF}'
            // Fillers of Hangul, inherent vowels of Khmer, selectors and separator of Mongolian.
            | '\u{115F}'..='\u{1160}' | '\u{3164}' | '\u{FFA0}'
            | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            // Bidirectional marks, embeddings, overrides and isolates.
            | '\u{61C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            // Invisible operators, isolates, deprecated format characters.
            | '\u{2061}'..='\u{206F}'
            // Variation selectors: see [`selects`].
            | '\u{FE00}'..='\u{FE0F}'
            // Interlinear annotations and what is reserved beside them.
            | '\u{FFF0}'..='\u{FFFB}' | '\u{FDD0}'..='\u{FDEF}'
            // Shorthand and musical format characters, tags, more variation selectors.
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
        // Noncharacters: the last two of each plane.
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// Whether U+FE0E or U+FE0F selects the look of the symbol before it, as in "✔️" and "1️⃣". Elsewhere it would
/// be an invisible character.
fn selects(before: &str, rest: &[u8], astral: Astral) -> bool {
    match before.chars().next_back() {
        Some('0'..='9' | '#' | '*') => rest.starts_with("\u{20E3}".as_bytes()),
        Some('\u{1F000}'..='\u{1FAFF}') => astral == Astral::Keep,
        Some(symbol) => matches!(symbol,
            '\u{A9}' | '\u{AE}' | '\u{203C}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
            | '\u{2190}'..='\u{21FF}' | '\u{2300}'..='\u{23FF}' | '\u{2460}'..='\u{24FF}'
            | '\u{25A0}'..='\u{27BF}' | '\u{2900}'..='\u{297F}' | '\u{2B00}'..='\u{2BFF}'
            | '\u{3030}' | '\u{303D}' | '\u{3297}' | '\u{3299}'),
        None => false,
    }
}

/// How many bytes from the start of `bytes` need no check.
fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Whole blocks without a branch inside, so that the compiler can use vector instructions.
    while at + BLOCK < bytes.len() {
        let (these, next) = (&bytes[at..at + BLOCK], &bytes[at + 1..=at + BLOCK]);
        // Most blocks pass the first check, which is a third of the second.
        if these.iter().fold(false, |any, &b| any | may_need_look(b))
            && these.iter().zip(next).fold(false, |any, (&b, &next)| any | needs_look(b, next))
        {
            break;
        }
        at += BLOCK;
    }
    let stops = |at: usize| may_need_look(bytes[at]) && needs_look(bytes[at], bytes[at + 1]);
    while at + 1 < bytes.len() && !stops(at) {
        at += 1;
    }
    // The last byte has no next byte. It may end a character, but cannot begin a longer one.
    match bytes.get(at) {
        Some(&b) if at + 1 == bytes.len() && (b.is_ascii_alphanumeric() || b >= 0x80) => at + 1,
        _ => at,
    }
}

const BLOCK: usize = 16;

/// Whether [`needs_look`] may be true of this byte, before any other. It is not for English and Russian text.
fn may_need_look(b: u8) -> bool {
    (b < 0x20)
        | (b == 0x7F)
        | (b == b'$')
        | (b == b'{')
        | (b == b'[')
        | ((b >= 0xC0) & (b & 0xFE != 0xD0))
}

/// Whether a character that starts with `b`, before `next`, may need a change. Continuation bytes need no
/// check.
fn needs_look(b: u8, next: u8) -> bool {
    (b < 0x20)
        | (b == 0x7F)
        | (b == b'$')
        | ((b == b'{') & (next == b'='))
        | ((b == b'[') & (((next | 0x20) == b't') | (next == b'/')))
        // U+0080-009F and U+00AD; U+0340-037F; U+0600-063F; U+1140-117F, U+1780-17BF and U+1800-183F;
        // U+2000-207F; U+3140-317F; U+F000 and above.
        | ((b == 0xC2) & ((next < 0xA0) | (next == 0xAD)))
        | (b == 0xCD)
        | (b == 0xD8)
        | ((b == 0xE1) & ((next == 0x85) | (next == 0x9E) | (next == 0xA0)))
        | ((b == 0xE2) & (next < 0x82))
        | ((b == 0xE3) & (next == 0x85))
        | (b >= 0xEF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(text: &str) -> String {
        safe_as(text, Astral::Escape)
    }

    fn safe_as(text: &str, astral: Astral) -> String {
        let mut out = String::new();
        push_safe(&mut out, text, astral);
        out
    }

    /// The portal's own rule, `\$(result|next|total|time|error)`, written without our code.
    fn is_substituted(text: &str) -> bool {
        let folded = text.to_lowercase().replace('ſ', "s");
        ["$result", "$next", "$total", "$time", "$error"].iter().any(|word| folded.contains(word))
    }

    fn is_interpreted(text: &str) -> bool {
        let folded = text.to_lowercase().replace('ſ', "s");
        ["{=", "[timestamp", "[/timestamp"].iter().any(|tag| folded.contains(tag))
    }

    #[test]
    fn the_first_check_stops_at_whatever_the_second_one_does() {
        let bytes = || u8::MIN..=u8::MAX;
        let stops = |b| bytes().any(|next| needs_look(b, next));
        assert!(bytes().all(|b| may_need_look(b) || !stops(b)));
        assert!(!"Payment of 99.50 is accepted: оплата ёлки".bytes().any(may_need_look));
    }

    /// DerivedCoreProperties.txt, Default_Ignorable_Code_Point, in the file's own order.
    const DEFAULT_IGNORABLE: [(u32, u32); 17] = [
        (0xAD, 0xAD),
        (0x34F, 0x34F),
        (0x61C, 0x61C),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0),
        (0xFFF0, 0xFFF8),
        (0x1BCA0, 0x1BCA3),
        (0x1D173, 0x1D17A),
        (0xE0000, 0xE0FFF),
    ];

    fn is_ignorable(c: char) -> bool {
        DEFAULT_IGNORABLE.iter().any(|&(first, last)| (first..=last).contains(&u32::from(c)))
    }

    fn shows_all(text: &str, astral: Astral) -> bool {
        text.chars().all(|c| {
            let stays = matches!(c, '\u{200C}' | '\u{200D}' | GUARD | '\u{FE0E}' | '\u{FE0F}');
            (!is_ignorable(c) || stays)
                && !c.is_control()
                && !matches!(c, LINE_MARK | '\u{2028}' | '\u{2029}')
                && (astral == Astral::Keep || c <= '\u{FFFF}')
        })
    }

    /// Text with many of the patterns that push_safe looks for.
    fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => any::<char>().prop_map(String::from),
            2 => "[ -~]{1,40}",
            2 => "[а-яё «»—]{1,20}",
            4 => prop::sample::select(vec![
                "$", "$res", "$result[c0][x]", "$TIME", "$Errors[0]", "ult[a]", "ſ", "$reſult[1]",
                "{", "=", "{=user:name}", "[", "/", "timestamp", "[TimeStamp=1]x[/timestamp]",
                "\n", "\r\n", "\t", "\0", "\u{1b}[31m", "\u{85}", "\u{2028}", "\u{2029}", "•",
                "\u{3164}", "\u{180e}", "\u{fe0f}", "✔", "\u{202e}", "\u{2066}", "\u{200b}", "\u{200d}", "\u{feff}", "\u{2060}", "😀",
            ]).prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_is_substituted_interpreted_or_hidden(text in nasty(), keep: bool) {
            let astral = if keep { Astral::Keep } else { Astral::Escape };
            let out = safe_as(&text, astral);
            prop_assert!(!is_substituted(&out), "{out:?}");
            prop_assert!(!is_interpreted(&out), "{out:?}");
            prop_assert!(shows_all(&out, astral), "{out:?}");
        }

        #[test]
        fn safe_pieces_stay_safe_beside_each_other(a in nasty(), b in nasty()) {
            let out = safe(&a) + &safe(&b);
            prop_assert!(!is_substituted(&out) && !is_interpreted(&out), "{out:?}");
        }

        #[test]
        fn safe_text_does_not_change_when_it_is_made_safe_again(text in nasty()) {
            let mut once = safe(&text);
            once.push('.');
            prop_assert_eq!(safe(&once), once);
        }

        #[test]
        fn plain_text_is_copied(text in "[ -#%-Z\\\\-z|}~а-яА-ЯёЁ«»—№€]{0,200}") {
            prop_assert_eq!(safe(&text), text);
        }

        #[test]
        fn a_split_loses_nothing_and_keeps_to_its_limit(text in nasty(), max in 0usize..300) {
            let (head, tail) = split_at_boundary(&text, max);
            prop_assert_eq!(head.to_owned() + tail, text.clone());
            prop_assert!(head.len() <= max);
            let first = text.chars().next().map_or(0, char::len_utf8);
            prop_assert!(!head.is_empty() || max < first || text.is_empty());
        }

        #[test]
        fn both_halves_of_safe_text_are_safe(text in nasty(), max in 0usize..300) {
            let out = safe(&text);
            let (head, tail) = split_at_boundary(&out, max);
            prop_assert!(!is_substituted(head) && !is_substituted(tail));
            prop_assert!(!is_interpreted(head) && !is_interpreted(tail));
        }
    }

    /// Regression: U+180E and U+3164 were kept, so a name could look like another one, or be invisible.
    #[test]
    fn no_invisible_character_is_kept() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|c| is_ignorable(*c))
        {
            if matches!(c, '\u{200C}' | '\u{200D}' | GUARD) {
                continue;
            }
            let shown = format!("\\u{{{:X}}}", u32::from(c));
            for (before, after) in [("", ""), ("abc", "abc"), ("жжжжжжжжжжжжжжж", "ж"), ("", " ok")]
            {
                let expected = format!("{before}{shown}{after}");
                assert_eq!(safe_as(&format!("{before}{c}{after}"), Astral::Keep), expected);
            }
        }
    }

    #[test]
    fn a_selector_is_kept_after_its_symbol() {
        for kept in ["✔\u{FE0F} done", "1\u{FE0F}\u{20E3}", "©\u{FE0E}", "☎\u{FE0F}"] {
            assert_eq!(safe(kept), kept);
        }
        assert_eq!(safe_as("😀\u{FE0F}", Astral::Keep), "😀\u{FE0F}");
        for (text, expected) in [
            ("\u{FE0F}x", "\\u{FE0F}x"),
            ("a\u{FE0F}", "a\\u{FE0F}"),
            ("1\u{FE0F}2", "1\\u{FE0F}2"),
            ("✔\u{FE0F}\u{FE0F}", "✔\u{FE0F}\\u{FE0F}"),
            ("😀\u{FE0F}", "\\u{1F600}\\u{FE0F}"),
        ] {
            assert_eq!(safe(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_kind_of_character_is_written_as_documented() {
        for (text, expected) in [
            ("", ""),
            ("заказ 7: оплачен", "заказ 7: оплачен"),
            ("$result[c0]", "$\u{2060}result[c0]"),
            ("$timeout[x] $Errors[0]", "$\u{2060}timeout[x] $\u{2060}Errors[0]"),
            ("5 $ and $price", "5 $ and $price"),
            ("costs 5$", "costs 5$\u{2060}"),
            ("${=x}", "${\u{2060}=x}"),
            ("{ =x} [time] [a]", "{ =x} [time] [a]"),
            ("[TIMESTAMP=1]", "[\u{2060}TIMESTAMP=1]"),
            ("one\r\n\n\u{2028}two\u{85}", "one ¶ two ¶ "),
            ("a\tb\0c\u{7f}", "a b\\u{0}c\\u{7F}"),
            ("\u{202e}abc\u{200f}", "\\u{202E}abc\\u{200F}"),
            ("• 12:00 forged", "· 12:00 forged"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("😀", "\\u{1F600}"),
        ] {
            assert_eq!(safe(text), expected, "{text:?}");
        }
        assert_eq!(safe_as("😀\u{E0041}", Astral::Keep), "😀\\u{E0041}");
    }

    #[test]
    fn a_split_prefers_a_space_near_the_end() {
        assert_eq!(split_at_boundary("one two three", 9), ("one two ", "three"));
        assert_eq!(split_at_boundary("onetwothree", 9), ("onetwothr", "ee"));
        assert_eq!(split_at_boundary("жж", 3), ("ж", "ж"));
        assert_eq!(split_at_boundary("жж", 1), ("", "жж"));
        assert_eq!(split_at_boundary("жж", 4), ("жж", ""));
    }
}
