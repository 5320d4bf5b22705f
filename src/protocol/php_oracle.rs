//! Compares with PHP: the functions that a portal uses must read what was sent.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::Request;
use super::command::{Batch, activity_log, end_command, event_send};
use super::text::{Astral, LINE_MARK, push_safe, split_at_boundary};
use crate::php::{self, Source, hex};

/// The contents of one command.
type Sent = (String, String);

/// Ordinary text of programs, and hostile text.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_map(String::from),
        3 => "[ -~]{1,60}",
        2 => "[а-яА-Я «»—№]{1,40}",
        3 => prop::sample::select(vec![
            "$result[c0][id]", "$RESULT", "$time[c0][start]", "$timeout[x]", "$errors[0]", "$next",
            "$reſult[c0]", "$", "{=user:name}", "{=Document:ID > printable}", "{= x : y }",
            "[timestamp=1]x[/timestamp]", "[TIMESTAMP", "[x]=1", "LOG_MESSAGE[]=1&EVENT_TOKEN=f",
            "&", "=", "#frag", "?", "+", "%41", "%", "://", "/../", ":80", "\0", "\n", "\r\n",
            "\t", "\u{b}", "\u{85}", "\u{2028}", "•", "\u{202e}", "\u{feff}", "😀", "\\", "\"",
            "'", "</script>", "0", " ",
        ]).prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// An entry as the worker writes it: lines, each after its mark.
fn entry(lines: &[String], astral: Astral) -> String {
    let mut entry = String::new();
    for line in lines {
        if !entry.is_empty() {
            entry.push('\n');
        }
        entry.push(LINE_MARK);
        entry.push_str(" 12:00:00 ");
        push_safe(&mut entry, line, astral);
    }
    entry
}

/// Lets PHP read the requests, and compares the result with what was sent. `safe`: PHP must also find nothing
/// to replace.
fn check(requests: Vec<(Request, Vec<Sent>, bool)>) {
    let bodies = requests.iter().map(|(request, _, _)| request.body.clone()).collect();
    let Some(read) = php::ask("oracle.php", bodies) else { return };
    for ((_, sent, safe), read) in requests.iter().zip(read) {
        let read: Vec<Value> = serde_json::from_str(&read).unwrap();
        assert_eq!(read.len(), sent.len(), "{read:?}");
        for ((event_token, message), command) in sent.iter().zip(read) {
            assert_eq!(command[0], hex(event_token), "event token of {message:?}: {command}");
            assert_eq!(command[1], hex(message), "{message:?}: {command}");
            if *safe {
                assert_eq!(command[2], Value::Array(Vec::new()), "{message:?}");
            }
        }
    }
}

fn batch(sent: &[Sent]) -> Request {
    let mut batch = Batch::new();
    for (event_token, message) in sent {
        batch.push_log(event_token, message);
    }
    batch.finish()
}

#[test]
fn php_reads_any_text_as_it_was_sent() {
    let mut source = Source::new();
    let mut requests = Vec::new();
    for _ in 0..150 {
        let sent = source.draw(prop::collection::vec((texts(), texts()), 1..=50));
        requests.push((batch(&sent), sent.clone(), false));
        for (event_token, message) in sent.into_iter().take(4) {
            let request = activity_log(&event_token, &message);
            requests.push((request, vec![(event_token, message)], false));
        }
    }
    check(requests);
}

#[test]
fn php_finds_nothing_to_substitute_in_an_entry() {
    let mut source = Source::new();
    let mut requests = Vec::new();
    for round in 0..150 {
        let astral = if round % 2 == 0 { Astral::Escape } else { Astral::Keep };
        let lines = prop::collection::vec(texts(), 1..4);
        let sent: Vec<Sent> = source
            .draw(prop::collection::vec((texts(), lines), 1..=25))
            .into_iter()
            .map(|(event_token, lines)| (event_token, entry(&lines, astral)))
            .collect();
        requests.push((batch(&sent), sent.clone(), true));
        let (event_token, message) = sent[0].clone();
        let values: Map<String, Value> =
            Map::from_iter([(source.draw(texts()), Value::String(source.draw(texts())))]);
        let request = event_send(&event_token, &values, Some(&message));
        requests.push((request, vec![(event_token, message)], true));
    }
    check(requests);
}

#[test]
fn php_finds_nothing_to_substitute_where_an_entry_was_split() {
    let mut source = Source::new();
    let mut requests = Vec::new();
    for _ in 0..150 {
        let mut rest = String::new();
        for text in source.draw(prop::collection::vec(texts(), 4..12)) {
            push_safe(&mut rest, &text, Astral::Escape);
        }
        let mut sent = Vec::new();
        let mut rest = rest.as_str();
        while !rest.is_empty() && sent.len() < 50 {
            let (head, tail) = split_at_boundary(rest, 40);
            sent.push(("token".to_owned(), format!("{LINE_MARK} {head}")));
            rest = tail;
        }
        requests.push((batch(&sent), sent, true));
    }
    check(requests);
}

/// An end is sent in a batch only if PHP reads the same from it as from a direct call.
#[test]
fn php_reads_the_same_end_in_a_batch_as_in_a_direct_call() {
    let mut source = Source::new();
    let names = || prop_oneof!["[A-Za-z0-9_]{1,12}", texts()];
    let values = || {
        prop_oneof![
            4 => texts().prop_map(Value::from),
            1 => prop::collection::vec(texts(), 0..4).prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::from),
        ]
    };
    let (mut bodies, mut batched) = (Vec::new(), 0);
    for _ in 0..3_000 {
        let values = source.draw(prop::collection::vec((names(), values()), 0..4));
        let values: Map<String, Value> = values.into_iter().collect();
        let event_token = source.draw(texts());
        let message = source.draw(prop::option::of(texts().prop_map(|text| {
            let mut safe = String::new();
            push_safe(&mut safe, &text, Astral::Escape);
            safe
        })));
        let Some(command) = end_command(&event_token, &values, message.as_deref()) else {
            continue;
        };
        let mut batch = Batch::new();
        batch.push_end(&command);
        bodies.push(batch.finish().body);
        bodies.push(event_send(&event_token, &values, message.as_deref()).body);
        batched += 1;
    }
    assert!(batched > 300, "{batched} of them may go in a batch");
    let Some(read) = php::ask("ends.php", bodies) else { return };
    for pair in read.chunks(2) {
        let [in_batch, alone]: [Value; 2] = [0, 1].map(|n| serde_json::from_str(&pair[n]).unwrap());
        assert_eq!(in_batch[1], "");
        assert_eq!(in_batch[0], alone[0]);
    }
}
