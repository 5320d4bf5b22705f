//! What the page reads and changes, as JSON.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::display;
use crate::core::{Core, World};
use crate::faults::Fault;
use crate::limits::OperatingLimit;
use crate::random::Random;
use crate::settings::{Retention, Tariff};
use crate::state::{EntryKind, Process, Stage};
use crate::workflow::Workflow;

/// Portals, their workflows, counters and gauges.
pub(crate) fn state(core: &Core) -> Value {
    let portals: Vec<Value> = core.cloud.portals().iter().map(|core| portal(core)).collect();
    let now = core.clock.now().since_epoch().as_secs_f64();
    json!({"here": core.identity.member_id, "now": now, "portals": portals})
}

fn portal(core: &Core) -> Value {
    let now = core.clock.now();
    let addresses = core.addresses();
    let mut world = core.world();
    let world = &mut *world;
    let ids = world.processes.ids().to_vec();
    let workflows: Vec<Value> = ids
        .iter()
        .rev()
        .filter_map(|id| {
            let process = world.processes.settled(id, now, &world.settings)?;
            Some(summary(id, process))
        })
        .collect();
    let counters = world.journal.counters;
    let (user, code) = &core.identity.webhook;
    let https = addresses.https.map(|_| addresses.url(true));
    json!({
        "member_id": core.identity.member_id,
        "page_url": addresses.url(false),
        "https_url": https,
        "oauth_url": format!("{}oauth/token/", addresses.url(false)),
        "webhook_url": format!("{}rest/{user}/{code}/", addresses.url(false)),
        "settings": {
            "tariff": tariff_name(world.settings.tariff),
            "retention": retention_name(world.settings.retention),
            "operating_limit": world.settings.operating.map(|limit| limit.limit.as_secs_f64()),
        },
        "counters": {
            "requests": counters.hits,
            "refused_requests": counters.refused_hits,
            "commands": counters.commands,
            "refused_commands": counters.refused_commands,
            "entries": counters.entries,
            "lines": counters.lines,
            "lost": counters.lost,
            "bytes": counters.bytes,
        },
        "gauges": gauges(world, now),
        "faults": !world.faults.is_empty(),
        "workflows": workflows,
    })
}

fn gauges(world: &World, now: crate::clock::UnixTime) -> Value {
    let tariff = world.settings.tariff;
    let rate = tariff.bucket().map(|(capacity, per_second)| {
        let level = world.rate.level(tariff, now);
        json!({"level": level, "capacity": capacity, "per_second": per_second})
    });
    let operating = world.settings.operating.map(|limit| {
        let (used, blocked_until) = world.operating.fullest(now);
        json!({
            "used": used.as_secs_f64(),
            "limit": limit.limit.as_secs_f64(),
            "blocked_until": blocked_until.map(|until| until.since_epoch().as_secs_f64()),
        })
    });
    json!({"rate": rate, "operating": operating})
}

fn summary(id: &str, process: &Process) -> Value {
    let last = process.log.entries().next_back();
    json!({
        "id": id,
        "title": process.title,
        "started": process.started.since_epoch().as_secs_f64(),
        "stage": stage_name(&process.stage),
        "entries": process.log.entries().len(),
        "rolled_off": process.log.rolled_off(),
        "lost": process.lost.len(),
        "last_entry_at": last.map(|entry| entry.at.since_epoch().as_secs_f64()),
        "activities": process.activities().map(|(name, open)| json!({"name": name, "open": open}))
            .collect::<Vec<_>>(),
    })
}

/// One process log, newest entry first.
pub(crate) fn workflow(core: &Core, id: &str) -> Option<Value> {
    core.cloud.portals().iter().find_map(|core| {
        let now = core.clock.now();
        let mut world = core.world();
        let world = &mut *world;
        let process = world.processes.settled(id, now, &world.settings)?;
        let mut workflow = summary(id, process);
        let entries = process.log.entries().rev().map(|entry| {
            json!({
                "sequence": entry.sequence,
                "at": entry.at.since_epoch().as_secs_f64(),
                "activity": entry.activity,
                "kind": kind_name(entry.kind),
                "text": &*entry.text,
                "segments": display::segments(&entry.text),
            })
        });
        workflow["log"] = entries.collect();
        let lost = process.lost.iter().rev().map(|lost| {
            json!({
                "sequence": lost.sequence,
                "at": lost.at.since_epoch().as_secs_f64(),
                "activity": lost.activity,
                "reason": format!("{:?}", lost.reason),
                "text": &*lost.text,
            })
        });
        workflow["lost_entries"] = lost.collect();
        if let Stage::Terminated(reason) = &process.stage {
            workflow["terminated"] = json!(reason);
        }
        Some(workflow)
    })
}

/// `{"title", "activity", "handler"}`, all optional: starts a workflow that waits at an activity,
/// and tells the handler.
pub(crate) fn start_workflow(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let title = wish["title"].as_str().unwrap_or("Order");
    let id = core.world().processes.start(title, Stage::Running, core.clock.now());
    let workflow = Workflow::new(core.clone(), id);
    let mut activity = workflow.activity(wish["activity"].as_str().unwrap_or("check"));
    if let Some(url) = wish["handler"].as_str() {
        activity = activity.handler(url);
    }
    let event_token = activity.open().event_token();
    Ok(json!({"id": workflow.id(), "event_token": event_token}))
}

/// `{"member_id", "tariff", "retention", "operating_limit", "faults"}`, all optional.
///
/// `"operating_limit"` is in seconds, or null for none; `"faults"` is `{"share", "seed"}`, or null
/// for none. The answer names the seed that the faults follow from.
pub(crate) fn change_settings(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = match wish["member_id"].as_str() {
        None => core.clone(),
        Some(id) => core
            .cloud
            .portals()
            .into_iter()
            .find(|core| core.identity.member_id == id)
            .ok_or_else(|| format!("there is no portal {id}"))?,
    };
    let mut changed = core.world().settings.clone();
    if let Some(name) = wish["tariff"].as_str() {
        changed.tariff = tariff_named(name).ok_or_else(|| format!("there is no tariff {name}"))?;
    }
    if let Some(name) = wish["retention"].as_str() {
        changed.retention =
            retention_named(name).ok_or_else(|| format!("there is no retention {name}"))?;
    }
    if let Some(seconds) = wish.get("operating_limit") {
        let limit = seconds.as_f64().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        changed.operating = limit.map(OperatingLimit::new);
    }
    let mut world = core.world();
    world.settings = changed;
    let mut seed = None;
    if let Some(faults) = wish.get("faults") {
        world.faults.clear();
        if let Some(share) = faults["share"].as_f64() {
            // Few enough bits for a JavaScript number, so that the page can show it.
            let fresh = || Random::fresh_seed() >> 11;
            let faulty = faults["seed"].as_u64().unwrap_or_else(fresh);
            world.faults.at_random(faulty, share, Fault::assorted());
            seed = Some(faulty);
        }
    }
    drop(world);
    core.changed();
    Ok(json!({"faults_seed": seed}))
}

const TARIFFS: [(&str, Tariff); 3] = [
    ("standard", Tariff::Standard),
    ("enterprise", Tariff::Enterprise),
    ("unlimited", Tariff::Unlimited),
];

fn tariff_name(tariff: Tariff) -> &'static str {
    TARIFFS.iter().find(|(_, known)| *known == tariff).map_or("", |(name, _)| name)
}

fn tariff_named(name: &str) -> Option<Tariff> {
    TARIFFS.iter().find(|(known, _)| *known == name).map(|(_, tariff)| *tariff)
}

fn retention_name(retention: Retention) -> &'static str {
    match retention {
        Retention::Cloud => "cloud",
        Retention::SelfHosted => "self_hosted",
    }
}

fn retention_named(name: &str) -> Option<Retention> {
    [Retention::Cloud, Retention::SelfHosted].into_iter().find(|one| retention_name(*one) == name)
}

fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Running => "running",
        Stage::Finished => "finished",
        Stage::Terminated(_) => "terminated",
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Executed => "executed",
        EntryKind::Closed => "closed",
        EntryKind::Custom => "custom",
        EntryKind::Report => "report",
        EntryKind::Fault => "fault",
    }
}
