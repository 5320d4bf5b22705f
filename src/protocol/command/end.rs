//! The end of an activity as a command of a batch, if it means the same there as in a direct call.
//!
//! A direct call is JSON: values keep their types, and nothing in them is replaced. In a batch, PHP reads the
//! command with `parse_str`, which knows only text and arrays, and the portal replaces `$result[..]` and
//! similar expressions ("batch", server behaviour). So a batch may have only texts, with names that have no
//! special meaning for PHP, and without anything that would be replaced.

use serde_json::{Map, Value};

use super::{encoded_len, push_encoded};
use crate::protocol::text::is_substituted;

/// A `bizproc.event.send` command, encoded.
pub(crate) struct EndCommand(Box<[u8]>);

impl EndCommand {
    /// Bytes that it adds to a batch.
    pub(crate) fn cost(&self) -> usize {
        super::FRAME + self.0.len()
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.0
    }
}

/// Without its text, which contains an event token and return values.
impl std::fmt::Debug for EndCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EndCommand({} bytes)", self.0.len())
    }
}

/// The command, if the portal reads the same from it as from a direct call.
pub(crate) fn end_command(
    event_token: &str,
    values: &Map<String, Value>,
    message: Option<&str>,
) -> Option<EndCommand> {
    let mut variables = 2;
    for (name, value) in values {
        if !is_plain_name(name) {
            return None;
        }
        variables += texts(value)?.len();
    }
    let whole = message.unwrap_or_default();
    if variables > MOST_VARIABLES || is_substituted(event_token) || is_substituted(whole) {
        return None;
    }
    let mut command = Vec::with_capacity(OPEN.len() + encoded_len(event_token) + 64);
    command.extend_from_slice(OPEN);
    push_encoded(&mut command, event_token);
    for (name, value) in values {
        for (n, text) in texts(value)?.into_iter().enumerate() {
            command.extend_from_slice(b"&RETURN_VALUES%5B");
            command.extend_from_slice(name.as_bytes());
            command.extend_from_slice(b"%5D");
            if value.is_array() {
                command.extend_from_slice(format!("%5B{n}%5D").as_bytes());
            }
            command.push(b'=');
            push_encoded(&mut command, text);
        }
    }
    if let Some(message) = message {
        command.extend_from_slice(b"&LOG_MESSAGE=");
        push_encoded(&mut command, message);
    }
    Some(EndCommand(command.into()))
}

/// The texts of a value that is a text, or a list of texts that is not empty. Everything else would lose its
/// type; an empty list would not be sent at all.
fn texts(value: &Value) -> Option<Vec<&str>> {
    let texts = match value {
        Value::String(text) => vec![text.as_str()],
        Value::Array(list) if !list.is_empty() => {
            list.iter().map(Value::as_str).collect::<Option<_>>()?
        }
        _ => return None,
    };
    (!texts.iter().any(|text| is_substituted(text))).then_some(texts)
}

/// Whether `parse_str` does not change the name, with any settings of PHP.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

const OPEN: &[u8] = b"bizproc.event.send?EVENT_TOKEN=";
/// PHP reads at most 1,000 variables of one command (`max_input_vars`).
const MOST_VARIABLES: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(values: &Value, message: Option<&str>) -> Option<String> {
        let command = end_command("5e.1|A1|3.ab", values.as_object().unwrap(), message)?;
        Some(String::from_utf8(command.0.into_vec()).unwrap())
    }

    #[test]
    fn an_end_with_texts_has_the_documented_form() {
        assert_eq!(
            command(&json!({"status": "paid & done", "tags": ["a", "b"]}), Some("Ready")).unwrap(),
            "bizproc.event.send?EVENT_TOKEN=5e.1%7CA1%7C3.ab&RETURN_VALUES%5Bstatus%5D=paid%20%26%20done\
             &RETURN_VALUES%5Btags%5D%5B0%5D=a&RETURN_VALUES%5Btags%5D%5B1%5D=b&LOG_MESSAGE=Ready"
        );
        assert!(command(&json!({}), None).is_some());
    }

    #[test]
    fn an_end_that_would_change_in_a_batch_is_a_direct_call() {
        for values in [
            json!({"n": 2}),
            json!({"n": 2.5}),
            json!({"yes": true}),
            json!({"none": null}),
            json!({"list": []}),
            json!({"list": ["a", 2]}),
            json!({"list": [["a"]]}),
            json!({"a[b]": "x"}),
            json!({"a.b": "x"}),
            json!({" a": "x"}),
            json!({"имя": "x"}),
            json!({"": "x"}),
            json!({"price": "$result[c0]"}),
            json!({"price": "costs $TIME"}),
            json!({"list": ["ok", "$error"]}),
        ] {
            assert!(command(&values, None).is_none(), "{values}");
        }
        assert!(command(&json!({}), Some("$next[0]")).is_none());
        assert!(command(&json!({"price": "$5", "who": "$user[name]"}), None).is_some());
        let many: Map<String, Value> = (0..300).map(|n| (format!("v{n}"), "x".into())).collect();
        assert!(command(&Value::Object(many), None).is_none());
    }
}
