//! Whole batches over the wire: the answer, byte by byte, and what was written.

use std::time::Duration;

use super::client::{Answer, request};
use super::hostile::{self, json_text};
use super::oracle::{Oracle, SOME, cases};
use crate::php::urlencode;
use crate::random::Random;
use crate::{Clock, CommandOutcome, MissingMethods, Portal, Substitution, UnixTime};

/// A quarter past a second, so that it is a float for everybody.
const NOW: UnixTime = UnixTime::new(Duration::from_millis(1_800_000_000_250));

fn post(portal: &Portal, method: &str, body: &str) -> Answer {
    let url = portal.webhook_url() + method;
    let headers = [("Content-Type", "application/json")];
    request(&url, "POST", &headers, body.as_bytes()).unwrap()
}

/// Sends the body to a fresh portal, and to PHP's idea of one.
fn judge(php: &mut Oracle, variant: Substitution, body: impl FnOnce(&str) -> String) {
    let clock = Clock::stopped_at(NOW);
    let portal = Portal::builder()
        .missing_methods(MissingMethods::NotFound)
        .seed(7)
        .clock(clock)
        .substitution(variant)
        .start()
        .unwrap();
    let token = portal.start_workflow("Order").open_activity("check").event_token();
    let body = body(&token);
    // No time goes by, so that each command takes the same: none.
    let time = post(&portal, "server.time", "{}").body;
    let time = time.rsplit_once("\"time\":").unwrap().1.strip_suffix('}').unwrap();
    let answer = post(&portal, "batch", &body);
    let variant = if variant == Substitution::Newer { "newer" } else { "older" };
    let args = [body.as_bytes(), time.as_bytes(), token.as_bytes(), variant.as_bytes()];
    let mut theirs = texts(&php.ask("batch", &args)).into_iter();

    match theirs.next().flatten() {
        Some(result) => {
            let result = format!("{{\"result\":{},\"time\":", String::from_utf8(result).unwrap());
            let end = answer.body.rfind("\"time\":").map_or(0, |at| at + "\"time\":".len());
            assert_eq!(answer.body[..end], result, "{variant}: {body}");
            assert_eq!(answer.status, 200, "{variant}: {body}");
        }
        None => assert_eq!((answer.status, &*answer.body), (500, ""), "{variant}: {body}"),
    }
    let journal = portal.journal();
    let written = journal[1].commands.iter().filter(|it| it.outcome == CommandOutcome::Written);
    let written: Vec<_> = written.map(|command| command.message.as_deref()).collect();
    let notes: Vec<_> =
        theirs.map(|note| note.map(|note| String::from_utf8_lossy(&note).into_owned())).collect();
    let notes: Vec<_> = notes.iter().map(Option::as_deref).collect();
    assert_eq!(written, notes, "{variant}: {body}");
}

/// The texts in a list that PHP has dumped.
fn texts(dumped: &str) -> Vec<Option<Vec<u8>>> {
    let list = dumped.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap();
    let mut texts = Vec::new();
    let mut rest = list;
    while let Some((_, value)) = rest.split_once(';') {
        if let Some(after) = value.strip_prefix('n') {
            texts.push(None);
            rest = after;
            continue;
        }
        let (hex, after) = value.strip_prefix('s').and_then(|text| text.split_once(';')).unwrap();
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        texts.push(Some(digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()));
        rest = after;
    }
    texts
}

/// A command with a good token, as a rule, and a message that hurts.
fn command(random: &mut Random, token: &str) -> String {
    let token = urlencode(token);
    let message = match random.below(3) {
        0 => hostile::text(random),
        1 => hostile::one_of(random, hostile::REFERENCES).to_owned(),
        _ => format!("{} {}", hostile::one_of(random, hostile::REFERENCES), hostile::text(random)),
    };
    // As it should be, as JavaScript's encoder would, and as it comes.
    let message = match random.below(3) {
        0 => urlencode(&message),
        1 => message.replace('%', "%25").replace('&', "%26").replace('#', "%23"),
        _ => message,
    };
    match random.below(8) {
        0 => json_text(&hostile::command(random)),
        1 => hostile::json(random, 1),
        2 => json_text(&format!("Bizproc.Activity.Log?event_token={token}&log_message={message}")),
        3 => {
            json_text(&format!("bizproc.activity.log?LOG_MESSAGE[x]={message}&EVENT_TOKEN={token}"))
        }
        _ => json_text(&format!("bizproc.activity.log?EVENT_TOKEN={token}&LOG_MESSAGE={message}")),
    }
}

/// A body with up to `most` commands, as a list or under keys that may look like numbers.
fn body(random: &mut Random, most: u64, token: &str) -> String {
    let mut commands: Vec<String> =
        (0..random.below(most + 1)).map(|_| command(random, token)).collect();
    let cmd = match random.below(4) {
        0 => format!("[{}]", commands.join(",")),
        1 => {
            let keys = ["0", "1", "2", "c0", "c1", "01", "-1", "", "ключ", "a/b"];
            let key = |_: &String| json_text(hostile::one_of(random, &keys));
            let keys: Vec<String> = commands.iter().map(key).collect();
            let pairs = keys.iter().zip(&commands).map(|(key, command)| format!("{key}:{command}"));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        _ => {
            for (number, command) in commands.iter_mut().enumerate() {
                *command = format!("\"c{number}\":{command}");
            }
            format!("{{{}}}", commands.join(","))
        }
    };
    let (halt, name) = (hostile::json(random, 1), hostile::one_of(random, &["cmd", "CMD", "Cmd"]));
    match random.below(3) {
        0 => format!("{{\"halt\":{halt},\"{name}\":{cmd}}}"),
        _ => format!("{{\"halt\":0,\"{name}\":{cmd}}}"),
    }
}

#[test]
fn batches_are_carried_out_and_answered_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    cases(SOME, |random| {
        let variant = [Substitution::Newer, Substitution::Older][random.below(2) as usize];
        let most = if random.below(20) == 0 { 60 } else { 6 };
        judge(&mut php, variant, |token| body(random, most, token));
    });
}

#[test]
fn references_that_the_readme_names_are_resolved_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    for variant in [Substitution::Newer, Substitution::Older] {
        for reference in hostile::REFERENCES {
            for encode in [urlencode, str::to_owned] {
                judge(&mut php, variant, |token| {
                    let token = urlencode(token);
                    let command = |token: &str, message: &str| {
                        let query = format!("EVENT_TOKEN={token}&LOG_MESSAGE={message}");
                        json_text(&format!("bizproc.activity.log?{query}"))
                    };
                    let commands = [
                        command(&token, "first"),
                        command("forged", "second"),
                        command(&token, &encode(reference)),
                        command(&token, "last"),
                    ];
                    let keys = ["c0", "c1", "c2", "c3"].iter().zip(commands);
                    let pairs: Vec<_> =
                        keys.map(|(key, command)| format!("\"{key}\":{command}")).collect();
                    format!("{{\"halt\":0,\"cmd\":{{{}}}}}", pairs.join(","))
                });
            }
        }
    }
}
