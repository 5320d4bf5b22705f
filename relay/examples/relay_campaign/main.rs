//! A campaign that tries to prove that a fleet loses lines, mixes them up, or writes them twice.
//!
//! `cargo run --release -p tracing-bizproc-relay --example relay_campaign -- --seed 7 --minutes 30` starts a
//! PostgreSQL server of its own, stand-in portals that enforce their limits, replicas that log to activities which
//! they share, and relays. Processes are killed, paused, cut off and restarted at moments that the seed
//! determines, and the database crashes. Each replica writes each line to its own file before it logs the line. In
//! the end, these files are compared with the logs of the portals: see the crate `bizproc-campaign`. If something is
//! wrong, `findings.txt` has all that is known of it.
//!
//! `--no-fencing` lets the relays send even if the database forbids it. Then the campaign has to fail. `--compare
//! 20` shows how many requests a portal refuses to 20 replicas, with and without a relay, and `--ends 200` how
//! long it takes to end an activity.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "processes are killed in real time")]

use std::error::Error;
use std::process::ExitCode;

use bizproc_campaign::Folder;

use self::options::Options;
use self::parts::fleet::Role;

mod compare;
mod deeds;
mod network;
mod options;
#[path = "../fleet_parts/mod.rs"]
mod parts;
mod plan;
mod portals;
mod run;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, directory, run] = &arguments[..] {
        if role == Role::Replica.argument() {
            parts::replica::run(&Folder::at(directory), run.parse()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if role == Role::Relay.argument() {
            parts::relay::run(&Folder::at(directory), run.parse()?)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return Ok(ExitCode::from(2));
        }
    };
    let is_good = match (options.compare, options.ends) {
        (Some(replicas), _) => compare::requests(replicas, options.course.length)?,
        (None, Some(ends)) => compare::ends(ends)?,
        (None, None) => {
            let verdict = run::run(&options)?;
            println!("{verdict}");
            verdict.is_good()
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
