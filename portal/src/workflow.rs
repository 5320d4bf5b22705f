//! Handles of workflows and their activities, for tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::state::{Completion, Entry, EntryKind, Lost, LostReason, Opening, Stage};

/// A workflow of a portal. Clones are the same workflow.
#[derive(Clone)]
pub struct Workflow {
    core: Arc<Core>,
    id: String,
}

/// An activity that a workflow came to, at one visit: coming to it again makes another one.
#[derive(Clone)]
pub struct Activity {
    core: Arc<Core>,
    workflow: String,
    name: String,
    visit: usize,
}

/// An activity to be opened.
#[derive(Clone, Debug)]
#[must_use = "the activity is not opened before `open` is called"]
pub struct ActivityOptions {
    workflow: Workflow,
    opening: Opening,
}

/// Holds the lock of a workflow, as a hit does that never ends. Dropped, it lets go.
#[derive(Debug)]
pub struct WorkflowLock {
    workflow: Workflow,
}

impl fmt::Debug for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflow").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity")
            .field("workflow", &self.workflow)
            .field("name", &self.name)
            .field("visit", &self.visit)
            .finish_non_exhaustive()
    }
}

impl Workflow {
    pub(crate) fn new(core: Arc<Core>, id: String) -> Self {
        Self { core, id }
    }

    /// Its id: 23 characters, one of them a dot. It stands readable in every token.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Opens an activity that waits for the application, without a timeout.
    pub fn open_activity(&self, name: &str) -> Activity {
        self.activity(name).open()
    }

    /// An activity with options. One that was open under this name counts as left.
    pub fn activity(&self, name: &str) -> ActivityOptions {
        let opening = Opening { label: name.to_owned(), subscription: true, timeout: None };
        ActivityOptions { workflow: self.clone(), opening }
    }

    /// What the log holds, oldest entry first.
    pub fn entries(&self) -> Vec<Entry> {
        self.settle();
        let world = self.core.world();
        let process = world.processes.get(&self.id);
        process.map(|process| process.log.entries().cloned().collect()).unwrap_or_default()
    }

    /// The texts of the entries that applications wrote, oldest first.
    pub fn texts(&self) -> Vec<String> {
        let written = self.entries().into_iter().filter(|entry| entry.kind == EntryKind::Custom);
        written.map(|entry| entry.text.to_string()).collect()
    }

    /// What was lost silently, oldest first.
    pub fn lost(&self) -> Vec<Lost> {
        let world = self.core.world();
        world.processes.get(&self.id).map(|process| process.lost.clone()).unwrap_or_default()
    }

    /// How many entries the log has rolled off ([`Retention::Cloud`](crate::Retention::Cloud)).
    pub fn rolled_off(&self) -> usize {
        let world = self.core.world();
        world.processes.get(&self.id).map_or(0, |process| process.log.rolled_off())
    }

    /// The start hit has ended, and the database knows the workflow.
    pub fn save(&self) {
        self.set_stage(Stage::Running);
    }

    /// The workflow comes to its end; calls for it are refused with "404" from now on.
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

    /// Locks the workflow: every call for it is refused with "423".
    pub fn lock(&self) -> WorkflowLock {
        self.core.world().processes.lock(&self.id);
        WorkflowLock { workflow: self.clone() }
    }

    /// Blocks until `condition` holds, or until `patience` is at an end; says whether it holds.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.core.wait_for(patience, |_| condition(self))
    }

    fn set_stage(&self, stage: Stage) {
        if let Some(process) = self.core.world().processes.get_mut(&self.id) {
            process.stage = stage;
        }
        self.core.changed();
    }

    fn settle(&self) {
        let now = self.core.clock.now();
        let mut world = self.core.world();
        let world = &mut *world;
        world.processes.settle(&self.id, now, &world.settings);
    }
}

impl Drop for WorkflowLock {
    fn drop(&mut self) {
        self.workflow.core.world().processes.unlock(&self.workflow.id);
    }
}

impl ActivityOptions {
    /// The activity does not wait: lines for it are lost silently.
    pub fn without_subscription(mut self) -> Self {
        self.opening.subscription = false;
        self
    }

    /// The activity closes by itself after this time. Default: never.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.opening.timeout = Some(timeout);
        self
    }

    /// Opens it.
    pub fn open(self) -> Activity {
        let Workflow { core, id } = self.workflow;
        let visit = core.world().processes.open(&id, &self.opening, core.clock.now());
        core.changed();
        Activity {
            core,
            workflow: id,
            name: self.opening.label,
            visit: visit.expect("a handle is only given out for a workflow of this portal"),
        }
    }
}

impl Activity {
    /// The signed token that a handler gets as `event_token`. A secret.
    pub fn event_token(&self) -> String {
        let world = self.core.world();
        let token = world.processes.token(&self.workflow, &self.name, self.visit);
        token.expect("a handle is only given out for a visit of this portal")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it still waits for the application.
    pub fn is_open(&self) -> bool {
        let now = self.core.clock.now();
        let mut world = self.core.world();
        let world = &mut *world;
        world.processes.settle(&self.workflow, now, &world.settings);
        let process = world.processes.get(&self.workflow);
        let visit = process.and_then(|process| process.visit(&self.name, self.visit));
        visit.is_some_and(|visit| visit.is_open())
    }

    /// What `bizproc.event.send` brought, if it came.
    pub fn completion(&self) -> Option<Completion> {
        let world = self.core.world();
        let process = world.processes.get(&self.workflow)?;
        process.visit(&self.name, self.visit)?.completion().cloned()
    }

    /// The workflow leaves the activity without an answer.
    pub fn close(&self) {
        if let Some(process) = self.core.world().processes.get_mut(&self.workflow) {
            process.close(&self.name, self.visit, LostReason::Reentered);
        }
        self.core.changed();
    }
}
