//! The workflows of a portal and what a call does to them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::token::TokenKey;
use super::tracking::{Entry, EntryKind, TrackingLog, stored_note};
use crate::clock::UnixTime;
use crate::handler::Delivery;
use crate::php::{self, Value};
use crate::random::Random;
use crate::rest::ErrorCode;
use crate::settings::{OwnEntries, Retention, Settings};

/// What stands in the log where the application gave no usable message (the wording is ours).
const DEFAULT_MESSAGE: &str = "The application has answered";

/// All workflows of one portal.
pub(crate) struct Processes {
    key: TokenKey,
    random: Random,
    by_id: HashMap<String, Process>,
    /// Ids in the order of their start.
    order: Vec<String>,
    /// Counts everything that is written or lost, over all workflows.
    sequence: u64,
}

/// One workflow.
pub(crate) struct Process {
    pub(crate) title: String,
    pub(crate) started: UnixTime,
    pub(crate) stage: Stage,
    pub(crate) log: TrackingLog,
    pub(crate) lost: Vec<Lost>,
    activities: Vec<ActivityState>,
    /// Hits and test holds that have the row locked. Invariant: at most one hit among them.
    locks: usize,
    pub(crate) document_gone: bool,
}

/// How far a workflow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its start hit is still under way, so the database does not know it yet.
    Starting,
    Running,
    Finished,
    /// Ended by an error or by an administrator, with the reason.
    Terminated(String),
}

struct ActivityState {
    label: String,
    name: String,
    visits: Vec<Visit>,
}

/// One time that the workflow came to the activity: a loop comes several times.
pub(crate) struct Visit {
    event: String,
    deadline: Option<UnixTime>,
    /// Nothing while the activity waits.
    closed: Option<LostReason>,
    completion: Option<Completion>,
    /// How the handler request was taken, once it was.
    pub(crate) delivery: Option<Delivery>,
}

/// A line for which the portal answered `true` and which it threw away.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lost {
    /// Its place in the order of everything that was written or lost at this portal.
    pub sequence: u64,
    /// The server's time of the call.
    pub at: UnixTime,
    /// The name of the activity that it was meant for.
    pub activity: String,
    /// The text, as it was sent.
    pub text: Arc<str>,
    /// Why nothing was written.
    pub reason: LostReason,
}

/// Why a line was lost silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// `bizproc.event.send` had closed the activity.
    Completed,
    /// The activity had run out of time.
    TimedOut,
    /// The activity does not wait for the application (`use_subscription` is not `Y`).
    NoSubscription,
    /// The workflow came to the activity again, with a new event id.
    Reentered,
    /// The workflow has no such activity.
    UnknownActivity,
    /// The document is gone: the workflow was terminated instead.
    DocumentGone,
}

/// What `bizproc.event.send` brought.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Completion {
    /// The server's time of the call.
    pub at: UnixTime,
    /// The entry that it wrote.
    pub message: Arc<str>,
    /// The return values, by name; a value that is not a text is given as JSON.
    pub return_values: Vec<(String, String)>,
}

/// What a call asks of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Log,
    Complete,
}

/// A call that holds the lock of its workflow. It must be given back to `Processes::finish`.
#[derive(Debug)]
pub(crate) struct Started<'a> {
    pub(crate) workflow: String,
    pub(crate) activity: String,
    event: String,
    call: Call,
    pub(crate) message: Cow<'a, [u8]>,
    return_values: Vec<(String, String)>,
}

/// How to open an activity: what the workflow itself needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) label: String,
    pub(crate) subscription: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Processes {
    pub(crate) fn new(key: TokenKey, random: Random) -> Self {
        Self { key, random, by_id: HashMap::new(), order: Vec::new(), sequence: 0 }
    }

    /// Starts a workflow and returns its id: 23 characters, one of them a dot.
    pub(crate) fn start(&mut self, title: &str, stage: Stage, now: UnixTime) -> String {
        let micros = now.since_epoch().subsec_micros();
        let fraction = self.random.below(1_000_000_000);
        let (whole, rest) = (fraction / 100_000_000, fraction % 100_000_000);
        let id = format!("{:08x}{micros:05x}{whole}.{rest:08}", now.as_secs() as u32);
        let process = Process {
            title: title.to_owned(),
            started: now,
            stage,
            log: TrackingLog::default(),
            lost: Vec::new(),
            activities: Vec::new(),
            locks: 0,
            document_gone: false,
        };
        self.by_id.insert(id.clone(), process);
        self.order.push(id.clone());
        id
    }

    pub(crate) fn ids(&self) -> &[String] {
        &self.order
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Process> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Process> {
        self.by_id.get_mut(id)
    }

    /// Lets every timeout that has passed close its activity.
    pub(crate) fn settle(&mut self, id: &str, now: UnixTime, settings: &Settings) {
        let Some(process) = self.by_id.get_mut(id) else { return };
        let sequence = &mut self.sequence;
        for activity in &mut process.activities {
            for visit in &mut activity.visits {
                let due = visit.deadline.filter(|due| *due <= now && visit.closed.is_none());
                if let Some(due) = due {
                    visit.closed = Some(LostReason::TimedOut);
                    if settings.own_entries == OwnEntries::None {
                        continue;
                    }
                    let text = "The activity has run out of time".into();
                    let kind = EntryKind::Closed;
                    process.log.push(entry(sequence, due, &activity.label, kind, text));
                }
            }
        }
        process.log.trim(settings.retention);
    }

    /// The workflow comes to an activity; returns the index of the visit.
    pub(crate) fn open(
        &mut self,
        id: &str,
        opening: &Opening,
        now: UnixTime,
        settings: &Settings,
    ) -> Option<usize> {
        let event = self.random.hex();
        let name = self.activity_name();
        let process = self.by_id.get_mut(id)?;
        let at = process.activities.iter().position(|activity| activity.label == opening.label);
        let at = at.unwrap_or_else(|| {
            let label = opening.label.clone();
            process.activities.push(ActivityState { label, name, visits: Vec::new() });
            process.activities.len() - 1
        });
        let activity = &mut process.activities[at];
        for earlier in &mut activity.visits {
            earlier.closed.get_or_insert(LostReason::Reentered);
        }
        activity.visits.push(Visit {
            event,
            deadline: opening.timeout.map(|timeout| now + timeout),
            closed: (!opening.subscription).then_some(LostReason::NoSubscription),
            completion: None,
            delivery: None,
        });
        if settings.own_entries == OwnEntries::Activities {
            let label = &process.activities[at].label;
            let text = format!("Activity {label} has begun").into();
            process.log.push(entry(&mut self.sequence, now, label, EntryKind::Executed, text));
            process.log.trim(settings.retention);
        }
        let visits = process.activities[at].visits.len();
        Some(visits - 1)
    }

    fn activity_name(&mut self) -> String {
        let mut part = || self.random.below(90_000) + 10_000;
        format!("A{}_{}_{}_{}", part(), part(), part(), part())
    }

    /// The token of a visit.
    pub(crate) fn token(&self, id: &str, label: &str, visit: usize) -> Option<String> {
        let activity = self.by_id.get(id)?.activity(label)?;
        Some(self.key.sign(id, &activity.name, &activity.visits.get(visit)?.event))
    }

    /// Writes an entry of another part of the process: a report, or one that counts.
    pub(crate) fn note(
        &mut self,
        id: &str,
        kind: EntryKind,
        text: &str,
        now: UnixTime,
        settings: &Settings,
    ) {
        if let Some(process) = self.by_id.get_mut(id) {
            process.log.push(entry(&mut self.sequence, now, "", kind, text.into()));
            process.log.trim(settings.retention);
        }
    }

    /// The clean-up agent: drops entries that are older than `age`; on a self-hosted portal only
    /// those of workflows that have ended.
    pub(crate) fn clean_up(&mut self, age: Duration, now: UnixTime, settings: &Settings) {
        for process in self.by_id.values_mut() {
            let ended = !matches!(process.stage, Stage::Starting | Stage::Running);
            if settings.retention == Retention::Cloud || ended {
                process.log.drop_older_than(age, now);
            }
        }
    }

    /// Which workflow and activity a token names, if it is one of ours.
    pub(crate) fn names_in(&self, token: &str) -> Option<(String, String)> {
        let claims = self.key.verify(token)?;
        let label = self
            .by_id
            .get(claims.workflow)
            .and_then(|process| process.activities.iter().find(|a| a.name == claims.activity))
            .map_or(claims.activity, |activity| &activity.label);
        Some((claims.workflow.to_owned(), label.to_owned()))
    }

    /// Checks a call and locks its workflow: token, message, instance, lock, in this order.
    pub(crate) fn begin<'a>(
        &mut self,
        call: Call,
        params: &'a php::Array<'a>,
    ) -> Result<Started<'a>, ErrorCode> {
        let token = params.get_ignoring_case("EVENT_TOKEN").and_then(Value::as_bytes);
        let token = token.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let claims =
            token.and_then(|token| self.key.verify(token)).ok_or(ErrorCode::AccessDenied)?;

        let given = params.get_ignoring_case("LOG_MESSAGE");
        let empty = given.is_none_or(Value::is_empty);
        if call == Call::Log && empty {
            return Err(ErrorCode::EmptyLogMessage);
        }
        let message = match given.filter(|_| !empty).and_then(Value::as_bytes) {
            Some(bytes) => Cow::Borrowed(bytes),
            None => Cow::Borrowed(DEFAULT_MESSAGE.as_bytes()),
        };
        let process = self.by_id.get_mut(claims.workflow).ok_or(ErrorCode::WorkflowNotFound)?;
        if process.stage != Stage::Running {
            return Err(ErrorCode::WorkflowNotFound);
        }
        if process.locks > 0 {
            return Err(ErrorCode::WorkflowLocked);
        }
        process.locks += 1;
        Ok(Started {
            workflow: claims.workflow.to_owned(),
            activity: claims.activity.to_owned(),
            event: claims.event.to_owned(),
            call,
            message,
            return_values: return_values(params),
        })
    }

    /// Does what the call asks, and unlocks the workflow.
    ///
    /// `Ok(Some(_))` is the false success of a portal that threw the line away.
    pub(crate) fn finish(
        &mut self,
        started: &Started<'_>,
        now: UnixTime,
        settings: &Settings,
    ) -> Result<Option<LostReason>, ErrorCode> {
        self.settle(&started.workflow, now, settings);
        let sequence = &mut self.sequence;
        let process = self.by_id.get_mut(&started.workflow).ok_or(ErrorCode::WorkflowNotFound)?;
        process.locks = process.locks.saturating_sub(1);
        if process.document_gone {
            process.stage = Stage::Terminated("The document is gone".into());
            process.lose(sequence, started, now, LostReason::DocumentGone);
            return Ok(Some(LostReason::DocumentGone));
        }
        let (label, visit) = match process.waiting_visit(started) {
            Ok(found) => found,
            Err(reason) => {
                process.lose(sequence, started, now, reason);
                return Ok(Some(reason));
            }
        };
        let note = match stored_note(&started.message, settings.sql_mode, settings.charset) {
            Ok(note) => note,
            Err(error) => {
                process.stage = Stage::Terminated(error.0.to_owned());
                let text = error.0.into();
                process.log.push(entry(sequence, now, &label, EntryKind::Fault, text));
                return Err(ErrorCode::SqlError);
            }
        };
        if started.call == Call::Complete {
            visit.closed = Some(LostReason::Completed);
            visit.completion = Some(Completion {
                at: now,
                message: note.clone(),
                return_values: started.return_values.clone(),
            });
        }
        process.log.push(entry(sequence, now, &label, EntryKind::Custom, note));
        let own = settings.own_entries == OwnEntries::Activities;
        if own && started.call == Call::Complete {
            let text = format!("Activity {label} has ended").into();
            process.log.push(entry(sequence, now, &label, EntryKind::Closed, text));
        }
        process.log.trim(settings.retention);
        Ok(None)
    }

    /// Takes the lock of a workflow, as a hit that was killed leaves it behind.
    pub(crate) fn lock(&mut self, id: &str) {
        if let Some(process) = self.by_id.get_mut(id) {
            process.locks += 1;
        }
    }

    pub(crate) fn unlock(&mut self, id: &str) {
        if let Some(process) = self.by_id.get_mut(id) {
            process.locks = process.locks.saturating_sub(1);
        }
    }
}

impl Process {
    fn activity(&self, label: &str) -> Option<&ActivityState> {
        self.activities.iter().find(|activity| activity.label == label)
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.locks > 0
    }

    /// The names of the activities, and whether they wait.
    pub(crate) fn activities(&self) -> impl Iterator<Item = (&str, bool)> {
        self.activities
            .iter()
            .map(|activity| (activity.label.as_str(), activity.visits.iter().any(Visit::is_open)))
    }

    /// A visit of an activity.
    pub(crate) fn visit(&self, label: &str, visit: usize) -> Option<&Visit> {
        self.activity(label)?.visits.get(visit)
    }

    /// The same, to be changed.
    pub(crate) fn visit_mut(&mut self, label: &str, visit: usize) -> Option<&mut Visit> {
        let activity = self.activities.iter_mut().find(|activity| activity.label == label);
        activity?.visits.get_mut(visit)
    }

    /// Closes a visit that waits, as the portal does by itself.
    pub(crate) fn close(&mut self, label: &str, visit: usize, reason: LostReason) {
        if let Some(visit) = self.visit_mut(label, visit) {
            visit.closed.get_or_insert(reason);
        }
    }

    /// The visit that the call is for, if it still waits.
    fn waiting_visit(&mut self, started: &Started<'_>) -> Result<(String, &mut Visit), LostReason> {
        let activity = self.activities.iter_mut().find(|a| a.name == started.activity);
        let activity = activity.ok_or(LostReason::UnknownActivity)?;
        let label = activity.label.clone();
        let visit = activity.visits.iter_mut().find(|visit| visit.event == started.event);
        let visit = visit.ok_or(LostReason::UnknownActivity)?;
        match visit.closed {
            Some(reason) => Err(reason),
            None => Ok((label, visit)),
        }
    }

    fn lose(
        &mut self,
        sequence: &mut u64,
        started: &Started<'_>,
        at: UnixTime,
        reason: LostReason,
    ) {
        let label = self.activities.iter().find(|activity| activity.name == started.activity);
        let activity = label.map_or(&started.activity, |activity| &activity.label).clone();
        let text = php::lossy(&started.message);
        self.lost.push(Lost { sequence: take(sequence), at, activity, text, reason });
    }
}

impl Visit {
    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    pub(crate) fn completion(&self) -> Option<&Completion> {
        self.completion.as_ref()
    }
}

fn entry(sequence: &mut u64, at: UnixTime, label: &str, kind: EntryKind, text: Arc<str>) -> Entry {
    Entry { sequence: take(sequence), at, activity: label.to_owned(), kind, text }
}

fn take(sequence: &mut u64) -> u64 {
    let taken = *sequence;
    *sequence += 1;
    taken
}

fn return_values(params: &php::Array<'_>) -> Vec<(String, String)> {
    let Some(values) = params.get_ignoring_case("RETURN_VALUES").and_then(Value::as_array) else {
        return Vec::new();
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let read = values.iter().map(|(name, value)| {
        let value = match value.as_bytes() {
            Some(bytes) => text(bytes),
            None => text(&php::json_encode(value)),
        };
        (text(&name.to_bytes()), value)
    });
    read.collect()
}
