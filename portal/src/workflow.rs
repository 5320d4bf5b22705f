//! `Workflow`: a workflow, for tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::activity::{Activity, ActivityOptions};
use crate::core::Core;
use crate::error::ErrorCode;
use crate::lines::bare_lines;
use crate::php::{Array, Value};
use crate::state::{Entry, EntryKind, Lost, Stage};

/// A workflow of a portal. Clones are the same workflow.
#[derive(Clone)]
pub struct Workflow {
    core: Arc<Core>,
    id: String,
}

/// Keeps the lock of a workflow, like a hit that does not end, until it is dropped.
#[derive(Debug)]
pub struct WorkflowLock {
    workflow: Workflow,
}

impl fmt::Debug for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflow").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Workflow {
    pub(crate) fn new(core: Arc<Core>, id: String) -> Self {
        Self { core, id }
    }

    /// Its id: 23 characters, one of them a dot. It is readable in every token.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Opens an activity that waits for the application, without a timeout.
    pub fn open_activity(&self, name: &str) -> Activity {
        self.activity(name).open()
    }

    /// An activity with options. One that was open under this name counts as left.
    pub fn activity(&self, name: &str) -> ActivityOptions {
        ActivityOptions::new(self.core.clone(), self.id.clone(), name)
    }

    /// An activity that an application has registered (`bizproc.activity.add`): its handler,
    /// properties and return values are those of the registration. `None` if none has this code.
    pub fn registered_activity(&self, code: &str) -> Option<ActivityOptions> {
        ActivityOptions::registered(self.core.clone(), self.id.clone(), code, &Array::new())
    }

    /// The same with values for its properties, as a call or the page gives them.
    pub(crate) fn registered_with(&self, code: &str, given: &Value<'_>) -> Option<ActivityOptions> {
        let none = Array::new();
        let given = given.as_array().unwrap_or(&none);
        ActivityOptions::registered(self.core.clone(), self.id.clone(), code, given)
    }

    /// The entries of the log, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let now = self.core.clock.now();
        let world = &mut *self.core.world();
        let process = world.processes.settled(&self.id, now, &world.settings);
        process.map(|process| process.log.entries().cloned().collect()).unwrap_or_default()
    }

    /// The texts of the entries that applications wrote, oldest first.
    pub fn texts(&self) -> Vec<String> {
        let written = self.entries().into_iter().filter(|entry| entry.kind == EntryKind::Custom);
        written.map(|entry| entry.text.to_string()).collect()
    }

    /// The lines of those texts, oldest first, without their marks and times.
    pub fn lines(&self) -> Vec<String> {
        self.texts().iter().flat_map(|text| bare_lines(text)).collect()
    }

    /// Texts that were lost silently, oldest first.
    pub fn lost(&self) -> Vec<Lost> {
        let world = self.core.world();
        world.processes.get(&self.id).map(|process| process.lost.clone()).unwrap_or_default()
    }

    /// How many entries the log has dropped because it keeps 50
    /// ([`Retention::Cloud`](crate::Retention::Cloud)).
    pub fn rolled_off(&self) -> usize {
        let world = self.core.world();
        world.processes.get(&self.id).map_or(0, |process| process.log.rolled_off())
    }

    /// Another part of the process writes an entry, which counts towards the cloud's 50 unless it
    /// is a [`EntryKind::Report`].
    pub fn note(&self, kind: EntryKind, text: &str) {
        let now = self.core.clock.now();
        let mut world = self.core.world();
        let world = &mut *world;
        world.processes.note(&self.id, kind, text, now, &world.settings);
    }

    /// The start hit has ended, and the database knows the workflow.
    pub fn save(&self) {
        self.set_stage(Stage::Running);
    }

    /// The workflow ends; calls for it are refused with "404" from now on.
    pub fn finish(&self) {
        self.set_stage(Stage::Finished);
    }

    /// Whether calls for it can succeed: it was saved, and neither finished nor terminated.
    pub fn is_running(&self) -> bool {
        let world = self.core.world();
        world.processes.get(&self.id).is_some_and(|process| process.stage == Stage::Running)
    }

    /// Why it was terminated, if it was.
    pub fn terminated(&self) -> Option<String> {
        match &self.core.world().processes.get(&self.id)?.stage {
            Stage::Terminated(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Deletes the document: the next call terminates the workflow, and is answered with `true`.
    pub fn delete_document(&self) {
        if let Some(process) = self.core.world().processes.get_mut(&self.id) {
            process.document_gone = true;
        }
    }

    /// Lets the next call for it fail with this error, in a batch or alone, such as
    /// [`ErrorCode::ProcessError`]. Called again before that, it is for the call after it.
    pub fn fail_next(&self, error: ErrorCode) {
        if let Some(process) = self.core.world().processes.get_mut(&self.id) {
            process.failures.push_back(error);
        }
    }

    /// Locks the workflow: every call for it is refused with "423".
    pub fn lock(&self) -> WorkflowLock {
        if let Some(process) = self.core.world().processes.get_mut(&self.id) {
            process.lock();
        }
        WorkflowLock { workflow: self.clone() }
    }

    /// Whether it is locked now, by a hit or a [`WorkflowLock`].
    pub fn is_locked(&self) -> bool {
        let world = self.core.world();
        world.processes.get(&self.id).is_some_and(|process| process.is_locked())
    }

    /// Blocks until `condition` is true, or until `patience` has passed. Returns whether it is true.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.core.wait_for(patience, |_| condition(self))
    }

    fn set_stage(&self, stage: Stage) {
        if let Some(process) = self.core.world().processes.get_mut(&self.id) {
            process.stage = stage;
        }
        self.core.changed();
    }
}

impl Drop for WorkflowLock {
    fn drop(&mut self) {
        let mut world = self.workflow.core.world();
        if let Some(process) = world.processes.get_mut(&self.workflow.id) {
            process.unlock();
        }
    }
}
