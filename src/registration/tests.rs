use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::reconcile::Wanted;
use super::*;
use crate::call::CallAnswer;
use crate::error::{CallError, Description};

fn fulfil() -> Registration {
    Registration::activity("fulfil", "https://app.example/activity", "Fulfil")
        .property("Order", Parameter::new(ValueKind::Text, "Order").required())
        .return_value("Status", Parameter::new(ValueKind::Text, "Status"))
}

/// A portal that has only registrations and event bindings.
#[derive(Default)]
struct Portal {
    has: Mutex<BTreeMap<(String, String), Value>>,
    bound: Mutex<Vec<Value>>,
    calls: Mutex<Vec<String>>,
    /// Fails at this call.
    fails_at: Option<usize>,
}

impl Portal {
    fn call(&self, method: &str, params: &str) -> Result<CallAnswer, CallError> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(method.to_owned());
        if self.fails_at == Some(calls.len()) {
            return Err(CallError::NotSent { why: "no route to host".to_owned() });
        }
        let params: Value = serde_json::from_str(params).unwrap();
        let (kind, does) = method.rsplit_once('.').unwrap();
        let key = (kind.to_owned(), params["CODE"].as_str().unwrap_or_default().to_owned());
        let mut has = self.has.lock().unwrap();
        let refused = |code: &str| {
            let (code, description) = (code.to_owned(), Description::default());
            Err(CallError::Refused { code, description })
        };
        let result = match (kind, does) {
            ("event", "get") => json!(*self.bound.lock().unwrap()),
            ("event", "bind") => {
                self.bound.lock().unwrap().push(params);
                json!(true)
            }
            (_, "list") => {
                json!(has.keys().filter(|(k, _)| k == kind).map(|(_, c)| c).collect::<Vec<_>>())
            }
            (_, "add") if has.contains_key(&key) => {
                return refused("ERROR_ACTIVITY_ALREADY_INSTALLED");
            }
            (_, "add") => {
                has.insert(key, params);
                json!(true)
            }
            (_, _) if !has.contains_key(&key) => return refused("ERROR_ACTIVITY_NOT_FOUND"),
            (_, "update") => {
                let mut fields = params["FIELDS"].clone();
                fields["CODE"] = params["CODE"].clone();
                has.insert(key, fields);
                json!(true)
            }
            (_, "delete") => {
                has.remove(&key);
                json!(true)
            }
            other => panic!("{other:?}"),
        };
        Ok(CallAnswer { result, next: None, total: None })
    }

    fn reconcile(&self, wanted: &Wanted) -> Result<Registered, RegistrationError> {
        let call = |method: String, params: String| -> Called {
            Box::pin(ready(self.call(&method, &params)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(reconcile(wanted, &call))
    }

    fn put(&self, kind: &str, code: &str) {
        let key = (format!("bizproc.{kind}"), code.to_owned());
        self.has.lock().unwrap().insert(key, json!({"CODE": code, "old": true}));
    }
}

fn wanted(registrations: Vec<Registration>) -> Wanted {
    let registrations = registrations.into_iter().map(Arc::new).collect();
    Wanted { registrations, life_events: Some("https://app.example/life".to_owned()) }
}

#[test]
fn registrations_on_the_portal_become_those_that_the_app_declares() {
    let portal = Portal::default();
    portal.put("activity", "fulfil");
    portal.put("activity", "former");
    portal.put("robot", "fulfil");
    let robot = Registration::robot("ship", "https://app.example/robot", "Ship");
    let wanted = wanted(vec![fulfil(), robot]);
    let done = portal.reconcile(&wanted).unwrap();
    assert_eq!(done.updated(), ["fulfil"]);
    assert_eq!(done.added(), ["ship"]);
    assert_eq!(done.removed(), ["former", "fulfil"]);
    assert_eq!(done.bound(), ["ONAPPUPDATE", "ONAPPUNINSTALL"]);
    let has = portal.has.lock().unwrap().clone();
    assert_eq!(has.len(), 2);
    let fulfil = &has[&("bizproc.activity".to_owned(), "fulfil".to_owned())];
    assert_eq!(fulfil["USE_SUBSCRIPTION"], "Y");
    assert_eq!(fulfil["HANDLER"], "https://app.example/activity");
    assert_eq!(fulfil["PROPERTIES"]["Order"]["Required"], "Y");
    assert_eq!(fulfil["RETURN_PROPERTIES"]["Status"]["Type"], "string");
    // Again: nothing is added, bound or removed.
    let again = portal.reconcile(&wanted).unwrap();
    assert_eq!(again.updated(), ["fulfil", "ship"]);
    assert!(again.added().is_empty() && again.removed().is_empty() && again.bound().is_empty());
}

#[test]
fn a_reconciliation_that_failed_at_any_call_can_be_repeated() {
    let expected = Portal::default();
    let wanted = wanted(vec![fulfil(), Registration::robot("ship", "https://a.example/", "Ship")]);
    expected.reconcile(&wanted).unwrap();
    let calls = expected.calls.lock().unwrap().len();
    for fails_at in 1..=calls {
        let mut portal = Portal { fails_at: Some(fails_at), ..Portal::default() };
        portal.put("activity", "former");
        let failed = portal.reconcile(&wanted);
        assert!(matches!(failed, Err(RegistrationError::Call(CallError::NotSent { .. }))));
        portal.fails_at = None;
        portal.reconcile(&wanted).unwrap();
        assert_eq!(*portal.has.lock().unwrap(), *expected.has.lock().unwrap());
        assert_eq!(portal.bound.lock().unwrap().len(), 2);
    }
}

#[test]
fn a_portal_without_robots_is_not_an_error_if_no_robot_is_declared() {
    let missing = || CallError::Portal {
        code: "ERROR_METHOD_NOT_FOUND".to_owned(),
        description: Description::default(),
    };
    let portal = Portal::default();
    let run = |wanted: &Wanted| {
        let call = |method: String, params: String| -> Called {
            Box::pin(ready(match method.contains("robot") {
                true => Err(missing()),
                false => portal.call(&method, &params),
            }))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(reconcile(wanted, &call))
    };
    assert!(run(&wanted(vec![fulfil()])).is_ok());
    let robot = Registration::robot("ship", "https://a.example/", "Ship");
    assert_eq!(run(&wanted(vec![robot])), Err(RegistrationError::Call(missing())));
}

#[test]
fn an_invalid_registration_is_refused_before_anything_is_sent() {
    let text = || Parameter::new(ValueKind::Text, "A");
    assert_eq!(fulfil().check(), Ok(()));
    for (wrong, part) in [
        (Registration::activity("", "https://a.example/", "A"), "a code"),
        (Registration::activity("a b", "https://a.example/", "A"), "a code"),
        (Registration::activity("a", "a.example", "A"), "https://"),
        (Registration::activity("a", "ftp://a.example", "A"), "https://"),
        (Registration::activity("a", "https://a.example/", ""), "needs a name"),
        (fulfil().property("7", text()), "start with a letter"),
        (fulfil().property("a-b", text()), "start with a letter"),
        (fulfil().property("ORDER", text()), "same name"),
        (fulfil().return_value("status", text()), "same name"),
        (fulfil().property("a", Parameter::new(ValueKind::Select, "A")), "options"),
        (fulfil().property("a", text().option("a", "A")), "options"),
        (fulfil().property("a", Parameter::new(ValueKind::Text, "")), "without a name"),
    ] {
        let error = wrong.check().unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn names_may_be_in_several_languages() {
    let named = fulfil().name_in("de", "Ausführen").name_in("ru", "Исполнить");
    let names = json!({"en": "Fulfil", "de": "Ausführen", "ru": "Исполнить"});
    assert_eq!(json!(named.fields())["NAME"], names);
    let order = Parameter::new(ValueKind::Int, "Order").name_in("de", "Auftrag");
    assert_eq!(json!(order.to_json())["Name"], json!({"en": "Order", "de": "Auftrag"}));
}

#[test]
fn a_value_of_another_kind_names_the_declared_one() {
    let of = |kind| Parameter::new(kind, "A");
    let select = of(ValueKind::Select).option("dhl", "DHL");
    for (declared, fits, not) in [
        (
            of(ValueKind::Bool),
            vec![json!(true), json!("Y"), json!("0")],
            vec![json!(1), json!("yes")],
        ),
        (of(ValueKind::Int), vec![json!(7), json!("-7")], vec![json!(1.5), json!("x"), json!([7])]),
        (
            of(ValueKind::Double),
            vec![json!(1.5), json!(7), json!("1.5")],
            vec![json!("1,5"), json!("")],
        ),
        (of(ValueKind::Text), vec![json!("x"), json!(7), json!(true)], vec![json!(["x"])]),
        (of(ValueKind::Text).multiple(), vec![json!(["x", "y"]), json!("x"), json!([])], vec![]),
        (of(ValueKind::Int).multiple(), vec![json!([1, 2])], vec![json!([1, "x"])]),
        (select, vec![json!("dhl")], vec![json!("DHL"), json!(1)]),
        (of(ValueKind::User), vec![json!("user_5"), json!(5), json!("5")], vec![json!("Anna")]),
        (of(ValueKind::Date), vec![json!("27.11.2026")], vec![json!(7)]),
        (of(ValueKind::File), vec![json!(7), json!("x")], vec![]),
    ] {
        for value in fits.into_iter().chain([Value::Null]) {
            assert_eq!(declared.mismatch(&value), None, "{declared:?} {value}");
        }
        for value in not {
            assert!(declared.mismatch(&value).is_some(), "{declared:?} {value}");
        }
    }
}

proptest! {
    /// With any start, the portal has afterwards exactly what is declared.
    #[test]
    fn whatever_a_portal_has_it_ends_up_with_what_is_declared(
        has in prop::collection::vec(("activity|robot", "[a-d]"), 0..8),
        declares in prop::collection::btree_set("[a-d]", 0..4),
    ) {
        let portal = Portal::default();
        for (kind, code) in &has {
            portal.put(kind, code);
        }
        let activity = |code: &String| Registration::activity(code, "https://a.example/", "A");
        portal.reconcile(&wanted(declares.iter().map(activity).collect())).unwrap();
        let has = portal.has.lock().unwrap();
        let expected = declares.iter().map(|code| ("bizproc.activity".to_owned(), code.clone()));
        prop_assert!(has.keys().cloned().eq(expected));
        prop_assert!(has.values().all(|registered| registered.get("old").is_none()));
    }
}

/// Regression: they were sorted, so the form of the activity and the choices were in another order.
#[test]
fn properties_and_options_keep_their_order() {
    let size = Parameter::new(ValueKind::Select, "Size").option("s", "Small").option("l", "Large");
    let text = || Parameter::new(ValueKind::Text, "A text");
    let registration = Registration::activity("fulfil", "https://app.example/activity", "Fulfil")
        .property("Order", text())
        .property("Amount", size)
        .return_value("Status", text())
        .return_value("Parcels", text());
    let sent = registration.fields().to_string();
    let at = |part: &str| sent.find(part).unwrap_or_else(|| panic!("{part} is not in {sent}"));
    for (first, second) in [
        (r#""Order":{"#, r#""Amount":{"#),
        (r#""s":"Small""#, r#""l":"Large""#),
        (r#""Status":{"#, r#""Parcels":{"#),
    ] {
        assert!(at(first) < at(second), "{sent}");
    }
}
