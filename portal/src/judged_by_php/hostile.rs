//! Cases that hurt: those that the portal's README names, and what chance makes of their parts.

use crate::random::Random;

/// References to earlier results, in every form that does something unexpected.
pub(super) const REFERENCES: &[&str] = &[
    "$result[c0]",
    "$result[nope]",
    "$result[]",
    "$result",
    "$result [c0]",
    "$RESULT[c0]",
    "x $RESULT[c0] y",
    "x $result[c0] y",
    "x $time[c0][start] y",
    "x $time[c0][date_start][0] y",
    "x $time[c0] y",
    "$time[c0][nope][start]",
    "$timeout[x]",
    "x $timeout[c0][start] y",
    "$errors[0]",
    "x $error[c1][error] y",
    "$error_description[c1]",
    "x $error_description[c1][error] y",
    "$next[c0]",
    "$total[c0]",
    "$$result[c0]$result[c1]",
    "$result[c0][$time[c0][start]]",
    "$result[[c0]]",
    "$result]c0[",
    "$result[c0",
    "a$time[c0][start]b $time[c0][start]b",
    "$time[c0][start]\n$time[c0][start]\t$time[c0][start]",
    "$time[c0][start]\u{a0}x",
    "$\u{2060}result[c0]",
    "$result[0]",
    "$result[-1] $result[00] $result[+0] $result[ 0]",
    "x $error[c1][error][0] $error[c1][error][-1] $error[c1][error][01] y",
    "x $error[c1][error][1.0] $error[c1][error][1x] $error[c1][error][99] y",
];

/// Commands that PHP reads in another way than one would think.
pub(super) const COMMANDS: &[&str] = &[
    "",
    "?",
    "#",
    "m",
    "m?",
    "m?#",
    "?LOG_MESSAGE=x",
    "bizproc.activity.log?LOG_MESSAGE=lost#rest&EVENT_TOKEN=x",
    "bizproc.activity.log?LOG_MESSAGE=two\nlines",
    "bizproc.activity.log?LOG_MESSAGE=two%0Alines",
    "bizproc.activity.log?LOG_MESSAGE=tab\there\u{7f}\u{0}",
    "bizproc.activity.log?LOG_MESSAGE=a+b%20c%2Bd",
    "bizproc.activity.log?LOG_MESSAGE=50%&x=%4&y=%zz&z=%",
    "bizproc.activity.log?LOG_MESSAGE[x]=1",
    "bizproc.activity.log?LOG_MESSAGE%5Bx%5D=1",
    "bizproc.activity.log?LOG_MESSAGE[]=1&LOG_MESSAGE[]=2",
    "bizproc.activity.log?LOG_MESSAGE=1&LOG_MESSAGE[x]=2",
    "bizproc.activity.log?LOG_MESSAGE[x]=2&LOG_MESSAGE=1",
    "bizproc.activity.log?LOG.MESSAGE=1&LOG MESSAGE=2&LOG[MESSAGE=3",
    "bizproc.activity.log?LOG_MESSAGE=12:30 and https://host/x?y",
    "bizproc.activity.log:80?LOG_MESSAGE=x",
    "bizproc.activity.log?:80/",
    "bizproc:activity.log?LOG_MESSAGE=x",
    "//bizproc.activity.log?LOG_MESSAGE=x",
    "///bizproc.activity.log?LOG_MESSAGE=x",
    "/bizproc.activity.log?LOG_MESSAGE=x",
    "https://host/bizproc.activity.log?LOG_MESSAGE=x",
    "https://host?LOG_MESSAGE=x",
    "http:///bizproc.activity.log",
    "file:///bizproc.activity.log?x=1",
    "x:99999",
    "x:65536/",
    "x:0/",
    ":80",
    ":",
    "a:b@c:1/d?e#f",
    "user@host:port",
    "mailto:x@y?subject=z",
    "BATCH?cmd[0]=x",
    "download?x",
];

const PIECES: &[&str] = &[
    "bizproc.activity.log",
    "EVENT_TOKEN=",
    "LOG_MESSAGE=",
    "log_message",
    "auth",
    "token=",
    "&",
    "&",
    "&&",
    "=",
    "=",
    "?",
    "?",
    "#",
    "+",
    "%",
    "%2",
    "%20",
    "%0A",
    "%00",
    "%5B",
    "%5D",
    "%26",
    "%3D",
    "%2525",
    "%C3%A9",
    "%zz",
    "[",
    "]",
    "[]",
    "[x]",
    "[0]",
    "[-1]",
    "[007]",
    "[ a]",
    "[\ta]",
    "[a.b]",
    "[[",
    "]]",
    "$",
    "$result",
    "$Result[c0]",
    "$next[c0]",
    "$total",
    "$time[c0]",
    "$time[c0][start]",
    "$error",
    "$error[c1][error]",
    "_description[c1]",
    "[c0]",
    "[c1]",
    "[start]",
    "[error]",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u{b}",
    "\u{c}",
    "\0",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "é",
    "Ж",
    "€",
    "😀",
    ":",
    "/",
    "//",
    "@",
    ";",
    ",",
    ".",
    "_",
    "-",
    "~",
    "\"",
    "'",
    "\\",
    "<b>",
    "{=user:user_5}",
    "[timestamp=1]",
    "0",
    "1",
    "42",
    "65535",
    "65536",
    "9223372036854775807",
    "9223372036854775808",
    "1e3",
    "a",
    "x",
    "file",
    "http",
];

/// One of `choices`.
pub(super) fn one_of<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    choices[random.below(choices.len() as u64) as usize]
}

/// A text of pieces that mean something to PHP.
pub(super) fn text(random: &mut Random) -> String {
    let pieces = random.below(12);
    (0..pieces).map(|_| one_of(random, PIECES)).collect()
}

/// The same, but now and then with bytes that are no text, or nothing but such.
pub(super) fn bytes(random: &mut Random) -> Vec<u8> {
    let mut bytes = text(random).into_bytes();
    match random.below(8) {
        0 => bytes = (0..random.below(24)).map(|_| random.below(256) as u8).collect(),
        1 | 2 => {
            let at = random.below(bytes.len() as u64 + 1) as usize;
            bytes.insert(at, random.below(256) as u8);
        }
        _ => {}
    }
    bytes
}

/// A command, mostly one that at least looks like one.
pub(super) fn command(random: &mut Random) -> String {
    match random.below(8) {
        0 => text(random),
        1 => one_of(random, COMMANDS).to_owned(),
        2 => format!("bizproc.activity.log?{}", text(random)),
        3 => format!("bizproc.activity.log?LOG_MESSAGE={}", one_of(random, REFERENCES)),
        4 => format!(
            "bizproc.activity.log?LOG_MESSAGE={} {}",
            one_of(random, REFERENCES),
            text(random)
        ),
        _ => format!("bizproc.activity.log?LOG_MESSAGE={}", text(random)),
    }
}

/// JSON of anything, valid as a rule.
///
/// Left out is where the portal's parser differs knowingly, and no call depends on it: `-0`, which
/// is a float there and an integer for PHP, numbers beyond all floats, which are errors there and
/// infinite for PHP, and nesting deeper than 128, where PHP goes to 512.
pub(super) fn json(random: &mut Random, depth: u64) -> String {
    match random.below(if depth == 0 { 8 } else { 11 }) {
        0 => "null".to_owned(),
        1 => one_of(random, &["true", "false"]).to_owned(),
        2 => (random.next() as i64 >> random.below(64)).to_string(),
        3 => one_of(
            random,
            &[
                "0",
                "0.0",
                "1.5",
                "1e3",
                "1E-7",
                "1e25",
                "0.1",
                "-12.75",
                "1e-5",
                "9223372036854775807",
                "9223372036854775808",
                "-9223372036854775809",
                "123456789012345678",
                "0.30000000000000004",
                "100000000000000000000",
            ],
        )
        .to_owned(),
        4 => one_of(
            random,
            &[r#""""#, r#""0""#, r#""00""#, r#"" ""#, r#""0.0""#, r#""false""#, r#""\u0000""#],
        )
        .to_owned(),
        5 => one_of(
            random,
            &[
                r#""\ud83d\ude00""#,
                r#""\ud83d""#,
                r#""\/\b\f\n\r\t\"\\""#,
                "\"a\tb\"",
                "nul",
                "01",
                "1.",
                ".5",
                "+1",
                "'x'",
                "\"x",
                "[1,]",
                "{,}",
                "",
                " ",
                "// x",
                "NaN",
                "\u{feff}1",
                "tRue",
                "NULL",
            ],
        )
        .to_owned(),
        6 | 7 => json_text(&text(random)),
        8 => {
            let items: Vec<String> =
                (0..random.below(4)).map(|_| json(random, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => json_object(random, depth),
    }
}

/// A JSON object with keys that PHP may take for numbers.
pub(super) fn json_object(random: &mut Random, depth: u64) -> String {
    let entries: Vec<String> = (0..random.below(5))
        .map(|_| {
            let keys =
                ["0", "1", "2", "-1", "01", "a", "A", "b", "", "CMD", "cmd", "Cmd", "1.0", "-0"];
            let key = one_of(random, &keys);
            format!("{}:{}", json_text(key), json(random, depth.saturating_sub(1)))
        })
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// A JSON string.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
