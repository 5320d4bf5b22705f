//! Clients that are not the vendor's: `fast_bitrix24`, which repeats what it can, and `pybitrix24`,
//! which hands out everything as it comes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bizproc_portal::{App, ErrorCode, Fault, Portal, Workflow};
use serde_json::{Value, json};

use crate::judge::{installed, pass_over};

const LOG: &str = "bizproc.activity.log";

/// A client at a portal of its own.
struct Trial {
    name: &'static str,
    packages: std::path::PathBuf,
    portal: Portal,
    workflow: Workflow,
    app: App,
    task: Value,
}

/// The clients, each at a portal of its own; nothing where they are not installed.
fn trials() -> Vec<Trial> {
    match installed("clients") {
        Ok(packages) => {
            ["fast_bitrix24", "pybitrix24"].map(|name| Trial::new(name, &packages)).into()
        }
        Err(missing) => {
            pass_over("other client's", &missing);
            Vec::new()
        }
    }
}

impl Trial {
    fn new(name: &'static str, packages: &Path) -> Self {
        let portal = Portal::builder().tls().start().expect("a portal");
        let workflow = portal.start_workflow("Order");
        let app = portal.install_app();
        let tokens = app.issue_tokens();
        let root = portal.https_url().expect("a portal with TLS");
        let task = json!({
            "webhook": portal.webhook_url_https(),
            "event_token": workflow.open_activity("check").event_token(),
            "message": "50 % Ж€😀 & = + \"q\"",
            "endpoint": format!("{root}rest/"),
            "oauth": format!("{root}oauth/token/"),
            "client": {"client_id": app.client_id(), "client_secret": app.client_secret()},
            "tokens": {
                "access_token": tokens.access_token,
                "refresh_token": tokens.refresh_token,
            },
        });
        Self { name, packages: packages.to_owned(), portal, workflow, app, task }
    }

    /// What the client makes of a task.
    fn run(&self, trial: &str) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/clients/judge.py");
        let mut process = Command::new("python3")
            .arg(script)
            .args([self.name, trial])
            .env("JUDGE_PACKAGES", &self.packages)
            .env("SSL_CERT_FILE", self.portal.ca_file().expect("a portal with TLS"))
            // A proxy of this machine is no way to the portal.
            .env("NO_PROXY", "*")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let mut stdin = process.stdin.take().expect("a piped input");
        stdin.write_all(self.task.to_string().as_bytes()).expect("a client that reads");
        drop(stdin);
        let output = process.wait_with_output().expect("an end");
        serde_json::from_slice(&output.stdout).expect("a line of JSON")
    }

    /// Method and status of each hit.
    fn hits(&self) -> Vec<(String, u16)> {
        let hits = self.portal.journal().into_iter();
        hits.map(|hit| (hit.rest_method, hit.status.expect("answered"))).collect()
    }

    fn saw(&self, expected: &[(&str, u16)]) {
        let hits = self.hits();
        let seen: Vec<_> = hits.iter().map(|(method, status)| (method.as_str(), *status)).collect();
        assert_eq!(seen, expected, "{}", self.name);
    }
}

#[test]
fn other_clients_log_a_line() {
    for trial in trials() {
        let verdict = trial.run("line");
        let result = match trial.name {
            "pybitrix24" => &verdict["answer"]["result"],
            _ => &verdict["answer"],
        };
        assert_eq!(*result, true, "{}: {verdict}", trial.name);
        assert_eq!(trial.workflow.texts(), [trial.task["message"].as_str().unwrap_or_default()]);
        trial.saw(&[(LOG, 200)]);
    }
}

#[test]
fn other_clients_run_a_batch_of_fifty_with_one_that_fails() {
    for trial in trials() {
        let verdict = trial.run("batch");
        assert_eq!(trial.workflow.texts().len(), 49, "{}: {verdict}", trial.name);
        trial.saw(&[("batch", 200)]);
        match trial.name {
            // One that fails is an exception for all of them.
            "fast_bitrix24" => {
                assert_eq!(verdict["error"], "ErrorInServerResponseException", "{verdict}");
                let text = verdict["text"].as_str().unwrap_or_default();
                assert!(text.contains("ACCESS_DENIED") && text.contains("c24"), "{text}");
            }
            _ => {
                let answer = &verdict["answer"];
                assert_eq!(answer["result"].as_object().map(serde_json::Map::len), Some(49));
                assert_eq!(answer["result_error"]["c24"]["error"], "ACCESS_DENIED");
            }
        }
    }
}

#[test]
fn other_clients_refresh_an_expired_token() {
    for trial in trials() {
        trial.app.expire_access_tokens();
        let verdict = trial.run("token");
        assert_eq!(verdict["answer"], true, "{}: {verdict}", trial.name);
        trial.saw(&[(LOG, 401), ("oauth/token", 200), (LOG, 200)]);
        assert_eq!(trial.workflow.texts().len(), 1);
    }
}

#[test]
fn other_clients_meet_the_limits() {
    for trial in trials() {
        trial.portal.faults().next(Fault::Refuse(ErrorCode::QueryLimitExceeded));
        let verdict = trial.run("line");
        match trial.name {
            "fast_bitrix24" => {
                assert_eq!(verdict["answer"], true, "{verdict}");
                trial.saw(&[(LOG, 503), (LOG, 200)]);
            }
            _ => {
                assert_eq!(verdict["answer"]["error"], "QUERY_LIMIT_EXCEEDED", "{verdict}");
                trial.saw(&[(LOG, 503)]);
            }
        }
    }
    for trial in trials() {
        trial.portal.faults().next(Fault::Refuse(ErrorCode::OperationTimeLimit));
        let verdict = trial.run("line");
        match trial.name {
            // It does not repeat this one, and does not look at the code.
            "fast_bitrix24" => assert_eq!(verdict["status"], 429, "{verdict}"),
            _ => assert_eq!(verdict["answer"]["error"], "OPERATION_TIME_LIMIT", "{verdict}"),
        }
        trial.saw(&[(LOG, 429)]);
        assert!(trial.workflow.texts().is_empty());
    }
}
