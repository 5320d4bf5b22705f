//! A handler's request: what a portal posts to the app when an activity of the app is reached.
//!
//! Parsed, it is inert: anybody can post anything to a handler's address. Only what has been
//! [verified](ActivityRequest::verify) has a span, tokens and an event token.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use subtle::ConstantTimeEq;
use tracing::Span;

use self::property::{Array, Node};
use crate::error::{ActivityError, VerifyError};
use crate::line::{EventToken, PortalId};
use crate::transport::auth::endpoint::{Endpoint, Hosts};
use crate::transport::auth::tokens::Tokens;

mod form;
mod json;
mod property;

pub use self::property::Property;

/// What a portal posts when an activity of the app is reached, parsed and not yet believed.
///
/// ```
/// # use tracing_bizproc::{ActivityRequest, Hosts, Installation};
/// # fn handler(content_type: Option<&str>, body: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let request = ActivityRequest::parse(content_type, body)?;
/// // What the app stored when it was installed on that portal.
/// let installation = Installation::new("application token", Hosts::from(["acme.bitrix24.com"]));
/// let activity = request.verify(&installation)?;
/// activity.span().in_scope(|| tracing::info!("order received"));
/// # Ok(()) }
/// ```
pub struct ActivityRequest {
    portal: PortalId,
    application_token: String,
    endpoint: String,
    tokens: Option<(String, String, u64)>,
    activity: Activity,
}

/// What an installation of the app on one portal is known by: the app stores it when it is
/// installed (`ONAPPINSTALL`).
///
/// Debug shows the hosts only.
#[derive(Clone)]
pub struct Installation {
    application_token: String,
    hosts: Hosts,
}

/// A handler's request that comes from the portal that it names.
#[derive(Clone)]
pub struct VerifiedActivity {
    portal: PortalId,
    tokens: Option<Tokens>,
    activity: Activity,
}

/// The parts that say nothing of who sent them.
#[derive(Clone)]
struct Activity {
    event_token: EventToken,
    workflow_id: String,
    code: String,
    document_id: [String; 3],
    document_type: [String; 3],
    properties: Property,
    use_subscription: bool,
    timeout: Option<Duration>,
    sent_at: Option<SystemTime>,
    user_id: Option<String>,
}

/// What a request may hold.
#[derive(Default)]
struct Limits {
    fields: std::cell::Cell<usize>,
}

impl Limits {
    /// Real ones have 2 to 20 KiB.
    const BYTES: usize = 1 << 20;
    /// Keys within keys. Real ones have 3.
    const DEPTH: usize = 16;
    /// Values. Real ones have 30 to 100; PHP takes 1,000 by default.
    const FIELDS: usize = 4_096;

    fn count(&self) -> Result<(), ActivityError> {
        self.fields.set(self.fields.get() + 1);
        if self.fields.get() > Limits::FIELDS { Err(ActivityError::TooMany) } else { Ok(()) }
    }
}

impl ActivityRequest {
    /// Most bytes of a body that are read: a handler need not take in more.
    pub const MAX_BYTES: usize = Limits::BYTES;

    /// Parses a body by its content type: a form (also without a type), or JSON.
    ///
    /// Unknown fields are passed over.
    ///
    /// # Errors
    /// When the body is too large, is neither, or lacks what every such request has.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, ActivityError> {
        if body.len() > Limits::BYTES {
            return Err(ActivityError::TooLarge);
        }
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let fields = match media.to_ascii_lowercase().as_str() {
            "" | "application/x-www-form-urlencoded" => form::parse(body)?,
            "application/json" => json::parse(body)?,
            _ => return Err(ActivityError::ContentType),
        };
        ActivityRequest::of(fields)
    }

    /// The portal that the request claims to come from: its `member_id`. For looking up the
    /// installation, and for nothing else.
    pub fn claimed_portal(&self) -> &PortalId {
        &self.portal
    }

    /// Believes the request, if it knows the installation's application token (compared in
    /// constant time) and names a host that is on the installation's list.
    ///
    /// # Errors
    /// When it does not. Nothing of the request may be used then.
    pub fn verify(self, installation: &Installation) -> Result<VerifiedActivity, VerifyError> {
        let expected = installation.application_token.as_bytes();
        let given = self.application_token.as_bytes();
        // An empty token would be known to everybody.
        if expected.is_empty() || !bool::from(expected.ct_eq(given)) {
            return Err(VerifyError::ApplicationToken);
        }
        let endpoint = Endpoint::parse(&self.endpoint)?;
        if !installation.hosts.allow(&endpoint.host()) {
            return Err(VerifyError::Host);
        }
        let tokens = match self.tokens {
            Some((access, refresh, expires)) => Some(
                Tokens::new(access, refresh, endpoint.as_str())?
                    .expires_at(UNIX_EPOCH + Duration::from_secs(expires)),
            ),
            None => None,
        };
        Ok(VerifiedActivity { portal: self.portal, tokens, activity: self.activity })
    }

    fn of(mut fields: Array) -> Result<Self, ActivityError> {
        let mut auth = match fields.take("auth") {
            Some(Node::Array(auth)) => auth,
            Some(Node::Text(_)) => return Err(ActivityError::WrongType { field: "auth" }),
            None => return Err(ActivityError::Missing { field: "auth" }),
        };
        let event_token = required(&mut fields, "event_token")?;
        let event_token = EventToken::parse(&event_token)
            .map_err(|_| ActivityError::Invalid { field: "event_token" })?;
        let member_id = required(&mut auth, "member_id")?;
        let application_token = required(&mut auth, "application_token")?;
        let endpoint = match text(&mut auth, "client_endpoint")? {
            Some(endpoint) => endpoint,
            // A host, as it is: the endpoint is checked when the request is verified.
            None => format!("https://{}/rest/", required(&mut auth, "domain")?),
        };
        let expires = number(&mut auth, "expires")?.unwrap_or(0);
        let tokens = match (text(&mut auth, "access_token")?, text(&mut auth, "refresh_token")?) {
            (Some(access), Some(refresh)) => Some((access, refresh, expires)),
            _ => None,
        };
        let timeout = number(&mut fields, "timeout_duration")?.filter(|&seconds| seconds > 0);
        let sent_at = number(&mut fields, "ts")?;
        Ok(ActivityRequest {
            portal: PortalId::from(member_id),
            application_token,
            endpoint,
            tokens,
            activity: Activity {
                event_token,
                workflow_id: text(&mut fields, "workflow_id")?.unwrap_or_default(),
                code: text(&mut fields, "code")?.unwrap_or_default(),
                document_id: triple(&mut fields, "document_id")?,
                document_type: triple(&mut fields, "document_type")?,
                properties: match fields.take("properties") {
                    Some(node @ Node::Array(_)) => node.into(),
                    // PHP writes an empty array as nothing, and some clients as an empty text.
                    Some(Node::Text(text)) if !text.is_empty() => {
                        return Err(ActivityError::WrongType { field: "properties" });
                    }
                    _ => Property::List(Vec::new()),
                },
                use_subscription: text(&mut fields, "use_subscription")?.as_deref() == Some("Y"),
                timeout: timeout.map(Duration::from_secs),
                sent_at: sent_at.map(|ts| UNIX_EPOCH + Duration::from_secs(ts)),
                user_id: text(&mut auth, "user_id")?,
            },
        })
    }
}

/// A text that must be there.
fn required(fields: &mut Array, field: &'static str) -> Result<String, ActivityError> {
    text(fields, field)?.filter(|text| !text.is_empty()).ok_or(ActivityError::Missing { field })
}

/// A text that may be there.
fn text(fields: &mut Array, field: &'static str) -> Result<Option<String>, ActivityError> {
    match fields.take(field) {
        Some(Node::Text(text)) => Ok(Some(text)),
        Some(Node::Array(_)) => Err(ActivityError::WrongType { field }),
        None => Ok(None),
    }
}

/// Seconds that may be there. An empty text is none.
fn number(fields: &mut Array, field: &'static str) -> Result<Option<u64>, ActivityError> {
    let Some(text) = text(fields, field)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse() {
        Ok(number) if number <= LATEST => Ok(Some(number)),
        _ => Err(ActivityError::Invalid { field }),
    }
}

/// The year 9999: what is added to a time stays within what a time can be.
const LATEST: u64 = 253_402_300_799;

/// Module, entity, and the document or its type.
fn triple(fields: &mut Array, field: &'static str) -> Result<[String; 3], ActivityError> {
    let mut parts = match fields.take(field) {
        Some(Node::Array(parts)) => parts,
        Some(Node::Text(_)) => return Err(ActivityError::WrongType { field }),
        None => return Ok(Default::default()),
    };
    let mut triple = <[String; 3]>::default();
    for (part, key) in triple.iter_mut().zip(["0", "1", "2"]) {
        match parts.take(key) {
            Some(Node::Text(text)) => *part = text,
            Some(Node::Array(_)) => return Err(ActivityError::WrongType { field }),
            None => {}
        }
    }
    Ok(triple)
}

impl Installation {
    /// The installation's `application_token`, and the hosts at which its portal may be called.
    pub fn new(application_token: impl Into<String>, hosts: Hosts) -> Self {
        Installation { application_token: application_token.into(), hosts }
    }
}

impl VerifiedActivity {
    /// The span of this activity: what is logged inside it appears in the workflow's log.
    ///
    /// Without a [subscription](Self::can_log) the span carries no event token, so nothing that is
    /// logged inside it is sent.
    pub fn span(&self) -> Span {
        let Activity { event_token, workflow_id, code, document_id, .. } = &self.activity;
        let (portal, document) = (self.portal.as_str(), document_id[2].as_str());
        if self.can_log() {
            tracing::info_span!(
                "activity",
                event_token = event_token.tag(),
                portal,
                workflow_id,
                code,
                document
            )
        } else {
            tracing::info_span!("activity", portal, workflow_id, code, document)
        }
    }

    /// Whether the activity waits for the app, so that its log is open (`use_subscription` is Y).
    /// Where it does not, the portal takes lines, answers true, and throws them away (server
    /// behaviour): set `USE_SUBSCRIPTION` when the activity is registered.
    pub fn can_log(&self) -> bool {
        self.activity.use_subscription
    }

    /// The portal: its `member_id`.
    pub fn portal(&self) -> &PortalId {
        &self.portal
    }

    /// The key to the activity's log and to its completion.
    pub fn event_token(&self) -> &EventToken {
        &self.activity.event_token
    }

    /// The tokens that came with the request; `None` if it had none.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// The workflow's id.
    pub fn workflow_id(&self) -> &str {
        &self.activity.workflow_id
    }

    /// The activity's code, as the app registered it.
    pub fn code(&self) -> &str {
        &self.activity.code
    }

    /// The document: its module, its entity and its id.
    pub fn document_id(&self) -> [&str; 3] {
        self.activity.document_id.each_ref().map(String::as_str)
    }

    /// The document's type: its module, its entity and its type.
    pub fn document_type(&self) -> [&str; 3] {
        self.activity.document_type.each_ref().map(String::as_str)
    }

    /// The activity's properties, as the template's author set them.
    pub fn properties(&self) -> &Property {
        &self.activity.properties
    }

    /// The property of this name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.activity.properties.get(name)
    }

    /// The user on whose behalf the tokens work.
    pub fn user_id(&self) -> Option<&str> {
        self.activity.user_id.as_deref()
    }

    /// When the portal sent the request (`ts`).
    pub fn sent_at(&self) -> Option<SystemTime> {
        self.activity.sent_at
    }

    /// When the portal stops waiting (`ts` and `timeout_duration`): lines that come later are
    /// thrown away. `None` if it waits as long as it takes.
    pub fn waits_until(&self) -> Option<SystemTime> {
        Some(self.activity.sent_at? + self.activity.timeout?)
    }
}

impl fmt::Debug for ActivityRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityRequest")
            .field("portal", &self.portal.as_str())
            .field("code", &self.activity.code)
            .field("event_token", &self.activity.event_token)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifiedActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedActivity")
            .field("portal", &self.portal.as_str())
            .field("code", &self.activity.code)
            .field("event_token", &self.activity.event_token)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
