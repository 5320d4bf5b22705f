//! The request, from bytes to belief.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use subtle::ConstantTimeEq;

use super::property::{Array, Node, Property};
use super::verified::{Parts, VerifiedActivity};
use super::{form, json};
use crate::error::{ActivityError, EndpointError, VerifyError};
use crate::line::{EventToken, PortalId};
use crate::transport::auth::{Endpoint, Hosts, Tokens};

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
    parts: Parts,
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
        let endpoint = Endpoint::parse(&self.endpoint).map_err(|error| match error {
            EndpointError::Insecure => VerifyError::Insecure,
            // There is no host on any list.
            EndpointError::NotAUrl | EndpointError::UserInfo => VerifyError::Host,
        })?;
        if !installation.hosts.allow(&endpoint.host()) {
            return Err(VerifyError::Host);
        }
        let tokens = self
            .tokens
            .map(|(access, refresh, expires)| Tokens::of(access, refresh, endpoint, expires));
        Ok(VerifiedActivity::new(self.portal, tokens, self.parts))
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
            parts: Parts {
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

impl Installation {
    /// The installation's `application_token`, and the hosts at which its portal may be called.
    pub fn new(application_token: impl Into<String>, hosts: Hosts) -> Self {
        Installation { application_token: application_token.into(), hosts }
    }
}

impl fmt::Debug for ActivityRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityRequest")
            .field("portal", &self.portal.as_str())
            .field("code", &self.parts.code)
            .field("event_token", &self.parts.event_token)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// What a request may hold.
#[derive(Default)]
pub(super) struct Limits {
    fields: std::cell::Cell<usize>,
}

impl Limits {
    /// Real ones have 2 to 20 KiB.
    pub(super) const BYTES: usize = 1 << 20;
    /// Keys within keys. Real ones have 3.
    pub(super) const DEPTH: usize = 16;
    /// Values. Real ones have 30 to 100; PHP takes 1,000 by default.
    pub(super) const FIELDS: usize = 4_096;

    pub(super) fn count(&self) -> Result<(), ActivityError> {
        self.fields.set(self.fields.get() + 1);
        if self.fields.get() > Limits::FIELDS { Err(ActivityError::TooMany) } else { Ok(()) }
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
