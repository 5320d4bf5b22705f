use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::{RequestError, VerifyError};
use crate::installation::Installation;
use crate::protocol::command::activity_log;
use crate::protocol::reply::{self, Code, Refusal, Sent, Verdict};
use crate::request::Bounds;
use crate::transport::auth::{Hosts, MemoryStore, OAuth, Tokens};
use crate::transport::http::{Http, HttpOptions};
use crate::transport::stand_in::Server;
use crate::transport::{Arrived, Refreshed, Transport};

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

fn parse(fields: &Value) -> Result<ActivityRequest, RequestError> {
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
    let json = ActivityRequest::parse(Some("application/json"), fields().to_string().as_bytes());
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
fn optional_fields_may_be_missing() {
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
        (with("/auth/access_token", json!("")), |a| a.tokens().is_none()),
        (without("/auth/refresh_token"), |a| !a.tokens().unwrap().can_be_renewed()),
        (with("/auth/refresh_token", json!("")), |a| !a.tokens().unwrap().can_be_renewed()),
        (with("/auth/client_endpoint", json!("")), |a| a.tokens().is_some()),
        (without("/auth/client_endpoint"), |a| {
            a.tokens().unwrap().endpoint().host() == "acme.bitrix24.com"
        }),
    ] {
        let activity = parse(&fields).unwrap().verify(&installation()).unwrap();
        assert!(check(&activity), "{fields}");
    }
}

#[test]
fn a_forged_request_is_rejected() {
    let elsewhere = |named: &str| VerifyError::Host {
        named: named.to_owned(),
        stored: "acme.bitrix24.com".to_owned(),
    };
    let named = |endpoint: &str| with("/auth/client_endpoint", json!(endpoint));
    let token = |application_token: &str| with("/auth/application_token", json!(application_token));
    for (fields, expected) in [
        (token("other"), VerifyError::ApplicationToken),
        (token("appt0ke"), VerifyError::ApplicationToken),
        (token("appt0kenn"), VerifyError::ApplicationToken),
        (named("https://evil.example/rest/"), elsewhere("evil.example")),
        (named("https://acme.bitrix24.com@evil.example/rest/"), VerifyError::Address),
        (named("nonsense"), VerifyError::Address),
        (named("https://acme.bitrix24.com:8443/rest/"), elsewhere("acme.bitrix24.com:8443")),
        (named("http://acme.bitrix24.com/rest/"), VerifyError::Insecure),
    ] {
        let error = parse(&fields).unwrap().verify(&installation()).unwrap_err();
        assert_eq!(error, expected, "{fields}");
    }
    let plain = parse(&named("http://acme.bitrix24.com/rest/")).unwrap();
    assert!(plain.verify(&installation().allow_http()).is_ok());
    let nobody = Installation::new("", Hosts::from(["acme.bitrix24.com"]));
    let error = parse(&fields()).unwrap().verify(&nobody).unwrap_err();
    assert_eq!(error, VerifyError::ApplicationToken);
}

#[test]
fn hostile_input_gets_a_typed_error() {
    type Expected = fn(&RequestError) -> bool;
    let missing = |field| without(field);
    for (fields, expected) in [
        (missing("/auth"), (|e| matches!(e, RequestError::Missing { field: "auth" })) as Expected),
        (missing("/event_token"), |e| matches!(e, RequestError::Missing { field: "event_token" })),
        (missing("/auth/member_id"), |e| matches!(e, RequestError::Missing { .. })),
        (missing("/auth/application_token"), |e| matches!(e, RequestError::Missing { .. })),
        (with("/auth", json!("text")), |e| matches!(e, RequestError::WrongType { field: "auth" })),
        (with("/event_token", json!(["x"])), |e| matches!(e, RequestError::WrongType { .. })),
        (with("/event_token", json!("a\nb")), |e| matches!(e, RequestError::Invalid { .. })),
        (with("/event_token", json!("x".repeat(2_000))), |e| {
            matches!(e, RequestError::Invalid { .. })
        }),
        (with("/document_id", json!("text")), |e| matches!(e, RequestError::WrongType { .. })),
        (with("/document_id", json!([["x"]])), |e| matches!(e, RequestError::WrongType { .. })),
        (with("/properties", json!("text")), |e| matches!(e, RequestError::WrongType { .. })),
        (with("/ts", json!("soon")), |e| matches!(e, RequestError::Invalid { field: "ts" })),
        (with("/ts", json!("-1")), |e| matches!(e, RequestError::Invalid { .. })),
        (with("/ts", json!("99999999999999999999")), |e| matches!(e, RequestError::Invalid { .. })),
        (with("/timeout_duration", json!("18446744073709551615")), |e| {
            matches!(e, RequestError::Invalid { field: "timeout_duration" })
        }),
    ] {
        let json = ActivityRequest::parse(Some("application/json"), fields.to_string().as_bytes());
        for request in [parse(&fields), json] {
            let error = request.unwrap_err();
            assert!(expected(&error), "{fields}: {error:?}");
        }
    }
}

#[test]
fn bodies_that_are_not_requests_get_a_typed_error() {
    type Expected = fn(&RequestError) -> bool;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let deepest = "[".repeat(500_000);
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(Bounds::FIELDS));
    let big = "x".repeat(10 << 20);
    for (kind, body, expected) in [
        ("application/json", big.as_str(), (|e| matches!(e, RequestError::TooLarge)) as Expected),
        ("", &big, |e| matches!(e, RequestError::TooLarge)),
        ("application/json", &deep, |e| matches!(e, RequestError::TooDeep)),
        ("application/json", &deepest, |e| matches!(e, RequestError::TooDeep)),
        ("application/json", &many, |e| matches!(e, RequestError::TooMany)),
        ("application/json", "{\"a\":1,\"a\":2}", |e| matches!(e, RequestError::Duplicate)),
        ("application/json", "{\"a\":", |e| matches!(e, RequestError::NotJson { .. })),
        ("application/json", "{} {}", |e| matches!(e, RequestError::NotJson { .. })),
        ("application/json", "", |e| matches!(e, RequestError::NotJson { .. })),
        ("application/json", "7", |e| matches!(e, RequestError::WrongType { .. })),
        ("application/json", "[]", |e| matches!(e, RequestError::Missing { .. })),
        ("application/x-www-form-urlencoded; charset=windows-1251", "a=%C4", |e| {
            matches!(e, RequestError::Windows1251)
        }),
        ("", "a=%C4", |e| matches!(e, RequestError::NotUtf8)),
        ("multipart/form-data; boundary=x", "", |e| matches!(e, RequestError::ContentType)),
        ("text/plain", "", |e| matches!(e, RequestError::ContentType)),
        ("", "", |e| matches!(e, RequestError::Missing { field: "auth" })),
    ] {
        let error = ActivityRequest::parse(Some(kind), body.as_bytes()).unwrap_err();
        assert!(expected(&error), "{kind} {error:?}");
    }
    let error = ActivityRequest::parse(Some("application/json"), b"{\"a\":\"\xff\"}").unwrap_err();
    assert!(matches!(error, RequestError::NotUtf8), "{error:?}");
}

/// Everything that a plain fmt layer prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_span_is_tagged_only_if_there_is_a_log_and_shows_no_secret() {
    let printed = Printed::default();
    let writer = printed.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        for fields in [fields(), with("/use_subscription", json!("N"))] {
            for _ in 0..3 {
                let activity = parse(&fields).unwrap().verify(&installation()).unwrap();
                activity.span().in_scope(|| tracing::info!("working"));
            }
        }
    });
    let printed = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    let with = |part: &str| printed.lines().filter(|line| line.contains(part)).count();
    assert_eq!(with("working"), 6, "{printed}");
    assert_eq!(with("event_token"), 3, "{printed}");
    assert_eq!(with("USE_SUBSCRIPTION"), 1, "{printed}");
    for secret in SECRETS {
        assert!(!printed.contains(secret), "{printed}");
    }
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

/// The stand-in portal shares no code with this crate.
#[test]
fn a_request_of_the_stand_in_portal_is_parsed_and_its_tokens_work() {
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let app = portal.install_app();
    let (send, received) = mpsc::channel();
    let handler = Server::new(move |request| {
        send.send(request.to_owned()).unwrap();
        (200, String::new(), String::new())
    });
    let workflow = portal.start_workflow("order");
    let waiting = workflow
        .activity("charge")
        .app(&app)
        .property("amount", "12.50 ₽")
        .timeout(Duration::from_secs(600))
        .handler(format!("http://{}/handler", handler.host()))
        .open();
    let request = received.recv_timeout(Duration::from_secs(20)).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then_some(value)
    });
    let request = ActivityRequest::parse(kind, body.as_bytes()).unwrap();
    assert_eq!(request.claimed_portal().as_str(), portal.member_id());
    let host = portal.client_endpoint();
    let host = host.split('/').nth(2).unwrap();
    let installation = Installation::new(app.application_token(), Hosts::from([host]));
    let activity = request.verify(&installation).unwrap();
    assert_eq!(activity.event_token().expose(), waiting.event_token());
    assert_eq!(activity.workflow_id(), workflow.id());
    assert_eq!(activity.property("amount").unwrap().as_str(), Some("12.50 ₽"));
    assert!(activity.can_log() && activity.waits_until().is_some());

    let store = Arc::new(MemoryStore::new());
    let oauth = OAuth::new(app.client_id(), app.client_secret(), Arc::clone(&store))
        .authorization_server(&portal.oauth_url())
        .unwrap();
    let http = Http::new(oauth, HttpOptions::default()).unwrap();
    let id = activity.portal().clone();
    let grant = |code: &str| Verdict::Refused(Refusal::Grant(Code(code.to_owned())));
    let log = async |text: &str| {
        let request = activity_log(activity.event_token().expose(), text);
        reply::read(&http.call(Some(&id), request).await, Sent::Single)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(
            http.accept(&id, Arrived::WithRequest(activity.tokens().unwrap().clone())).await,
            Ok(true)
        );
        assert!(matches!(log("one").await, Verdict::Ran { .. }));
        app.expire_access_tokens();
        assert_eq!(log("two").await, grant("expired_token"));
        assert_eq!(http.refresh(Some(&id)).await, Refreshed::Renewed);
        assert!(matches!(log("two").await, Verdict::Ran { .. }));
        app.revoke_tokens();
        assert_eq!(log("three").await, grant("invalid_token"));
        let denied = Refreshed::Denied(Code("invalid_grant".to_owned()));
        assert_eq!(http.refresh(Some(&id)).await, denied);
        let fresh = app.issue_tokens();
        let tokens = Tokens::new(
            fresh.access_token.as_str(),
            fresh.refresh_token.as_str(),
            &portal.client_endpoint(),
        );
        assert_eq!(http.accept(&id, Arrived::WithRequest(tokens.unwrap())).await, Ok(true));
        assert!(matches!(log("three").await, Verdict::Ran { .. }));
    });
    assert_eq!(workflow.texts(), ["one", "two", "three"]);
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
