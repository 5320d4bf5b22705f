//! The parts of the examples `fleet` and `relay_campaign`: processes of replicas and relays, and who owns which portal.
//! Records, evidence and the verdict on lines and ends are in the crate `bizproc-campaign`.

pub(crate) mod fleet;
pub(crate) mod owners;
pub(crate) mod ownership;
pub(crate) mod relay;
pub(crate) mod replica;
pub(crate) mod settings;
pub(crate) mod verdict;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Warnings of the crates go to the standard error of a process.
fn warnings<S: tracing::Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let from_crates = tracing_subscriber::filter::Targets::new()
        .with_target("tracing_bizproc", LevelFilter::WARN)
        .with_target("tracing_bizproc_relay", LevelFilter::WARN);
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .with_filter(from_crates)
}

fn print_warnings() {
    tracing_subscriber::registry().with(warnings()).init();
}
