//! `bizproc-relay`: delivers what replicas of an app publish to PostgreSQL.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

mod admin;
mod arguments;
mod http;
mod metrics;
mod run;
mod settings;

use self::arguments::{Arguments, Command};
use self::settings::Settings;

/// Why the program ends with an error.
#[derive(Debug)]
enum Failure {
    /// The arguments or settings are wrong.
    Usage(String),
    /// The command failed.
    Failed(String),
    /// Chunks are left when the time is over.
    NotInTime(String),
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Failure::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args_os().skip(1)).and_then(|arguments| {
        let Arguments { command, config } = arguments;
        match command {
            Command::Help => say(arguments::HELP),
            Command::Version => say(&format!("bizproc-relay {}", env!("CARGO_PKG_VERSION"))),
            command => {
                let settings = Settings::load(config.as_deref())?;
                block_on(with(command, settings))
            }
        }
    });
    let (code, why) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (1, why),
        Err(Failure::Usage(why)) => (2, why),
        Err(Failure::NotInTime(why)) => (3, why),
    };
    // If the standard error is closed, the message cannot be shown.
    let _ = writeln!(io::stderr(), "bizproc-relay: {why}");
    ExitCode::from(code)
}

async fn with(command: Command, settings: Settings) -> Result<(), Failure> {
    match command {
        Command::Help | Command::Version => Ok(()),
        Command::Run => run::run(settings).await,
        Command::Status => admin::status(&settings).await,
        Command::Drain { limit } => admin::drain(&settings, limit).await,
        Command::Migrate => admin::migrate(&settings).await,
        Command::Check => admin::check(&settings).await,
        Command::DeadList { portal } => admin::list(&settings, portal.as_ref()).await,
        Command::DeadRequeue { which } => admin::requeue(&settings, &which).await,
    }
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let outcome = runtime.block_on(future);
    // Does not wait for a resolver that hangs.
    runtime.shutdown_background();
    outcome
}

/// Prints a line of the output. A closed output is no failure.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}
