//! An app without `tracing`: records of the `log` crate in the log of a business process, together with
//! env_logger.
//!
//! `cargo run --example log_only` starts a stand-in portal in this process, starts a
//! workflow there, logs in a scope with its event token, and prints the log as its owner reads it.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use bizproc_portal::Portal;
use log::{LevelFilter, debug, info, warn};
use tracing_bizproc::EventToken;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::logger::with_event_token;

fn main() -> Result<(), Box<dyn Error>> {
    let portal = Portal::builder().start()?;
    let workflow = portal.start_workflow("Order 1042");
    let event_token = workflow.open_activity("Fulfil").event_token();

    // The app's own logger, wrapped by the logger of this crate.
    let own = env_logger::Builder::new()
        .filter_level(LevelFilter::Debug)
        .filter_module("hyper_util", LevelFilter::Info)
        .filter_module("reqwest", LevelFilter::Info)
        .format_timestamp(None)
        .target(env_logger::Target::Stdout)
        .build();
    let own_level = own.filter();
    let webhook = Webhook::new(portal.webhook_url())?;
    let (logger, guard) = tracing_bizproc::builder(webhook).build_logger(own)?;
    logger.init(own_level)?;

    info!("Listening");
    handle_activity(&EventToken::parse(&event_token)?);

    // Outside of a scope, the event token is given as a key-value.
    let event_token = EventToken::parse(&event_token)?;
    info!(event_token, tracking = "JD014600003RU"; "Handed to the carrier");

    let handle = guard.handle();
    drop(guard);
    println!("\nThe process log of \"Order 1042\" on the portal:\n");
    for line in workflow.texts().iter().flat_map(|entry| entry.lines()) {
        let line = line.split_once("[/timestamp] ").map_or(line, |(_, text)| text);
        println!("  • {line}");
    }
    println!("\n{}", handle.stats());
    Ok(())
}

/// Records in the scope go to the process log, also from functions that do not know it.
fn handle_activity(event_token: &EventToken) {
    with_event_token(event_token, || {
        info!(order = 1042, items = 3; "Order received");
        charge(99.5);
    });
}

fn charge(amount: f64) {
    debug!("asking the bank");
    warn!(amount; "The bank asks for a second factor");
    info!(amount, currency = "EUR"; "Card charged");
}
