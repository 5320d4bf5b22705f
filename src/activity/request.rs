//! The request: parsed, and then verified.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use super::verified::{Parts, VerifiedActivity};
use crate::error::{RequestError, VerifyError};
use crate::installation::{Claim, Installation};
use crate::line::{EventToken, PortalId};
use crate::request::{self, Array, Bounds, Node, Property, required, seconds, text};
use crate::transport::auth::Endpoint;

/// What a portal posts when a workflow reaches an activity of the app: parsed, and not verified yet.
///
/// ```
/// # use tracing_bizproc::app::{ActivityRequest, Installation};
/// # use tracing_bizproc::auth::Hosts;
/// # fn handler(content_type: Option<&str>, body: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let request = ActivityRequest::parse(content_type, body)?;
/// // What the app stored when it was installed on that portal.
/// let installation = Installation::new("application token", Hosts::from(["acme.bitrix24.com"]));
/// let activity = request.verify(&installation)?;
/// activity.span().in_scope(|| tracing::info!("order received"));
/// # Ok(()) }
/// ```
pub struct ActivityRequest {
    claim: Claim,
    parts: Parts,
}

impl ActivityRequest {
    /// Largest body that is read. A handler does not have to read more.
    pub const MAX_BYTES: usize = Bounds::BYTES;

    /// Parses a body by its content type: a form (also without a type), or JSON.
    ///
    /// Unknown fields are ignored.
    ///
    /// # Errors
    /// When the body is too large, is neither a form nor JSON, or lacks a field that every such request
    /// has.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, RequestError> {
        ActivityRequest::of(request::read(content_type, body)?)
    }

    /// The portal that the request claims to come from: its `member_id`. Use it only to look up the
    /// installation.
    pub fn claimed_portal(&self) -> &PortalId {
        &self.claim.portal
    }

    /// Verifies the request: it has to have the application token of the installation (compared in
    /// constant time), and a host that is on the list of the installation.
    ///
    /// A portal that was renamed names another host, and is refused here:
    /// [`Installations::activity`](crate::app::Installations::activity) finds out whether it is the same
    /// portal.
    ///
    /// # Errors
    /// When one of them differs. Then do not use anything of the request.
    pub fn verify(self, installation: &Installation) -> Result<VerifiedActivity, VerifyError> {
        let endpoint = self.claim.verify(installation)?;
        Ok(self.believe(endpoint))
    }

    /// What the request says about its sender.
    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The request, verified, of a portal at this address.
    pub(crate) fn believe(self, endpoint: Endpoint) -> VerifiedActivity {
        let tokens = self.claim.tokens(endpoint);
        VerifiedActivity::new(self.claim.portal, tokens, self.parts)
    }

    fn of(mut fields: Array) -> Result<Self, RequestError> {
        let claim = Claim::of(&mut request::array(&mut fields, "auth")?)?;
        let event_token = required(&mut fields, "event_token")?;
        let event_token = EventToken::parse(&event_token)
            .map_err(|_| RequestError::Invalid { field: "event_token" })?;
        let timeout = seconds(&mut fields, "timeout_duration")?.filter(|&seconds| seconds > 0);
        let sent_at = seconds(&mut fields, "ts")?;
        Ok(ActivityRequest {
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
                        return Err(RequestError::WrongType { field: "properties" });
                    }
                    _ => Property::List(Vec::new()),
                },
                use_subscription: text(&mut fields, "use_subscription")?.as_deref() == Some("Y"),
                timeout: timeout.map(Duration::from_secs),
                sent_at: sent_at.map(|ts| UNIX_EPOCH + Duration::from_secs(ts)),
                user_id: claim.user_id.clone(),
            },
            claim,
        })
    }
}

impl fmt::Debug for ActivityRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityRequest")
            .field("portal", &self.claim.portal.as_str())
            .field("code", &self.parts.code)
            .field("event_token", &self.parts.event_token)
            .finish_non_exhaustive()
    }
}

/// Module, entity, and the document or its type.
fn triple(fields: &mut Array, field: &'static str) -> Result<[String; 3], RequestError> {
    let mut parts = match fields.take(field) {
        Some(Node::Array(parts)) => parts,
        Some(Node::Text(_)) => return Err(RequestError::WrongType { field }),
        None => return Ok(Default::default()),
    };
    let mut triple = <[String; 3]>::default();
    for (part, key) in triple.iter_mut().zip(["0", "1", "2"]) {
        match parts.take(key) {
            Some(Node::Text(text)) => *part = text,
            Some(Node::Array(_)) => return Err(RequestError::WrongType { field }),
            None => {}
        }
    }
    Ok(triple)
}
