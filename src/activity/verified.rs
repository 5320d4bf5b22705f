//! A request that a handler may trust.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::Span;

use super::input::Input;
use crate::line::{EventToken, Offered, PortalId};
use crate::request::Property;
use crate::transport::auth::Tokens;

/// A handler's request that comes from the portal that it names.
///
/// ```
/// use tracing_bizproc::app::VerifiedActivity;
///
/// fn describe(verified: &VerifiedActivity) -> String {
///     let [_, entity, id] = verified.document_id();
///     format!("{} of {entity} {id}, on {}", verified.code(), verified.portal())
/// }
/// # drop(describe);
/// ```
#[derive(Clone)]
pub struct VerifiedActivity {
    portal: PortalId,
    tokens: Option<Tokens>,
    parts: Parts,
    /// Whether a span of it was hidden from the layer since the last check.
    hidden: Arc<AtomicBool>,
}

/// The fields without credentials.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) event_token: EventToken,
    pub(super) workflow_id: String,
    pub(super) code: String,
    pub(super) document_id: [String; 3],
    pub(super) document_type: [String; 3],
    pub(super) properties: Property,
    pub(super) use_subscription: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) sent_at: Option<SystemTime>,
    pub(super) user_id: Option<String>,
}

impl VerifiedActivity {
    pub(super) fn new(portal: PortalId, tokens: Option<Tokens>, parts: Parts) -> Self {
        VerifiedActivity { portal, tokens, parts, hidden: Arc::default() }
    }

    /// Whether a span of it was hidden from the layer since the last call.
    pub(crate) fn was_hidden(&self) -> bool {
        self.hidden.swap(false, Relaxed)
    }

    /// The span of this activity: events inside it appear in the workflow's log.
    ///
    /// Its level is INFO, its target `tracing_bizproc::activity`. If a filter for the whole subscriber,
    /// such as an `EnvFilter` beside the layers, hides this span, its events are not sent. Let it pass:
    /// `my_app=info,tracing_bizproc=info`. (A filter of another layer, `fmt::layer().with_filter(..)`,
    /// does not matter.) If the span is hidden, a warning says so, once for each code of an activity. If
    /// the filter hides the warning, too, and the activity was passed to
    /// [`Handle::activity`](crate::Handle::activity), the worker reports it, on standard error if
    /// necessary, and counts it as [unseen](crate::stats::Snapshot::unseen).
    ///
    /// You can also use your own span, for example with `#[instrument]`, with the fields
    /// `event_token = activity.event_token().as_field()` and `portal = activity.portal().as_str()`.
    ///
    /// Without a [subscription](Self::can_log), the span has no event token, so its events are not sent.
    /// A warning says so, once for each code of an activity.
    pub fn span(&self) -> Span {
        let Parts { event_token, workflow_id, code, document_id, .. } = &self.parts;
        let (portal, document) = (self.portal.as_str(), document_id[2].as_str());
        if self.can_log() {
            let offered = Offered::new(event_token);
            let span = tracing::info_span!(
                target: TARGET,
                "activity",
                event_token = offered.as_field(),
                portal,
                workflow_id,
                code,
                document
            );
            if !offered.is_taken() {
                self.hidden.store(true, Relaxed);
                if HIDDEN.is_news(code) {
                    tracing::warn!(
                        target: "tracing_bizproc",
                        parent: None,
                        code,
                        "a filter hides the activity's span, so nothing inside it is sent: let \
                         `tracing_bizproc=info` through"
                    );
                }
            }
            span
        } else {
            if NO_LOG.is_news(code) {
                // Otherwise an outer tagged span would take these events into its log.
                tracing::warn!(
                    target: "tracing_bizproc",
                    parent: None,
                    code,
                    "the portal does not wait for this activity, so it has no log to write to: \
                     register it with USE_SUBSCRIPTION = Y, or ask the template's author to \
                     switch waiting on"
                );
            }
            tracing::info_span!(target: TARGET, "activity", portal, workflow_id, code, document)
        }
    }

    /// Whether it must still be reported that activities of this code have no log.
    #[cfg(feature = "log")]
    pub(crate) fn has_no_log_is_news(&self) -> bool {
        NO_LOG.is_news(&self.parts.code)
    }

    /// Whether the activity waits for the app, so that its log is open (`use_subscription` is Y). If it
    /// does not wait, the portal accepts lines, answers `true`, and throws them away (server behaviour):
    /// set `USE_SUBSCRIPTION` when the activity is registered.
    pub fn can_log(&self) -> bool {
        self.parts.use_subscription
    }

    /// The portal: its `member_id`.
    pub fn portal(&self) -> &PortalId {
        &self.portal
    }

    /// The key to the activity's log and to its completion.
    pub fn event_token(&self) -> &EventToken {
        &self.parts.event_token
    }

    /// The tokens that came with the request; `None` if it had none.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// The workflow's id.
    pub fn workflow_id(&self) -> &str {
        &self.parts.workflow_id
    }

    /// The activity's code, as the app registered it.
    pub fn code(&self) -> &str {
        &self.parts.code
    }

    /// The document: its module, its entity and its id.
    pub fn document_id(&self) -> [&str; 3] {
        self.parts.document_id.each_ref().map(String::as_str)
    }

    /// The document's type: its module, its entity and its type.
    pub fn document_type(&self) -> [&str; 3] {
        self.parts.document_type.each_ref().map(String::as_str)
    }

    /// The activity's properties, as the template's author set them.
    pub fn properties(&self) -> &Property {
        &self.parts.properties
    }

    /// The property of this name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.parts.properties.get(name)
    }

    /// The property of this name, for conversion to the type that it should have.
    pub fn input<'a>(&'a self, name: &'a str) -> Input<'a> {
        Input::new(name, self.property(name))
    }

    /// The user on whose behalf the tokens work.
    pub fn user_id(&self) -> Option<&str> {
        self.parts.user_id.as_deref()
    }

    /// When the portal sent the request (`ts`).
    pub fn sent_at(&self) -> Option<SystemTime> {
        self.parts.sent_at
    }

    /// When the portal stops waiting (`ts` and `timeout_duration`). It throws later lines away. `None`: it
    /// waits without limit.
    pub fn waits_until(&self) -> Option<SystemTime> {
        Some(self.parts.sent_at? + self.parts.timeout?)
    }
}

/// The target of the spans. A filter for `tracing_bizproc` matches this target and the target of the
/// reports. The layer ignores events with exactly the target `tracing_bizproc`.
const TARGET: &str = "tracing_bizproc::activity";

/// Activities for which it was reported that there is no log.
static NO_LOG: Said = Said(Mutex::new(BTreeSet::new()));
/// Activities for which it was reported that their span is hidden.
static HIDDEN: Said = Said(Mutex::new(BTreeSet::new()));

/// Codes of activities for which something was reported.
struct Said(Mutex<BTreeSet<String>>);

impl Said {
    /// Whether it was not reported for this code yet. Marks it as reported.
    fn is_news(&self, code: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An app has a handful of activities. The limit is for the case that requests bring many codes.
        said.len() < 100 && said.insert(code.to_owned())
    }
}

impl fmt::Debug for VerifiedActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedActivity")
            .field("portal", &self.portal.as_str())
            .field("code", &self.parts.code)
            .field("event_token", &self.parts.event_token)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}
