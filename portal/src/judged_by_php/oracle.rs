//! `Oracle`: a PHP process for comparisons.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::php::{Key, Value};
use crate::random::Random;

/// Cases for a property that is asked in microseconds.
pub(super) const MANY: u64 = 4000;
/// Cases for a property that starts a portal for each.
pub(super) const SOME: u64 = 1000;

/// A PHP process with `oracle.php` in it. It ends with its input.
pub(super) struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Where the PHP files of the judges are.
pub(super) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/judges/php").join(name)
}

/// Whether there is a PHP here; says aloud if there is none.
pub(super) fn php_is_here() -> bool {
    let Err(error) = Command::new("php").arg("--version").output() else { return true };
    let required = std::env::var("BIZPROC_REQUIRE_JUDGES").is_ok_and(|it| it == "1");
    assert!(!required, "PHP is required as a judge, but cannot be run: {error}");
    // Past the capture of the test's output, so that it is seen.
    let notice = format!("SKIPPED: no judgement by PHP, which cannot be run: {error}\n");
    io::stderr().write_all(notice.as_bytes()).unwrap();
    false
}

/// Runs `case` so many times with what follows from a seed, which is told if a case fails.
pub(super) fn cases(number_of_cases: u64, mut case: impl FnMut(&mut Random)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("BIZPROC_JUDGES_SEED").unwrap_or_else(Random::fresh_seed);
    // Seen only if the test fails.
    println!("BIZPROC_JUDGES_SEED={seed}");
    let mut random = Random::from_seed(seed);
    for _ in 0..number("BIZPROC_JUDGES_CASES").unwrap_or(number_of_cases) {
        case(&mut random);
    }
}

impl Oracle {
    /// Starts PHP, if it is here.
    pub(super) fn start() -> Option<Self> {
        if !php_is_here() {
            return None;
        }
        let mut process = Command::new("php")
            .arg(script("oracle.php"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Some(Self { process, questions, answers })
    }

    /// PHP's answer, in the notation of [`dump`].
    pub(super) fn ask(&mut self, question: &str, args: &[&[u8]]) -> String {
        let mut line = question.to_owned();
        for arg in args {
            line += " ";
            line += &hex(arg);
        }
        line += "\n";
        self.questions.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "PHP has ended, asked {line}");
        answer.pop();
        answer
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.questions = None;
        drop(self.process.wait());
    }
}

/// A value in the notation of `dump.php`.
pub(super) fn dump(value: &Value<'_>) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn write_value(text: &mut String, value: &Value<'_>) {
    match value {
        Value::Null => text.push('n'),
        Value::Bool(true) => text.push('t'),
        Value::Bool(false) => text.push('f'),
        Value::Int(number) => write!(text, "i{number};").unwrap(),
        Value::Float(number) => write!(text, "d{}", hex(&number.to_be_bytes())).unwrap(),
        Value::Text(bytes) => write!(text, "s{};", hex(bytes)).unwrap(),
        Value::Array(array) => {
            text.push('[');
            for (key, value) in array.iter() {
                match key {
                    Key::Int(number) => write!(text, "i{number};").unwrap(),
                    Key::Text(bytes) => write!(text, "s{};", hex(bytes)).unwrap(),
                }
                write_value(text, value);
            }
            text.push(']');
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// What a test shows of bytes.
pub(super) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
