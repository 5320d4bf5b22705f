//! The portals on which an app is installed: handles installation, updates and removal, and verifies
//! their requests.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Handle, Opened};
use crate::activity::{ActivityRequest, VerifiedActivity};
use crate::error::{ActivityRejection, InstallError, RegistrationError, VerifyError, WorkerError};
use crate::installation::{
    AppRequest, Claim, InstallRequest, Installation, InstallationStore, UninstallRequest,
    UpdateRequest,
};
use crate::line::PortalId;
use crate::queue::{Caller, Confirm, Control, Forget};
use crate::registration::{Called, Registered, Registration, Wanted, reconcile};
use crate::transport::auth::Endpoint;
use crate::transport::{Confirmed, Question};

mod known;
mod reports;

use self::known::Known;
use self::reports::Reports;
#[cfg(feature = "axum")]
pub(super) use self::reports::SILENCE;

/// The portals on which the app is installed. It handles installations, updates and removals, recognizes
/// portals that are renamed, and opens activities for their requests. Cheap to clone.
///
/// # What is verified
///
/// The first installation of a portal is trusted from then on, so it is checked before anything is
/// stored. The [authorization server](crate::auth::OAuth::authorization_server) is asked to which portal the
/// tokens belong and where that portal is. Then the portal has to accept the access token as that of an
/// administrator, because other users get tokens of the app, too, when they open its page. The host that
/// the request names does not count. After that, the stored `application_token` is the proof for
/// requests, updates and the removal. A new application token, which an update may bring, is checked
/// like an installation.
///
/// Portals that give no refresh token (isolated on-premise portals) cannot be checked like this. Name
/// their hosts in [`OAuth::hosts`](crate::auth::OAuth::hosts); these hosts are trusted. The owner of such a
/// host can then install the app for a portal that has not installed it yet.
///
/// Anybody who learns an application token can post requests in the name of the portal. They cannot
/// direct lines to another host: a new host is accepted only if the app has named it, or if the
/// authorization server says that the portal is there.
///
/// Requests that fail these checks, and failures of the store, of the registration and so on, are reported with
/// the target `tracing_bizproc`, each kind at most once a minute. So your handler does not have to log them.
///
/// ```
/// # async fn handler(
/// #     installations: tracing_bizproc::app::Installations,
/// #     query: &str,
/// #     content_type: Option<&str>,
/// #     body: &[u8],
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::app::AppRequest;
///
/// // The handler of ONAPPINSTALL, ONAPPUPDATE, ONAPPUNINSTALL, and the install page.
/// let request = AppRequest::parse(query, content_type, body)?;
/// installations.handle(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Installations {
    handle: Handle,
    store: Arc<dyn InstallationStore>,
    wanted: Arc<Wanted>,
    known: Arc<Known>,
    reports: Arc<Reports>,
}

impl Installations {
    /// Takes the handle to the worker, and the store for installations. The worker has to be built with
    /// [`OAuth`](crate::auth::OAuth); otherwise installations cannot be checked.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tracing_bizproc::app::Installations;
    /// use tracing_bizproc::auth::{FileStore, OAuth};
    ///
    /// let store = FileStore::new("app.json");
    /// let app = OAuth::new("local.5e4a77", "the app's secret", store.clone());
    /// let (layer, guard) = tracing_bizproc::builder(app).build()?;
    /// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
    /// let installations = Installations::new(guard.handle(), store);
    /// # drop(installations);
    /// # Ok(()) }
    /// ```
    pub fn new(handle: Handle, store: impl InstallationStore) -> Self {
        let (wanted, known, reports) = (Arc::default(), Arc::default(), Arc::default());
        Installations { handle, store: Arc::new(store), wanted, known, reports }
    }

    /// Declares an activity or a robot of the app. It is registered on each portal at the installation
    /// and after each update. Activities and robots of this app that are not declared are removed from
    /// the portal. Completions of the activity are checked against the declaration.
    ///
    /// # Errors
    /// When the portal would refuse it. See [`RegistrationError`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tracing_bizproc::app::{Installations, Registration};
    /// # use tracing_bizproc::auth::{FileStore, OAuth};
    /// # let store = FileStore::new("app.json");
    /// # let app = OAuth::new("local.5e4a77", "the app's secret", store.clone());
    /// # let (layer, guard) = tracing_bizproc::builder(app).build()?;
    /// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
    /// let activity = "https://app.example/activity";
    /// let installations = Installations::new(guard.handle(), store)
    ///     .declare(Registration::activity("fulfil", activity, "Fulfil the order"))?
    ///     .life_events("https://app.example/life");
    /// # drop(installations);
    /// # Ok(()) }
    /// ```
    pub fn declare(mut self, registration: Registration) -> Result<Self, RegistrationError> {
        registration.check()?;
        let wanted = Arc::make_mut(&mut self.wanted);
        let is_same = |other: &Arc<Registration>| {
            other.kind() == registration.kind() && other.code() == registration.code()
        };
        if wanted.registrations.iter().any(is_same) {
            let (code, problem) = (registration.code().to_owned(), "is declared twice");
            return Err(RegistrationError::Invalid { code, problem });
        }
        wanted.registrations.push(Arc::new(registration));
        Ok(self)
    }

    /// The address of the handler for updates and the removal of the app. It is bound to `ONAPPUPDATE`
    /// and `ONAPPUNINSTALL` whenever activities are registered, because an update deletes these
    /// bindings, too. Default: none; then the app binds them itself.
    #[must_use]
    pub fn life_events(mut self, handler: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.wanted).life_events = Some(handler.into());
        self
    }

    /// Registers the declared activities and robots on a portal, and removes others of this app. This happens
    /// automatically at the installation and after each update. Call it if the declarations have changed
    /// without an update, or if it has failed. It needs tokens of an administrator (documentation).
    ///
    /// # Errors
    /// When a call fails. See [`RegistrationError`].
    pub async fn register(&self, portal: &PortalId) -> Result<Registered, RegistrationError> {
        let (handle, portal) = (&self.handle, portal);
        let call = move |method: String, params: String| -> Called {
            let (handle, portal) = (handle.clone(), portal.clone());
            Box::pin(async move {
                handle.call_by(Caller::Registration, Some(&portal), &method, &params).await
            })
        };
        reconcile(&self.wanted, &call).await
    }

    /// Handles an installation, an update or a removal, and returns the portal.
    ///
    /// It calls the authorization server and the portal before it returns. If your framework drops a
    /// handler when the client closes the connection, as axum does, await it in a task: a portal sends
    /// these requests only once.
    ///
    /// # Errors
    /// When the request fails the checks, or could not be stored. See [`InstallError`].
    pub async fn handle(&self, request: AppRequest) -> Result<PortalId, InstallError> {
        match request {
            AppRequest::Install(request) => self.install(request).await,
            AppRequest::Update(request) => self.update(request).await,
            AppRequest::Uninstall(request) => self.uninstall(request).await,
        }
    }

    /// Handles an installation: checks it, and stores the tokens and the installation. Both the event
    /// and the install page may come; the second one changes only the tokens.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn install(&self, request: InstallRequest) -> Result<PortalId, InstallError> {
        self.admit_and_register(request.claim, "installation").await
    }

    /// Handles an update. The update has deleted the app's activities, robots and event bindings on the
    /// portal; those that are [declared](Self::declare) are registered again.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn update(&self, request: UpdateRequest) -> Result<PortalId, InstallError> {
        self.admit_and_register(request.claim, "update").await
    }

    async fn admit_and_register(
        &self,
        claim: Claim,
        what: &'static str,
    ) -> Result<PortalId, InstallError> {
        let claimed = claim.portal.clone();
        let done = async {
            let portal = self.admit(claim).await?;
            if !self.wanted.is_empty() {
                self.register(&portal).await?;
            }
            Ok(portal)
        };
        self.reports.reported(what, &claimed, done.await)
    }

    /// Handles a removal: deletes the installation and its tokens. Lines that wait for the portal are
    /// lost, and counted as [`Uninstalled`](crate::stats::DropReason::Uninstalled).
    ///
    /// # Errors
    /// As [`handle`](Self::handle). [`InstallError::TokensRemain`] when the installation is deleted, but
    /// its tokens could not be deleted from their store.
    pub async fn uninstall(&self, request: UninstallRequest) -> Result<PortalId, InstallError> {
        let claimed = request.claim.portal.clone();
        let removed = self.remove(request.claim).await;
        self.reports.reported("removal", &claimed, removed)
    }

    async fn remove(&self, claim: Claim) -> Result<PortalId, InstallError> {
        // Before anything is changed.
        self.handle.may_wait()?;
        let stored = self.load(&claim.portal).await.map_err(InstallError::Store)?;
        let stored = stored.ok_or(InstallError::UnknownPortal)?;
        claim.knows(&stored)?;
        if !self.swap(&claim.portal, Some(&stored), None).await.map_err(InstallError::Store)? {
            return Err(InstallError::Raced);
        }
        self.handle.activities.uninstalled(&claim.portal);
        let remain = |why: &dyn fmt::Display| InstallError::TokensRemain { why: why.to_string() };
        let (reply, answer) = oneshot::channel();
        let forget = Control::Forget(Forget { portal: claim.portal.clone(), reply });
        self.handle.send(forget).map_err(|error| remain(&error))?;
        match answer.await.map_err(|_| remain(&WorkerError::Closed))? {
            Ok(()) => Ok(claim.portal),
            Err(trouble) => Err(remain(&trouble)),
        }
    }

    /// Verifies a handler's request with the stored installation. If a portal was renamed, its new host is
    /// accepted if the app has named it, or if the authorization server confirms it.
    ///
    /// While the store fails, a request is accepted if it fits the installation that this process has last read,
    /// and the failure is reported. Up to 10,000 portals are remembered.
    ///
    /// # Errors
    /// When the request fails the checks, or the store failed. See [`ActivityRejection`].
    pub async fn verify(
        &self,
        request: ActivityRequest,
    ) -> Result<VerifiedActivity, ActivityRejection> {
        match self.place(request.claim()).await {
            Ok(endpoint) => Ok(request.believe(endpoint)),
            Err(error) => {
                let ours = matches!(error, ActivityRejection::Store(_));
                // Debug has the sources, too.
                self.reports.tell(
                    "request",
                    ours,
                    &request.claim().portal,
                    &format_args!("{error:?}"),
                );
                Err(error)
            }
        }
    }

    /// Where the portal of a request is, if the request comes from it.
    async fn place(&self, claim: &Claim) -> Result<Endpoint, ActivityRejection> {
        let stored = match self.load(&claim.portal).await {
            Ok(stored) => stored.ok_or(ActivityRejection::UnknownPortal)?,
            Err(error) => return self.place_without_store(claim, error),
        };
        match claim.verify(&stored) {
            Ok(endpoint) => Ok(endpoint),
            Err(error @ VerifyError::Host { .. }) => self.follow(claim, stored, error).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The same while the store fails. A portal sends its request only once, and its workflow waits. So a request is
    /// accepted if it fits the installation that this process has seen last. That one may be out of date. So a request
    /// that does not fit is not rejected as forged: the error says that the store has failed.
    fn place_without_store(
        &self,
        claim: &Claim,
        error: Source,
    ) -> Result<Endpoint, ActivityRejection> {
        let last = self.known.last(&claim.portal);
        let Some(endpoint) = last.and_then(|last| claim.verify(&last).ok()) else {
            return Err(ActivityRejection::Store(error));
        };
        let what = "reading the installation";
        let why = format_args!("{error}; the one that was read before is used");
        self.reports.tell(what, true, &claim.portal, &why);
        Ok(endpoint)
    }

    /// Verifies a handler's request, and opens its activity.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn activity(&self, request: ActivityRequest) -> Result<Opened, ActivityRejection> {
        Ok(self.open(self.verify(request).await?))
    }

    pub(super) fn open(&self, verified: VerifiedActivity) -> Opened {
        let registration = self.wanted.activity(verified.code());
        self.handle.open(verified, registration)
    }

    /// Handles a request of a portal that names a new host.
    async fn follow(
        &self,
        claim: &Claim,
        stored: Installation,
        error: VerifyError,
    ) -> Result<Endpoint, ActivityRejection> {
        let named = claim.endpoint(stored.allows_http())?;
        let question = Question::Renamed(named.clone(), claim.tokens(named));
        let why = match self.confirm(&claim.portal, question).await {
            Ok(Confirmed::Yes(endpoint, _)) => {
                let new = stored.clone().at(&endpoint.host());
                // If another replica was first, it has stored the same.
                let swapped = self.swap(&claim.portal, Some(&stored), Some(&new)).await;
                swapped.map_err(ActivityRejection::Store)?;
                tracing::info!(
                    target: "tracing_bizproc",
                    parent: None,
                    portal = claim.portal.as_str(),
                    from = %stored.hosts(),
                    to = endpoint.host(),
                    "the portal was renamed"
                );
                return Ok(endpoint);
            }
            Ok(Confirmed::No(code)) => code.to_string(),
            Ok(Confirmed::Later(trouble)) => {
                return Err(ActivityRejection::Unconfirmed { why: trouble.to_string() });
            }
            Err(gone) => return Err(ActivityRejection::Unconfirmed { why: gone.to_string() }),
        };
        // First, because it says more than the error.
        self.reports.tell("request", false, &claim.portal, &format_args!("{error} ({why})"));
        Err(error.into())
    }

    /// Handles an installation or an update.
    async fn admit(&self, claim: Claim) -> Result<PortalId, InstallError> {
        let application_token =
            claim.application_token().ok_or(InstallError::NoApplicationToken)?;
        let stored = self.load(&claim.portal).await.map_err(InstallError::Store)?;
        // The application token proves that the request comes from the portal.
        if let Some(endpoint) = stored.as_ref().and_then(|stored| claim.verify(stored).ok()) {
            if let Some(tokens) = claim.tokens(endpoint) {
                // They belong to the administrator who has installed or updated the app.
                self.confirm(&claim.portal, Question::Known(tokens)).await?;
            }
            return Ok(claim.portal);
        }
        // Plain http is accepted here: whether the app allows it is checked before the call.
        let tokens = claim.tokens(claim.endpoint(true)?).ok_or(InstallError::NoTokens)?;
        // Without a refresh token and with another application token, only the address says who the portal is. So it
        // must be the stored one: otherwise the owner of any listed host could take over a portal that has the app.
        let host = tokens.endpoint().host();
        if let Some(stored) = stored.as_ref().filter(|stored| !stored.hosts().allows(&host)) {
            if !tokens.can_be_renewed() && claim.knows(stored).is_err() {
                let why = format!(
                    "the app is installed on this portal at {}, and without a refresh token it cannot be \
                     confirmed that the portal is at {host} now: if this is correct, delete its \
                     installation from the store",
                    stored.hosts()
                );
                return Err(InstallError::Denied { why });
            }
        }
        let endpoint = match self.confirm(&claim.portal, Question::Install(tokens)).await? {
            Confirmed::Yes(endpoint, _) => endpoint,
            Confirmed::No(code) => return Err(InstallError::Denied { why: code.to_string() }),
            Confirmed::Later(trouble) => {
                return Err(InstallError::Later { why: trouble.to_string() });
            }
        };
        let new = match &stored {
            Some(stored) => stored.clone().with_token(application_token).at(&endpoint.host()),
            None => Installation::of_portal(application_token, &endpoint),
        };
        let stored = stored.as_ref();
        if self.swap(&claim.portal, stored, Some(&new)).await.map_err(InstallError::Store)? {
            return Ok(claim.portal);
        }
        // The page and the event may come at the same moment, to two replicas.
        let now = self.load(&claim.portal).await.map_err(InstallError::Store)?;
        if now.as_ref() == Some(&new) { Ok(claim.portal) } else { Err(InstallError::Raced) }
    }

    async fn confirm(
        &self,
        portal: &PortalId,
        question: Question,
    ) -> Result<Confirmed, WorkerError> {
        self.handle.may_wait()?;
        let (reply, answer) = oneshot::channel();
        let portal = portal.clone();
        self.handle.send(Control::Confirm(Confirm { portal, question, reply }))?;
        answer.await.map_err(|_| WorkerError::Closed)
    }

    async fn load(&self, portal: &PortalId) -> Result<Option<Installation>, Source> {
        let stored = self.store.installation(portal).await?;
        self.known.note(portal, stored.as_ref());
        Ok(stored)
    }

    async fn swap(
        &self,
        portal: &PortalId,
        expected: Option<&Installation>,
        new: Option<&Installation>,
    ) -> Result<bool, Source> {
        let swapped = self.store.swap_installation(portal, expected, new).await?;
        if swapped {
            self.known.note(portal, new);
        }
        Ok(swapped)
    }
}

/// An error of the app's own store.
type Source = crate::transport::auth::CredentialError;

impl fmt::Debug for Installations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installations").field("handle", &self.handle).finish_non_exhaustive()
    }
}
