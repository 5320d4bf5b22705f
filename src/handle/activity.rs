//! An open activity: what a handler works with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Handle, after, failure};
use crate::activity::VerifiedActivity;
use crate::completion::Completion;
use crate::error::{CompleteError, WorkerError};
#[cfg(feature = "log")]
use crate::line::EventToken;
use crate::queue::{Accept, Control, Expect};
use crate::registration::Registration;
use crate::stats::{FlushReport, Hidden};
use crate::transport::Arrived;

/// An open activity: its span to log in, and methods that end it.
///
/// [`Handle::activity`] makes it from a [`VerifiedActivity`]. Move it into the task that does the work,
/// because a handler should answer its portal at once. End it on every code path: the workflow waits for
/// [`complete`](Activity::complete) or [`fail`](Activity::fail). An activity that is dropped without an
/// end is [counted](crate::stats::Snapshot::abandoned) and reported.
///
/// ```
/// # use tracing_bizproc::app::VerifiedActivity;
/// # use tracing_bizproc::error::CompleteError;
/// # use tracing_bizproc::{Completion, Handle};
/// use tracing::{Instrument, info};
///
/// async fn work(handle: Handle, verified: VerifiedActivity) -> Result<(), CompleteError> {
///     let Some(activity) = handle.activity(verified).first() else { return Ok(()) };
///     let order = activity.property("Order").and_then(|order| order.as_str()).unwrap_or("none");
///     async { info!(order, "Order received") }.instrument(activity.span()).await;
///     activity.complete(Completion::new().value("status", "shipped")).await?;
///     Ok(())
/// }
/// ```
pub struct Activity {
    handle: Handle,
    pub(super) verified: VerifiedActivity,
    /// Messages for which the worker's queue had no room yet.
    untold: Mutex<Vec<Control>>,
    /// How it was registered, if this is known.
    registration: Option<Arc<Registration>>,
}

impl Activity {
    pub(super) fn begin(
        handle: Handle,
        verified: VerifiedActivity,
        registration: Option<Arc<Registration>>,
    ) -> Self {
        let mut untold = Vec::new();
        if let Some(tokens) = verified.tokens() {
            let portal = verified.portal().clone();
            let tokens = Arrived::WithRequest(tokens.clone());
            untold.push(Control::Accept(Accept { portal, tokens }));
        }
        #[expect(clippy::disallowed_methods, reason = "the portal's times are on this clock")]
        let now = SystemTime::now();
        if let Some(left) = time_left(&verified, now) {
            untold.push(Control::Expect(Expect {
                event_token: verified.event_token().clone(),
                portal: Some(verified.portal().clone()),
                waits_until: after(left),
            }));
        }
        let untold = Mutex::new(untold);
        let activity = Activity { handle, verified, untold, registration };
        activity.note_hidden();
        activity.tell();
        activity
    }

    /// The span of this activity: events inside it appear in the workflow's log, if the filter for the
    /// whole subscriber lets the span pass: `my_app=info,tracing_bizproc=info`. See
    /// [`VerifiedActivity::span`].
    pub fn span(&self) -> tracing::Span {
        let span = self.verified.span();
        self.note_hidden();
        span
    }

    /// The token to log to, if the portal waits for the activity. Otherwise the worker reports why not.
    #[cfg(feature = "log")]
    pub(crate) fn token_to_log(&self) -> Option<&EventToken> {
        if self.verified.can_log() {
            return Some(self.verified.event_token());
        }
        if self.verified.has_no_log_is_news() {
            // If the queue is full, this report is skipped: lost lines are reported anyway.
            drop(self.handle.try_send(Control::NoLog(self.verified.code().to_owned())));
        }
        None
    }

    fn note_hidden(&self) {
        if self.verified.was_hidden() {
            self.handle.producer.note_hidden(Hidden::Activity);
        }
    }

    /// Sends what was logged before this call, without waiting for the schedule. Returns when it is
    /// acknowledged, late or lost, or after `timeout`. See [`Handle::flush_token`].
    ///
    /// # Errors
    /// When there is no worker. See [`WorkerError`].
    pub async fn flush(&self, timeout: Duration) -> Result<FlushReport, WorkerError> {
        self.tell();
        self.handle.flush_token(self.verified.event_token(), timeout).await
    }

    /// Ends the activity with `bizproc.event.send`, after its lines. It waits for the lines at most as
    /// long as the timeout of the completion (10 s by default), and then ends the activity in any case.
    /// The workflow goes on with the return values. Lines that come later are counted as late, and not
    /// sent.
    ///
    /// If the activity has [no subscription](VerifiedActivity::can_log), the workflow has already gone
    /// on, and nothing is sent. If you drop the future, the activity is still ended. What `Ok` means, and
    /// which completions share requests: see [`Handle::complete`](crate::Handle::complete).
    ///
    /// # Errors
    /// When the portal refuses, or cannot be reached within two minutes after the timeout: then you may call
    /// it again. When the activity has been ended already: [`CompleteError::AlreadyCompleted`]. When a return
    /// value does not match the [registration](crate::app::Registration): then nothing is sent.
    pub async fn complete(&self, completion: Completion) -> Result<FlushReport, CompleteError> {
        self.check(&completion)?;
        if !self.verified.can_log() {
            return Ok(FlushReport::default());
        }
        self.tell();
        let (portal, event_token) = (self.verified.portal(), self.verified.event_token());
        self.handle.complete_on(portal, event_token, completion).await
    }

    /// Ends the activity as [`complete`](Self::complete) does, with a last line that says what went
    /// wrong, and without return values. Bitrix24 has no failed activities: if the template should take
    /// another branch, use a return value of [`complete`](Self::complete).
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn fail(
        &self,
        message: impl Into<String> + Send,
    ) -> Result<FlushReport, CompleteError> {
        self.complete(failure(&message.into())).await
    }

    /// Whether the values match the registration. The portal would drop others.
    fn check(&self, completion: &Completion) -> Result<(), CompleteError> {
        let Some(registration) = &self.registration else { return Ok(()) };
        for (name, value) in &completion.values {
            let Some(declared) = registration.returned(name) else {
                return Err(CompleteError::Undeclared { name: name.clone() });
            };
            if let Some(expected) = declared.mismatch(value) {
                return Err(CompleteError::WrongKind { name: name.clone(), expected });
            }
        }
        Ok(())
    }

    /// Tells the worker what it has to know before lines come.
    fn tell(&self) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        // If the queue has no room, they are sent with the next call: the handler must not wait.
        while let Some(control) = untold.pop() {
            if let Err((_, control)) = self.handle.try_send(control) {
                untold.push(*control);
                return;
            }
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        let event_token = self.verified.event_token().clone();
        if !self.handle.activities.give_up(&event_token) {
            return;
        }
        self.handle.stats.abandoned();
        let portal = self.verified.portal().clone();
        // It is counted. Without a worker there is no report.
        drop(self.handle.try_send(Control::Abandoned { event_token, portal }));
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Activity").field(&self.verified).finish()
    }
}

/// How much longer the portal waits. The times are those of the portal's clock, so if our clock is behind,
/// the result is limited to the whole timeout.
fn time_left(verified: &VerifiedActivity, now: SystemTime) -> Option<Duration> {
    if !verified.can_log() {
        return None;
    }
    let (sent_at, until) = (verified.sent_at()?, verified.waits_until()?);
    let given = until.duration_since(sent_at).unwrap_or_default();
    Some(until.duration_since(now).unwrap_or_default().min(given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::ActivityRequest;
    use crate::installation::Installation;
    use crate::transport::auth::Hosts;
    use std::time::UNIX_EPOCH;

    fn verified(more: &str) -> VerifiedActivity {
        let body = format!(
            "event_token=5e.1|A1|3.ab&auth[member_id]=m&auth[application_token]=t0ken&\
             auth[client_endpoint]=https://a.example/rest/&ts=1000&{more}"
        );
        let installation = Installation::new("t0ken", Hosts::from(["a.example"]));
        ActivityRequest::parse(None, body.as_bytes()).unwrap().verify(&installation).unwrap()
    }

    #[test]
    fn the_time_left_is_never_longer_than_the_timeout_of_the_portal() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let waits = verified("use_subscription=Y&timeout_duration=60");
        for (now, left) in [(1_000, 60), (1_050, 10), (1_060, 0), (9_999, 0), (500, 60)] {
            assert_eq!(time_left(&waits, at(now)), Some(Duration::from_secs(left)), "{now}");
        }
        for without in ["use_subscription=Y", "use_subscription=N&timeout_duration=60"] {
            assert_eq!(time_left(&verified(without), at(1_000)), None, "{without}");
        }
    }
}
