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
use crate::transport::auth::{Endpoint, Hosts, Tokens};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const SECRETS: [&str; 4] = ["acc3ss", "r3fresh", "appt0ken", "s1gnature"];

    /// A request as a portal writes it.
    fn fields() -> Value {
        json!({
            "workflow_id": "5e4a77.12345678",
            "code": "charge_order",
            "document_id": ["crm", "CCrmDocumentDeal", "DEAL_7"],
            "document_type": ["crm", "CCrmDocumentDeal", "DEAL"],
            "event_token": "5e4a77.12345678|A1_2|3.s1gnature",
            "properties": {"amount": "12.50", "tags": ["new", "дорого"], "to": {"city": "Тула"}},
            "use_subscription": "Y",
            "timeout_duration": "600",
            "ts": "1700000000",
            "something_new": {"a": [1, 2]},
            "auth": {
                "access_token": "acc3ss", "refresh_token": "r3fresh", "expires": "1700003600",
                "expires_in": "3600", "scope": "bizproc", "domain": "acme.bitrix24.com",
                "server_endpoint": "https://oauth.bitrix.info/rest/", "status": "L",
                "client_endpoint": "https://acme.bitrix24.com/rest/",
                "member_id": "a223c6b3710f85df22e9377d6c4f7553", "user_id": "1",
                "application_token": "appt0ken",
            },
        })
    }

    /// `value` as PHP's `http_build_query` writes it.
    fn form(value: &Value) -> String {
        fn write(out: &mut form_urlencoded::Serializer<'_, String>, name: &str, value: &Value) {
            let inside = |key: &str| match name {
                "" => key.to_owned(),
                _ => format!("{name}[{key}]"),
            };
            match value {
                Value::Object(fields) => {
                    fields.iter().for_each(|(key, value)| write(out, &inside(key), value));
                }
                Value::Array(values) => {
                    values.iter().enumerate().for_each(|(index, value)| {
                        write(out, &inside(&index.to_string()), value);
                    });
                }
                Value::String(text) => drop(out.append_pair(name, text)),
                other => drop(out.append_pair(name, &other.to_string())),
            }
        }
        let mut out = form_urlencoded::Serializer::new(String::new());
        write(&mut out, "", value);
        out.finish()
    }

    fn parse(fields: &Value) -> Result<ActivityRequest, ActivityError> {
        let kind = "application/x-www-form-urlencoded; charset=UTF-8";
        ActivityRequest::parse(Some(kind), form(fields).as_bytes())
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut fields = fields();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        fields.pointer_mut(parent).unwrap()[key] = value;
        fields
    }

    fn without(pointer: &str) -> Value {
        let mut fields = fields();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        fields.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        fields
    }

    fn installation() -> Installation {
        Installation::new("appt0ken", Hosts::from(["acme.bitrix24.com"]))
    }

    #[test]
    fn form_and_json_read_alike() {
        let json =
            ActivityRequest::parse(Some("application/json"), fields().to_string().as_bytes());
        for request in [parse(&fields()), json] {
            let request = request.unwrap();
            assert_eq!(request.claimed_portal().as_str(), "a223c6b3710f85df22e9377d6c4f7553");
            let activity = request.verify(&installation()).unwrap();
            assert_eq!(activity.event_token().expose(), "5e4a77.12345678|A1_2|3.s1gnature");
            assert_eq!(activity.workflow_id(), "5e4a77.12345678");
            assert_eq!(activity.code(), "charge_order");
            assert_eq!(activity.document_id(), ["crm", "CCrmDocumentDeal", "DEAL_7"]);
            assert_eq!(activity.document_type(), ["crm", "CCrmDocumentDeal", "DEAL"]);
            assert_eq!(activity.property("amount").unwrap().as_str(), Some("12.50"));
            let tags = activity.property("tags").unwrap();
            assert_eq!(tags.get("1").unwrap().as_str(), Some("дорого"));
            assert_eq!(tags.values().len(), 2);
            let city = activity.property("to").unwrap().get("city").unwrap();
            assert_eq!(city.as_str(), Some("Тула"));
            assert!(activity.can_log());
            assert_eq!(activity.user_id(), Some("1"));
            let second = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(activity.sent_at(), Some(second(1_700_000_000)));
            assert_eq!(activity.waits_until(), Some(second(1_700_000_600)));
            let tokens = activity.tokens().unwrap();
            assert_eq!(tokens.endpoint().as_str(), "https://acme.bitrix24.com/rest/");
        }
    }

    #[test]
    fn what_may_be_missing_is_not_missed() {
        for (fields, check) in [
            (without("/ts"), (|a| a.waits_until().is_none()) as fn(&VerifiedActivity) -> bool),
            (with("/timeout_duration", json!("0")), |a| a.waits_until().is_none()),
            (with("/timeout_duration", json!("")), |a| a.waits_until().is_none()),
            (without("/use_subscription"), |a| !a.can_log()),
            (with("/use_subscription", json!("N")), |a| !a.can_log()),
            (without("/properties"), |a| a.properties().values().is_empty()),
            (with("/properties", json!("")), |a| a.properties().get("x").is_none()),
            (without("/document_id"), |a| a.document_id() == ["", "", ""]),
            (without("/auth/access_token"), |a| a.tokens().is_none()),
            (without("/auth/client_endpoint"), |a| {
                a.tokens().unwrap().endpoint().host() == "acme.bitrix24.com"
            }),
        ] {
            let activity = parse(&fields).unwrap().verify(&installation()).unwrap();
            assert!(check(&activity), "{fields}");
        }
    }

    #[test]
    fn a_forged_request_is_not_believed() {
        let elsewhere = "https://evil.example/rest/";
        for (fields, expected) in [
            (with("/auth/application_token", json!("other")), VerifyError::ApplicationToken),
            (with("/auth/application_token", json!("appt0ke")), VerifyError::ApplicationToken),
            (with("/auth/application_token", json!("appt0kenn")), VerifyError::ApplicationToken),
            (with("/auth/client_endpoint", json!(elsewhere)), VerifyError::Host),
            (with("/auth/client_endpoint", json!("")), VerifyError::Host),
            (
                with(
                    "/auth/client_endpoint",
                    json!("https://acme.bitrix24.com@evil.example/rest/"),
                ),
                VerifyError::Host,
            ),
            (
                with("/auth/client_endpoint", json!("https://acme.bitrix24.com:8443/rest/")),
                VerifyError::Host,
            ),
            (
                with("/auth/client_endpoint", json!("http://acme.bitrix24.com/rest/")),
                VerifyError::Insecure,
            ),
        ] {
            let error = parse(&fields).unwrap().verify(&installation()).unwrap_err();
            assert_eq!(error, expected, "{fields}");
        }
        let nobody = Installation::new("", Hosts::from(["acme.bitrix24.com"]));
        let error = parse(&fields()).unwrap().verify(&nobody).unwrap_err();
        assert_eq!(error, VerifyError::ApplicationToken);
    }

    #[test]
    fn hostile_input_gets_a_typed_error() {
        type Expected = fn(&ActivityError) -> bool;
        let missing = |field| without(field);
        for (fields, expected) in [
            (
                missing("/auth"),
                (|e| matches!(e, ActivityError::Missing { field: "auth" })) as Expected,
            ),
            (missing("/event_token"), |e| {
                matches!(e, ActivityError::Missing { field: "event_token" })
            }),
            (missing("/auth/member_id"), |e| matches!(e, ActivityError::Missing { .. })),
            (missing("/auth/application_token"), |e| matches!(e, ActivityError::Missing { .. })),
            (with("/auth", json!("text")), |e| {
                matches!(e, ActivityError::WrongType { field: "auth" })
            }),
            (with("/event_token", json!(["x"])), |e| matches!(e, ActivityError::WrongType { .. })),
            (with("/event_token", json!("a\nb")), |e| matches!(e, ActivityError::Invalid { .. })),
            (with("/event_token", json!("x".repeat(2_000))), |e| {
                matches!(e, ActivityError::Invalid { .. })
            }),
            (with("/document_id", json!("text")), |e| matches!(e, ActivityError::WrongType { .. })),
            (with("/document_id", json!([["x"]])), |e| {
                matches!(e, ActivityError::WrongType { .. })
            }),
            (with("/properties", json!("text")), |e| matches!(e, ActivityError::WrongType { .. })),
            (with("/ts", json!("soon")), |e| matches!(e, ActivityError::Invalid { field: "ts" })),
            (with("/ts", json!("-1")), |e| matches!(e, ActivityError::Invalid { .. })),
            (with("/ts", json!("99999999999999999999")), |e| {
                matches!(e, ActivityError::Invalid { .. })
            }),
            (with("/timeout_duration", json!("18446744073709551615")), |e| {
                matches!(e, ActivityError::Invalid { field: "timeout_duration" })
            }),
        ] {
            let json =
                ActivityRequest::parse(Some("application/json"), fields.to_string().as_bytes());
            for request in [parse(&fields), json] {
                let error = request.unwrap_err();
                assert!(expected(&error), "{fields}: {error:?}");
            }
        }
    }

    #[test]
    fn bodies_that_are_no_request_get_a_typed_error() {
        type Expected = fn(&ActivityError) -> bool;
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        let deepest = "[".repeat(500_000);
        let many = format!("{{\"a\":[{}1]}}", "1,".repeat(Limits::FIELDS));
        let big = "x".repeat(10 << 20);
        for (kind, body, expected) in [
            (
                "application/json",
                big.as_str(),
                (|e| matches!(e, ActivityError::TooLarge)) as Expected,
            ),
            ("", &big, |e| matches!(e, ActivityError::TooLarge)),
            ("application/json", &deep, |e| matches!(e, ActivityError::TooDeep)),
            ("application/json", &deepest, |e| matches!(e, ActivityError::TooDeep)),
            ("application/json", &many, |e| matches!(e, ActivityError::TooMany)),
            ("application/json", "{\"a\":1,\"a\":2}", |e| matches!(e, ActivityError::Duplicate)),
            ("application/json", "{\"a\":", |e| matches!(e, ActivityError::NotJson { .. })),
            ("application/json", "{} {}", |e| matches!(e, ActivityError::NotJson { .. })),
            ("application/json", "", |e| matches!(e, ActivityError::NotJson { .. })),
            ("application/json", "7", |e| matches!(e, ActivityError::WrongType { .. })),
            ("application/json", "[]", |e| matches!(e, ActivityError::Missing { .. })),
            ("multipart/form-data; boundary=x", "", |e| matches!(e, ActivityError::ContentType)),
            ("text/plain", "", |e| matches!(e, ActivityError::ContentType)),
            ("", "", |e| matches!(e, ActivityError::Missing { field: "auth" })),
        ] {
            let error = ActivityRequest::parse(Some(kind), body.as_bytes()).unwrap_err();
            assert!(expected(&error), "{kind} {error:?}");
        }
        let error =
            ActivityRequest::parse(Some("application/json"), b"{\"a\":\"\xff\"}").unwrap_err();
        assert!(matches!(error, ActivityError::NotUtf8), "{error:?}");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let request = parse(&fields()).unwrap();
        let mut shown = format!("{request:?} {:?}", installation());
        let activity = request.verify(&installation()).unwrap();
        shown += &format!("{activity:?}");
        for fields in [without("/auth/domain"), with("/ts", json!("r3fresh"))] {
            shown += &format!("{:?}", parse(&fields).map(|_| ()));
        }
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(
            body in prop::collection::vec(any::<u8>(), 0..300), json: bool,
        ) {
            let kind = json.then_some("application/json");
            let _ = ActivityRequest::parse(kind, &body);
        }
    }
}
