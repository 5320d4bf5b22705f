//! A log in the language of its reader: the messages of the app, and the texts of this crate.
//!
//! `cargo run --example language` starts a stand-in portal in this process and writes a few lines there in
//! Russian, with Moscow time and without fields; with `-- en` in English. There are a warning, an error and
//! dropped lines, so that the log has texts of this crate, too.
//!
//! If `BITRIX24_WEBHOOK_URL` and `EVENT_TOKEN` are set, it writes to that portal instead. Options can be set
//! with environment variables: `BIZPROC_FORMAT=story` shows the fields.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bizproc_portal::{Portal, Workflow};
use tracing::{error, info, info_span, warn};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::Config;
use tracing_bizproc::format::{Language, LineTime, MessageOnly, UtcOffset};
use tracing_bizproc::{Completion, EventToken};
use tracing_subscriber::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let language: Language = env::args().nth(1).as_deref().unwrap_or("ru").parse()?;
    let texts = if language == Language::Russian { RUSSIAN } else { ENGLISH };
    let stage = if env::var_os(Webhook::VARIABLE).is_some() { real()? } else { stand_in(texts)? };

    let (layer, guard) = tracing_bizproc::builder(stage.webhook)
        .self_hosted()
        .wording(language)
        .format(MessageOnly)
        .line_time(LineTime::Offset(UtcOffset::hours(3)))
        // A small queue, so that some lines are dropped.
        .pending_lines(4)
        .config(&Config::from_env()?)
        .build()?;
    tracing_subscriber::registry().with(layer).init();
    let handle = guard.handle();

    let activity = info_span!("activity", event_token = stage.event_token.as_field());
    activity.in_scope(|| {
        info!(order = 1042, "{}", texts.received);
        warn!(sku = "CORD-1", in_stock = 1, "{}", texts.last_one);
        for parcel in 1..=5 {
            info!(parcel, "{}", texts.packed);
        }
    });
    handle.flush(Duration::from_secs(5)).await?;
    activity.in_scope(|| {
        error!(code = 51, "{}", texts.declined);
        info!(amount = 99.5, "{}", texts.paid);
    });
    let completion = Completion::new().value("status", "shipped").message(texts.done);
    handle.complete(&stage.event_token, completion).await?;
    drop(guard);

    if let Some((_portal, workflow)) = &stage.workflow {
        for line in workflow.texts().iter().flat_map(|entry| entry.lines()) {
            println!("{line}");
        }
    }
    let counters = handle.stats();
    println!("{counters}");
    let as_told = counters.acknowledged() == 6 && counters.refused() == 3;
    Ok(if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The messages of the app.
#[derive(Clone, Copy)]
struct Texts {
    title: &'static str,
    received: &'static str,
    last_one: &'static str,
    packed: &'static str,
    declined: &'static str,
    paid: &'static str,
    done: &'static str,
}

const RUSSIAN: Texts = Texts {
    title: "Заказ 1042",
    received: "Заказ 1042 принят, клиент Анна Ковалёва",
    last_one: "Шнур питания: остался последний, нужен дозаказ",
    packed: "Место упаковано",
    declined: "Банк отклонил карту: недостаточно средств",
    paid: "Оплачено другой картой: 99,50 €",
    done: "Заказ 1042 передан курьеру",
};

const ENGLISH: Texts = Texts {
    title: "Order 1042",
    received: "Order 1042 received, customer Anna Kovaleva",
    last_one: "Power cord: last one in stock, reorder",
    packed: "Parcel packed",
    declined: "The bank declined the card: insufficient funds",
    paid: "Paid with another card: 99.50 €",
    done: "Order 1042 handed to the courier",
};

/// Where the example writes: a stand-in portal in this process, or a real one.
struct Stage {
    webhook: Webhook,
    event_token: EventToken,
    workflow: Option<(Portal, Workflow)>,
}

fn stand_in(texts: Texts) -> Result<Stage, Box<dyn Error>> {
    let portal = Portal::builder().start()?;
    let workflow = portal.start_workflow(texts.title);
    let activity = workflow.open_activity("Fulfil the order");
    Ok(Stage {
        webhook: Webhook::new(portal.webhook_url())?,
        event_token: EventToken::parse(&activity.event_token())?,
        workflow: Some((portal, workflow)),
    })
}

fn real() -> Result<Stage, Box<dyn Error>> {
    let event_token = EventToken::parse(&env::var("EVENT_TOKEN")?)?;
    Ok(Stage { webhook: Webhook::from_env()?, event_token, workflow: None })
}
