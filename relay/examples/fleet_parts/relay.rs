//! A relay: a process that delivers the lines that replicas have published.

use std::error::Error;
use std::io::{BufRead, stdin};
use std::time::Duration;

use bizproc_campaign::{Folder, Record, now};
use tokio::signal::unix::{SignalKind, signal};
use tracing_bizproc::auth::Credentials;
use tracing_bizproc_relay::{PgConfig, Relay};

use super::settings::Settings;

/// The main function of the process. SIGTERM stops it, as services are stopped.
pub(crate) fn run(folder: &Folder, run: u32) -> Result<(), Box<dyn Error>> {
    let record = Record::create(&folder.records(run), now)?;
    let settings = Settings::read(stdin().lock())?;
    super::print_warnings();
    let relay = Relay::new(PgConfig::parse(&settings.database)?);
    let relay = if settings.is_unfenced { relay.unfenced() } else { relay };
    let mut builder = tracing_bizproc::builder(Credentials::provider(settings.webhooks));
    if let Some(max_hold) = settings.max_hold {
        builder = builder.max_hold(max_hold);
    }
    let running = relay.start(builder)?;
    record.member(running.member().0)?;
    end_with_input()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = terminated.recv() => break,
                _ = second.tick() => {
                    record.note(format_args!("{:?}; {}", running.status(), running.handle().stats()))?;
                }
            }
        }
        let (handle, last) = (running.handle(), running.status());
        running.stop(STOP).await;
        record.note(format_args!("stopped: {last:?}; {}", handle.stats()))?;
        Ok(())
    })
}

/// Ends this process when its input ends, because then the parent process has ended.
fn end_with_input() -> std::io::Result<()> {
    let reading = || {
        for _ in stdin().lock().lines().map_while(Result::ok) {}
        std::process::exit(0);
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(reading).map(drop)
}

/// How long a relay takes to give back what it owns.
pub(crate) const STOP: Duration = Duration::from_secs(20);
