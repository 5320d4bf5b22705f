//! `Activity`: an activity, for tests, and the options to open one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::core::Core;
use crate::credentials::ADMIN;
use crate::outgoing::{self, Notice, notice_of};
use crate::php::Array;
use crate::state::{Completion, Delivery, LostReason, Opening, PropertyValue};

/// An activity that a workflow has reached. If the workflow reaches it again, this is another `Activity`.
#[derive(Clone)]
pub struct Activity {
    core: Arc<Core>,
    workflow: String,
    name: String,
    visit: usize,
}

/// An activity to be opened.
#[derive(Clone)]
#[must_use = "the activity is not opened before `open` is called"]
pub struct ActivityOptions {
    core: Arc<Core>,
    workflow: String,
    opening: Opening,
    /// The URL of the handler request, if there is one.
    url: Option<String>,
    /// The client id of the application, if it is not the portal's own one.
    app: Option<String>,
    user: u64,
    properties: Vec<(String, PropertyValue)>,
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

impl fmt::Debug for ActivityOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityOptions")
            .field("workflow", &self.workflow)
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}

impl ActivityOptions {
    pub(crate) fn new(core: Arc<Core>, workflow: String, label: &str) -> Self {
        let label = label.to_owned();
        let opening = Opening { label, subscription: true, timeout: None, returns: None };
        let (url, app, properties) = (None, None, Vec::new());
        Self { core, workflow, opening, url, app, user: ADMIN, properties }
    }

    /// The same for an activity that an application has registered; `None` if it is not registered.
    pub(crate) fn registered(
        core: Arc<Core>,
        workflow: String,
        code: &str,
        given: &Array<'_>,
    ) -> Option<Self> {
        let (opening, notice) = notice_of(&core, code, ADMIN, given)?;
        let Notice { client_id, url, user, properties, .. } = notice;
        let (url, app) = (Some(url), Some(client_id));
        Some(Self { core, workflow, opening, url, app, user, properties })
    }

    /// The activity does not wait: lines for it are lost silently.
    pub fn without_subscription(mut self) -> Self {
        self.opening.subscription = false;
        self
    }

    /// The activity times out after this time. Default: never.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.opening.timeout = Some(timeout);
        self
    }

    /// The URL that gets the handler request. Default: there is no request.
    pub fn handler(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into()).filter(|url| !url.is_empty());
        self
    }

    /// The application whose handler it is. Default: the portal's own ([`Portal::app`]).
    ///
    /// [`Portal::app`]: crate::Portal::app
    pub fn app(mut self, app: &App) -> Self {
        self.app = Some(app.client_id().to_owned());
        self
    }

    /// A property of the activity, for the handler request; it takes the place of one that has
    /// the same name.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<PropertyValue>) -> Self {
        let name = name.into();
        self.properties.retain(|(known, _)| *known != name);
        self.properties.push((name, value.into()));
        self
    }

    /// The names that the application may return, as it would have declared them: others are
    /// dropped silently. Default: every name is taken.
    pub fn returns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.opening.returns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Opens it, and sends the handler request.
    pub fn open(self) -> Activity {
        let Self { core, workflow, opening, url, app, user, properties } = self;
        let notice = url.map(|url| {
            let client_id = app.unwrap_or_else(|| core.own_app());
            Notice { client_id, url, code: opening.label.clone(), user, properties }
        });
        let visit = outgoing::open(&core, &workflow, &opening, notice);
        let visit = visit.expect("a handle is only given out for a workflow of this portal");
        Activity { core, workflow, name: opening.label, visit }
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
        let world = &mut *self.core.world();
        let process = world.processes.settled(&self.workflow, now, &world.settings);
        let visit = process.and_then(|process| process.visit(&self.name, self.visit));
        visit.is_some_and(|visit| visit.is_open())
    }

    /// The completion by `bizproc.event.send`, after it came.
    pub fn completion(&self) -> Option<Completion> {
        let world = self.core.world();
        let process = world.processes.get(&self.workflow)?;
        process.visit(&self.name, self.visit)?.completion().cloned()
    }

    /// The answer of its handler, after it came.
    pub fn delivery(&self) -> Option<Delivery> {
        let world = self.core.world();
        let process = world.processes.get(&self.workflow)?;
        process.visit(&self.name, self.visit)?.delivery.clone()
    }

    /// Blocks until `condition` is true, or until `patience` has passed. Returns whether it is true.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.core.wait_for(patience, |_| condition(self))
    }

    /// The workflow leaves the activity without an answer.
    pub fn close(&self) {
        let mut world = self.core.world();
        let process = world.processes.get_mut(&self.workflow);
        if let Some(visit) = process.and_then(|p| p.visit_mut(&self.name, self.visit)) {
            visit.close(LostReason::Left);
        }
        drop(world);
        self.core.changed();
    }
}
