//! The program: what it prints, and whether that works.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::application::Application;
use crate::client::{post_json, request};

/// Ends the program when the test ends, however it ends.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizproc-portal"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// The line that `--json` prints.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// As a service manager does; waits until it has ended.
    pub(crate) fn terminate(&mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bizproc-portal")).args(arguments).output().unwrap()
}

#[test]
fn the_output_of_the_program_can_be_used_unchanged() {
    let mut program = Program::start(&["--cloud", "--seed", "7"]);
    let lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    for line in lines.map(|line| line.unwrap()) {
        printed.push(line);
        if printed.last().unwrap().starts_with("curl ") {
            break;
        }
    }
    let named = |name: &str| {
        let line = printed.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {printed:?}")).trim().to_owned()
    };
    let page = named("page ");
    assert_eq!(request(&page, "GET", &[], b"").unwrap().status, 200);
    assert!(named("webhook ").starts_with(&page));
    assert!(named("https ").starts_with("https://"));
    assert!(named("oauth ").ends_with("/oauth/token/"));
    let ca_file = named("ca file ");
    assert!(std::fs::read_to_string(&ca_file).unwrap().contains("BEGIN CERTIFICATE"));

    let curl = printed.last().unwrap();
    match Command::new("sh").args(["-c", &format!("{curl} --silent --noproxy '*'")]).output() {
        Ok(output) if output.status.code() != Some(127) => {
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(answer.starts_with(r#"{"result":true,"time":"#), "{answer}");
            let state = request(&(page + "api/state"), "GET", &[], b"").unwrap().json();
            assert_eq!(state["portals"][0]["counters"]["entries"], 1);
        }
        _ => println!("skipped: there is no shell with curl here"),
    }
    program.terminate();
    assert!(!std::path::Path::new(&ca_file).exists());
}

#[test]
fn an_option_that_is_none_is_refused() {
    for (arguments, complaint) in [
        (&["--nope"][..], "unexpected argument '--nope'"),
        (&["--port"], "a value is required for '--port <N>'"),
        (&["--faults", "2"], "not from 0 to 1"),
        (&["--tariff", "gold"], "possible values: unlimited, standard, enterprise"),
        (&["--server-time", "spent"], "measured|claimed:SECONDS|spent:SECONDS"),
        (&["--handler-ca", "/nowhere.pem"], "/nowhere.pem"),
    ] {
        let output = run(arguments);
        assert!(!output.status.success() && output.stdout.is_empty());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(complaint), "{said}");
    }
}

#[test]
fn help_and_version_go_to_stdout_and_every_setting_is_an_option() {
    let version = run(&["--version"]);
    assert!(version.status.success() && version.stderr.is_empty());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("bizproc-portal 0."));
    let help = run(&["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    let help = String::from_utf8_lossy(&help.stdout);
    for setting in bizproc_portal::Setting::all() {
        assert!(help.contains(&format!("--{} ", setting.name().replace('_', "-"))), "{help}");
    }
}

#[test]
fn one_line_of_json_has_everything_and_the_application_can_be_used() {
    let application = Application::start();
    let mut program = Program::start(&[
        "--json",
        "--app",
        "--install-url",
        &application.at("install"),
        "--handler",
        &application.at("check"),
        "--tariff",
        "enterprise",
    ]);
    let told = program.line();
    let mut requests = [application.next(), application.next()];
    requests.sort_by(|a, b| a.path.cmp(&b.path));
    let [check, install] = requests;
    let token = &told["app"]["application_token"];
    assert_eq!(install.told("auth[application_token]"), token);
    // The workflow belongs to the same application.
    assert_eq!(check.told("auth[application_token]"), token);
    assert_eq!(check.told("event_token"), told["workflow"]["event_token"]);
    let url = told["client_endpoint"].as_str().unwrap().to_owned() + "app.info";
    let info = post_json(&url, &json!({"auth": told["app"]["access_token"]})).json();
    assert_eq!(info["result"]["CODE"], told["app"]["client_id"]);
    let query = format!(
        "?grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        told["app"]["client_id"].as_str().unwrap(),
        told["app"]["client_secret"].as_str().unwrap(),
        told["app"]["refresh_token"].as_str().unwrap(),
    );
    let renewed = request(&(told["oauth"].as_str().unwrap().to_owned() + &query), "GET", &[], b"");
    assert_eq!(renewed.unwrap().status, 200);
    program.terminate();
}

#[test]
fn a_failed_handler_call_is_printed_to_stderr() {
    let application = Application::answering("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n");
    let mut program = Program::start(&["--json", "--handler", &application.at("check")]);
    program.line();
    application.next();
    let mut said = String::new();
    let mut stderr = BufReader::new(program.0.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    let expected = format!("activity check: {} answered 500", application.at("check"));
    assert!(said.starts_with(&expected), "{said}");
    program.terminate();
    assert_eq!(stderr.read_to_string(&mut said).unwrap(), 0);
}
