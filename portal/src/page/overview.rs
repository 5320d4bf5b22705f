//! Portals, their workflows, counters and gauges. No secrets: a page that is shown to others, or
//! in a screenshot, must not give them away.

use serde_json::{Value, json};

use super::wanted::Wanted;
use super::{apps, names, reports};
use crate::clock::UnixTime;
use crate::core::{Core, World};
use crate::settings::{Setting, Settings};
use crate::state::{Entry, Process, Template};

/// Requests to applications that one answer lists.
const SENT: usize = 20;
/// Workflows that one answer lists, so that thousands of them do not make the page useless.
const WORKFLOWS: usize = 200;

pub(crate) fn state(core: &Core, wanted: &Wanted) -> Value {
    let portals: Vec<Value> =
        core.cloud.portals().iter().map(|core| portal(core, wanted)).collect();
    let now = core.clock.now().since_epoch().as_secs_f64();
    json!({"here": core.identity.member_id, "now": now, "portals": portals})
}

fn portal(core: &Core, wanted: &Wanted) -> Value {
    let now = core.clock.now();
    let addresses = core.addresses();
    let mut guard = core.world();
    let world = &mut *guard;
    let counters = world.journal.counters;
    let mut answer = json!({
        "member_id": core.identity.member_id,
        "page_url": addresses.url(false),
        "https_url": addresses.https.map(|_| addresses.url(true)),
        "oauth_url": format!("{}oauth/token/", addresses.url(false)),
        "settings": settings(&world.settings),
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
        "faults": world.faults.random().map(|(share, seed)| {
            // As a text, since JavaScript's numbers do not hold 64 bits.
            json!({"share": share, "seed": seed.to_string()})
        }),
        "planned_faults": world.faults.planned(),
        "templates": templates(world),
        "sent": world.journal.sent().rev().take(SENT).map(reports::sent_row).collect::<Vec<_>>(),
    });
    let count = world.processes.ids().len();
    let candidates = candidates(world, now, wanted);
    drop(guard);
    answer["apps"] = Value::Array(apps::list(core));
    let found = candidates.into_iter().filter_map(|candidate| candidate.matching(wanted));
    let mut found: Vec<Value> = found.collect();
    answer["workflow_count"] = json!(count);
    answer["matching"] = json!(if wanted.search.is_empty() { count } else { found.len() });
    found.truncate(WORKFLOWS);
    answer["workflows"] = Value::Array(found);
    answer
}

fn templates(world: &World) -> Value {
    let one = |template: &Template| json!({"id": template.id, "name": template.name});
    world.templates.all().iter().map(one).collect()
}

/// Every setting: its name, its value in words, and what it may be.
fn settings(settings: &Settings) -> Value {
    let one = |setting: &Setting| {
        json!({
            "name": setting.name(),
            "value": setting.written(settings),
            "choices": setting.choices(),
            "shape": setting.shape(),
            "about": setting.about(),
        })
    };
    Setting::all().iter().map(one).collect()
}

fn gauges(world: &World, now: UnixTime) -> Value {
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

/// A workflow and, if something is looked for, the texts to look in: they are read once the world
/// is unlocked, since hits must not wait for it.
struct Candidate {
    summary: Value,
    title: String,
    entries: Vec<Entry>,
}

/// The workflows to be listed, or to be searched; newest first.
fn candidates(world: &mut World, now: UnixTime, wanted: &Wanted) -> Vec<Candidate> {
    let searched = !wanted.search.is_empty();
    let listed = if searched { usize::MAX } else { WORKFLOWS };
    let ids: Vec<String> = world.processes.ids().iter().rev().take(listed).cloned().collect();
    let found = ids.iter().filter_map(|id| {
        let process = world.processes.settled(id, now, &world.settings)?;
        let entries = process.log.entries().filter(|_| searched).cloned().collect();
        Some(Candidate { summary: summary(id, process), title: process.title.clone(), entries })
    });
    found.collect()
}

impl Candidate {
    /// What the list says of it, if something wanted stands in it.
    fn matching(mut self, wanted: &Wanted) -> Option<Value> {
        let matches = self.entries.iter().filter(|entry| is_wanted(entry, wanted)).count();
        let activities = self.summary["activities"].as_array().into_iter().flatten();
        let mut named = activities.filter_map(|activity| activity["name"].as_str());
        let found = matches > 0
            || wanted.is_in(&self.title)
            || self.summary["id"].as_str().is_some_and(|id| wanted.is_in(id))
            || named.any(|name| wanted.is_in(name));
        self.summary["matches"] = json!(matches);
        found.then_some(self.summary)
    }
}

/// Whether an entry has what is looked for, in its text or in its activity's name.
pub(crate) fn is_wanted(entry: &Entry, wanted: &Wanted) -> bool {
    wanted.is_in(&entry.text) || wanted.is_in(&entry.activity)
}

/// What the list says of a workflow.
pub(crate) fn summary(id: &str, process: &Process) -> Value {
    let last = process.log.entries().next_back();
    let activities = process.activities().map(|(name, open)| json!({"name": name, "open": open}));
    json!({
        "id": id,
        "title": process.title,
        "started": process.started.since_epoch().as_secs_f64(),
        "stage": names::stage(&process.stage),
        "entries": process.log.entries().len(),
        "rolled_off": process.log.rolled_off(),
        "lost": process.lost.len(),
        "last_entry_at": last.map(|entry| entry.at.since_epoch().as_secs_f64()),
        "activities": activities.collect::<Vec<_>>(),
    })
}
