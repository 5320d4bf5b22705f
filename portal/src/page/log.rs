//! One process log, as its owner reads it and beyond; and what a client needs to write to it.

use serde_json::{Value, json};

use super::overview::{is_wanted, summary};
use super::wanted::Wanted;
use super::{display, names, reports};
use crate::core::Core;
use crate::state::{Entry, EntryKind, Lost, Process, Stage};

/// Rows at once, as many as the portal's own page shows.
const ROWS: usize = 50;

/// A workflow with the newest of its wanted entries, newest first.
///
/// A page that asks only for what came `after` its newest row also needs to know which of its
/// older rows the portal has rolled off meanwhile: those before `kept_from`, except for reports,
/// which never roll off.
pub(crate) fn workflow(core: &Core, id: &str, wanted: &Wanted) -> Option<Value> {
    core.cloud.portals().iter().find_map(|core| {
        let now = core.clock.now();
        let mut guard = core.world();
        let world = &mut *guard;
        let process = world.processes.settled(id, now, &world.settings)?;
        let mut workflow = summary(id, process);
        let webhook_user = core.identity.webhook.0;
        workflow["rest_url"] =
            json!(format!("{}rest/{webhook_user}/", core.addresses().url(false)));
        workflow["returned"] = Value::Array(reports::returned_by(process));
        workflow["kept_from"] = json!(kept_from(process));
        if let Stage::Terminated(reason) = &process.stage {
            workflow["terminated"] = json!(reason);
        }
        let mut found = process
            .log
            .entries()
            .rev()
            .filter(|entry| wanted.covers(entry.sequence) && is_wanted(entry, wanted));
        let rows: Vec<Entry> = found.by_ref().take(ROWS).cloned().collect();
        workflow["more"] = json!(found.next().is_some());
        drop(found);
        let lost: Vec<Lost> = process.lost.iter().rev().take(ROWS).cloned().collect();
        // Hostile texts take their time; hits must not wait for it.
        drop(guard);
        workflow["log"] = rows.iter().map(row).collect();
        workflow["lost_entries"] = lost.iter().map(lost_row).collect();
        Some(workflow)
    })
}

/// The number of the oldest entry that could roll off.
fn kept_from(process: &Process) -> Option<u64> {
    let mut rolling = process.log.entries().filter(|entry| entry.kind != EntryKind::Report);
    rolling.next().map(|entry| entry.sequence)
}

fn row(entry: &Entry) -> Value {
    let mut row = json!({
        "sequence": entry.sequence,
        "at": entry.at.since_epoch().as_secs_f64(),
        "activity": entry.activity,
        "kind": names::kind(entry.kind),
        "text": &*entry.text,
    });
    // Most texts are shown as they are, and need not be sent twice.
    if let Some(segments) = display::segments(&entry.text) {
        row["segments"] = segments;
    }
    row
}

fn lost_row(lost: &Lost) -> Value {
    json!({
        "sequence": lost.sequence,
        "at": lost.at.since_epoch().as_secs_f64(),
        "activity": lost.activity,
        "reason": names::lost(lost.reason),
        "text": &*lost.text,
    })
}

/// The webhook's URL, and the token of each activity's last visit.
pub(crate) fn secrets(core: &Core, id: &str) -> Option<Value> {
    core.cloud.portals().iter().find_map(|core| {
        let world = core.world();
        let process = world.processes.get(id)?;
        let activities = process.activities().map(|(name, open)| {
            let visits = (0..).take_while(|visit| process.visit(name, *visit).is_some());
            let token = visits.last().and_then(|visit| world.processes.token(id, name, visit));
            json!({"name": name, "open": open, "event_token": token})
        });
        let (user, code) = &core.identity.webhook;
        let webhook_url = format!("{}rest/{user}/{code}/", core.addresses().url(false));
        Some(json!({
            "webhook_url": webhook_url,
            "activities": activities.collect::<Vec<_>>(),
        }))
    })
}
