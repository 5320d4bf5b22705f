//! What the app keeps: a handle for everything that it asks of the worker, and the guard that closes the
//! worker.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::activities::{Activities, Known};
use crate::activity::VerifiedActivity;
use crate::call::CallAnswer;
use crate::completion::Completion;
use crate::error::{CallError, CompleteError, WorkerError};
use crate::line::{EventToken, PortalId};
use crate::protocol::call;
use crate::queue::{Accept, Call, Caller, Close, Complete, Control, Producer};
use crate::registration::Registration;
use crate::stats::{AtDoor, DropReason, FlushReport, Health, PortalSnapshot, Snapshot, Stats};
use crate::thread_role::is_delivery_thread;
use crate::transport::Arrived;
use crate::transport::auth::Tokens;

mod activities;
mod activity;
#[cfg(feature = "axum")]
mod axum;
mod flush;
mod guard;
mod installations;
#[cfg(feature = "metrics")]
mod metrics;
mod opened;
mod parts;
mod shutdown;

pub use self::activity::Activity;
pub use self::guard::WorkerGuard;
pub use self::installations::Installations;
pub use self::opened::{Opened, Repeat};
pub use self::shutdown::ShutdownReport;

/// A handle to the worker: flushes, opens and ends activities, calls REST methods, and reads counters.
/// Cheap to clone.
///
/// ```no_run
/// # async fn handler(handle: tracing_bizproc::Handle) -> Result<(), tracing_bizproc::error::WorkerError> {
/// use std::time::Duration;
///
/// let report = handle.flush(Duration::from_secs(5)).await?;
/// if !report.is_complete() {
///     eprintln!("the process log is not complete: {report}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    producer: Producer,
    stats: Arc<Stats>,
    activities: Arc<Activities>,
    /// Lines that wait longer are late.
    patience: Duration,
}

impl Handle {
    pub(crate) fn new(producer: Producer, stats: Arc<Stats>, patience: Duration) -> Self {
        Handle { producer, stats, activities: Arc::default(), patience }
    }

    /// Ends the activity of `event_token` with `bizproc.event.send`, after its lines. It waits for the
    /// lines at most as long as the timeout of the completion, and then ends the activity in any case.
    /// Lines that come later, or are still waiting then, are counted as [late](Snapshot::late) and not
    /// sent.
    ///
    /// The portal is the one to which the token has logged, or from which its request came. After a
    /// restart of the app, or more than 15 minutes after the last line of the token, this is no longer
    /// known. Then the [default portal](crate::auth::OAuth::default_portal) is used, unless you name the
    /// portal with [`complete_on`](Self::complete_on).
    ///
    /// Many completions at once share requests if their return values are texts or lists of texts, with
    /// names of ASCII letters, digits and `_`. Every other completion is a separate request, so that
    /// numbers, `true` and `null` keep their types. A cloud portal accepts about two of them per second.
    ///
    /// `Ok` means that the portal answered `true`. Older servers answer when the activity has ended; the
    /// newest ones answer when they have queued a job that ends it (server behaviour).
    ///
    /// Returns what happened to the lines. Works on every async runtime.
    ///
    /// # Errors
    /// When the portal refuses, or cannot be reached within two minutes after the timeout of the
    /// completion; when this process has ended the activity already; when the portal of the token is
    /// unknown; at once, when the credentials are a webhook of another portal. See [`CompleteError`].
    pub async fn complete(
        &self,
        event_token: &EventToken,
        completion: Completion,
    ) -> Result<FlushReport, CompleteError> {
        self.complete_at(None, event_token, completion).await
    }

    /// As [`complete`](Self::complete), for an activity on this portal: for example after a restart of the
    /// app, if the app has kept the event token. While the app runs, use [`Activity::complete`].
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn complete_on(
        &self,
        portal: &PortalId,
        event_token: &EventToken,
        completion: Completion,
    ) -> Result<FlushReport, CompleteError> {
        self.complete_at(Some(portal.clone()), event_token, completion).await
    }

    async fn complete_at(
        &self,
        portal: Option<PortalId>,
        event_token: &EventToken,
        completion: Completion,
    ) -> Result<FlushReport, CompleteError> {
        self.may_wait()?;
        let deadline = after(completion.timeout);
        let mut ending = self.activities.begin_end(event_token, portal.as_ref())?;
        // From here on the worker is responsible: it ends the activity, or reports that it could not.
        ending.asked(self.ask_complete(portal, event_token, completion, deadline)?);
        ending.wait().await
    }

    pub(crate) fn ask_complete(
        &self,
        portal: Option<PortalId>,
        event_token: &EventToken,
        completion: Completion,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<FlushReport, CompleteError>>, WorkerError> {
        let (reply, answer) = oneshot::channel();
        let event_token = event_token.clone();
        self.send(Control::Complete(Complete {
            event_token,
            portal,
            completion,
            deadline,
            reply,
        }))?;
        Ok(answer)
    }

    /// Opens an activity: gives the worker the tokens of the request and the time for which the portal
    /// waits, and returns the [`Activity`] for the handler. For a request that was delivered before, see
    /// [`Opened`].
    ///
    /// Never fails and never waits. It works without a worker, too.
    ///
    /// The span of the activity names its portal. [`OAuth`](crate::auth::OAuth) has tokens for it, because
    /// they come with the request. A webhook serves it only with
    /// [`for_portal`](crate::auth::Webhook::for_portal).
    pub fn activity(&self, verified: VerifiedActivity) -> Opened {
        self.open(verified, None)
    }

    fn open(&self, verified: VerifiedActivity, registration: Option<Arc<Registration>>) -> Opened {
        let (event_token, portal) = (verified.event_token(), verified.portal());
        match self.activities.open(event_token, portal, verified.can_log()) {
            Ok(()) => Opened::First(Activity::begin(self.clone(), verified, registration)),
            Err(known) => Opened::Again(Repeat { verified, is_open: known == Known::Open }),
        }
    }

    /// Asks the worker to end all activities that are open with this text, and says which.
    fn fail_open(&self, text: &str, deadline: Instant) -> Vec<String> {
        let mut failing = Vec::new();
        for (portal, event_token) in self.activities.open_ones() {
            // The app is ending it already.
            let Ok(mut ending) = self.activities.begin_end(&event_token, portal.as_ref()) else {
                continue;
            };
            failing.push(named(portal.as_ref(), &event_token));
            if let Ok(answer) = self.ask_complete(portal, &event_token, failure(text), deadline) {
                ending.asked(answer);
            }
        }
        failing
    }

    /// Activities for whose end a workflow waits. None in a forked process: there, they belong to the parent, and
    /// their lock may be held for ever by a thread of the parent.
    fn open_activities(&self) -> Vec<String> {
        if self.producer.is_forked() {
            return Vec::new();
        }
        let open = self.activities.open_ones();
        open.iter().map(|(portal, event_token)| named(portal.as_ref(), event_token)).collect()
    }

    /// Calls a REST method of the portal (`None`: the default portal, or the webhook's), with `params`
    /// as a JSON object in text.
    ///
    /// Calls and log entries of a portal share the access token, which is renewed once for all requests
    /// that wait, and the rate limit. Ends of activities are sent before calls. If the rate limit is
    /// reached, calls and entries take turns. A call is repeated only if it was certainly not executed, and
    /// for two minutes at most.
    ///
    /// ```
    /// # async fn app(handle: tracing_bizproc::Handle, portal: tracing_bizproc::PortalId)
    /// # -> Result<(), tracing_bizproc::error::CallError> {
    /// let deals = handle.call(Some(&portal), "crm.deal.list", r#"{"select":["ID"]}"#).await?;
    /// println!("{} of {:?}", deals.result(), deals.total());
    /// # Ok(()) }
    /// ```
    ///
    /// Works on every async runtime. If you drop the future, a call that was sent is still executed.
    ///
    /// # Errors
    /// When there is no result. See [`CallError`].
    pub async fn call(
        &self,
        portal: Option<&PortalId>,
        method: &str,
        params: &str,
    ) -> Result<CallAnswer, CallError> {
        self.call_by(Caller::App, portal, method, params).await
    }

    async fn call_by(
        &self,
        by: Caller,
        portal: Option<&PortalId>,
        method: &str,
        params: &str,
    ) -> Result<CallAnswer, CallError> {
        self.may_wait()?;
        let (method, body) =
            call::request(method, params).map_err(|problem| CallError::Request { problem })?;
        let (reply, answer) = oneshot::channel();
        let deadline = after(CALL_PATIENCE);
        let portal = portal.cloned();
        self.send(Control::Call(Call { by, portal, method, body, deadline, reply }))?;
        answer.await.map_err(|_| CallError::Worker(WorkerError::Closed))?
    }

    /// As [`call`](Self::call), with parameters and a result of any type that serde knows.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`CallError::Type`] if the result is of another type.
    #[cfg(feature = "typed")]
    pub async fn call_as<T: serde::de::DeserializeOwned>(
        &self,
        portal: Option<&PortalId>,
        method: &str,
        params: &(impl serde::Serialize + Sync + ?Sized),
    ) -> Result<T, CallError> {
        let problem = "params cannot be written as JSON";
        let params = serde_json::to_string(params).map_err(|_| CallError::Request { problem })?;
        let answer = self.call(portal, method, &params).await?;
        serde_json::from_value(answer.result).map_err(|_| CallError::Type)
    }

    /// Gives the worker tokens of a portal, for example those of an installation. They are stored, and
    /// replace the tokens in use. Delivery that was blocked because tokens were missing goes on. (A webhook
    /// does not use them.)
    ///
    /// Call it only with verified tokens: their endpoint decides to which portal lines are sent.
    ///
    /// # Errors
    /// When there is no worker: see [`WorkerError`].
    pub fn accept(&self, portal: &PortalId, tokens: Tokens) -> Result<(), WorkerError> {
        let tokens = Arrived::Handed(tokens);
        self.send(Control::Accept(Accept { portal: portal.clone(), tokens }))
    }

    /// All counters, as they are now.
    ///
    /// In a forked process, which has no worker, all pending lines are lost: see [`DropReason::Forked`].
    pub fn stats(&self) -> Snapshot {
        self.stats.snapshot(&AtDoor {
            accepted: self.producer.accepted(),
            pending: self.producer.pending(),
            is_forked: self.producer.is_forked(),
            refused: DropReason::refusals()
                .map(|reason| (reason, self.producer.refused(reason)))
                .collect(),
            unusable_tokens: self.producer.unusable_tokens(),
            unseen: self.producer.unseen(),
        })
    }

    /// The counters of each portal that the worker knows, in the order in which the portals were first used.
    /// None in a forked process, which has no worker.
    pub fn portals(&self) -> Vec<PortalSnapshot> {
        if self.producer.is_forked() {
            return Vec::new();
        }
        self.stats.portals(after(Duration::ZERO))
    }

    /// Whether lines reach their logs, and if not, why: for a status page or an alert.
    pub fn health(&self) -> Health {
        let closed = self.producer.is_closed() || self.producer.is_forked();
        Health::new(closed, self.producer.is_full(), &self.portals(), self.patience)
    }

    fn ask_close(&self, deadline: Instant) -> Result<oneshot::Receiver<FlushReport>, WorkerError> {
        let (reply, answer) = oneshot::channel();
        self.send(Control::Close(Close { deadline, reply }))?;
        Ok(answer)
    }

    /// A shutdown by the simulated clock.
    #[cfg(feature = "simulation")]
    pub(crate) async fn close_at(&self, deadline: Instant) -> Result<FlushReport, WorkerError> {
        self.ask_close(deadline)?.await.map_err(|_| WorkerError::Closed)
    }

    /// Whether the worker goes on although the guard is dropped.
    fn outlives_guard(&self) -> bool {
        self.producer.outlives_guard()
    }

    /// An error if this thread or process must not wait for delivery. To be called before anything else: in a
    /// forked process, any lock may be held for ever by a thread of the parent.
    ///
    /// A future may be created in one thread and awaited in another: it calls this at its first poll.
    fn may_wait(&self) -> Result<(), WorkerError> {
        if self.producer.is_forked() {
            return Err(WorkerError::Forked);
        }
        if is_delivery_thread() { Err(WorkerError::DeliveryThread) } else { Ok(()) }
    }

    fn send(&self, control: Control) -> Result<(), WorkerError> {
        self.try_send(control).map_err(|(error, _)| error)
    }

    /// As [`send`](Self::send), and gives back what was not sent.
    fn try_send(&self, control: Control) -> Result<(), (WorkerError, Box<Control>)> {
        if self.producer.is_forked() {
            return Err((WorkerError::Forked, Box::new(control)));
        }
        self.producer.control(control).map_err(|control| match self.producer.is_closed() {
            true => (WorkerError::Closed, control),
            false => (WorkerError::Busy, control),
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.stats())
    }
}

/// How long a call is tried.
const CALL_PATIENCE: Duration = Duration::from_secs(120);

/// The end of an activity that failed.
fn failure(text: &str) -> Completion {
    Completion::new().message(text).failed()
}

/// An activity in a report. It contains no secret.
fn named(portal: Option<&PortalId>, event_token: &EventToken) -> String {
    match portal {
        Some(portal) => format!("{portal}: {event_token}"),
        None => event_token.to_string(),
    }
}

/// The deadline of a wait that begins now. "For ever" is a year.
fn after(timeout: Duration) -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a deadline counts from the call")]
    let now = Instant::now();
    now + timeout.min(Duration::from_secs(365 * 86_400))
}
