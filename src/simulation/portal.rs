//! The model of a portal: limits, workflows and faults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::known::{Known, OfActivity};
use super::limits::{Bucket, Window};
use super::{Conditions, EventSend, Random};
use crate::protocol::{Cause, Method, Reply, Request};

/// The event token of a workflow.
pub fn event_token(workflow: u32) -> String {
    format!("65a51{workflow:08x}.{workflow:08}|A1_1|{workflow}.{:064x}", u64::from(workflow) * 7)
}

/// An entry as it was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Since the start of the run.
    pub at: Duration,
    /// The message.
    pub text: String,
}

/// A portal under given conditions.
#[derive(Debug)]
pub struct Portal {
    conditions: Conditions,
    random: Random,
    bucket: Bucket,
    /// For each counter of the portal: direct calls, commands in batches, batches.
    windows: [Window; 3],
    logs: BTreeMap<u32, Log>,
    pub(super) known: Known,
    /// Ends that wait for the end of the hit.
    jobs: Vec<(u32, Value)>,
    /// Bytes of the written and the dropped entries.
    pub(super) bytes: usize,
    /// Requests that came in.
    pub hits: u64,
    /// Requests refused for their rate.
    pub rate_limited: u64,
    /// Replies with a refusal for operating time.
    pub operating_limited: u64,
}

#[derive(Debug)]
struct Log {
    fate: Fate,
    known_from: Duration,
    /// A job works on the workflow until then.
    locked_until: Duration,
    written: Vec<Written>,
    /// Entries after the end, which were dropped.
    thrown: Vec<Written>,
    ended: Option<Ended>,
}

/// The end of an activity.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Since the start of the run.
    pub at: Duration,
    /// Its return values, as the portal read them.
    pub values: Value,
}

/// The contents of a command.
struct Said<'a> {
    event_token: &'a str,
    message: &'a str,
    /// Of an end.
    values: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Gone,
    Denied,
    Poisoned,
}

/// The result of a command.
enum Done {
    True(Duration),
    Error(&'static str, &'static str),
    /// The whole request ends here.
    Dies,
}

const DIRECT: usize = 0;
const BATCHED: usize = 1;
const OUTER: usize = 2;

impl Portal {
    /// A new portal.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Portal {
            conditions,
            random: Random::new(seed, 3),
            bucket: Bucket::default(),
            windows: Default::default(),
            logs: BTreeMap::new(),
            known: Known::default(),
            jobs: Vec::new(),
            bytes: 0,
            hits: 0,
            rate_limited: 0,
            operating_limited: 0,
        }
    }

    /// All entries of a workflow's log, oldest first, also those that were dropped later.
    pub fn log(&self, workflow: u32) -> &[Written] {
        self.logs.get(&workflow).map_or(&[], |log| &log.written)
    }

    /// Entries for a workflow after the end of its activity.
    pub fn thrown(&self, workflow: u32) -> &[Written] {
        self.logs.get(&workflow).map_or(&[], |log| &log.thrown)
    }

    /// The end of the workflow's activity, if it has ended.
    pub fn ended(&self, workflow: u32) -> Option<&Ended> {
        self.logs.get(&workflow)?.ended.as_ref()
    }

    /// What the client may know of the workflow's activity.
    pub(super) fn known(&self, workflow: u32) -> OfActivity {
        self.known.of(workflow)
    }

    /// The entries that the portal still shows.
    pub fn shown(&self, workflow: u32) -> &[Written] {
        let log = self.log(workflow);
        let kept = self.conditions.kept.unwrap_or(usize::MAX);
        &log[log.len().saturating_sub(kept)..]
    }

    /// The workflows that were named, whether they exist or not.
    pub fn workflows(&self) -> impl Iterator<Item = u32> + '_ {
        self.logs.keys().copied()
    }

    /// Whether lines to this workflow can be written at all.
    pub fn is_open(&self, workflow: u32) -> bool {
        self.logs.get(&workflow).is_none_or(|log| matches!(log.fate, Fate::Open | Fate::Poisoned))
    }

    /// Whether an end of which the portal says true has ended the activity.
    pub(super) fn ends_at_once(&self) -> bool {
        self.conditions.event_send == EventSend::AtOnce
    }

    /// Handles a request that arrives at `now`. Returns how long it takes, and what the client sees.
    pub(crate) fn hit(&mut self, request: &Request, now: Duration) -> (Duration, Reply) {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        self.note_sent(&request.method, &body, now);
        let faults = self.conditions.faults;
        let is_out = |(from, until): (Duration, Duration)| (from..until).contains(&now);
        if self.conditions.outage.is_some_and(is_out) || self.random.chance(faults.refused) {
            return (Duration::from_millis(20), Reply::NotSent(trouble("connection refused")));
        }
        self.hits += 1;
        if !self.bucket.takes(&self.conditions, now) {
            self.rate_limited += 1;
            let body =
                r#"{"error":"QUERY_LIMIT_EXCEEDED","error_description":"Too many requests"}"#;
            return (Duration::from_millis(30), answer(503, body));
        }
        if self.random.chance(faults.gateway) {
            let status = [502, 504, 503][self.random.below(3)];
            return (Duration::from_secs(2), answer(status, "<html><h1>Bad Gateway</h1></html>"));
        }
        if self.random.chance(faults.server) {
            let body = r#"{"error":"INTERNAL_SERVER_ERROR","error_description":"oops"}"#;
            return (Duration::from_millis(80), answer(500, body));
        }
        let (took, reply) = self.execute(&request.method, &body, now);
        if self.random.chance(faults.lost_answer) {
            self.known.answer(None);
            return (took, Reply::Unanswered(trouble("connection reset")));
        }
        self.known.answer(Some(now + took));
        (took, reply)
    }

    /// Notes what the client sends, whatever becomes of it.
    fn note_sent(&mut self, method: &Method, body: &Value, now: Duration) {
        let mut note = |event_token: &str, is_end| {
            if let Some(workflow) = workflow_of(event_token) {
                self.known.sends(workflow, is_end, now);
            }
        };
        let commands = body.get("cmd").and_then(Value::as_object);
        for command in commands.into_iter().flat_map(Map::values).filter_map(Value::as_str) {
            let (event_token, _, values) = parse(command);
            note(&event_token, values.is_some());
        }
        if let Some(event_token) = body.get("EVENT_TOKEN").and_then(Value::as_str) {
            note(event_token, *method == Method::EventSend);
        }
    }

    fn execute(&mut self, method: &Method, body: &Value, now: Duration) -> (Duration, Reply) {
        match method {
            // Apps of the simulation make no REST calls.
            Method::Named(_) => (Duration::ZERO, answer(200, r#"{"result":true}"#)),
            Method::Batch => self.batch(body, now),
            Method::ActivityLog => self.single(body, false, now),
            Method::EventSend => self.single(body, true, now),
        }
    }

    fn single(&mut self, body: &Value, ends: bool, now: Duration) -> (Duration, Reply) {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut at = now + Duration::from_secs_f64(self.conditions.request);
        let values = ends.then(|| body.get("RETURN_VALUES").cloned().unwrap_or(json!({})));
        let (event_token, message) = (text("EVENT_TOKEN"), text("LOG_MESSAGE"));
        match self.command(DIRECT, Said { event_token, message, values }, at) {
            Done::True(worked) => {
                at += worked;
                if !ends {
                    self.windows[DIRECT].store(worked.as_secs_f64(), at);
                }
                self.run_jobs(at);
                let time = self.time(DIRECT, worked, at);
                (at - now, answer(200, &json!({"result": true, "time": time}).to_string()))
            }
            Done::Error(code, text) => {
                let status = if code == "OPERATION_TIME_LIMIT" { 429 } else { 400 };
                let body = json!({"error": code, "error_description": text}).to_string();
                (at - now, answer(status, &body))
            }
            Done::Dies => (at - now, answer(500, "")),
        }
    }

    fn batch(&mut self, body: &Value, now: Duration) -> (Duration, Reply) {
        let empty = Map::new();
        let commands = body.get("cmd").and_then(Value::as_object).unwrap_or(&empty);
        let mut at = now + Duration::from_secs_f64(self.conditions.request);
        if !self.windows[OUTER].admits(&self.conditions, at) {
            self.operating_limited += 1;
            let body = r#"{"error":"OPERATION_TIME_LIMIT","error_description":"blocked"}"#;
            return (at - now, answer(429, body));
        }
        let dies_after = if self.random.chance(self.conditions.faults.midway) {
            self.random.below(commands.len() + 1)
        } else {
            usize::MAX
        };
        let (mut results, mut errors, mut times) = (Map::new(), Map::new(), Map::new());
        let mut total = 0.0;
        let mut limited = false;
        // In the order sent: the keys are c0, c1, ..
        for n in 0..commands.len() {
            let key = format!("c{n}");
            let command = commands.get(&key).and_then(Value::as_str).unwrap_or_default();
            let (event_token, message, values) = parse(command);
            let ends = values.is_some();
            let said = Said { event_token: &event_token, message: &message, values };
            let done = if n == dies_after { Done::Dies } else { self.command(BATCHED, said, at) };
            match done {
                Done::Dies => {
                    self.known.answer(None);
                    self.run_jobs(at);
                    return (at - now, answer(500, ""));
                }
                Done::True(worked) => {
                    at += worked;
                    total += if ends { 0.0 } else { worked.as_secs_f64() };
                    let time = self.time_in_hit(BATCHED, worked, total, at);
                    results.insert(key.clone(), Value::Bool(true));
                    times.insert(key, time);
                }
                Done::Error(code, text) => {
                    limited |= code == "OPERATION_TIME_LIMIT";
                    errors.insert(key, json!({"error": code, "error_description": text}));
                }
            }
        }
        self.run_jobs(at);
        self.operating_limited += u64::from(limited);
        self.windows[BATCHED].store(total, at);
        self.windows[OUTER].store(total * self.conditions.outer_weight, at);
        let sections = |map: Map<String, Value>| {
            if map.is_empty() { json!([]) } else { Value::Object(map) }
        };
        let body = json!({
            "result": {
                "result": sections(results),
                "result_error": sections(errors),
                "result_total": [],
                "result_next": [],
                "result_time": sections(times),
            },
            "time": self.time(OUTER, at - now, at),
        });
        (at - now, answer(200, &body.to_string()))
    }

    fn command(&mut self, key: usize, said: Said<'_>, at: Duration) -> Done {
        let Some(workflow) = workflow_of(said.event_token) else {
            return Done::Error("ACCESS_DENIED", "Access denied!");
        };
        let is_end = said.values.is_some();
        if !is_end && !self.windows[key].admits(&self.conditions, at) {
            if key == DIRECT {
                self.operating_limited += 1;
            }
            self.known.will_say(workflow, false, false);
            return Done::Error(
                "OPERATION_TIME_LIMIT",
                "Method is blocked due to operation time limit.",
            );
        }
        let done = self.of_workflow(workflow, said, at);
        match done {
            Done::True(_) => self.known.will_say(workflow, is_end, true),
            Done::Error(..) => self.known.will_say(workflow, is_end, false),
            // There is no usable answer.
            Done::Dies => self.known.answer(None),
        }
        done
    }

    fn of_workflow(&mut self, workflow: u32, said: Said<'_>, at: Duration) -> Done {
        let faults = self.conditions.faults;
        let random = &mut self.random;
        let log = self.logs.entry(workflow).or_insert_with(|| {
            let lot = random.unit();
            let fate = if lot < faults.gone {
                Fate::Gone
            } else if lot < faults.gone + faults.denied {
                Fate::Denied
            } else if lot < faults.gone + faults.denied + faults.poisoned {
                Fate::Poisoned
            } else {
                Fate::Open
            };
            let early = if random.chance(0.3) { faults.early } else { 0.0 };
            let known_from = at + Duration::from_secs_f64(early);
            Log {
                fate,
                known_from,
                locked_until: Duration::ZERO,
                written: Vec::new(),
                thrown: Vec::new(),
                ended: None,
            }
        });
        match log.fate {
            Fate::Denied => return Done::Error("ACCESS_DENIED", "Access denied!"),
            // The seventh line makes the request fail, in any position.
            Fate::Poisoned if said.message.contains("#7#") => return Done::Dies,
            Fate::Gone | Fate::Poisoned | Fate::Open => {}
        }
        let (event_send, end_cost) = (self.conditions.event_send, self.conditions.end);
        let in_job = said.values.is_some() && event_send == EventSend::Background;
        let cost = |random: &mut Random, (least, most): (f64, f64)| {
            Duration::from_secs_f64(random.within(least, most))
        };
        if let (true, Some(values)) = (in_job, &said.values) {
            self.jobs.push((workflow, values.clone()));
            return Done::True(Duration::from_millis(1));
        }
        if log.fate == Fate::Gone || at < log.known_from {
            return Done::Error("404", "not found");
        }
        if at < log.locked_until || random.chance(faults.locked) {
            return Done::Error("423", "locked");
        }
        if random.chance(faults.stumble) {
            return Done::Error("ERROR_UNEXPECTED_ANSWER", "");
        }
        match said.values {
            Some(values) => {
                log.ended.get_or_insert(Ended { at, values });
                Done::True(cost(random, end_cost))
            }
            None => {
                let written = Written { at, text: said.message.to_owned() };
                self.bytes += size_of::<Written>() + written.text.len();
                if log.ended.is_some() { &mut log.thrown } else { &mut log.written }.push(written);
                Done::True(cost(random, self.conditions.command))
            }
        }
    }

    /// The request is over: jobs end activities. Their results are not reported.
    fn run_jobs(&mut self, at: Duration) {
        for (workflow, values) in std::mem::take(&mut self.jobs) {
            let (faults, worked) = (self.conditions.faults, self.random.within(0.0, 0.3));
            let locked = self.random.chance(faults.locked);
            let Some(log) = self.logs.get_mut(&workflow) else { continue };
            if log.fate == Fate::Gone || at < log.known_from || locked {
                continue;
            }
            log.locked_until = at + Duration::from_secs_f64(worked);
            log.ended.get_or_insert(Ended { at, values });
        }
    }

    fn time(&self, key: usize, worked: Duration, at: Duration) -> Value {
        self.time_in_hit(key, worked, 0.0, at)
    }

    /// The time object: `operating` is cumulative, this hit's part included.
    fn time_in_hit(&self, key: usize, worked: Duration, hit: f64, at: Duration) -> Value {
        let finish = EPOCH + at.as_secs_f64();
        let mut time = json!({
            "start": finish - worked.as_secs_f64(),
            "finish": finish,
            "duration": worked.as_secs_f64(),
            "processing": worked.as_secs_f64(),
        });
        if self.conditions.operating_limit.is_some() {
            let window = &self.windows[key];
            time["operating"] = json!(window.total(at) + hit);
            time["operating_reset_at"] = json!((EPOCH + window.resets_at(at).as_secs_f64()) as i64);
        }
        time
    }
}

/// The start of the run by the portal's clock, which differs from ours.
const EPOCH: f64 = 1_800_000_000.0;

/// Token and message of a batch command, and the return values of an end, as PHP reads them.
pub(super) fn parse(command: &str) -> (String, String, Option<Value>) {
    let (method, query) = command.split_once('?').unwrap_or((command, ""));
    let (mut event_token, mut message, mut values) = (String::new(), String::new(), json!({}));
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match decode(name).as_str() {
            "EVENT_TOKEN" => event_token = decode(value),
            "LOG_MESSAGE" => message = decode(value),
            name => {
                if let Some(name) = name.strip_prefix("RETURN_VALUES[") {
                    values[name.trim_end_matches(']')] = Value::from(decode(value));
                }
            }
        }
    }
    (event_token, message, (method == "bizproc.event.send").then_some(values))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let hex = |byte: u8| (byte as char).to_digit(16);
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high * 16 + low) as u8);
                    rest = after;
                }
                _ => bytes.push(byte),
            },
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn workflow_of(token: &str) -> Option<u32> {
    let workflow = token.split('|').nth(2)?.split('.').next()?.parse().ok()?;
    (token == event_token(workflow)).then_some(workflow)
}

fn answer(status: u16, body: &str) -> Reply {
    Reply::Http { status, body: body.as_bytes().to_vec() }
}

fn trouble(text: &str) -> Cause {
    Cause(text.to_owned())
}
