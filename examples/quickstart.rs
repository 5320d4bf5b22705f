//! Ordinary `tracing` calls that appear in a business process's log.
//!
//! `cargo run --example quickstart` starts a stand-in portal in this process, starts a workflow
//! there, does a small piece of work, ends the activity, and prints the log as its owner reads it.
//!
//! If `BITRIX24_WEBHOOK_URL` and `EVENT_TOKEN` are set, it writes to that portal instead. The token is in
//! the request that the portal sends to the handler of your activity.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bizproc_portal::{CommandOutcome, Portal, Workflow};
use tracing::{Instrument, info, info_span, warn};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::stats::Snapshot;
use tracing_bizproc::{Completion, EventToken, Handle};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let real = env::var_os(Webhook::VARIABLE).is_some();
    let stage = if real { Stage::real()? } else { Stage::stand_in()? };

    // The subscriber of the app, with the layer of this crate.
    let (bizproc, guard) = tracing_bizproc::builder(stage.webhook.clone()).build()?;
    tracing_subscriber::registry()
        .with(fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::INFO))
        .with(bizproc)
        .init();

    let handle = guard.handle();
    handle_activity(&handle, &stage.event_token).await?;
    drop(guard);

    let counters = handle.stats();
    let complete = match &stage.workflow {
        Some((portal, workflow)) => show(portal, workflow, &counters),
        None => counters.acknowledged() == counters.accepted(),
    };
    println!("{counters}");
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an app does when the portal calls its handler.
async fn handle_activity(handle: &Handle, event_token: &EventToken) -> Result<(), Box<dyn Error>> {
    // The tag: all events inside go to the process log, too.
    let activity = info_span!("activity", event_token = event_token.as_field());
    fulfil(1042).instrument(activity).await;

    // The request that ends the activity writes the last line.
    let completion = Completion::new().value("status", "shipped").message("Order 1042 is done");
    handle.complete(event_token, completion).await?;
    Ok(())
}

async fn fulfil(order: u32) {
    info!(order, items = 3, "Order received");
    check(order).await;
    charge(order).instrument(info_span!("payment", provider = "Kassa")).await;
    ship(order).instrument(info_span!("shipping", carrier = "DHL")).await;
    info!(order, "Order fulfilled");
}

async fn check(order: u32) {
    info!("Checking stock and address");
    info!(sku = "LAMP-7", in_stock = 12, "In stock");
    info!(sku = "BULB-2", in_stock = 240, "In stock");
    warn!(sku = "CORD-1", in_stock = 1, "Last one in stock, reorder");
    info!("Адрес доставки проверен: Москва, ул. Ленина, д. 5");
    tracing::debug!(order, "not in the process log: below INFO");
}

async fn charge(order: u32) {
    info!(amount = 99.5, currency = "EUR", "Charging card");
    let authorise = async {
        warn!("The bank asks for a second factor");
        info!(approved = true, "Card authorised");
    };
    authorise.instrument(info_span!("authorise", attempt = 1)).await;
    info!(order, "Paid");
}

async fn ship(order: u32) {
    info!(parcels = 2, "Packed");
    info!(order, tracking = "JD014600003RU", "Handed to the carrier");
    info!(customer = "Anna", "Message to the customer sent");
}

/// Where the example writes: a stand-in portal in this process, or a real one.
struct Stage {
    webhook: Webhook,
    event_token: EventToken,
    workflow: Option<(Portal, Workflow)>,
}

impl Stage {
    fn stand_in() -> Result<Stage, Box<dyn Error>> {
        let portal = Portal::builder().start()?;
        let workflow = portal.start_workflow("Order 1042");
        let activity = workflow.open_activity("Fulfil the order");
        Ok(Stage {
            webhook: Webhook::new(portal.webhook_url())?,
            event_token: EventToken::parse(&activity.event_token())?,
            workflow: Some((portal, workflow)),
        })
    }

    fn real() -> Result<Stage, Box<dyn Error>> {
        Ok(Stage {
            webhook: Webhook::from_env()?,
            event_token: EventToken::parse(&env::var("EVENT_TOKEN")?)?,
            workflow: None,
        })
    }
}

/// Prints the log of the portal. Returns whether the portal's journal has every line of the work.
fn show(portal: &Portal, workflow: &Workflow, counters: &Snapshot) -> bool {
    portal.wait_for(Duration::from_secs(5), |_| !workflow.texts().is_empty());
    println!("\nThe process log of \"Order 1042\" on the portal:\n");
    for entry in workflow.texts() {
        for line in entry.lines() {
            println!("  {}", displayed(line));
        }
    }
    let written: usize = portal
        .journal()
        .iter()
        .flat_map(|hit| &hit.commands)
        .filter(|command| command.method == "bizproc.activity.log")
        .filter(|command| command.outcome == CommandOutcome::Written)
        .filter_map(|command| command.message.as_deref())
        .map(|message| message.lines().count())
        .sum();
    println!("\n{} lines in {} requests", written, counters.requests());
    written as u64 == counters.accepted() && counters.acknowledged() == counters.accepted()
}

/// A line as the page of the portal shows it: with the local time of the reader, here UTC, instead of the time
/// tag.
fn displayed(line: &str) -> String {
    match (line.find("[timestamp="), line.find(']'), line.find("[/timestamp]")) {
        (Some(start), Some(open), Some(end)) if start < open && open < end => {
            let (before, time) = (&line[..start], &line[open + 1..end]);
            format!("{before}{time}{}", &line[end + "[/timestamp]".len()..])
        }
        _ => line.to_owned(),
    }
}
