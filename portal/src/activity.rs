//! `Activity`: an activity as a test holds it, and how it is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::clock::UnixTime;
use crate::core::Core;
use crate::state::{Completion, Delivery, LostReason, Opening};
use crate::wire::{self, Form};

/// An activity that a workflow came to, at one visit: coming to it again makes another one.
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
    handler: Option<Handler>,
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
        let opening = Opening { label: label.to_owned(), subscription: true, timeout: None };
        Self { core, workflow, opening, handler: None }
    }

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

    /// The URL (`http://..`) that gets the handler request. Default: nobody is told.
    pub fn handler(mut self, url: impl Into<String>) -> Self {
        self.handler_mut().url = url.into();
        self
    }

    /// The application whose handler it is. Default: one that is installed for the purpose.
    pub fn app(mut self, app: &App) -> Self {
        self.handler_mut().app = Some(app.clone());
        self
    }

    /// A property of the activity, for the handler request.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.handler_mut().properties.push((name.into(), value.into()));
        self
    }

    fn handler_mut(&mut self) -> &mut Handler {
        self.handler.get_or_insert_default()
    }

    /// Opens it, and sends the handler request.
    pub fn open(self) -> Activity {
        let core = self.core;
        let now = core.clock.now();
        let visit = {
            let world = &mut *core.world();
            world.processes.open(&self.workflow, &self.opening, now, &world.settings)
        };
        let activity = Activity {
            core: core.clone(),
            workflow: self.workflow,
            name: self.opening.label.clone(),
            visit: visit.expect("a handle is only given out for a workflow of this portal"),
        };
        if let Some(handler) = self.handler.filter(|handler| !handler.url.is_empty()) {
            let form = handler.form(&activity, &self.opening, now);
            let told = activity.clone();
            core.runtime.spawn(async move {
                let delivery = wire::post(&handler.url, &form).await;
                told.set_delivery(delivery);
            });
        }
        core.changed();
        activity
    }
}

/// Who is told of an activity, and what.
#[derive(Clone, Debug, Default)]
struct Handler {
    /// Empty while only other things are known.
    url: String,
    app: Option<App>,
    properties: Vec<(String, String)>,
}

impl Handler {
    /// The fields of the handler request (server behaviour).
    fn form(&self, activity: &Activity, opening: &Opening, now: UnixTime) -> Form {
        let core = &activity.core;
        let member_id = &core.identity.member_id;
        let app = self.app.clone().unwrap_or_else(|| App::install(core.clone(), None));
        let tokens = app.issue();
        let root = core.addresses().url(true);
        let domain = root.split('/').nth(2).unwrap_or_default();
        let seconds = |duration: Duration| duration.as_secs().to_string();

        let mut form = Form::default();
        form.field("workflow_id", &activity.workflow).field("code", &opening.label);
        for (index, part) in ["crm", "CCrmDocumentDeal", "DEAL_1042"].into_iter().enumerate() {
            form.field(&format!("document_id[{index}]"), part);
        }
        for (index, part) in ["crm", "CCrmDocumentDeal", "DEAL"].into_iter().enumerate() {
            form.field(&format!("document_type[{index}]"), part);
        }
        form.field("event_token", &activity.event_token());
        for (name, value) in &self.properties {
            form.field(&format!("properties[{name}]"), value);
        }
        form.field("use_subscription", if opening.subscription { "Y" } else { "N" })
            .field("timeout_duration", &seconds(opening.timeout.unwrap_or_default()))
            .field("ts", &now.as_secs().to_string())
            .field("auth[access_token]", &tokens.access_token)
            .field("auth[refresh_token]", &tokens.refresh_token)
            .field("auth[expires]", &tokens.expires.as_secs().to_string())
            .field("auth[expires_in]", &tokens.expires_in.to_string())
            .field("auth[scope]", &tokens.scopes.join(","))
            .field("auth[domain]", domain)
            .field("auth[server_endpoint]", &format!("{root}rest/"))
            .field("auth[status]", "L")
            .field("auth[client_endpoint]", &format!("{root}rest/"))
            .field("auth[member_id]", member_id)
            .field("auth[user_id]", &tokens.user.to_string())
            .field("auth[application_token]", &app.application_token());
        form
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

    /// What `bizproc.event.send` brought, if it came.
    pub fn completion(&self) -> Option<Completion> {
        let world = self.core.world();
        let process = world.processes.get(&self.workflow)?;
        process.visit(&self.name, self.visit)?.completion().cloned()
    }

    /// How its handler took the request, once it did.
    pub fn delivery(&self) -> Option<Delivery> {
        let world = self.core.world();
        let process = world.processes.get(&self.workflow)?;
        process.visit(&self.name, self.visit)?.delivery.clone()
    }

    fn set_delivery(&self, delivery: Delivery) {
        let mut world = self.core.world();
        let process = world.processes.get_mut(&self.workflow);
        if let Some(visit) = process.and_then(|p| p.visit_mut(&self.name, self.visit)) {
            visit.delivery = Some(delivery);
        }
        drop(world);
        self.core.changed();
    }

    /// Blocks until `condition` holds, or until `patience` is at an end; says whether it holds.
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
