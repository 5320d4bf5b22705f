//! One workflow: its state, its lock, its activities and its log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::activity::{ActivityState, LostReason, Opening, Visit};
use super::call::{Call, Started};
use super::template::Step;
use super::tracking::{Entry, EntryKind, TrackingLog, stored_note};
use crate::clock::UnixTime;
use crate::error::ErrorCode;
use crate::php;
use crate::settings::{OwnEntries, Settings};

/// One workflow.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) title: String,
    pub(crate) started: UnixTime,
    pub(crate) modified: UnixTime,
    pub(crate) stage: Stage,
    pub(crate) origin: Origin,
    /// The activities that it has yet to come to.
    pub(crate) ahead: VecDeque<Step>,
    /// The activity of its template that it is at, and the visit.
    pub(crate) at: Option<(String, usize)>,
    pub(crate) log: TrackingLog,
    pub(crate) lost: Vec<Lost>,
    pub(crate) document_gone: bool,
    /// What the next calls that get this far fail with, one each.
    pub(crate) failures: VecDeque<ErrorCode>,
    activities: Vec<ActivityState>,
    /// Hits and test holds that have the row locked. Invariant: at most one hit among them.
    locks: usize,
}

/// Where a workflow comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) document: [String; 3],
    pub(crate) user: u64,
    /// Nothing for a workflow that a test moves by hand.
    pub(crate) template: Option<u64>,
}

impl Default for Origin {
    fn default() -> Self {
        let document = ["crm", "CCrmDocumentDeal", "DEAL_1042"].map(str::to_owned);
        Self { document, user: 1, template: None }
    }
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

/// Counts everything that is written or lost at one portal, so that there is one order.
#[derive(Debug, Default)]
pub(crate) struct Sequence(u64);

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

impl Sequence {
    fn take(&mut self) -> u64 {
        self.0 += 1;
        self.0 - 1
    }

    /// An entry at the next place in the order.
    pub(crate) fn entry(
        &mut self,
        at: UnixTime,
        label: &str,
        kind: EntryKind,
        text: Arc<str>,
    ) -> Entry {
        Entry { sequence: self.take(), at, activity: label.to_owned(), kind, text }
    }
}

impl Process {
    pub(crate) fn new(title: &str, stage: Stage, origin: Origin, started: UnixTime) -> Self {
        Self {
            title: title.to_owned(),
            started,
            modified: started,
            stage,
            origin,
            ahead: VecDeque::new(),
            at: None,
            log: TrackingLog::default(),
            lost: Vec::new(),
            document_gone: false,
            failures: VecDeque::new(),
            activities: Vec::new(),
            locks: 0,
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.locks > 0
    }

    pub(crate) fn lock(&mut self) {
        self.locks += 1;
    }

    pub(crate) fn unlock(&mut self) {
        self.locks = self.locks.saturating_sub(1);
    }

    /// Whether it stands at an activity of its template that still waits.
    pub(crate) fn is_waiting(&self) -> bool {
        let at = self.at.as_ref();
        at.is_some_and(|(label, visit)| self.visit(label, *visit).is_some_and(Visit::is_open))
    }

    /// The workflow fails, and says why.
    pub(crate) fn fail(
        &mut self,
        reason: &str,
        label: &str,
        sequence: &mut Sequence,
        now: UnixTime,
    ) {
        self.stage = Stage::Terminated(reason.to_owned());
        self.modified = now;
        self.log.push(sequence.entry(now, label, EntryKind::Fault, reason.into()));
    }

    /// The names of the activities, and whether they wait.
    pub(crate) fn activities(&self) -> impl Iterator<Item = (&str, bool)> {
        self.activities
            .iter()
            .map(|activity| (activity.label.as_str(), activity.visits.iter().any(Visit::is_open)))
    }

    /// The activity that people call so.
    pub(crate) fn activity(&self, label: &str) -> Option<&ActivityState> {
        self.activities.iter().find(|activity| activity.label == label)
    }

    /// What people call the activity that tokens call so.
    pub(crate) fn label_of(&self, name: &str) -> Option<&str> {
        let activity = self.activities.iter().find(|activity| activity.name == name)?;
        Some(&activity.label)
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

    /// The workflow comes to an activity; returns the index of the visit. `name` and `event` are
    /// what tokens will say of it.
    pub(crate) fn open(
        &mut self,
        opening: &Opening,
        (name, event): (String, String),
        sequence: &mut Sequence,
        now: UnixTime,
        settings: &Settings,
    ) -> usize {
        let known = self.activities.iter().position(|known| known.label == opening.label);
        let at = known.unwrap_or_else(|| {
            self.activities.push(ActivityState::new(opening.label.clone(), name));
            self.activities.len() - 1
        });
        self.activities[at].visit(event, opening, now);
        self.modified = now;
        if settings.own_entries == OwnEntries::Activities {
            let label = &opening.label;
            let text = format!("Activity {label} has begun").into();
            self.log.push(sequence.entry(now, label, EntryKind::Executed, text));
            self.log.trim(settings.retention);
        }
        self.activities[at].visits.len() - 1
    }

    /// Lets every timeout that has passed close its activity.
    pub(crate) fn settle(&mut self, sequence: &mut Sequence, now: UnixTime, settings: &Settings) {
        for activity in &mut self.activities {
            let due = activity.visits.iter_mut().filter_map(|visit| visit.run_out(now));
            for due in due.filter(|_| settings.own_entries == OwnEntries::Activities) {
                let label = &activity.label;
                let text = format!("Activity {label} has run out of time").into();
                self.log.push(sequence.entry(due, label, EntryKind::Closed, text));
            }
        }
        self.log.trim(settings.retention);
    }

    /// Does what a call asks; `Ok(Some(_))` is a false success.
    pub(crate) fn answer(
        &mut self,
        started: &Started<'_>,
        sequence: &mut Sequence,
        now: UnixTime,
        settings: &Settings,
    ) -> Result<Option<LostReason>, ErrorCode> {
        self.modified = now;
        if self.document_gone {
            self.stage = Stage::Terminated("The document is gone".into());
            return Ok(Some(self.lose(sequence, started, now, LostReason::DocumentGone)));
        }
        let activity = self.activities.iter_mut().find(|known| known.name == started.activity);
        let visit = match activity {
            Some(activity) => {
                let label = activity.label.clone();
                activity.waiting(&started.event).map(|visit| (label, visit))
            }
            None => Err(LostReason::UnknownActivity),
        };
        let (label, visit) = match visit {
            Ok(waiting) => waiting,
            Err(reason) => return Ok(Some(self.lose(sequence, started, now, reason))),
        };
        let note = match stored_note(&started.message, settings.sql_mode, settings.charset) {
            Ok(note) => note,
            Err(error) => {
                self.fail(error.0, &label, sequence, now);
                return Err(ErrorCode::SqlError);
            }
        };
        if started.call == Call::Complete {
            visit.complete(now, note.clone(), &started.return_values);
        }
        self.log.push(sequence.entry(now, &label, EntryKind::Custom, note));
        let own = settings.own_entries == OwnEntries::Activities;
        if own && started.call == Call::Complete {
            let text = format!("Activity {label} has ended").into();
            self.log.push(sequence.entry(now, &label, EntryKind::Closed, text));
        }
        self.log.trim(settings.retention);
        Ok(None)
    }

    /// Notes a line that is lost silently.
    pub(crate) fn lose(
        &mut self,
        sequence: &mut Sequence,
        started: &Started<'_>,
        at: UnixTime,
        reason: LostReason,
    ) -> LostReason {
        let activity = self.label_of(&started.activity).unwrap_or(&started.activity).to_owned();
        let text = php::lossy(&started.message);
        self.lost.push(Lost { sequence: sequence.take(), at, activity, text, reason });
        reason
    }
}
