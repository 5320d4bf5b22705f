//! Makes the portal have exactly what the app declares.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Kind, Ordered, Registration};
use crate::call::CallAnswer;
use crate::error::{CallError, RegistrationError};

/// Calls a method of the portal with parameters in JSON.
pub(crate) type Caller<'a> = dyn Fn(String, String) -> Called + Send + Sync + 'a;

/// Its result.
pub(crate) type Called = Pin<Box<dyn Future<Output = Result<CallAnswer, CallError>> + Send>>;

/// What an app declares for each portal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) registrations: Vec<Arc<Registration>>,
    /// The address that gets the events of updates and of the removal.
    pub(crate) life_events: Option<String>,
}

impl Wanted {
    pub(crate) fn is_empty(&self) -> bool {
        self.registrations.is_empty() && self.life_events.is_none()
    }

    /// The registration with this code. A request does not say whether it is of an activity or a robot.
    pub(crate) fn activity(&self, code: &str) -> Option<Arc<Registration>> {
        let mut found = self.registrations.iter().filter(|wanted| wanted.code() == code);
        match (found.next(), found.next()) {
            (Some(only), None) => Some(Arc::clone(only)),
            // An activity and a robot with one code: it is not known which one is called.
            _ => None,
        }
    }
}

/// What was changed on a portal, by the codes of activities and robots.
///
/// ```
/// # async fn again(
/// #     installations: tracing_bizproc::app::Installations,
/// #     portal: tracing_bizproc::PortalId,
/// # ) -> Result<(), tracing_bizproc::error::RegistrationError> {
/// let registered = installations.register(&portal).await?;
/// println!("new: {:?}, gone: {:?}", registered.added(), registered.removed());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    added: Vec<String>,
    updated: Vec<String>,
    removed: Vec<String>,
    bound: Vec<String>,
}

impl Registered {
    /// Registrations that the portal did not have.
    pub fn added(&self) -> &[String] {
        &self.added
    }

    /// Registrations that the portal had. They are now as declared. (A portal lists only codes, so all of them
    /// are written again.)
    pub fn updated(&self) -> &[String] {
        &self.updated
    }

    /// Registrations that the app no longer declares.
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    /// Events of the app's life to which its handler was bound.
    pub fn bound(&self) -> &[String] {
        &self.bound
    }
}

/// Compares, and adds, updates and removes.
pub(crate) async fn reconcile(
    wanted: &Wanted,
    call: &Caller<'_>,
) -> Result<Registered, RegistrationError> {
    let mut done = Registered::default();
    for kind in Kind::ALL {
        let own: Vec<_> =
            wanted.registrations.iter().filter(|wanted| wanted.kind() == kind).collect();
        let there = match call(kind.method("list"), "{}".to_owned()).await {
            Ok(answer) => codes(&answer.result)?,
            // Not every portal has both.
            Err(CallError::Portal { .. }) if own.is_empty() => continue,
            Err(error) => return Err(error.into()),
        };
        for registration in &own {
            let code = registration.code.clone();
            if there.contains(&code) {
                if !update(registration, call).await? {
                    add(registration, call).await?;
                }
                done.updated.push(code);
            } else {
                if !add(registration, call).await? {
                    // Another replica was faster.
                    update(registration, call).await?;
                }
                done.added.push(code);
            }
        }
        for code in there {
            if own.iter().all(|own| own.code != code) {
                let params = json!({"CODE": code}).to_string();
                known(call(kind.method("delete"), params).await, "ERROR_ACTIVITY_NOT_FOUND")?;
                done.removed.push(code);
            }
        }
    }
    if let Some(handler) = &wanted.life_events {
        done.bound = bind(handler, call).await?;
    }
    Ok(done)
}

async fn add(registration: &Registration, call: &Caller<'_>) -> Result<bool, RegistrationError> {
    let mut params = registration.fields();
    params.set("CODE", registration.code.as_str());
    let added = call(registration.kind.method("add"), params.to_string()).await;
    known(added, "ERROR_ACTIVITY_ALREADY_INSTALLED")
}

async fn update(registration: &Registration, call: &Caller<'_>) -> Result<bool, RegistrationError> {
    let mut params = Ordered::Object(Vec::new());
    params.set("CODE", registration.code.as_str());
    params.set("FIELDS", registration.fields());
    let updated = call(registration.kind.method("update"), params.to_string()).await;
    known(updated, "ERROR_ACTIVITY_NOT_FOUND")
}

/// Returns `true` if it was done, and `false` if the portal refused it with this code.
fn known(answer: Result<CallAnswer, CallError>, refusal: &str) -> Result<bool, RegistrationError> {
    match answer {
        Ok(_) => Ok(true),
        Err(CallError::Refused { code, .. }) if code.eq_ignore_ascii_case(refusal) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Binds the app's handler to the events of its life, where it is not bound yet.
async fn bind(handler: &str, call: &Caller<'_>) -> Result<Vec<String>, RegistrationError> {
    let mut there = call("event.get".to_owned(), "{}".to_owned()).await?.result;
    let mut bound = Vec::new();
    for event in LIFE {
        if is_bound(&there, event, handler)? {
            continue;
        }
        let params = json!({"event": event, "handler": handler}).to_string();
        if let Err(error) = call("event.bind".to_owned(), params).await {
            // Another replica may have bound it first. There is no error code for that.
            there = call("event.get".to_owned(), "{}".to_owned()).await?.result;
            if !is_bound(&there, event, handler)? {
                return Err(error.into());
            }
        }
        bound.push(event.to_owned());
    }
    Ok(bound)
}

fn is_bound(there: &Value, event: &str, handler: &str) -> Result<bool, RegistrationError> {
    let there = there.as_array().ok_or(RegistrationError::Answer)?;
    Ok(there.iter().any(|bound| {
        let text = |name: &str| bound.get(name).and_then(Value::as_str).unwrap_or_default();
        text("event").eq_ignore_ascii_case(event) && text("handler") == handler
    }))
}

/// The codes in the answer of a list: an array, or an object if PHP found gaps in it.
fn codes(result: &Value) -> Result<BTreeSet<String>, RegistrationError> {
    let code = |value: &Value| value.as_str().map(str::to_owned).ok_or(RegistrationError::Answer);
    match result {
        Value::Array(codes) => codes.iter().map(code).collect(),
        Value::Object(codes) => codes.values().map(code).collect(),
        _ => Err(RegistrationError::Answer),
    }
}

/// An update deletes these bindings, too (server behaviour).
const LIFE: [&str; 2] = ["ONAPPUPDATE", "ONAPPUNINSTALL"];
