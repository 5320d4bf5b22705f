//! The program: what it prints, and whether that works.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::request;

/// Ends the program when the test ends, however it ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_the_program_prints_can_be_used_as_it_stands() {
    let binary = env!("CARGO_BIN_EXE_bizproc-portal");
    let mut command = Command::new(binary);
    command.args(["--cloud", "--seed", "7"]).stdout(Stdio::piped());
    let mut program = Program(command.spawn().unwrap());
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
    // The program is killed, and cannot do it itself.
    std::fs::remove_file(ca_file).unwrap();
}

#[test]
fn an_option_that_is_none_is_refused() {
    let binary = env!("CARGO_BIN_EXE_bizproc-portal");
    for (arguments, complaint) in [
        (&["--nope"][..], "--nope is not an option"),
        (&["--port"], "--port needs a value"),
        (&["--faults", "2"], "--faults 2: not from 0 to 1"),
    ] {
        let output = Command::new(binary).args(arguments).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with(complaint), "{said}");
    }
}
