//! `Judge`: an official SDK in a process of its own, driven line by line.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bizproc_portal::{App, Portal};
use serde_json::{Value, json};

/// More than any answer takes; a judge that says nothing for so long will not say anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// An SDK that the vendor publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    /// `@bitrix24/b24jssdk`
    JavaScript,
    /// `b24pysdk`
    Python,
}

impl Sdk {
    pub(crate) const ALL: [Self; 2] = [Self::JavaScript, Self::Python];

    /// Interpreter, script, and the folder with the SDK: all that `install.sh` provides.
    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::JavaScript => ("node", "js/judge.mjs", "js"),
            Self::Python => ("python3", "py/judge.py", "py"),
        }
    }

    /// The SDK's folder; otherwise what is missing here.
    fn found(self) -> Result<PathBuf, String> {
        let (program, _, folder) = self.parts();
        let version = Command::new(program).arg("--version").output();
        if let Err(error) = version {
            return Err(format!("{program} cannot be run: {error}"));
        }
        installed(folder)
    }
}

/// The folder with these packages; otherwise what is missing here.
pub(crate) fn installed(folder: &str) -> Result<PathBuf, String> {
    let judges = std::env::var_os("BIZPROC_JUDGES_DIR")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("judges"), PathBuf::from);
    let folder = judges.join(folder);
    // Written last by install.sh.
    if folder.join(".made-from").exists() {
        Ok(folder)
    } else {
        Err("portal/tests/judges/install.sh was not run".to_owned())
    }
}

/// Passes over a judge that is not installed, aloud, unless it must be there.
pub(crate) fn pass_over(judge: &str, missing: &str) {
    let required = std::env::var("BIZPROC_REQUIRE_JUDGES").is_ok_and(|it| it == "1");
    assert!(!required, "{judge} is required as a judge, but {missing}");
    // Past the capture of the test's output, so that it is seen.
    let notice = format!("SKIPPED: no {judge} judge, since {missing}\n");
    io::stderr().write_all(notice.as_bytes()).expect("a standard error");
}

/// Runs `trial` with each SDK, each at a portal of its own that `portal` makes.
///
/// An SDK that is not installed is passed over aloud, unless `BIZPROC_REQUIRE_JUDGES=1` says that
/// it must be there.
pub(crate) fn each_sdk(portal: impl Fn() -> Portal, trial: impl Fn(Sdk, &Portal, &mut Judge)) {
    for sdk in Sdk::ALL {
        match sdk.found() {
            Ok(packages) => {
                let portal = portal();
                trial(sdk, &portal, &mut Judge::call_in(sdk, &packages, &portal));
            }
            Err(missing) => pass_over(&format!("{sdk:?}"), &missing),
        }
    }
}

/// What an SDK made of a task.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) answer: Value,
    /// The pauses that it made meanwhile, by which the portal's clock was moved.
    pub(crate) pauses: Vec<Duration>,
}

/// A process with an SDK in it. It ends with its input.
pub(crate) struct Judge {
    portal_clock: bizproc_portal::Clock,
    process: Child,
    tasks: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Judge {
    fn call_in(sdk: Sdk, packages: &Path, portal: &Portal) -> Self {
        let (program, script, _) = sdk.parts();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges").join(script);
        let ca_file = portal.ca_file().expect("a portal with TLS");
        let oauth_port = root(portal).trim_end_matches('/').rsplit(':').next().map(str::to_owned);
        let mut process = Command::new(program)
            .arg(script)
            .env("JUDGE_PACKAGES", packages)
            .env("JUDGE_OAUTH_PORT", oauth_port.expect("an address with a port"))
            .env("NODE_EXTRA_CA_CERTS", ca_file)
            .env("REQUESTS_CA_BUNDLE", ca_file)
            // A proxy of this machine is no way to the portal.
            .env("NO_PROXY", "*")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("an interpreter that has just told its version");
        let tasks = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("a piped output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Nobody listens any more once the test is over.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let portal_clock = portal.clock().clone();
        let mut judge = Self { portal_clock, process, tasks, lines };
        let url = portal.webhook_url_https();
        judge.ask("webhook", json!({ "url": url }));
        judge
    }

    /// Gives the SDK an application with these tokens.
    pub(crate) fn install(&mut self, portal: &Portal, app: &App) -> Verdict {
        let tokens = app.issue_tokens();
        let task = json!({
            "root": root(portal),
            "tokens": {
                "access_token": tokens.access_token,
                "refresh_token": tokens.refresh_token,
                "expires": tokens.expires.as_secs(),
            },
            "client_id": app.client_id(),
            "client_secret": app.client_secret(),
            "member_id": portal.member_id(),
        });
        self.ask("install", task)
    }

    /// Has the SDK do `what`, and lets the portal's time go by as the SDK pauses.
    pub(crate) fn ask(&mut self, what: &str, mut task: Value) -> Verdict {
        task["do"] = what.into();
        self.say(task);
        let mut pauses = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line of the judge");
            let mut line: Value = serde_json::from_str(&line).expect("a line of JSON");
            let Some(pause) = line["sleep"].as_f64() else {
                return Verdict { answer: line["answer"].take(), pauses };
            };
            let pause = Duration::from_secs_f64(pause / 1000.0);
            self.portal_clock.advance(pause);
            pauses.push(pause);
            self.say(json!({ "woken": true }));
        }
    }

    fn say(&mut self, mut line: Value) {
        line["now"] = (self.portal_clock.now().since_epoch().as_millis() as u64).into();
        let tasks = self.tasks.as_mut().expect("open until the judge is dropped");
        writeln!(tasks, "{line}").expect("a judge that listens");
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.tasks = None;
        // A judge that does not end by itself has nothing left to say.
        if std::thread::panicking() {
            drop(self.process.kill());
        }
        drop(self.process.wait());
    }
}

fn root(portal: &Portal) -> String {
    portal.https_url().expect("a portal with TLS")
}
