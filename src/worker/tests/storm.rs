//! Whatever the portal says, and whatever the app does: drawn by seed, with the clock in hand.

use std::collections::HashMap;

use super::*;
use crate::call::CallAnswer;
use crate::error::CallError;
use crate::line::PortalId;
use crate::simulation::told::{self, Said, Told};
use crate::worker::rate::Quota;
use crate::worker::retry::UnknownOutcome;

type Answer = oneshot::Receiver<Result<FlushReport, CompleteError>>;
type Called = oneshot::Receiver<Result<CallAnswer, CallError>>;

/// Numbers by seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What is out, and when it comes back.
enum Out {
    Reply(Request),
    Access,
}

/// What the portal says in this mood to a request.
fn reply(mood: usize, request: &Request, draw: &mut Draw) -> Reply {
    const CODES: [&str; 8] = [
        "423",
        "404",
        "OPERATION_TIME_LIMIT",
        "ERROR_CORE",
        "ACCESS_DENIED",
        "ERROR_UNEXPECTED_ANSWER",
        "expired_token",
        "insufficient_scope",
    ];
    let n = request.commands;
    match if draw.one_in(4) { draw.below(16) } else { mood } {
        0 => nobody_knows(),
        1 => Reply::NotSent(Cause("refused".to_owned())),
        2 => refusal(503, "QUERY_LIMIT_EXCEEDED"),
        3 => refusal(429, "OPERATION_TIME_LIMIT"),
        4 => refusal(401, "expired_token"),
        5 => refusal(403, "insufficient_scope"),
        6 => refusal(404, "ERROR_METHOD_NOT_FOUND"),
        7 => Reply::Moved { host: draw.one_in(2).then(|| "b.example".to_owned()) },
        8 => json(413, ""),
        9 => json(200, r#"{"result":{"result":[],"result_error":[]}}"#),
        10 | 11 => {
            let code = CODES[draw.below(CODES.len())];
            let codes: Vec<_> = (0..n).map(|_| (!draw.one_in(3)).then_some(code)).collect();
            if request.method == Method::Batch || n != 1 { batch(&codes) } else { answers(&codes) }
        }
        12 => json(500, "<html>"),
        _ if request.method == Method::Batch => batch(&vec![None; n]),
        _ => all_well(n),
    }
}

/// As `answers`, for a batch of any size.
fn batch(codes: &[Option<&str>]) -> Reply {
    let (mut results, mut errors) = (serde_json::Map::new(), serde_json::Map::new());
    for (n, code) in codes.iter().enumerate() {
        match code {
            None => results.insert(format!("c{n}"), Value::Bool(true)),
            Some(code) => errors.insert(format!("c{n}"), serde_json::json!({"error": code})),
        };
    }
    let sections = serde_json::json!({"result": {"result": results, "result_error": errors}});
    json(200, &sections.to_string())
}

/// Whether each command of a request was done.
fn done(request: &Request, reply: &Reply) -> Vec<bool> {
    let Reply::Http { status: 200, body } = reply else { return vec![false; request.commands] };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if request.method != Method::Batch {
        return vec![body["result"] == true];
    }
    (0..request.commands).map(|n| body["result"]["result"][format!("c{n}")] == true).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split('#').filter_map(|part| part.parse().ok()).collect()
}

#[derive(Default)]
struct Watched {
    newest: HashMap<String, u32>,
    /// When: a token is forgotten some time after its end.
    ended: HashMap<String, Instant>,
}

impl Watched {
    /// Order within a request, and against what was sent before.
    fn sent(&mut self, request: &Request, seed: u64, now: Instant) {
        let commands = told::said(request);
        let first_end = commands.iter().position(|said| said.is_end).unwrap_or(commands.len());
        assert!(commands[first_end..].iter().all(|said| said.is_end), "seed {seed}: order");
        let mut tokens = std::collections::HashSet::new();
        for Said { is_end, event_token: token, message } in &commands {
            assert!(tokens.insert((is_end, token)), "seed {seed}: a token twice in a request");
            if *is_end {
                continue;
            }
            let ended = self.ended.get(token).is_some_and(|at| now - *at < secs(900.0));
            assert!(!ended, "seed {seed}: {message} behind the end");
            let mut last = 0;
            for n in numbers(message) {
                assert!(n > last, "seed {seed}: order in an entry");
                last = n;
            }
            let newest = self.newest.entry(token.clone()).or_default();
            let numbers = numbers(message);
            let repeats = message.contains("possible repeat");
            if let (Some(first), false) = (numbers.first(), repeats) {
                assert!(*first > *newest, "seed {seed}: {first} behind {newest}: {message}");
            }
        }
    }

    fn came(&mut self, request: &Request, reply: &Reply, now: Instant) {
        for (Said { is_end, event_token, message }, done) in
            told::said(request).into_iter().zip(done(request, reply))
        {
            if done && is_end {
                self.ended.entry(event_token).or_insert(now);
            } else if done {
                let newest = self.newest.entry(event_token).or_default();
                *newest = numbers(&message).into_iter().chain([*newest]).max().unwrap_or(0);
            }
        }
    }
}

fn storm(seed: u64) -> told::Seen {
    let mut draw = Draw(seed);
    let quota = [
        Quota::Standard,
        Quota::Unlimited,
        Quota::Custom { per_second: 1.0, burst: 1 },
        Quota::Enterprise,
    ][draw.below(4)];
    let unknown = if draw.one_in(3) { UnknownOutcome::GiveUp } else { UnknownOutcome::Repeat };
    let options = options()
        .quota(quota)
        .on_unknown_outcome(unknown)
        .max_age(secs([20.0, 3_600.0][draw.below(2)]))
        .entry_bytes([2_000, 30_000][draw.below(2)])
        .pending_lines([60, 10_000][draw.below(2)]);
    let options = if draw.one_in(4) {
        options.overflow(crate::config::Overflow::DropOldest)
    } else {
        options
    };
    let mut stage = Stage::new(options);
    let portals = [None, Some("a.example")];
    let tokens: Vec<_> = (0..[6, 60, 400][draw.below(3)])
        .map(|n| Tag::detached(&format!("5c1dc1c3f0{n:04}.78875596|A1|{n}.abcdef"), portals[n % 2]))
        .collect();
    let mut out: Vec<(Instant, Outgoing, Out)> = Vec::new();
    // Their portal has removed the app meanwhile.
    let mut ignored: Vec<Outgoing> = Vec::new();
    let mut watched = Watched::default();
    let mut told: Vec<(Instant, Answer)> = Vec::new();
    let mut law = Told::listen();
    let mut called: Vec<(Instant, Called)> = Vec::new();
    let (mut accepted, mut number, mut mood) = (0_u64, 0_u32, 15);
    let (mut op_at, mut mood_until) = (stage.now, stage.now);
    let (mut looks, mut requests, mut second) = (0, 0, 0);
    let mut closed_by = None;
    let uninstalls = draw.one_in(4);
    let slow = draw.one_in(2);
    // Seldom: tokens and portals are forgotten in between.
    let (pause, ends_at) = if draw.one_in(3) { (900.0, 20_000.0) } else { (3.0, 400.0) };
    loop {
        assert!(looks < 400 && requests < 400, "seed {seed}: {looks} looks, {requests} requests");
        if stage.elapsed() as u64 != second {
            (second, looks, requests) = (stage.elapsed() as u64, 0, 0);
        }
        if stage.now >= mood_until {
            mood = draw.below(18);
            mood_until = stage.now + secs(1.0 + draw.below(90) as f64);
        }
        // The app.
        if stage.now >= op_at && closed_by.is_none() {
            op_at = stage.now + secs(pause * draw.below(1_000) as f64 / 1_000.0);
            for _ in 0..draw.below(12) {
                let tag = tokens[draw.below(tokens.len())].clone();
                match draw.below(40) {
                    0..24 => {
                        number += 1;
                        accepted += 1;
                        let long = if draw.one_in(30) { 5_000 } else { draw.below(80) };
                        let event_token = tag.event_token.expose();
                        law.logged(event_token, number.into(), stage.since());
                        stage.log(&tag, &format!("#{number}# {}", "x".repeat(long)));
                    }
                    24..34 => {
                        let (reply, mut answer) = oneshot::channel();
                        let within = [0.0, 1.0, 10.0, 60.0][draw.below(4)];
                        let deadline = stage.now + secs(within);
                        let completion = match draw.below(3) {
                            0 => Completion::new().value("n", 2),
                            _ => Completion::new().value("text", "x"),
                        };
                        let complete = Complete {
                            event_token: tag.event_token.clone(),
                            portal: tag.portal.clone(),
                            completion,
                            deadline,
                            reply,
                        };
                        stage.engine.complete(complete, stage.now);
                        if let Err(oneshot::error::TryRecvError::Empty) = answer.try_recv() {
                            let deadline = deadline - stage.start;
                            law.end_asked(tag.event_token.expose(), deadline, stage.since());
                            told.push((stage.start + deadline + secs(121.0), answer));
                        }
                    }
                    34 if draw.one_in(2) => {
                        tag.note_refusal(DropReason::QueueFull);
                        law.refused(tag.event_token.expose(), stage.since());
                    }
                    34 => {
                        stage.engine.span_closed(&tag, stage.now);
                    }
                    35 => {
                        let (reply, _answer) = oneshot::channel();
                        let scope = Scope::All;
                        let deadline = stage.now + secs(5.0);
                        stage.engine.flush(Flush { scope, deadline, reply }, stage.now);
                    }
                    36 | 37 => {
                        let (reply, answer) = oneshot::channel();
                        let (method, body) =
                            crate::protocol::call::request("crm.deal.list", "{}").unwrap();
                        let deadline = stage.now + secs(30.0);
                        let portal = tag.portal.clone();
                        let call = crate::queue::Call {
                            by: Caller::App,
                            portal,
                            method,
                            body,
                            deadline,
                            reply,
                        };
                        stage.engine.call(call, stage.now);
                        called.push((deadline + secs(41.0), answer));
                    }
                    38 => stage.engine.unblock(&tag.portal, stage.now),
                    _ if uninstalls && draw.one_in(4) => {
                        let gone = PortalId::from("a.example");
                        let calls = out.iter().map(|(_, call, _)| *call);
                        let of_gone = |call: &Outgoing| stage.engine.portal(*call) == Some(&gone);
                        ignored = calls.filter(of_gone).collect();
                        stage.engine.uninstalled(&gone, stage.now);
                    }
                    _ => {
                        let waits_until = stage.now + secs(draw.below(60) as f64);
                        let expect = crate::queue::Expect {
                            event_token: tag.event_token.clone(),
                            portal: tag.portal.clone(),
                            waits_until,
                        };
                        let until = waits_until - stage.start;
                        law.waits(tag.event_token.expose(), until, stage.since());
                        stage.engine.expect(expect, stage.now);
                    }
                }
            }
        }
        if stage.elapsed() > ends_at && closed_by.is_none() {
            let (reply, answer) = oneshot::channel();
            let deadline = stage.now + secs(20.0);
            law.closes(stage.since() + secs(10.0));
            stage.engine.close(Close { deadline, reply }, stage.now);
            closed_by = Some((deadline, answer));
        }
        // The portal.
        while let Some(at) = out.iter().position(|(at, ..)| *at <= stage.now) {
            let (_, call, what) = out.swap_remove(at);
            match what {
                Out::Reply(request) => {
                    let reply = reply(mood, &request, &mut draw);
                    if let Some(at) = ignored.iter().position(|other| *other == call) {
                        ignored.swap_remove(at);
                    } else {
                        watched.came(&request, &reply, stage.now);
                        law.answered(&request, &reply, stage.since());
                    }
                    stage.settle(call, &reply);
                }
                Out::Access => {
                    let refreshed = match draw.below(3) {
                        0 => Refreshed::Later(Cause("x".to_owned())),
                        1 => Refreshed::Denied(Code("invalid_grant".into())),
                        _ => Refreshed::Renewed,
                    };
                    stage.engine.accessed(call, refreshed, stage.now);
                }
            }
        }
        let wait = match stage.engine.next(stage.now) {
            Step::Send(call, request) => {
                requests += 1;
                if !matches!(request.method, Method::Named(_)) {
                    law.sent(&request, stage.since());
                    watched.sent(&request, seed, stage.now);
                }
                let took =
                    if slow && draw.one_in(6) { draw.below(40_000) } else { draw.below(400) };
                let at = stage.now + secs(took as f64 / 1_000.0);
                let same = out.iter().filter(|(_, other, _)| *other == call).count();
                assert_eq!(same, 0, "seed {seed}: two requests of one kind are out");
                out.push((at, call, Out::Reply(request)));
                continue;
            }
            Step::Access(call, _) => {
                requests += 1;
                let at = stage.now + secs(draw.below(3_000) as f64 / 1_000.0);
                out.push((at, call, Out::Access));
                continue;
            }
            Step::Closed => break,
            Step::Wait(at) => at,
        };
        stage.engine.answer(stage.now);
        looks += 1;
        let next = out.iter().map(|(at, ..)| *at).chain(wait);
        let op = closed_by.is_none().then_some(op_at);
        let at = next.chain(op).min().unwrap_or(stage.now + secs(1.0));
        told.retain_mut(|(by, answer)| {
            let pending = matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            assert!(!pending || stage.now <= *by, "seed {seed}: an end was not answered");
            pending
        });
        called.retain_mut(|(by, answer)| {
            let pending = matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            assert!(!pending || stage.now <= *by, "seed {seed}: a call was not answered");
            pending
        });
        stage.now = stage.now.max(at);
    }
    law.hear(stage.since());
    if let Err(problem) = law.verdict() {
        panic!("seed {seed}: {problem}");
    }
    stage.engine.answer(stage.now);
    assert!(told.iter_mut().all(|(_, answer)| answer.try_recv().is_ok()), "seed {seed}: ends");
    assert!(called.iter_mut().all(|(_, answer)| answer.try_recv().is_ok()), "seed {seed}: calls");
    let stats = stage.stats();
    let settled = stats.acknowledged() + stats.late() + stats.lost();
    assert_eq!((settled, stats.pending()), (accepted, 0), "seed {seed}: {stats}");
    assert!(closed_by.unwrap().1.try_recv().is_ok(), "seed {seed}: the close");
    law.seen
}

#[test]
fn with_any_answers_everything_is_answered_counted_told_and_in_order() {
    let mut seen = told::Seen::default();
    let seeds = seeds(40);
    let few = seeds.end - seeds.start < 40;
    for seed in seeds {
        seen.add(storm(seed));
    }
    println!("{seen:?}");
    assert!(few || seen.lost > 1_000 && seen.told > 100 && seen.lost_before_end > 100, "{seen:?}");
}
