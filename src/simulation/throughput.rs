//! The worker's own speed: from queue to finished request bodies, in real time, without limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::builder::{Builder, Parts};
use crate::line::{EventToken, LogLine, Packed, Packer};
use crate::protocol::Reply;
use crate::queue::Message;
use crate::worker::engine::Step;

/// Sends `lines` lines of `bytes` bytes over `tokens` tokens through queue and engine, and returns
/// the time that the worker's side took.
pub fn measure(builder: &Builder, tokens: u32, lines: u32, bytes: usize) -> Duration {
    let Parts { producer, mut consumer, mut engine, .. } = builder.parts(1);
    let tags: Vec<_> = (0..tokens)
        .map(|n| {
            let event_token = EventToken::parse(&super::portal::event_token(n));
            producer.tag(event_token.expect("a well-formed token"), None, 0)
        })
        .collect();
    let metadata = tracing::callsite!(
        name: "line", kind: tracing::metadata::Kind::EVENT, fields: message
    );
    let metadata = tracing_core::Callsite::metadata(metadata);
    let message = metadata.fields().field("message").expect("it was just declared");
    let text = "x".repeat(bytes);
    let mut packed = Vec::new();
    Packer::new(&mut packed).str(&message, &text);
    let mut worked = Duration::ZERO;
    let mut now = Instant::now();
    let mut given = 0;
    let mut bodies = 0;
    while given < lines {
        let burst = BURST.min(lines - given);
        for n in 0..burst {
            let line = LogLine {
                tag: Arc::clone(&tags[((given + n) % tokens) as usize]),
                metadata,
                at: std::time::SystemTime::UNIX_EPOCH,
                fields: Packed::from(&packed[..]),
                span: None,
            };
            producer.offer(line).expect("the queue holds a burst");
        }
        given += burst;
        let start = Instant::now();
        while let Some(message) = consumer.try_take() {
            if let Message::Line(line) = message {
                engine.line(&line, now);
            }
        }
        // In simulated time a burst is a minute, so that everything gathered is due.
        now += Duration::from_secs(60);
        while let Step::Send(lane, request) = engine.next(now) {
            bodies += request.body.len();
            let reply = success(request.commands);
            engine.settle(lane, &reply, now);
        }
        let freed = engine.freed();
        consumer.release(freed.lines, freed.bytes as u64);
        worked += start.elapsed();
    }
    assert!(bodies > lines as usize * bytes, "every line is in a body");
    worked
}

/// The portal's answer to a request in which all went well.
fn success(commands: usize) -> Reply {
    let body = if commands == 1 {
        r#"{"result":true}"#.to_owned()
    } else {
        let results: Vec<_> = (0..commands).map(|n| format!(r#""c{n}":true"#)).collect();
        format!(r#"{{"result":{{"result":{{{}}},"result_error":[]}}}}"#, results.join(","))
    };
    Reply::Http { status: 200, body: body.into_bytes() }
}

/// Lines between two looks at what is due, below the queue's default bound.
const BURST: u32 = 4_096;
