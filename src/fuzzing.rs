//! Properties of the parsers that must be true for any bytes. The targets in `fuzz/` check them, and `cargo
//! test` checks them for the corpora.

use std::str;

use crate::activity::{ActivityRequest, DateFormat};
use crate::installation::{AppRequest, Claim, Installation};
#[cfg(feature = "spool")]
use crate::journal::codec;
use crate::protocol::command::{BATCH_COMMANDS, Batch};
use crate::protocol::reply::{self, Sent, Verdict};
use crate::protocol::text::{self, Astral};
use crate::protocol::{Reply, call};
use crate::transport::auth::Hosts;

mod memos;

/// An answer: two bytes of status, one of how many commands were sent (0: a call), the body.
///
/// # Panics
/// When a request that ran does not have one outcome per command.
pub fn reply(data: &[u8]) {
    let [low, high, commands, body @ ..] = data else { return };
    let status = u16::from_le_bytes([*low, *high]);
    let sent = match commands {
        0 => Sent::Single,
        n => Sent::Batch(usize::from(*n)),
    };
    let answer = Reply::Http { status, body: body.to_vec() };
    let _ = call::read(&answer);
    if let Verdict::Ran { outcomes, .. } = reply::read(&answer, sent) {
        assert_eq!(outcomes.len(), usize::from(*commands).max(1));
    }
}

/// Texts, separated by zero bytes: an event token, then messages.
///
/// # Panics
/// When a batch does not contain the given texts, does not have the length that it returns, or contains text
/// that the portal would replace.
pub fn command(data: &[u8]) {
    let parts = String::from_utf8_lossy(data);
    let mut parts = parts.split('\0');
    let event_token = parts.next().unwrap_or_default();
    let mut batch = Batch::new();
    let mut sent = Vec::new();
    for message in parts.take(BATCH_COMMANDS) {
        let mut safe = String::new();
        text::push_safe(&mut safe, message, Astral::Escape);
        for word in ["$result", "$next", "$total", "$time", "$error", "{=", "[timestamp"] {
            assert!(!safe.to_ascii_lowercase().contains(word), "{safe:?}");
        }
        let before = batch.bytes();
        batch.push_log(event_token, &safe);
        assert_eq!(batch.bytes() - before, Batch::cost(event_token, &safe));
        sent.push(safe);
    }
    let bytes = batch.bytes();
    let body = batch.finish().body;
    assert_eq!(body.len(), bytes);
    let body: serde_json::Value = serde_json::from_slice(&body).expect("a batch is JSON");
    for (index, message) in sent.iter().enumerate() {
        let command = body["cmd"][format!("c{index}")].as_str().expect("a command under its key");
        let query = command.strip_prefix("bizproc.activity.log?").expect("the method's name");
        let (one, two) = query.split_once('&').expect("two parameters");
        assert_eq!(decode(one), format!("EVENT_TOKEN={event_token}"));
        assert_eq!(decode(two), format!("LOG_MESSAGE={message}"));
    }
}

/// A handler's request: a byte that says whether it is JSON, then the body.
///
/// # Panics
/// When a request is verified although no host is allowed.
pub fn activity(data: &[u8]) {
    let [kind, body @ ..] = data else { return };
    let kind = (*kind == b'j').then_some("application/json");
    if let Ok(request) = ActivityRequest::parse(kind, body) {
        // No host is allowed, so it fails with any token.
        let installation = Installation::new("token", Hosts::default());
        assert!(request.verify(&installation).is_err());
    }
}

/// A request about an installation, an update or a removal: a byte that says whether the body is JSON, the
/// query, a zero byte, the body.
///
/// # Panics
/// When a request is verified although no host is allowed, or when an installation that was read is not written
/// as the same text.
pub fn life(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    let kind = (*kind == b'j').then_some("application/json");
    let mut parts = rest.splitn(2, |&b| b == 0);
    let query = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    if let Ok(request) = AppRequest::parse(&query, kind, body) {
        let claim: &Claim = request.claim();
        assert!(claim.verify(&Installation::new("token", Hosts::default())).is_err());
        assert!(claim.verify(&Installation::new("", Hosts::default())).is_err());
    }
    if let Some(installation) = Installation::from_json(&String::from_utf8_lossy(body)) {
        let again = Installation::from_json(&installation.to_json());
        assert_eq!(again.as_ref(), Some(&installation));
    }
}

/// A property: the format of a date, a zero byte, and a form in which the property is `p`.
///
/// # Panics
/// When a date that does not exist is accepted.
pub fn property(data: &[u8]) {
    let mut parts = data.splitn(2, |&b| b == 0);
    let format = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let properties = parts.next().unwrap_or_default();
    let format = DateFormat::parse(&format);
    let mut body = b"event_token=t&auth[member_id]=m&auth[application_token]=t\
        &auth[client_endpoint]=https://a.example/&"
        .to_vec();
    for &b in properties {
        // The name is not escaped in the request.
        match b {
            b'p' => body.extend_from_slice(b"properties[p]"),
            _ => body.push(b),
        }
    }
    let installation = Installation::new("t", Hosts::from(["a.example"]));
    let Ok(request) = ActivityRequest::parse(None, &body) else { return };
    let Ok(activity) = request.verify(&installation) else { return };
    let input = activity.input("p");
    let _ = (input.text(), input.integer(), input.number(), input.boolean());
    let _ = (input.user(), input.users(), input.files(), input.texts());
    if let Ok(Ok(date)) = format.map(|format| input.date(&format)) {
        assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
        assert!(date.hour < 24 && date.minute < 60 && date.second < 60);
    }
}

/// The files of a spool that a dead run has left, and a chunk by itself.
///
/// # Panics
/// When reading does not come to its end, what is read cannot be settled, or a chunk that was read is not
/// written as it was read.
#[cfg(feature = "spool")]
pub fn spool(data: &[u8]) {
    crate::spool::fuzz::replay(data);
    if let Ok(chunk) = codec::decode(data) {
        let mut bytes = Vec::new();
        codec::encode(&chunk, &mut bytes);
        assert!(codec::decode(&bytes).is_ok_and(|again| again == chunk));
    }
}

/// Memos of a portal, one after the other: a byte for the key, two bytes for the length, and the contents. Key 0 is that of
/// the portal, and key 1 that of the workflow that logs. An owner adopts the portal with them, and then the next owner
/// does so with the memos that the first one has written.
///
/// # Panics
/// When a line is not sent in time, whatever the memos say, or when the next owner does not go on with the
/// entries that were counted.
pub fn memos(data: &[u8]) {
    memos::adopt(data);
}

/// Percent-decoding, as simple as possible.
fn decode(query: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = query.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b == b'%' {
            let (hex, tail) = rest.split_at(2);
            rest = tail;
            let hex = str::from_utf8(hex).expect("ASCII");
            bytes.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).expect("what was encoded was UTF-8")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Runs `check` over a corpus. The published package does not contain one.
    fn replay(target: &str, check: fn(&[u8])) {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        if !fuzz.exists() {
            return;
        }
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz.join("corpus").join(target)).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "no corpus for {target}");
    }

    #[test]
    fn every_input_of_the_replies_corpus_passes() {
        replay("reply", super::reply);
    }

    #[test]
    fn every_input_of_the_activities_corpus_passes() {
        replay("activity", super::activity);
    }

    #[test]
    fn every_input_of_the_properties_corpus_passes() {
        replay("property", super::property);
    }

    #[test]
    fn every_input_of_the_life_corpus_passes() {
        replay("life", super::life);
    }

    #[test]
    fn every_input_of_the_memos_corpus_passes() {
        replay("memos", super::memos);
    }

    #[cfg(feature = "spool")]
    #[test]
    fn every_input_of_the_spools_corpus_passes() {
        replay("spool", super::spool);
    }

    /// Files that a disk or a version has changed. `BIZPROC_MUTATIONS` says how many of each input: many take long.
    #[cfg(all(feature = "spool", feature = "simulation"))]
    #[test]
    fn changed_inputs_of_the_spools_corpus_pass() {
        use crate::simulation::Random;

        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/spool");
        let Ok(entries) = fs::read_dir(corpus) else { return };
        let mut inputs: Vec<_> =
            entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        inputs.sort();
        let rounds = std::env::var("BIZPROC_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok());
        let mut random = Random::new(std::env::var_os("BIZPROC_MUTATIONS").is_some().into(), 1);
        for round in 0..rounds.unwrap_or(50) * inputs.len() {
            let mut data = inputs[round % inputs.len()].clone();
            for _ in 0..=random.below(6) {
                let at = random.below(data.len() + 1);
                let until = (at + random.below(64)).min(data.len());
                match random.below(6) {
                    0 if at < data.len() => data[at] ^= 1 << random.below(8),
                    1 if at < data.len() => data[at] = random.below(256) as u8,
                    2 => drop(data.drain(at..until)),
                    3 => {
                        let copy = data[at..until].to_vec();
                        let to = random.below(data.len() + 1);
                        data.splice(to..to, copy);
                    }
                    4 => data.truncate(at),
                    _ => {
                        let other = &inputs[random.below(inputs.len())];
                        let from = random.below(other.len() + 1);
                        let part = &other[from..(from + random.below(256)).min(other.len())];
                        data.splice(at..until, part.iter().copied());
                    }
                }
            }
            super::spool(&data);
        }
    }

    #[test]
    fn every_input_of_the_commands_corpus_passes() {
        replay("command", super::command);
    }
}
