//! `Portal`: a running portal, and its methods for tests.

mod builder;
mod planning;
mod relocate;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::app::App;
use crate::clock::Clock;
use crate::core::{Addresses, Cloud, Core, Mover, Security};
use crate::credentials::ADMIN;
use crate::journal::{Counters, Hit, Sent};
use crate::lines::{LinesMissing, missing};
use crate::php::{Array, Value};
use crate::server;
use crate::settings::{
    Authorization, BlankSubscription, Charset, Condition, EventSend, Language, MissingMethods,
    OperatingLimit, OwnEntries, Retention, ServerTime, Settings, SqlMode, Statuses, Substitution,
    Tariff, each_setting,
};
use crate::state::{Origin, Stage, Step};
use crate::workflow::Workflow;

pub use builder::PortalBuilder;
pub use planning::Faults;
use relocate::serve;

/// How long to wait for lines.
const LINES: Duration = Duration::from_secs(10);

/// A portal on its own threads and runtime. It stops when it is dropped.
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
        let seed = builder.settled_seed();
        let http = server::bind(builder.port)?;
        let https = builder.tls_port.map(server::bind).transpose()?;
        let addresses = Addresses {
            generation: 0,
            http: http.local_addr()?,
            https: https.as_ref().map(|listener| listener.local_addr()).transpose()?,
            domain: builder.domain.clone(),
            former_domains: Vec::new(),
        };
        let tls = builder.make_tls(&addresses)?.map(Arc::new);
        let security = Security { trust: builder.trust()?, tls };
        // Last of what may fail: a runtime must not be dropped by an error inside another one.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bizproc-portal")
            .enable_all()
            .build()?;
        let core = builder.into_core(seed, addresses, security, runtime.handle().clone());
        serve(&core, http, https, 0)?;
        let moving = Arc::downgrade(&core);
        let mover: Mover = Box::new(move |name| match moving.upgrade() {
            Some(core) => relocate::relocate(&core, name),
            None => Ok(()),
        });
        if core.mover.set(mover).is_err() {
            unreachable!("a portal is started once");
        }
        Ok(Self { core, seed, runtime: Some(runtime) })
    }

    /// Moves the portal: to another name if it has one, and otherwise to other ports. What comes
    /// to the old address is answered with 302 and the new one; [`webhook_url`](Self::webhook_url) and
    /// similar methods return the new ones.
    ///
    /// # Errors
    ///
    /// No port is free, or there can be no certificate for the new name.
    pub fn move_away(&self) -> io::Result<()> {
        relocate::relocate(&self.core, None)
    }

    /// Gives the portal another name, as people do who rename their Bitrix24. Its ports stay.
    ///
    /// # Errors
    ///
    /// There can be no certificate for this name.
    pub fn move_to(&self, name: &str) -> io::Result<()> {
        relocate::relocate(&self.core, Some(name))
    }

    /// What a portal that is started beside this one shares with it.
    pub(crate) fn cloud(&self) -> Arc<Cloud> {
        self.core.cloud.clone()
    }

    /// The URL of the portal's incoming webhook, with its secret code and a slash at the end:
    /// `http://127.0.0.1:PORT/rest/1/CODE/`.
    pub fn webhook_url(&self) -> String {
        let (user, code) = &self.core.identity.webhook;
        format!("{}rest/{user}/{code}/", self.page_url())
    }

    /// The same over https; `None` without [`PortalBuilder::tls`].
    pub fn webhook_url_https(&self) -> Option<String> {
        let (user, code) = &self.core.identity.webhook;
        Some(format!("{}rest/{user}/{code}/", self.https_url()?))
    }

    /// The root of the portal over https; `None` without [`PortalBuilder::tls`].
    pub fn https_url(&self) -> Option<String> {
        let addresses = self.core.addresses();
        addresses.https.map(|_| addresses.url(true))
    }

    /// The endpoint for calls with an access token: the method follows.
    pub fn client_endpoint(&self) -> String {
        format!("{}rest/", self.page_url())
    }

    /// The token endpoint of the OAuth server, which all portals of a process share.
    pub fn oauth_url(&self) -> String {
        format!("{}oauth/token/", self.page_url())
    }

    /// The certificate of the authority that has issued the portal's certificate, in PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.core.tls.as_ref().map(|tls| tls.ca_pem())
    }

    /// A file with that certificate, which is removed when the portal stops.
    pub fn ca_file(&self) -> Option<&Path> {
        self.core.tls.as_ref().map(|tls| tls.ca_file())
    }

    /// Another incoming webhook, of user 1, with these scopes. Its URL, with a slash at the end.
    pub fn create_webhook(&self, scopes: &[&str]) -> String {
        self.create_webhook_of(ADMIN, scopes)
    }

    /// The same of another user, who is no administrator. The user's number is in [`Hit::path`], so the journal
    /// says which of several clients has called, also if all of them have one address.
    pub fn create_webhook_of(&self, user: u64, scopes: &[&str]) -> String {
        let mut world = self.core.world();
        let (user, code) = world.credentials.create(user, scopes);
        drop(world);
        format!("{}rest/{user}/{code}/", self.page_url())
    }

    /// Deletes the webhook with this URL: calls with it are refused from now on.
    pub fn revoke_webhook(&self, url: &str) {
        let code = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        self.core.world().credentials.revoke(code);
    }

    /// The application that the workflows of this portal belong to, if nothing else is said. It
    /// is installed by the first call.
    pub fn app(&self) -> App {
        App::of(self.core.clone(), self.core.own_app())
    }

    /// A template whose workflows reach these registered activities, one after the other, for
    /// `bizproc.workflow.start`. Its id; 1 is that of a template that is always there, with every
    /// activity that is registered when the workflow starts.
    pub fn create_template<S: Into<String>>(
        &self,
        name: &str,
        codes: impl IntoIterator<Item = S>,
    ) -> u64 {
        let empty = || Value::Array(Array::new());
        let steps = codes.into_iter().map(|code| Step { code: code.into(), properties: empty() });
        self.core.world().templates.add(name, steps.collect(), self.core.clock.now())
    }

    /// What was sent to applications, oldest first: handler requests, events, and pages. The
    /// newest 1,000.
    pub fn sent(&self) -> Vec<Sent> {
        self.core.world().journal.sent().cloned().collect()
    }

    /// Installs a new application on this portal.
    pub fn install_app(&self) -> App {
        self.install(None)
    }

    /// Installs an application of another portal here, too.
    pub fn install_known_app(&self, app: &App) -> App {
        self.install(Some(app.client_id()))
    }

    fn install(&self, client_id: Option<&str>) -> App {
        App::install(self.core.clone(), client_id)
    }

    /// The URL of the page with the process logs.
    pub fn page_url(&self) -> String {
        self.core.addresses().url(false)
    }

    /// The identity of the portal. It stays the same when the portal moves.
    pub fn member_id(&self) -> &str {
        &self.core.identity.member_id
    }

    /// The seed of all identifiers and secrets of this portal.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The portal's clock, which a test may advance.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// Starts a workflow.
    pub fn start_workflow(&self, title: &str) -> Workflow {
        let id = self.core.world().processes.start(
            title,
            Stage::Running,
            Origin::default(),
            self.core.clock.now(),
        );
        self.core.changed();
        Workflow::new(self.core.clone(), id)
    }

    /// Starts a workflow that is not saved yet: calls for it are refused with
    /// "404", until [`Workflow::save`].
    pub fn start_unsaved_workflow(&self, title: &str) -> Workflow {
        let id = self.core.world().processes.start(
            title,
            Stage::Starting,
            Origin::default(),
            self.core.clock.now(),
        );
        Workflow::new(self.core.clone(), id)
    }

    /// Runs the agent that drops entries older than `age` (a real portal: 90 days) from the logs;
    /// a self-hosted portal keeps those of workflows that still run.
    pub fn clean_up(&self, age: Duration) {
        let now = self.core.clock.now();
        let mut world = self.core.world();
        let world = &mut *world;
        world.processes.clean_up(age, now, &world.settings);
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

    /// How many hits the journal has dropped to limit its size.
    pub fn forgotten_hits(&self) -> u64 {
        self.core.world().journal.forgotten()
    }

    /// Counts over the whole life of the portal.
    pub fn counters(&self) -> Counters {
        self.core.world().journal.counters
    }

    /// How full the fullest bucket of the rate limit is, in hits.
    pub fn rate_level(&self) -> f64 {
        let world = self.core.world();
        world.rate.level(world.settings.tariff, self.core.clock.now())
    }

    /// The plan of faults.
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(&self.core)
    }

    /// Waits, for ten seconds at most, until the log of a workflow has these lines in this order. Other
    /// lines may be between them. A line matches if it begins with the wanted text, after its mark and
    /// its time ([`Workflow::lines`]).
    ///
    /// # Errors
    ///
    /// A line did not arrive. The error says which one, which lines are there, and which were lost silently.
    pub fn wait_for_lines<S: Into<String>>(
        &self,
        workflow: &Workflow,
        lines: impl IntoIterator<Item = S>,
    ) -> Result<(), LinesMissing> {
        let wanted: Vec<String> = lines.into_iter().map(Into::into).collect();
        self.wait_for(LINES, |_| missing(&wanted, &workflow.lines()).is_none());
        let found = workflow.lines();
        match missing(&wanted, &found) {
            None => Ok(()),
            Some(wanted) => {
                let lost = workflow.lost().iter().map(|lost| lost.text.to_string()).collect();
                Err(LinesMissing { wanted: wanted.clone(), found, lost })
            }
        }
    }

    /// Blocks until `condition` is true, or until `patience` has passed. Returns whether it is true.
    ///
    /// The condition is checked after each change.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.core.wait_for(patience, |_| condition(self))
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.core.world().settings);
        self.core.changed();
    }
}

/// The setters of a portal that runs.
macro_rules! setters {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident, $set:ident: $type:ty = $default:expr $(, given $given:ty)?;
    )+) => {
        /// What can be changed while the portal runs.
        impl Portal {
            $(
                $(#[doc = $doc])+
                pub fn $set(&self, $name: $type) {
                    self.change(|settings| settings.$name = $name);
                }
            )+
        }
    };
}

each_setting!(setters);

impl Drop for Portal {
    fn drop(&mut self) {
        if let Some(tls) = &self.core.tls {
            tls.remove_file();
        }
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime inside another one would panic. This does not panic and does not wait.
            runtime.shutdown_background();
        }
    }
}
