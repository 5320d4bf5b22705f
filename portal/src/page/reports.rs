//! What tests in other languages ask: journal, entries, losses, and what was sent.

use serde_json::{Value, json};

use super::names;
use crate::clock::UnixTime;
use crate::core::Core;
use crate::journal::{CommandOutcome, CommandRecord, Hit, Sent};
use crate::state::{Delivery, LostReason, Process};

/// Every entry, oldest first.
pub(crate) fn entries(core: &Core, id: &str) -> Option<Value> {
    of_workflow(core, id, |process| {
        let entry = |entry: &crate::state::Entry| {
            json!({
                "at": seconds(entry.at),
                "activity": entry.activity,
                "kind": names::kind(entry.kind),
                "text": &*entry.text,
            })
        };
        json!({"entries": process.log.entries().map(entry).collect::<Vec<_>>()})
    })
}

/// Everything that was lost silently, oldest first.
pub(crate) fn lost(core: &Core, id: &str) -> Option<Value> {
    of_workflow(core, id, |process| {
        let lost = |lost: &crate::state::Lost| {
            json!({
                "at": seconds(lost.at),
                "activity": lost.activity,
                "reason": names::lost(lost.reason),
                "text": &*lost.text,
            })
        };
        json!({"lost": process.lost.iter().map(lost).collect::<Vec<_>>()})
    })
}

/// What each activity has returned at its last visit.
pub(crate) fn returned(core: &Core, id: &str) -> Option<Value> {
    of_workflow(core, id, |process| json!({"activities": returned_by(process)}))
}

/// The same of a process at hand, for the page.
pub(super) fn returned_by(process: &Process) -> Vec<Value> {
    let one = |(name, open): (&str, bool)| {
        let last = process.activity(name).and_then(|activity| activity.visits.last());
        let completion = last.and_then(|visit| visit.completion());
        let values = completion.map(|completion| {
            let pairs = completion.return_values.iter();
            pairs
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect::<serde_json::Map<_, _>>()
        });
        json!({
            "name": name,
            "open": open,
            "return_values": values,
            "undeclared": completion.map(|completion| &completion.undeclared),
            "delivery": last.and_then(|visit| visit.delivery.as_ref()).map(delivery),
        })
    };
    process.activities().map(one).collect()
}

fn of_workflow(core: &Core, id: &str, read: impl Fn(&Process) -> Value) -> Option<Value> {
    core.cloud.portals().iter().find_map(|core| {
        let now = core.clock.now();
        let world = &mut *core.world();
        world.processes.settled(id, now, &world.settings).map(&read)
    })
}

/// Every hit that is kept, oldest first.
pub(crate) fn journal(core: &Core) -> Value {
    let hits = core.world().journal.hits();
    json!({"hits": hits.iter().map(hit).collect::<Vec<_>>()})
}

fn hit(hit: &Hit) -> Value {
    json!({
        "number": hit.number,
        "at": seconds(hit.arrived),
        "http_method": hit.http_method,
        "path": hit.path,
        "method": hit.rest_method,
        "tls": hit.tls,
        "status": hit.status,
        "error": hit.error,
        "fault": hit.fault,
        "commands": hit.commands.iter().map(command).collect::<Vec<_>>(),
    })
}

fn command(command: &CommandRecord) -> Value {
    let outcome = match &command.outcome {
        CommandOutcome::Written => "written",
        CommandOutcome::Completed => "completed",
        CommandOutcome::Queued => "queued",
        CommandOutcome::Lost(_) => "lost",
        CommandOutcome::Refused(_) => "refused",
        CommandOutcome::Answered => "answered",
    };
    let reason = match &command.outcome {
        CommandOutcome::Lost(LostReason::Background(error)) => Some(error.code().to_owned()),
        CommandOutcome::Lost(reason) => Some(names::lost(*reason).to_owned()),
        CommandOutcome::Refused(code) => Some(code.clone()),
        _ => None,
    };
    json!({
        "key": command.key,
        "method": command.method,
        "workflow": command.workflow,
        "activity": command.activity,
        "message": command.message.as_deref(),
        "outcome": outcome,
        "reason": reason,
    })
}

/// Everything that was sent to applications and is kept, oldest first.
pub(crate) fn sent(core: &Core) -> Value {
    json!({"sent": core.world().journal.sent().map(sent_row).collect::<Vec<_>>()})
}

/// One of them, for the page, too.
pub(super) fn sent_row(sent: &Sent) -> Value {
    json!({
        "number": sent.number,
        "at": seconds(sent.at),
        "what": sent.what,
        "url": sent.url,
        "failed": sent.has_failed(),
        "delivery": sent.delivery.as_ref().map(delivery),
    })
}

/// `answered 200`, or why there was no answer.
fn delivery(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Answered(status) => format!("answered {status}"),
        Delivery::Failed(reason) => reason.clone(),
    }
}

fn seconds(time: UnixTime) -> f64 {
    time.since_epoch().as_secs_f64()
}
