//! Encodes commands: a direct call for one, a `batch` for up to 50.

use serde_json::{Map, Value};

use super::{Method, Pass, Request};

mod end;

pub(crate) use end::{EndCommand, end_command};

/// Most commands that the portal executes in one batch ("batch", REST API documentation).
pub(crate) const BATCH_COMMANDS: usize = 50;

/// A direct call of `bizproc.activity.log`.
pub(crate) fn activity_log(event_token: &str, message: &str) -> Request {
    // Line breaks take two bytes.
    let room = message.len() + message.len() / 16;
    let mut body = Vec::with_capacity(64 + event_token.len() + room);
    body.extend_from_slice(b"{\"EVENT_TOKEN\":");
    push_json(&mut body, event_token);
    body.extend_from_slice(b",\"LOG_MESSAGE\":");
    push_json(&mut body, message);
    body.push(b'}');
    Request { method: Method::ActivityLog, body, commands: 1, pass: Pass::default() }
}

/// A `bizproc.event.send` call, which ends the activity. `log_message` is written as its last line. With
/// `None` the portal writes its default text (server behaviour).
pub(crate) fn event_send(
    event_token: &str,
    return_values: &Map<String, Value>,
    log_message: Option<&str>,
) -> Request {
    let mut body = b"{\"EVENT_TOKEN\":".to_vec();
    push_json(&mut body, event_token);
    if !return_values.is_empty() {
        body.extend_from_slice(b",\"RETURN_VALUES\":");
        serde_json::to_writer(&mut body, return_values)
            .expect("a map of JSON values serialises, and a Vec takes all of it");
    }
    if let Some(message) = log_message {
        body.extend_from_slice(b",\"LOG_MESSAGE\":");
        push_json(&mut body, message);
    }
    body.push(b'}');
    Request { method: Method::EventSend, body, commands: 1, pass: Pass::default() }
}

/// Adds an access token to the body of a request. An address would be written to logs on the way.
pub(crate) fn authorize(body: &mut Vec<u8>, access_token: &str) {
    // Every body is an object without spaces at its end.
    body.pop();
    if body.last() != Some(&b'{') {
        body.push(b',');
    }
    body.extend_from_slice(b"\"auth\":");
    push_json(body, access_token);
    body.push(b'}');
}

/// A `batch` under construction. It always knows its length in bytes.
pub(crate) struct Batch {
    /// The body without [`CLOSE`].
    body: Vec<u8>,
    commands: usize,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        Batch { body: OPEN.to_vec(), commands: 0 }
    }

    /// Appends a `bizproc.activity.log` command.
    pub(crate) fn push_log(&mut self, event_token: &str, message: &str) {
        self.open_command();
        self.body.extend_from_slice(LOG_OPEN);
        push_encoded(&mut self.body, event_token);
        self.body.extend_from_slice(LOG_MESSAGE);
        push_encoded(&mut self.body, message);
        self.close_command();
    }

    /// Appends the end of an activity.
    pub(crate) fn push_end(&mut self, end: &EndCommand) {
        self.open_command();
        self.body.extend_from_slice(end.encoded());
        self.close_command();
    }

    /// Opens a command under the key `c` and its index.
    fn open_command(&mut self) {
        // JSON allows spaces here. With them, every command has the same cost at every position.
        let lead = match self.commands {
            0 => "  ",
            1..=9 => ", ",
            _ => ",",
        };
        self.body.extend_from_slice(lead.as_bytes());
        self.body.extend_from_slice(b"\"");
        self.body.extend_from_slice(key(self.commands).as_bytes());
        self.body.extend_from_slice(b"\":\"");
    }

    fn close_command(&mut self) {
        self.body.push(b'"');
        self.commands += 1;
    }

    /// Bytes that a log command adds to the body, exactly, in a batch of up to 100.
    pub(crate) fn cost(event_token: &str, message: &str) -> usize {
        FRAME + LOG_OPEN.len() + encoded_len(event_token) + LOG_MESSAGE.len() + encoded_len(message)
    }

    /// The length of the body that [`finish`](Batch::finish) would return.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + CLOSE.len()
    }

    /// The request.
    pub(crate) fn finish(mut self) -> Request {
        self.body.extend_from_slice(CLOSE);
        Request {
            method: Method::Batch,
            body: self.body,
            commands: self.commands,
            pass: Pass::default(),
        }
    }
}

/// About how many bytes a value uses, for a limit.
pub(crate) fn bytes(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(bytes).sum(),
        Value::Object(map) => map.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
    };
    size_of::<Value>() + inner
}

/// `halt` is a number because the portal casts it to bool: "false" would be true (server behaviour). 0:
/// if a command fails, the next ones still run.
const OPEN: &[u8] = b"{\"halt\":0,\"cmd\":{";
const CLOSE: &[u8] = b"}}";
const LOG_OPEN: &[u8] = b"bizproc.activity.log?EVENT_TOKEN=";
const LOG_MESSAGE: &[u8] = b"&LOG_MESSAGE=";
/// Bytes around a command: `, "c0":"` before it, and `"` behind it.
const FRAME: usize = 8 + 1;

/// The key of the command with this index. It is not a number, because PHP returns integer keys as a list or
/// as an object, depending on gaps ("batch", server behaviour).
pub(super) fn key(index: usize) -> String {
    format!("c{index}")
}

/// Appends a JSON string. Few bytes of a line need an escape, so the others are copied in long pieces.
fn push_json(body: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    body.push(b'"');
    loop {
        let (plain, from) = rest.split_at(plain_run(rest));
        body.extend_from_slice(plain);
        let Some((&b, after)) = from.split_first() else { break };
        push_escaped(body, b);
        rest = after;
    }
    body.push(b'"');
}

/// How many bytes from the start of `bytes` need no escape in a JSON string.
fn plain_run(bytes: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let needs_escape = |b: u8| (b < 0x20) | (b == b'"') | (b == b'\\');
    // Whole blocks without a branch inside, so that the compiler can use vector instructions.
    let blocks = bytes.chunks_exact(BLOCK);
    let plain =
        blocks.take_while(|block| !block.iter().fold(false, |any, &b| any | needs_escape(b)));
    let start = plain.count() * BLOCK;
    let more = bytes[start..].iter().take_while(|&&b| !needs_escape(b));
    start + more.count()
}

fn push_escaped(body: &mut Vec<u8>, b: u8) {
    let short = match b {
        b'\n' => b'n',
        b'"' | b'\\' => b,
        b'\t' => b't',
        b'\r' => b'r',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            let [hex_high, hex_low] =
                [b >> 4, b & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
            return body.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex_high, hex_low]);
        }
    };
    body.extend_from_slice(&[b'\\', short]);
}

/// Appends `text`. Each byte except `A-Z a-z 0-9 - _ . ~` is written as `%XX`, once. `parse_url` and
/// `parse_str` read a command ("batch", server behaviour), and `#`, `&`, `+`, `%`, `[` and control bytes
/// have a meaning there. JSON adds no second layer.
pub(super) fn push_encoded(body: &mut Vec<u8>, text: &str) {
    // Every byte writes four bytes and advances by one or three, without a branch that depends on the text.
    let mut block = [0u8; 3 * BLOCK + 1];
    for bytes in text.as_bytes().chunks(BLOCK) {
        let mut end = 0;
        for &b in bytes {
            let encoded = ENCODED[usize::from(b)];
            block[end..end + 4].copy_from_slice(&encoded);
            end += usize::from(encoded[3]);
        }
        body.extend_from_slice(&block[..end]);
    }
}

fn encoded_len(text: &str) -> usize {
    // Counted in `u8`, which cannot overflow within a block, so that the compiler counts 16 bytes at once.
    let escaped = |block: &[u8]| block.iter().fold(0, |n: u8, &b| n + u8::from(!is_unreserved(b)));
    let blocks = text.as_bytes().chunks(BLOCK);
    text.len() + 2 * blocks.map(|block| usize::from(escaped(block))).sum::<usize>()
}

const BLOCK: usize = 64;

/// For each byte: up to three bytes to write, and how many of them.
static ENCODED: [[u8; 4]; 256] = {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut table = [[0; 4]; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = if is_unreserved(b as u8) {
            [b as u8, 0, 0, 1]
        } else {
            [b'%', HEX[b >> 4], HEX[b & 15], 3]
        };
        b += 1;
    }
    table
};

/// RFC 3986, section 2.3.
const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() | (b == b'-') | (b == b'_') | (b == b'.') | (b == b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The contents of a batch, read with decoders of other crates.
    fn commands(request: &Request) -> Vec<(String, String, String)> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["halt"], 0);
        let cmd = body["cmd"].as_object().unwrap();
        (0..cmd.len())
            .map(|i| {
                let command = cmd[&format!("c{i}")].as_str().unwrap();
                let (method, query) = command.split_once('?').unwrap();
                assert_eq!(method, "bizproc.activity.log");
                let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
                assert_eq!(pairs[0].0, "EVENT_TOKEN");
                assert_eq!(pairs[1].0, "LOG_MESSAGE");
                assert_eq!(pairs.len(), 2);
                (method.to_owned(), pairs[0].1.to_string(), pairs[1].1.to_string())
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_what_a_decoder_reads(
            pushed in prop::collection::vec((any::<String>(), any::<String>()), 0..60),
        ) {
            let mut batch = Batch::new();
            for (event_token, message) in &pushed {
                let before = batch.bytes();
                batch.push_log(event_token, message);
                prop_assert_eq!(batch.bytes() - before, Batch::cost(event_token, message));
            }
            let bytes = batch.bytes();
            let request = batch.finish();
            prop_assert_eq!(request.commands, pushed.len());
            prop_assert_eq!(request.body.len(), bytes);
            let read = commands(&request);
            prop_assert_eq!(read.len(), pushed.len());
            for ((_, event_token, message), sent) in read.iter().zip(&pushed) {
                prop_assert_eq!((event_token, message), (&sent.0, &sent.1));
            }
        }

        #[test]
        fn a_direct_call_carries_what_it_was_given(event_token: String, message: String) {
            let request = activity_log(&event_token, &message);
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let expected = serde_json::json!({"EVENT_TOKEN": event_token, "LOG_MESSAGE": message});
            prop_assert_eq!(body, expected);
        }

        #[test]
        fn a_json_string_is_written_as_serde_json_writes_it(
            parts in prop::collection::vec(
                prop_oneof![any::<String>(), "[ -~]{0,40}", "[\\x00-\\x20\"\\\\\x7F]{0,3}"], 0..8,
            ),
        ) {
            let text = parts.concat();
            let mut body = Vec::new();
            push_json(&mut body, &text);
            prop_assert_eq!(body, serde_json::to_vec(&text).unwrap());
        }

        #[test]
        fn long_text_is_encoded_like_short_text(text in "[ -~а-я😀]{100,400}") {
            let mut whole = Vec::new();
            push_encoded(&mut whole, &text);
            let bytewise: String = text.bytes().map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(b).to_string()
                }
                _ => format!("%{b:02X}"),
            }).collect();
            prop_assert_eq!(String::from_utf8(whole).unwrap(), bytewise);
        }
    }

    #[test]
    fn a_batch_has_the_documented_form() {
        let mut batch = Batch::new();
        assert_eq!(batch.bytes(), r#"{"halt":0,"cmd":{}}"#.len());
        batch.push_log("t|a.f0", "x=1 & y");
        batch.push_log("t", "~");
        let body = String::from_utf8(batch.finish().body).unwrap();
        assert_eq!(
            body,
            r#"{"halt":0,"cmd":{  "c0":"bizproc.activity.log?EVENT_TOKEN=t%7Ca.f0&LOG_MESSAGE=x%3D1%20%26%20y", "c1":"bizproc.activity.log?EVENT_TOKEN=t&LOG_MESSAGE=~"}}"#
        );
    }

    #[test]
    fn an_access_token_is_added_to_any_body() {
        for mut request in [
            activity_log("t", "m"),
            event_send("t", &Map::new(), None),
            batch_of(&[]),
            batch_of(&["m"]),
            Request {
                method: Method::Batch,
                body: b"{}".to_vec(),
                commands: 1,
                pass: Pass::default(),
            },
        ] {
            let mut expected: Value = serde_json::from_slice(&request.body).unwrap();
            expected["auth"] = Value::from("a\"b");
            authorize(&mut request.body, "a\"b");
            assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), expected);
        }
    }

    fn batch_of(messages: &[&str]) -> Request {
        let mut batch = Batch::new();
        messages.iter().for_each(|message| batch.push_log("t", message));
        batch.finish()
    }

    #[test]
    fn an_end_has_its_values_and_its_message() {
        let values = serde_json::json!({"sum": 12.5, "tags": ["a", "b"]});
        let request = event_send("t", values.as_object().unwrap(), Some("done"));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"EVENT_TOKEN": "t", "RETURN_VALUES": values, "LOG_MESSAGE": "done"})
        );
        let request = event_send("t", &Map::new(), None);
        assert_eq!(request.body, br#"{"EVENT_TOKEN":"t"}"#);
        assert_eq!((request.method, request.commands), (Method::EventSend, 1));
    }
}
