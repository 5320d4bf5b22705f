//! The speed of the worker: from the queue to request bodies, in real time, without limits.
#![expect(clippy::disallowed_methods, reason = "it is a measurement")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::builder::{Builder, Parts};
use crate::completion::Completion;
use crate::journal::desk::Desk;
use crate::journal::driver::Driver;
use crate::line::{EventToken, LogLine, Packer, Tag};
use crate::protocol::Reply;
use crate::queue::{Complete, Message};
use crate::worker::engine::{Engine, Step};

/// Sends `lines` lines of `bytes` bytes over `tokens` live tokens, one after the other, through queue
/// and engine, and returns the time that the worker's side took, by `clock`. An entry gathers `per_entry` lines,
/// however many tokens there are, so that only their number differs.
pub fn measure(
    builder: &Builder,
    tokens: u32,
    per_entry: u32,
    lines: u32,
    bytes: usize,
    clock: &dyn Fn() -> Duration,
) -> Duration {
    let Parts { producer, mut consumer, mut engine, journal, .. } = builder.parts(1);
    let mut kept = Kept::new(journal);
    let tags: Vec<_> = (0..tokens)
        .map(|n| {
            let event_token = EventToken::parse(&super::portal::event_token(n));
            producer.tag(event_token.expect("a well-formed token"), None, 0)
        })
        .collect();
    let text = "x".repeat(bytes);
    let mut worked = Duration::ZERO;
    let mut now = Instant::now();
    kept.serve(&mut engine, now);
    let (mut given, mut gathered, mut bodies) = (0, 0, 0);
    while given < lines {
        let burst = BURST.min(lines - given).min(tokens * per_entry - gathered);
        for n in 0..burst {
            let line = line(&tags[((given + n) % tokens) as usize], &text);
            producer.offer(line).expect("the queue holds a burst");
        }
        given += burst;
        gathered += burst;
        let start = clock();
        while let Some(message) = consumer.try_take() {
            if let Message::Line(line) = message {
                engine.line(&line, now);
            }
        }
        kept.serve(&mut engine, now);
        if gathered == tokens * per_entry || given == lines {
            // In simulated time a minute passes, so that everything gathered is due.
            gathered = 0;
            now += Duration::from_secs(60);
            bodies += settle_all(&mut engine, &mut kept, &mut now);
            kept.serve(&mut engine, now);
            let freed = engine.freed();
            consumer.take_back(freed.read.lines, freed.read.bytes as u64);
            consumer.hold(freed.held as u64);
            consumer.release(freed.lines, freed.bytes as u64);
        }
        worked += clock().saturating_sub(start);
    }
    assert!(bodies > lines as usize * bytes, "every line is in a body");
    worked
}

/// Logs a line on each of so many tokens and completes all their activities together, and returns the
/// time that the engine took until each was answered.
pub fn ends(builder: &Builder, tokens: u32) -> Duration {
    let Parts { producer, mut consumer, mut engine, .. } = builder.parts(1);
    let mut now = Instant::now();
    let mut answers = Vec::new();
    let mut completes = Vec::new();
    for n in 0..tokens {
        let event_token = EventToken::parse(&super::portal::event_token(n));
        let event_token = event_token.expect("a well-formed token");
        let tag = producer.tag(event_token.clone(), None, 0);
        producer.offer(line(&tag, "an ordinary line")).expect("the queue is empty");
        while let Some(Message::Line(line)) = consumer.try_take() {
            engine.line(&line, now);
        }
        let (reply, answer) = oneshot::channel();
        let completion = Completion::new().value("status", "done");
        let deadline = now + Duration::from_secs(3_600);
        completes.push(Complete { event_token, portal: None, completion, deadline, reply });
        answers.push(answer);
    }
    let start = Instant::now();
    for complete in completes {
        engine.complete(complete, now);
    }
    settle_all(&mut engine, &mut Kept::new(None), &mut now);
    let took = start.elapsed();
    for mut answer in answers {
        answer.try_recv().expect("each is answered").expect("the portal said true");
    }
    took
}

/// Ends `ends` activities one after the other while the ends of `others` wait for lines that their portal
/// holds, and returns the time that the engine took for them.
pub fn ends_beside(builder: &Builder, others: u32, ends: u32) -> Duration {
    let Parts { producer, mut consumer, mut engine, .. } = builder.parts(1);
    let now = Instant::now();
    let deadline = now + Duration::from_secs(3_600);
    let completing = |n: u32| {
        let event_token = EventToken::parse(&super::portal::event_token(n));
        let event_token = event_token.expect("a well-formed token");
        let (reply, answer) = oneshot::channel();
        let completion = Completion::new().value("status", "done");
        (Complete { event_token, portal: None, completion, deadline, reply }, answer)
    };
    let mut waiting = Vec::new();
    for n in 0..others {
        let (complete, answer) = completing(n);
        let tag = producer.tag(complete.event_token.clone(), None, 0);
        producer.offer(line(&tag, "an ordinary line")).expect("the queue is empty");
        while let Some(Message::Line(line)) = consumer.try_take() {
            engine.line(&line, now);
        }
        engine.complete(complete, now);
        waiting.push(answer);
    }
    while let Step::Send(call, request) = engine.next(now) {
        engine.settle(call, &locked(request.commands), now);
    }
    let mut asked = Vec::new();
    let all: Vec<_> = (others..others + ends).map(completing).collect();
    let start = Instant::now();
    for (complete, answer) in all {
        engine.complete(complete, now);
        match engine.next(now) {
            Step::Send(call, request) => engine.settle(call, &success(request.commands), now),
            step => panic!("an end goes at once, and not {step:?}"),
        }
        asked.push(answer);
    }
    let took = start.elapsed();
    for mut answer in asked {
        answer.try_recv().expect("each is answered").expect("the portal said true");
    }
    assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_err()), "the others wait");
    took
}

/// Bytes that the engine holds for each of so many tokens after a line of each was delivered, and
/// once they were forgotten. `held` reads what the process holds.
pub fn idle_bytes(builder: &Builder, tokens: u32, held: &dyn Fn() -> usize) -> (usize, usize) {
    let Parts { producer, mut consumer, mut engine, .. } = builder.parts(1);
    let mut now = Instant::now();
    let before = held();
    for n in 0..tokens {
        let event_token = EventToken::parse(&super::portal::event_token(n));
        let tag = producer.tag(event_token.expect("a well-formed token"), None, 0);
        producer.offer(line(&tag, "an ordinary line")).expect("the queue is empty");
        while let Some(Message::Line(line)) = consumer.try_take() {
            engine.line(&line, now);
        }
    }
    now += Duration::from_secs(60);
    settle_all(&mut engine, &mut Kept::new(None), &mut now);
    let idle = held() - before;
    // Past the time at which an idle token is forgotten, and a workflow's budget with it.
    now += Duration::from_secs(7 * 3_600);
    settle_all(&mut engine, &mut Kept::new(None), &mut now);
    let forgotten = held().saturating_sub(before);
    (idle / tokens as usize, forgotten / tokens as usize)
}

/// The journal of a measurement, if there is one. It runs on the same thread, so its cost is measured, too.
struct Kept {
    journal: Option<(Desk, Driver)>,
    runtime: tokio::runtime::Runtime,
}

impl Kept {
    fn new(journal: Option<(Desk, Driver)>) -> Kept {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Kept { journal, runtime: runtime.expect("a runtime without I/O") }
    }

    /// Serves the engine's requests to the journal.
    fn serve(&mut self, engine: &mut Engine, now: Instant) {
        let Some((desk, driver)) = &mut self.journal else { return };
        for ask in engine.asks(true, now) {
            desk.ask(ask);
        }
        self.runtime.block_on(driver.catch_up());
        while let Some(said) = desk.try_told() {
            engine.told(said, now);
        }
    }
}

fn settle_all(engine: &mut Engine, kept: &mut Kept, now: &mut Instant) -> usize {
    let mut bodies = 0;
    loop {
        match engine.next(*now) {
            Step::Send(call, request) => {
                kept.serve(engine, *now);
                bodies += request.body.len();
                engine.settle(call, &success(request.commands), *now);
            }
            // The portal's rate, in simulated time.
            Step::Wait(Some(at)) if engine.is_busy() => {
                kept.serve(engine, *now);
                *now = at;
            }
            Step::Wait(_) | Step::Access(..) | Step::Closed => return bodies,
        }
    }
}

fn line(tag: &Arc<Tag>, text: &str) -> LogLine {
    let metadata = tracing::callsite!(
        name: "line",
        kind: tracing::metadata::Kind::EVENT,
        target: "line",
        level: tracing::Level::INFO,
        fields: message
    );
    let metadata = tracing_core::Callsite::metadata(metadata);
    let message = metadata.fields().field("message").expect("it was just declared");
    let mut packer = Packer::new();
    packer.str(&message, text, usize::MAX);
    LogLine {
        tag: Arc::clone(tag),
        metadata,
        // A spool gives up lines that are too old.
        at: std::time::SystemTime::now(),
        fields: packer.take(),
        span: None,
    }
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

/// The portal's answer to a request whose workflows are all locked.
fn locked(commands: usize) -> Reply {
    let error = r#"{"error":"423","error_description":"locked"}"#;
    if commands == 1 {
        return Reply::Http { status: 400, body: error.as_bytes().to_vec() };
    }
    let errors: Vec<_> = (0..commands).map(|n| format!(r#""c{n}":{error}"#)).collect();
    let errors = errors.join(",");
    let body = format!(r#"{{"result":{{"result":[],"result_error":{{{errors}}}}}}}"#);
    Reply::Http { status: 200, body: body.into_bytes() }
}

/// Lines between two looks at what is due, below the queue's default bound.
const BURST: u32 = 4_096;
