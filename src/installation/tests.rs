use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::{RequestError, VerifyError};
use crate::transport::auth::Hosts;

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

const AUTH: &str = "auth[access_token]=acc3ss&auth[refresh_token]=r3fresh&auth[expires]=1700003600\
    &auth[domain]=acme.bitrix24.com&auth[client_endpoint]=https://acme.bitrix24.com/rest/\
    &auth[server_endpoint]=https://oauth.bitrix.info/rest/&auth[member_id]=m\
    &auth[application_token]=appt0ken&auth[status]=L&auth[user_id]=1&ts=1700000000";

const QUERY: &str = "DOMAIN=acme.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=s1d";

const PAGE: &str = "AUTH_ID=acc3ss&AUTH_EXPIRES=3600&REFRESH_ID=r3fresh\
    &SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F&APPLICATION_TOKEN=appt0ken\
    &APPLICATION_SCOPE=bizproc&member_id=m&status=L&PLACEMENT=DEFAULT\
    &PLACEMENT_OPTIONS=%7B%22any%22%3A%227%2F%22%7D";

const SECRETS: [&str; 4] = ["acc3ss", "r3fresh", "appt0ken", "s1d"];

fn parse(query: &str, body: &str) -> Result<AppRequest, RequestError> {
    AppRequest::parse(query, FORM, body.as_bytes())
}

#[test]
fn the_event_and_the_install_page_give_the_same_installation() {
    let event = format!("event=ONAPPINSTALL&data[VERSION]=7&data[LANGUAGE_ID]=en&{AUTH}");
    for (request, is_page, version) in [
        (InstallRequest::parse("", FORM, event.as_bytes()), false, Some("7")),
        (InstallRequest::parse(QUERY, FORM, PAGE.as_bytes()), true, None),
    ] {
        let request = request.unwrap();
        assert_eq!((request.is_page(), request.version()), (is_page, version));
        assert_eq!(request.claimed_portal().as_str(), "m");
        assert_eq!(request.claim.application_token(), Some("appt0ken"));
        let endpoint = request.claim.endpoint(false).unwrap();
        assert_eq!(endpoint.as_str(), "https://acme.bitrix24.com/rest/");
        let tokens = request.claim.tokens(endpoint).unwrap().to_json();
        for part in ["acc3ss", "r3fresh", "https://oauth.bitrix.info/rest/"] {
            assert!(tokens.contains(part), "{tokens}");
        }
    }
}

#[test]
fn updates_and_removals_are_recognized() {
    let update = format!("event=OnAppUpdate&data[VERSION]=8&data[PREVIOUS_VERSION]=7&{AUTH}");
    let update = UpdateRequest::parse(FORM, update.as_bytes()).unwrap();
    assert_eq!((update.version(), update.previous_version()), (Some("8"), Some("7")));
    for (clean, expected) in [("1", true), ("Y", true), ("true", true), ("0", false), ("", false)] {
        let body = format!(
            "event=ONAPPUNINSTALL&data[CLEAN]={clean}&auth[member_id]=m&auth[domain]=a.example\
             &auth[application_token]=appt0ken"
        );
        let request = UninstallRequest::parse(FORM, body.as_bytes()).unwrap();
        assert_eq!(request.clean(), expected, "{clean}");
        assert_eq!(request.claimed_portal().as_str(), "m");
        assert!(matches!(
            InstallRequest::parse("", FORM, body.as_bytes()),
            Err(RequestError::Invalid { field: "event" })
        ));
    }
    let json =
        json!({"event": "ONAPPUNINSTALL", "auth": {"member_id": "m", "application_token": "t"}});
    let json = AppRequest::parse("", Some("application/json"), json.to_string().as_bytes());
    assert!(matches!(json, Ok(AppRequest::Uninstall(_))));
}

/// A widespread client stores the APP_SID as application token.
#[test]
fn the_app_sid_is_never_used_as_application_token() {
    for page in ["", "APPLICATION_TOKEN=&"] {
        let page = format!("{page}AUTH_ID=a&member_id=m&APP_SID=s1d");
        let request = parse(QUERY, &page).unwrap();
        assert_eq!(request.claim().application_token(), None);
        // An empty token proves nothing.
        let empty = Installation::new("", Hosts::from(["acme.bitrix24.com"]));
        assert_eq!(request.claim().verify(&empty).unwrap_err(), VerifyError::ApplicationToken);
    }
    assert!(VerifyError::ApplicationToken.to_string().contains("APP_SID"));
}

#[test]
fn other_requests_get_a_typed_error() {
    type Expected = fn(&RequestError) -> bool;
    let event = |name: &str| format!("event={name}&{AUTH}");
    let page = |query: &str| (query.to_owned(), PAGE.to_owned());
    let body = |body: &str| (String::new(), body.to_owned());
    for ((query, body), expected) in [
        (body(""), (|e| matches!(e, RequestError::Missing { field: "event" })) as Expected),
        (body(&event("ONCRMDEALADD")), |e| matches!(e, RequestError::Invalid { field: "event" })),
        (body("event=ONAPPINSTALL"), |e| matches!(e, RequestError::Missing { field: "auth" })),
        (body("event=ONAPPINSTALL&auth=x"), |e| {
            matches!(e, RequestError::WrongType { field: "auth" })
        }),
        (body(&format!("event=ONAPPINSTALL&data=x&{AUTH}")), |e| {
            matches!(e, RequestError::WrongType { field: "data" })
        }),
        (body("event=ONAPPINSTALL&auth[member_id]=m"), |e| {
            matches!(e, RequestError::Missing { field: "application_token" })
        }),
        (page(""), |e| matches!(e, RequestError::Missing { field: "DOMAIN" })),
        (page("DOMAIN=a.example&PROTOCOL=2"), |e| matches!(e, RequestError::Invalid { .. })),
        (page("DOMAIN=a.example/x"), |e| matches!(e, RequestError::Invalid { field: "DOMAIN" })),
        (page("DOMAIN=u@a.example"), |e| matches!(e, RequestError::Invalid { field: "DOMAIN" })),
        (page("DOMAIN=a.example&DOMAIN=b.example"), |e| matches!(e, RequestError::Duplicate)),
        (page("DOMAIN[x]=a.example"), |e| matches!(e, RequestError::WrongType { .. })),
    ] {
        let error = parse(&query, &body).unwrap_err();
        assert!(expected(&error), "{query} {body}: {error:?}");
    }
}

#[test]
fn an_install_page_over_http_needs_allow_http() {
    let request = parse("DOMAIN=box.local&PROTOCOL=0", PAGE).unwrap();
    assert_eq!(request.claim().endpoint(false), Err(VerifyError::Insecure));
    assert_eq!(request.claim().endpoint(true).unwrap().as_str(), "http://box.local/rest/");
}

#[test]
fn an_installation_is_stored_and_read_again() {
    for installation in [
        Installation::new("t0ken", Hosts::from(["a.example", "*.b.example"])),
        Installation::new("t0ken", Hosts::default()).allow_http(),
    ] {
        assert_eq!(Installation::from_json(&installation.to_json()), Some(installation.clone()));
        let value = serde_json::to_value(&installation).unwrap();
        assert_eq!(serde_json::from_value::<Installation>(value).unwrap(), installation);
        assert!(!format!("{installation:?}").contains("t0ken"));
    }
    // As it may have been written by hand.
    let stored = r#"{"application_token":"t","hosts":["a.example"]}"#;
    assert!(Installation::from_json(stored).is_some());
    for damaged in ["", "7", "{}", r#"{"application_token":"s3cret","hosts":"a.example"}"#] {
        assert_eq!(Installation::from_json(damaged), None, "{damaged}");
        let error = serde_json::from_str::<Installation>(damaged).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let event = format!("event=ONAPPUPDATE&{AUTH}");
    let removal = format!("event=ONAPPUNINSTALL&{AUTH}");
    for (query, body) in [(QUERY, PAGE), ("", &event), ("", &removal)] {
        let request = parse(query, body).unwrap();
        let shown = format!("{request:?} {:?}", request.claim());
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

/// Pieces of such requests. Most of their combinations are not valid.
fn bodies() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "event",
        "=",
        "=",
        "&",
        "&",
        "ONAPPINSTALL",
        "ONAPPUPDATE",
        "ONAPPUNINSTALL",
        "data",
        "[CLEAN]",
        "[VERSION]",
        "auth",
        "[member_id]",
        "[application_token]",
        "[client_endpoint]",
        "[domain]",
        "m",
        "t",
        "https://a.example/rest/",
        "http://",
        "AUTH_ID",
        "member_id",
        "DOMAIN",
        "PROTOCOL",
        "0",
        "[",
        "]",
        "%00",
        "%FF",
        "+",
        "APPLICATION_TOKEN",
        "REFRESH_ID",
        "[access_token]",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Any request is parsed or refused. It is not verified if it has another application token or names
    /// another host.
    #[test]
    fn nothing_is_believed_without_the_token_and_the_host(
        query in bodies(), body in bodies(), bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let nowhere = Installation::new("another token", Hosts::from(["a.example"]));
        let elsewhere = Installation::new("t", Hosts::from(["b.example"]));
        let _ = AppRequest::parse("", None, &bytes);
        if let Ok(request) = parse(&query, &body) {
            prop_assert!(request.claim().verify(&nowhere).is_err());
            prop_assert!(request.claim().verify(&elsewhere).is_err());
        }
    }
}
