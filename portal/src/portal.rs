//! `Portal`: a portal that runs, and what a test may ask of it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::builder::PortalBuilder;
use crate::clock::Clock;
use crate::cloud::Cloud;
use crate::core::{Addresses, Core};
use crate::faults::Fault;
use crate::journal::{Counters, Hit};
use crate::server;
use crate::settings::{Retention, Settings, Statuses, Substitution, Tariff};
use crate::state::Stage;
use crate::workflow::Workflow;

/// A portal on threads and a runtime of its own. It stops when it is dropped.
pub struct Portal {
    core: Arc<Core>,
    seed: u64,
    /// Nothing only while it is being dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").field("addresses", &self.core.addresses()).finish_non_exhaustive()
    }
}

impl Portal {
    /// A portal with default settings, to be changed before it starts.
    pub fn builder() -> PortalBuilder {
        PortalBuilder::default()
    }

    pub(crate) fn start(builder: PortalBuilder) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bizproc-portal")
            .enable_all()
            .build()?;
        let listener = server::bind(builder.port)?;
        let addresses = Addresses { http: listener.local_addr()? };
        let seed = builder.settled_seed();
        let core = builder.into_core(seed, addresses);
        server::serve(&runtime, core.clone(), listener)?;
        Ok(Self { core, seed, runtime: Some(runtime) })
    }

    pub(crate) fn cloud(&self) -> Arc<Cloud> {
        self.core.cloud.clone()
    }

    /// The URL of the portal's incoming webhook, with its secret code and a slash at the end:
    /// `http://127.0.0.1:PORT/rest/1/CODE/`.
    pub fn webhook_url(&self) -> String {
        let (user, code) = &self.core.identity.webhook;
        format!("{}rest/{user}/{code}/", self.page_url())
    }

    /// The URL of the page with the process logs.
    pub fn page_url(&self) -> String {
        self.core.addresses().page_url()
    }

    /// The identity of the portal, which stays the same wherever it moves.
    pub fn member_id(&self) -> &str {
        &self.core.identity.member_id
    }

    /// The seed from which identifiers and secrets of this portal follow.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The portal's clock, which a test may advance.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// Starts a workflow.
    pub fn start_workflow(&self, title: &str) -> Workflow {
        let id = self.core.world().processes.start(title, Stage::Running, self.core.clock.now());
        self.core.changed();
        Workflow::new(self.core.clone(), id)
    }

    /// Starts a workflow whose start hit is still under way: calls for it are refused with
    /// "404", until [`Workflow::save`].
    pub fn start_unsaved_workflow(&self, title: &str) -> Workflow {
        let id = self.core.world().processes.start(title, Stage::Starting, self.core.clock.now());
        Workflow::new(self.core.clone(), id)
    }

    /// All workflows, in the order of their start.
    pub fn workflows(&self) -> Vec<Workflow> {
        let ids = self.core.world().processes.ids().to_vec();
        ids.into_iter().map(|id| Workflow::new(self.core.clone(), id)).collect()
    }

    /// Every hit on the REST API, in the order of arrival.
    ///
    /// The journal keeps the newest hits, up to 256 MiB of messages; see
    /// [`forgotten_hits`](Self::forgotten_hits).
    pub fn journal(&self) -> Vec<Hit> {
        self.core.world().journal.hits()
    }

    /// How many hits the journal has forgotten, to stay within its size.
    pub fn forgotten_hits(&self) -> u64 {
        self.core.world().journal.forgotten()
    }

    /// Counts over the whole life of the portal.
    pub fn counters(&self) -> Counters {
        self.core.world().journal.counters
    }

    /// The plan of what is to go wrong.
    pub fn faults(&self) -> Faults<'_> {
        Faults { core: &self.core }
    }

    /// Blocks until `condition` holds, or until `patience` is at an end; says whether it holds.
    ///
    /// The condition is looked at after each change.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.core.wait_for(patience, |_| condition(self))
    }

    /// Changes the tariff. Buckets keep their level.
    pub fn set_tariff(&self, tariff: Tariff) {
        self.change(|settings| settings.tariff = tariff);
    }

    /// Changes how long logs are kept; what is gone stays gone.
    pub fn set_retention(&self, retention: Retention) {
        self.change(|settings| settings.retention = retention);
    }

    /// Changes the statuses of errors.
    pub fn set_statuses(&self, statuses: Statuses) {
        self.change(|settings| settings.statuses = statuses);
    }

    /// Changes what a batch does with `$result[..]`.
    pub fn set_substitution(&self, substitution: Substitution) {
        self.change(|settings| settings.substitution = substitution);
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.core.world().settings);
        self.core.changed();
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime inside another one would panic; this does not, and does not wait.
            runtime.shutdown_background();
        }
    }
}

/// Plans what goes wrong with which hit on the REST API.
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    core: &'a Core,
}

impl fmt::Debug for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults<'_> {
    /// The next hit. Called again before that hit, the fault is for the hit after it, and so on.
    pub fn next(&self, fault: Fault) -> &Self {
        self.after(0, fault)
    }

    /// One hit, after `pass` hits went unharmed.
    pub fn after(&self, pass: u64, fault: Fault) -> &Self {
        self.core.world().faults.after(pass, fault);
        self
    }

    /// Every hit on a method, until the plan is cleared.
    pub fn on_method(&self, method: &str, fault: Fault) -> &Self {
        self.core.world().faults.on_method(method, fault);
        self
    }

    /// A share (0.0 to 1.0) of all hits, each with one of `faults`, as `seed` has it.
    pub fn at_random(&self, seed: u64, share: f64, faults: Vec<Fault>) -> &Self {
        self.core.world().faults.at_random(seed, share, faults);
        self
    }

    /// Ends every plan.
    pub fn clear(&self) {
        self.core.world().faults.clear();
    }
}
