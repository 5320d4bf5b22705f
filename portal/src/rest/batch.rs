//! `batch`: up to 50 commands in one hit, in their order, each refused or done on its own.

use std::borrow::Cow;

use super::answer::error_pair;
use super::command::{Executed, execute};
use super::hit::Hit;
use super::substitution::{TypeError, substitute};
use crate::error::{ErrorCode, Refusal};
use crate::journal::{CommandOutcome, CommandRecord};
use crate::php::{Array, Key, Value, parse_str, parse_url};

/// Commands that run; each further one is refused under its own key (REST API, "batch").
const MAX_COMMANDS: usize = 50;

/// Runs the commands; a [`TypeError`] ends the hit, with the commands before it done.
pub(crate) async fn batch(
    hit: &mut Hit<'_>,
    params: &Array<'_>,
) -> Result<Value<'static>, TypeError> {
    let halt = params.get_ignoring_case("HALT").is_some_and(|halt| !halt.is_empty());
    let mut sections = empty_sections();
    let commands = params.get_ignoring_case("CMD").and_then(Value::as_array);
    for (index, (key, command)) in commands.into_iter().flat_map(Array::iter).enumerate() {
        let name = String::from_utf8_lossy(&key.to_bytes()).into_owned();
        let executed = if index >= MAX_COMMANDS {
            refuse(hit, name, "", ErrorCode::BatchLengthExceeded)
        } else {
            // A command that is not a text is skipped.
            let Value::Text(command) = command else { continue };
            run(hit, name, command, &sections).await?
        };
        let failed = executed.result.is_err();
        record(&mut sections, key.clone().into_owned(), executed);
        if failed && halt {
            break;
        }
    }
    Ok(answer(sections))
}

async fn run(
    hit: &mut Hit<'_>,
    key: String,
    command: &[u8],
    sections: &Array<'static>,
) -> Result<Executed, TypeError> {
    let url = parse_url(command).unwrap_or_default();
    let path = url.path.unwrap_or_default();
    let method = String::from_utf8_lossy(&path).to_lowercase();
    let query = url.query.unwrap_or_default();
    let variant = hit.core.world().settings.substitution;
    let params = substitute(parse_str(&query), sections, variant)?;
    if matches!(&*method, "batch" | "download" | "upload") {
        return Ok(refuse(hit, key, &method, ErrorCode::BatchMethodNotAllowed));
    }
    Ok(execute(hit, key, &method, &params).await)
}

fn refuse(hit: &Hit<'_>, key: String, method: &str, error: ErrorCode) -> Executed {
    let record = CommandRecord {
        key,
        method: method.to_owned(),
        workflow: None,
        activity: None,
        message: None,
        outcome: CommandOutcome::Refused(error.code().to_owned()),
    };
    hit.core.world().journal.command(hit.number, record);
    Executed { result: Err(error.into()), time: Value::Null }
}

fn empty_sections() -> Array<'static> {
    ["result", "next", "total", "time", "error"]
        .map(|section| (section, Value::Array(Array::new())))
        .into()
}

fn record(sections: &mut Array<'static>, key: Key<'static>, executed: Executed) {
    let mut set = |section: &'static str, value| {
        let section = Key::Text(Cow::Borrowed(section.as_bytes()));
        sections.array_at(Some(section)).insert(key.clone(), value);
    };
    match executed.result {
        Ok(answer) => {
            set("result", answer.value);
            let number = |number: usize| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
            if let Some(next) = answer.next {
                set("next", number(next));
            }
            if let Some(total) = answer.total {
                set("total", number(total));
            }
            set("time", executed.time);
        }
        Err(Refusal { error, description }) => {
            // A command without the scope is refused without an explanation.
            let missing_scope = error == ErrorCode::InsufficientScope;
            let description = if missing_scope { "" } else { &*description };
            set("error", Value::Array(error_pair(error.code(), description)));
            set("error_description", Value::text(description));
        }
    }
}

fn answer(sections: Array<'static>) -> Value<'static> {
    let section = |name: &str| sections.get(name.as_bytes()).cloned().unwrap_or(Value::Null);
    Value::Array(
        [
            ("result", section("result")),
            ("result_error", section("error")),
            ("result_total", section("total")),
            ("result_next", section("next")),
            ("result_time", section("time")),
        ]
        .into(),
    )
}
