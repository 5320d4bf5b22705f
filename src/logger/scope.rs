//! Scopes: records that are logged inside of a scope belong to its event token.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use crate::handle::Activity;
use crate::line::{EventToken, PortalId, Tag};
use crate::queue::{Producer, WeakProducer};

/// The log to which the records of a scope belong: an event token, and the portal if the app has many. It is
/// made from an [`EventToken`], or from an [`Activity`], which knows both.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tracing_bizproc::logger::{LogScope, with_event_token};
/// use tracing_bizproc::{EventToken, PortalId};
///
/// let event_token = EventToken::parse("5e4a77.12345678|A1|7.c0ffee")?;
/// let scope = LogScope::from(&event_token).on(&PortalId::from("a223c6b3710f85df22e9377d6c4f7553"));
/// with_event_token(scope, || log::info!("Card charged"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LogScope {
    /// `None`: the activity has no log.
    event_token: Option<EventToken>,
    portal: Option<PortalId>,
}

impl LogScope {
    /// The same on this portal: its `member_id`. Default: the portal of the webhook, or the app's
    /// [default portal](crate::auth::OAuth::default_portal).
    #[must_use]
    pub fn on(self, portal: &PortalId) -> Self {
        LogScope { portal: Some(portal.clone()), ..self }
    }
}

impl From<&EventToken> for LogScope {
    fn from(event_token: &EventToken) -> Self {
        LogScope { event_token: Some(event_token.clone()), portal: None }
    }
}

impl From<&Activity> for LogScope {
    /// Nothing is sent for an activity [without a subscription](crate::app::VerifiedActivity::can_log). The
    /// worker reports this, once for each code of an activity.
    fn from(activity: &Activity) -> Self {
        let event_token = activity.token_to_log().cloned();
        LogScope { event_token, portal: Some(activity.portal().clone()) }
    }
}

impl fmt::Debug for LogScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogScope")
            .field("event_token", &self.event_token)
            .field("portal", &self.portal)
            .finish()
    }
}

/// Runs `work`. The [`BizprocLogger`](super::BizprocLogger) of the process writes its records of the `log`
/// crate, on this thread, to the log of this event token. The innermost scope is used.
///
/// Threads and tasks that are started inside are not in the scope: they need their own scope.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use tracing_bizproc::EventToken;
/// # use tracing_bizproc::logger::with_event_token;
/// let event_token = EventToken::parse("5e4a77.12345678|A1|7.c0ffee")?;
/// let charged = with_event_token(&event_token, || {
///     log::info!("Card charged");
///     99.5
/// });
/// # assert_eq!(charged, 99.5);
/// # Ok(()) }
/// ```
pub fn with_event_token<R>(scope: impl Into<LogScope>, work: impl FnOnce() -> R) -> R {
    let scope = Arc::new(Scope::new(scope.into()));
    let _entered = Entered::new(&scope);
    work()
}

/// As [`with_event_token`], for futures: the scope is entered at each poll.
///
/// ```
/// # async fn handler(event_token: tracing_bizproc::EventToken) {
/// use tracing_bizproc::logger::WithEventToken;
///
/// async {
///     log::info!("Card charged");
/// }
/// .with_event_token(&event_token)
/// .await;
/// # }
/// ```
pub trait WithEventToken: Future + Sized {
    /// Runs this future in a scope: its records go to the log of this event token.
    fn with_event_token(self, scope: impl Into<LogScope>) -> Scoped<Self> {
        let scope = Arc::new(Scope::new(scope.into()));
        Scoped { future: Some(Box::pin(self)), scope }
    }
}

impl<F: Future> WithEventToken for F {}

/// A future in a scope: see [`WithEventToken`].
///
/// ```
/// use log::info;
/// use tracing_bizproc::EventToken;
/// use tracing_bizproc::logger::{Scoped, WithEventToken};
///
/// fn work(event_token: &EventToken) -> Scoped<impl Future<Output = ()> + use<>> {
///     async { info!("Card charged") }.with_event_token(event_token)
/// }
/// # drop(work);
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Scoped<F> {
    /// `None` after it was dropped. The drop also runs inside of the scope.
    future: Option<Pin<Box<F>>>,
    scope: Arc<Scope>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(&self.scope.clone());
        match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            // Only the drop takes it, and a dropped future cannot be polled.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        let _entered = Entered::new(&self.scope);
        drop(self.future.take());
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").field("scope", &self.scope.whose).finish_non_exhaustive()
    }
}

/// An open scope. It is closed when its work ends.
pub(super) struct Scope {
    whose: LogScope,
    /// Created with the first record.
    issued: OnceLock<Issued>,
}

struct Issued {
    tag: Arc<Tag>,
    owner: &'static WeakProducer,
}

impl Scope {
    fn new(whose: LogScope) -> Scope {
        Scope { whose, issued: OnceLock::new() }
    }

    /// The tag for records of this scope, if it has a log.
    pub(super) fn tag(
        &self,
        producer: &Producer,
        owner: &'static WeakProducer,
    ) -> Option<Arc<Tag>> {
        let event_token = self.whose.event_token.as_ref()?;
        let tag = || producer.tag(event_token.clone(), self.whose.portal.clone(), 0);
        let issued = self.issued.get_or_init(|| Issued { tag: tag(), owner });
        // If two loggers wrap each other, each has its own queue.
        Some(if ptr::eq(issued.owner, owner) { issued.tag.clone() } else { tag() })
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(Issued { tag, owner }) = self.issued.get() {
            if let Some(ended) = tag.ended() {
                owner.span_closed(ended);
            }
        }
    }
}

thread_local! {
    static CURRENT: Cell<Option<Arc<Scope>>> = const { Cell::new(None) };
}

/// The current scope of this thread.
pub(super) fn current() -> Option<Arc<Scope>> {
    CURRENT
        .try_with(|current| {
            let scope = current.take();
            current.set(scope.clone());
            scope
        })
        .ok()
        .flatten()
}

/// Keeps this thread in a scope until it is dropped, also if the work panics.
struct Entered {
    around: Option<Arc<Scope>>,
}

impl Entered {
    fn new(scope: &Arc<Scope>) -> Entered {
        let scope = Some(Arc::clone(scope));
        Entered { around: CURRENT.try_with(|current| current.replace(scope)).ok().flatten() }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let around = self.around.take();
        let left = CURRENT.try_with(|current| current.replace(around));
        // After the borrow, because dropping the last reference to a scope sends a message to the worker.
        drop(left);
    }
}
