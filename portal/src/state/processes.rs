//! All workflows of one portal: ids, tokens, and the route of a call to its workflow.

use std::collections::HashMap;
use std::time::Duration;

use super::activity::{LostReason, Opening};
use super::call::{Call, Started};
use super::process::{Origin, Process, Sequence, Stage};
use super::token::TokenKey;
use super::tracking::EntryKind;
use crate::clock::UnixTime;
use crate::error::ErrorCode;
use crate::php::{Array, Value};
use crate::random::Random;
use crate::settings::{Retention, Settings};

/// All workflows of one portal.
pub(crate) struct Processes {
    key: TokenKey,
    random: Random,
    by_id: HashMap<String, Process>,
    /// Ids in the order of their start.
    order: Vec<String>,
    sequence: Sequence,
}

impl Processes {
    pub(crate) fn new(key: TokenKey, random: Random) -> Self {
        let sequence = Sequence::default();
        Self { key, random, by_id: HashMap::new(), order: Vec::new(), sequence }
    }

    /// Starts a workflow and returns its id: 23 characters, one of them a dot.
    pub(crate) fn start(
        &mut self,
        title: &str,
        stage: Stage,
        origin: Origin,
        now: UnixTime,
    ) -> String {
        // As PHP's uniqid() does: seconds and microseconds in hexadecimal, and a fraction.
        let micros = now.since_epoch().subsec_micros();
        let fraction = self.random.below(1_000_000_000);
        let (whole, rest) = (fraction / 100_000_000, fraction % 100_000_000);
        let id = format!("{:08x}{micros:05x}{whole}.{rest:08}", now.as_secs() as u32);
        self.by_id.insert(id.clone(), Process::new(title, stage, origin, now));
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

    /// A workflow, after every timeout that has passed has closed its activity.
    pub(crate) fn settled(
        &mut self,
        id: &str,
        now: UnixTime,
        settings: &Settings,
    ) -> Option<&Process> {
        let process = self.by_id.get_mut(id)?;
        process.settle(&mut self.sequence, now, settings);
        Some(process)
    }

    /// The workflow comes to an activity; returns the index of the visit.
    pub(crate) fn open(
        &mut self,
        id: &str,
        opening: &Opening,
        now: UnixTime,
        settings: &Settings,
    ) -> Option<usize> {
        let names = (self.activity_name(), self.random.hex());
        let process = self.by_id.get_mut(id)?;
        Some(process.open(opening, names, &mut self.sequence, now, settings))
    }

    fn activity_name(&mut self) -> String {
        let mut part = || self.random.below(90_000) + 10_000;
        format!("A{}_{}_{}_{}", part(), part(), part(), part())
    }

    /// The token of a visit.
    pub(crate) fn token(&self, id: &str, label: &str, visit: usize) -> Option<String> {
        let activity = self.by_id.get(id)?.activity(label)?;
        Some(self.key.sign(id, &activity.name, activity.visits.get(visit)?.event()))
    }

    /// Which workflow and activity a token names, if it is one of ours.
    pub(crate) fn names_in(&self, token: &str) -> Option<(String, String)> {
        let claims = self.key.verify(token)?;
        let process = self.by_id.get(claims.workflow);
        let label = process.and_then(|process| process.label_of(claims.activity));
        Some((claims.workflow.to_owned(), label.unwrap_or(claims.activity).to_owned()))
    }

    /// The workflow fails, and its log says why.
    pub(crate) fn break_down(&mut self, id: &str, reason: &str, label: &str, now: UnixTime) {
        if let Some(process) = self.by_id.get_mut(id) {
            process.fail(reason, label, &mut self.sequence, now);
        }
    }

    /// Forgets a workflow with all of its data.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.order.retain(|known| known != id);
        self.by_id.remove(id).is_some()
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
            process.log.push(self.sequence.entry(now, "", kind, text.into()));
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

    /// Reads a call: its token is checked first, then its message.
    pub(crate) fn read<'a>(
        &self,
        call: Call,
        params: &'a Array<'a>,
    ) -> Result<Started<'a>, ErrorCode> {
        let token = params.get_ignoring_case("EVENT_TOKEN").and_then(Value::as_bytes);
        let token = token.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let claims = token.and_then(|token| self.key.verify(token));
        let claims = claims.ok_or(ErrorCode::AccessDenied)?;
        Started::read(call, &claims, params)
    }

    /// Locks the workflow of a call, if it runs and nobody else has locked it.
    pub(crate) fn begin(&mut self, started: &Started<'_>) -> Result<(), ErrorCode> {
        let process = self.by_id.get_mut(&started.workflow).ok_or(ErrorCode::WorkflowNotFound)?;
        if process.stage != Stage::Running {
            return Err(ErrorCode::WorkflowNotFound);
        }
        if process.is_locked() {
            return Err(ErrorCode::WorkflowLocked);
        }
        if let Some(failure) = process.failures.pop_front() {
            return Err(failure);
        }
        process.lock();
        Ok(())
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
        let process = self.by_id.get_mut(&started.workflow).ok_or(ErrorCode::WorkflowNotFound)?;
        process.unlock();
        process.settle(&mut self.sequence, now, settings);
        process.answer(started, &mut self.sequence, now, settings)
    }

    /// Notes that the background job of a call has failed.
    pub(crate) fn fail(
        &mut self,
        started: &Started<'_>,
        error: ErrorCode,
        now: UnixTime,
    ) -> LostReason {
        let reason = LostReason::Background(error);
        if let Some(process) = self.by_id.get_mut(&started.workflow) {
            process.lose(&mut self.sequence, started, now, reason);
        }
        reason
    }
}
