//! Runs PHP, for tests that compare with it.
//!
//! If `php` is not installed, these tests say that they were skipped, or fail if `BIZPROC_REQUIRE_PHP` is
//! set.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs `tests/php/{script}` over `lines`: a line of JSON for each. `None`: no PHP.
pub(crate) fn ask(script: &str, lines: Vec<Vec<u8>>) -> Option<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php").join(script);
    let php = Command::new("php")
        .arg("-n")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut php = match php {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(
                std::env::var_os("BIZPROC_REQUIRE_PHP").is_none(),
                "BIZPROC_REQUIRE_PHP is set and php is not installed"
            );
            println!("SKIPPED: no php on this machine (Debian: apt-get install php-cli)");
            return None;
        }
        php => php.unwrap(),
    };
    let mut stdin = php.stdin.take().unwrap();
    let asked = lines.len();
    let writing = thread::spawn(move || {
        for line in lines {
            assert!(!line.contains(&b'\n'));
            stdin.write_all(&line).unwrap();
            stdin.write_all(b"\n").unwrap();
        }
    });
    let output = php.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let answers: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), asked);
    Some(answers)
}

pub(crate) fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

/// Samples of strategies, the same in every run.
pub(crate) struct Source(TestRunner);

impl Source {
    pub(crate) fn new() -> Self {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        Source(TestRunner::new_with_rng(Config::default(), rng))
    }

    pub(crate) fn draw<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.0).unwrap().current()
    }
}
