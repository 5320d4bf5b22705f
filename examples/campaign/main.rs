//! A campaign that tries to prove that lines get lost.
//!
//! `cargo run --release --features spool --example campaign -- --seed 7 --minutes 30` starts stand-in portals with faults,
//! a network that delays and cuts, and an app that logs into many activities and ends them. Processes of
//! the app are killed, stopped and restarted at moments that follow from the seed. The app writes into a
//! file of its own what it is about to log. In the end, these files are compared with what the portals
//! have seen: see the crate `bizproc-campaign`. The last line says what became of the lines, and `unexplained` has to be 0. If
//! something is wrong, `findings.txt` has all that is known of it.
//!
//! `--no-spool` shows what is lost without a spool. `--short 100` runs 100 short-lived processes instead.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "processes are killed in real time")]

use std::error::Error;
use std::process::ExitCode;

use bizproc_campaign::Folder;

use crate::options::Options;

mod app;
mod clock;
mod disk;
mod options;
mod plan;
mod portals;
mod proxy;
mod run;
mod short;
mod spool;
mod work;

/// The first argument of a process that is the app.
const APP: &str = "--app";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == APP) {
        let options = Options::parse(arguments.split_off(3))?;
        app::run(&Folder::at(&arguments[1]), arguments[2].parse()?, &options)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.first().is_some_and(|first| first == short::PROCESS) {
        let options = Options::parse(arguments.split_off(2))?;
        short::process(&Folder::at(&arguments[1]), &options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return Ok(ExitCode::from(2));
        }
    };
    let is_good = match options.short {
        Some(processes) => short::run(processes, &options)?,
        None => {
            let verdict = run::run(&options)?;
            println!("{verdict}{}", verdict.in_one_line("sent"));
            verdict.is_good()
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
