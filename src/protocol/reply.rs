//! Reads a portal's answer: one [`Outcome`] per command, or one [`Refusal`] of the whole request.

use std::fmt;

use serde_json::{Map, Value};

use self::failure::{Place, classify};
use super::{Cause, Reply, command};

pub(crate) use self::failure::Code;
pub(super) use self::failure::Failure;

mod failure;

/// What the portal did with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It ran: an outcome for each command, in the order sent.
    Ran { outcomes: Vec<Outcome>, time: ServerTime },
    /// It was refused as a whole: no command was executed.
    Refused(Refusal),
    /// It is not known whether some, all or none of the commands were executed.
    Unknown(Cause),
}

/// The result of one command of a request that ran.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The portal answered `true`.
    Done(ServerTime),
    /// The portal refused this command, and only this one.
    Refused(Refusal),
    /// The portal did not execute it (its key is in neither section).
    NotExecuted,
}

/// Why a request or a command was refused, by what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Never sent: no address, no connection, no TLS. Repeat with backoff.
    Unreachable(Cause),
    /// Never sent: there are no credentials for the portal. Wait for them.
    UnknownPortal(Cause),
    /// Too many requests from this address: slow down, repeat with backoff.
    RateLimit,
    /// The operating time of the method is used up: pause until the limit ends.
    OperatingLimit,
    /// The request is larger than the portal accepts: split it.
    TooLarge,
    /// The portal has moved: the host that it names, if it names one.
    Moved(Option<String>),
    /// The portal redirects to another place, and a person has to fix this. A description.
    Redirected(Code),
    /// The access token has expired or is not valid: refresh once, repeat.
    Grant(Code),
    /// The credential is not accepted until a person fixes it.
    Credential(Code),
    /// The portal is closed or lacks business processes.
    Portal(Code),
    /// The event token is not accepted: send nothing more for it.
    TokenDenied(Code),
    /// The workflow instance is gone (or, for a fresh token, not there yet).
    WorkflowGone(Code),
    /// Another request has locked the workflow: repeat this command later.
    Locked(Code),
    /// This command can never succeed: do not repeat it. If it is the answer to a whole batch, this is true for
    /// at least one of its commands.
    Command(Code),
    /// An internal error of the portal: repeat a few times. If it concerns a whole request, nothing was
    /// executed. If it concerns a command in a batch, the command may have been executed, so a repeat
    /// may be a duplicate.
    Server(Code),
}

/// The parts of a `time` object that the limits need. Missing parts are `None`: self-hosted portals have no
/// operating limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ServerTime {
    /// Seconds that the portal worked on it.
    pub(crate) duration: Option<f64>,
    /// Seconds counted against the key (credential and method), cumulative in its window.
    pub(crate) operating: Option<f64>,
    /// When the first bucket of the window expires, Unix seconds, by the portal's clock.
    pub(crate) operating_reset_at: Option<i64>,
    /// The portal's clock when it finished, Unix seconds.
    pub(crate) finish: Option<f64>,
}

/// How the request was sent. Error codes have different places for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// One command, as a direct call.
    Single,
    /// This many commands in one `batch`.
    Batch(usize),
}

/// Reads `reply` as the answer to a request sent as `sent`. Any bytes have a verdict, and a request that ran
/// has exactly one outcome per command.
///
/// The code decides. The status is used only if the code is missing or unknown, because documentation
/// and portals differ about the status of most codes. If an answer proves nothing, the verdict is
/// [`Verdict::Unknown`].
pub(crate) fn read(reply: &Reply, sent: Sent) -> Verdict {
    match reply {
        Reply::Http { status, body } => read_http(*status, body, sent),
        Reply::Moved { host } => Verdict::Refused(Refusal::Moved(host.clone())),
        Reply::Redirected(code) => Verdict::Refused(Refusal::Redirected(code.clone())),
        Reply::NotSent(trouble) => Verdict::Refused(Refusal::Unreachable(trouble.clone())),
        Reply::UnknownPortal(trouble) => Verdict::Refused(Refusal::UnknownPortal(trouble.clone())),
        Reply::Unanswered(trouble) => Verdict::Unknown(trouble.clone()),
    }
}

/// Reads `reply` as the answer to a call of the app: the verdict, if it is not a result, and the answer object,
/// if it is one.
pub(super) fn read_answer(reply: &Reply) -> (Option<Verdict>, Option<Map<String, Value>>) {
    let Reply::Http { status, body } = reply else {
        return (Some(read(reply, Sent::Single)), None);
    };
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
        return (Some(by_status(*status, "the answer is not a JSON object")), None);
    };
    let verdict = match failure_of(&answer) {
        Some(failure) => Some(match classify(&failure, Place::Call { status: *status }) {
            Some(refusal) => Verdict::Refused(refusal),
            None => Verdict::Unknown(Cause(format!("HTTP {status}, {}", failure.code))),
        }),
        None if answer.contains_key("result") && (200..300).contains(status) => None,
        None => Some(by_status(*status, "the answer has neither `result` nor `error`")),
    };
    (verdict, Some(answer))
}

/// The error of an answer. An empty code is an error, except if there is a result, too.
fn failure_of(answer: &Map<String, Value>) -> Option<Failure<'_>> {
    let is_error =
        |failure: &Failure<'_>| !failure.code.0.is_empty() || !answer.contains_key("result");
    Failure::of(answer).filter(is_error)
}

fn read_http(status: u16, body: &[u8], sent: Sent) -> Verdict {
    // Some installations write a byte order mark before the JSON.
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
        return by_status(status, "the answer is not a JSON object");
    };
    if let Some(failure) = failure_of(&answer) {
        return refused(&failure, status, sent);
    }
    let time = ServerTime::of(answer.get("time"));
    let ran = match answer.get("result") {
        Some(result) if (200..300).contains(&status) => match sent {
            Sent::Single => outcome_of_value(result, time).map(|outcome| vec![outcome]),
            Sent::Batch(commands) => batch_outcomes(result, commands),
        },
        _ => None,
    };
    match ran {
        Some(outcomes) => Verdict::Ran { outcomes, time },
        None => by_status(status, "the answer has neither `result` nor `error`"),
    }
}

/// The request as a whole was answered with an error.
fn refused(failure: &Failure<'_>, status: u16, sent: Sent) -> Verdict {
    let place = match sent {
        Sent::Single => Place::Call { status },
        Sent::Batch(_) => Place::Batch { status },
    };
    match (classify(failure, place), sent) {
        (None, _) => Verdict::Unknown(Cause(format!("HTTP {status}, {}", failure.code))),
        // An error of the single command is its outcome, as in a batch.
        (Some(refusal), Sent::Single) if refusal.is_of_command() => {
            let outcomes = vec![Outcome::Refused(refusal)];
            Verdict::Ran { outcomes, time: ServerTime::default() }
        }
        (Some(refusal), _) => Verdict::Refused(refusal),
    }
}

impl Refusal {
    /// Whether another try would give the same.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(
            self,
            Refusal::Unreachable(_)
                | Refusal::RateLimit
                | Refusal::OperatingLimit
                | Refusal::Locked(_)
                | Refusal::Server(_)
        )
    }

    /// Whether it is about one command, and not about the rest of the request.
    fn is_of_command(&self) -> bool {
        matches!(
            self,
            Refusal::TokenDenied(_)
                | Refusal::WorkflowGone(_)
                | Refusal::Locked(_)
                | Refusal::Command(_)
        )
    }
}

/// The portal's code, if there is one. Otherwise a description.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unreachable(trouble) | Refusal::UnknownPortal(trouble) => trouble.fmt(f),
            Refusal::RateLimit => f.write_str("QUERY_LIMIT_EXCEEDED"),
            Refusal::OperatingLimit => f.write_str("OPERATION_TIME_LIMIT"),
            Refusal::TooLarge => f.write_str("the request is too large"),
            Refusal::Moved(Some(host)) => write!(f, "the portal is at {host} now"),
            Refusal::Moved(None) => f.write_str("the portal has moved"),
            Refusal::Redirected(code)
            | Refusal::Grant(code)
            | Refusal::Credential(code)
            | Refusal::Portal(code)
            | Refusal::TokenDenied(code)
            | Refusal::WorkflowGone(code)
            | Refusal::Locked(code)
            | Refusal::Command(code)
            | Refusal::Server(code) => code.fmt(f),
        }
    }
}

/// Reads an answer that does not come from the REST server: a page of a web server or a proxy, an empty body,
/// or half a body. It is a refusal only if the status proves that nothing was executed.
fn by_status(status: u16, what: &str) -> Verdict {
    let code = || Code(format!("HTTP {status}"));
    let refusal = match status {
        301 | 302 | 303 | 307 | 308 => Refusal::Moved(None),
        401 | 403 => Refusal::Credential(code()),
        // There is no REST server: the path or the site does not exist any more.
        404 | 405 | 410 => Refusal::Portal(code()),
        // The server gave up waiting for the whole request (RFC 9110, 15.5.9).
        408 => Refusal::Server(code()),
        413 => Refusal::TooLarge,
        429 => Refusal::RateLimit,
        400..=499 => Refusal::Command(code()),
        // Also 503: a web server also sends it if it has stopped a request that was running.
        _ => return Verdict::Unknown(Cause(format!("HTTP {status}, {what}"))),
    };
    Verdict::Refused(refusal)
}

/// The outcomes of a batch that ran; `None` if the sections are not there.
fn batch_outcomes(result: &Value, commands: usize) -> Option<Vec<Outcome>> {
    let sections = result.as_object()?;
    let (done, failed) = (sections.get("result"), sections.get("result_error"));
    if done.is_none() && failed.is_none() {
        return None;
    }
    let outcome = |index: usize| {
        let key = command::key(index);
        if let Some(failure) = in_section(failed, &key, index).and_then(Failure::of_command) {
            return match classify(&failure, Place::Command) {
                Some(refusal) => Outcome::Refused(refusal),
                None => Outcome::NotExecuted,
            };
        }
        let Some(value) = in_section(done, &key, index) else { return Outcome::NotExecuted };
        let time = in_section(sections.get("result_time"), &key, index);
        outcome_of_value(value, ServerTime::of(time))
            .unwrap_or_else(|| Outcome::Refused(Refusal::Server(Code("null".to_owned()))))
    };
    Some((0..commands).map(outcome).collect())
}

/// A command's entry in a section of a batch's result. An empty section is `[]`, and PHP turns
/// integer keys without holes into a list ("batch", server behaviour).
fn in_section<'a>(section: Option<&'a Value>, key: &str, index: usize) -> Option<&'a Value> {
    match section? {
        Value::Object(entries) => entries.get(key),
        Value::Array(entries) => entries.get(index),
        _ => None,
    }
}

/// The outcome of a command from its result. Both methods that we call return `true` or an error.
fn outcome_of_value(value: &Value, time: ServerTime) -> Option<Outcome> {
    match value {
        Value::Null => None,
        Value::Bool(false) => Some(Outcome::Refused(Refusal::Command(Code("false".to_owned())))),
        _ => Some(Outcome::Done(time)),
    }
}

impl ServerTime {
    fn of(time: Option<&Value>) -> Self {
        let seconds = |name| {
            let value = time?.get(name)?;
            let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
            (number.is_finite() && number >= 0.0).then_some(number)
        };
        ServerTime {
            duration: seconds("duration"),
            operating: seconds("operating"),
            // A time is far below 2^53.
            operating_reset_at: seconds("operating_reset_at")
                .filter(|&at| at < 1e12)
                .map(|at| at as i64),
            finish: seconds("finish"),
        }
    }
}

#[cfg(test)]
mod tests;
