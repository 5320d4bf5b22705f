//! The law of lost lines, as a check of what is sent: the log of a token tells of each line of it that was lost.
//!
//! A line is *lost* when the worker counts it as dropped, for whatever reason, or when a line that was refused at the
//! door is known to the worker: with the next accepted line of its span, or with the close of the span. A notice is
//! *told* when the portal has acknowledged the entry that carries it. A token's log is *open* unless
//! - the portal said that its workflow is gone, or that it does not know the token, and its lines were given up;
//! - the portal has acknowledged an end of its activity;
//! - an end of its activity was sent at its deadline, whatever became of its lines;
//! - the time has passed until which the portal waits for it.
//!
//! For each token whose log is open:
//! 1. **In time.** When an entry with a line is sent, the log tells of all lines that were lost before this line was
//!    accepted: in this entry, or in acknowledged ones. The notice may be sent earlier.
//! 2. **Before the end.** When an end is sent before its deadline, the log tells of all lines that were lost before
//!    that. Or an entry in the same request does, or one that was out since the end was asked for, and was given up: a
//!    notice that nobody takes holds up no end.
//! 3. **Each line once.** No notice counts more lines than were lost and not told. So the sum of the lines in
//!    acknowledged notices is never more than the lines that were lost, and in the end it is the same.
//! 4. **What is not certain is marked.** If a notice was in an entry whose outcome is not known, and which was given
//!    up, the next notice says of just these lines that they may have been reported before.
//! 5. **At last.** If a portal works, and nothing is pending, the log tells of all lost lines when the schedule allows an
//!    entry, also if its token logs nothing more. Or an entry with only this notice was given up: then it waits for the
//!    next line.
//! 6. **Beyond the process.** What is lost while the journal works is in the journal within a second, until it is told.
//!    If the process ends in between, the next one tells it. Only that one may tell a notice again without a mark, if the
//!    notice was out at that moment.
//!
//! What does not count: lines of which nobody knows to which token they belonged (a damaged file), and notices that
//! were given up because they were too old or too many, which is reported.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::portal::parse;
use super::verify::{notices, numbers};
use crate::line::EventToken;
use crate::protocol::reply::{self, Outcome, Refusal, Sent, Verdict};
use crate::protocol::{Method, Reply, Request};
use crate::stats::DropReason;
use crate::worker::trail;

/// Hears what is lost, sent and answered, and notes what breaks the law.
#[derive(Debug, Default)]
pub(crate) struct Told {
    tokens: HashMap<u32, OfToken>,
    /// What is wrong, in words.
    problems: Vec<String>,
    /// Lost lines, notices and ends that were checked, so that a test can say that it checks something.
    pub(crate) seen: Seen,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) lost: u64,
    pub(crate) told: u64,
    /// Lines that were lost when an end was asked for and not sent yet.
    pub(crate) lost_before_end: u64,
}

#[cfg(test)]
impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        self.lost += other.lost;
        self.told += other.told;
        self.lost_before_end += other.lost_before_end;
    }
}

/// A command of a request.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) is_end: bool,
    pub(crate) event_token: String,
    pub(crate) message: String,
}

#[derive(Debug, Default)]
struct OfToken {
    /// Lines that were lost, whoever can be told.
    lost: u64,
    /// How many of them the log has to tell of.
    owed: u64,
    /// Lines of notices that an earlier run has left in the journal: they are told when that was read.
    stored: u64,
    /// Lines that were refused, and that the worker does not know yet.
    refused: u64,
    /// How many lines acknowledged notices told of.
    told: u64,
    /// Lines of the last notice whose entry may be in the log, and was not acknowledged.
    may_be_told: u64,
    /// Lines in the notice of the entry that was sent last, if it was out since the end was asked for.
    tried: u64,
    /// For each accepted line, what was owed then.
    before: BTreeMap<u64, u64>,
    ends_at: Option<Duration>,
    waits_until: Option<Duration>,
    /// Its log is not open.
    closed: bool,
    /// The notice of the entry that is in flight, and whether the entry may be in the log for an earlier try.
    out: Option<(u64, bool)>,
    /// What happened last, for the words about a problem.
    story: Vec<String>,
}

impl Told {
    /// Hears all losses of this thread from now on.
    pub(crate) fn listen() -> Told {
        trail::listen();
        Told::default()
    }

    /// Takes in what was lost since the last call.
    pub(crate) fn hear(&mut self, now: Duration) {
        for trail::Loss { token, lines, reason, at_door } in trail::losses() {
            let of = self.tokens.entry(token.0).or_default();
            of.pass(now);
            if at_door {
                of.refused = of.refused.saturating_sub(lines);
                of.owed += if of.closed { 0 } else { lines };
                of.happens(|| format!("{now:?} {lines} refused ones are known"));
                continue;
            }
            match reason {
                DropReason::WorkflowGone | DropReason::TokenDenied => of.close(),
                // Its answer is ignored.
                DropReason::Uninstalled | DropReason::ShutdownDeadline => {
                    if let Some((notice, _)) = of.out.take() {
                        of.may_be_told = notice;
                    }
                }
                _ => {}
            }
            self.seen.lost += lines;
            if of.ends_at.is_some() && !of.closed {
                self.seen.lost_before_end += lines;
            }
            of.lose(lines);
            of.happens(|| format!("{now:?} {lines} lost as {reason}"));
        }
    }

    /// A line is refused at the door.
    pub(crate) fn refused(&mut self, event_token: &str, now: Duration) {
        self.hear(now);
        self.seen.lost += 1;
        let of = self.of(event_token);
        of.lost += 1;
        of.refused += 1;
        of.happens(|| format!("{now:?} one refused"));
    }

    /// A line with this number is about to be accepted.
    pub(crate) fn logged(&mut self, event_token: &str, number: u64, now: Duration) {
        self.hear(now);
        let of = self.of(event_token);
        // The worker learns of the refused ones with this line at the latest.
        let owed = of.owed + of.refused;
        if owed > 0 {
            of.before.insert(number, owed);
            of.happens(|| format!("{now:?} line {number} accepted, {owed} owed"));
        }
    }

    /// The activity of a token is to end, at this time at the latest.
    pub(crate) fn end_asked(&mut self, event_token: &str, deadline: Duration, now: Duration) {
        self.hear(now);
        let of = self.of(event_token);
        of.ends_at = Some(deadline);
        of.tried = of.out.map_or(0, |(notice, _)| notice);
        of.happens(|| format!("{now:?} end asked for {deadline:?}"));
    }

    /// All ends go at this time at the latest.
    pub(crate) fn closes(&mut self, ends_by: Duration) {
        for of in self.tokens.values_mut() {
            of.ends_at = of.ends_at.map(|at| at.min(ends_by));
        }
    }

    /// The portal waits for an activity until this time.
    #[cfg(test)]
    pub(crate) fn waits(&mut self, event_token: &str, until: Duration, now: Duration) {
        self.hear(now);
        let of = self.of(event_token);
        of.pass(now);
        of.waits_until = Some(until);
        of.happens(|| format!("{now:?} waits until {until:?}"));
    }

    /// A request was composed just now.
    pub(crate) fn sent(&mut self, request: &Request, now: Duration) {
        self.hear(now);
        let mut with_entry = BTreeSet::new();
        for Said { is_end, event_token, message } in said(request) {
            let of = self.of(&event_token);
            of.pass(now);
            let wrong = if is_end {
                of.end_sent(with_entry.contains(&event_token), now)
            } else {
                with_entry.insert(event_token.clone());
                of.entry_sent(&message)
            };
            of.happens(|| match is_end {
                true => format!("{now:?} end sent"),
                false => format!("{now:?} sent {}", message.chars().take(90).collect::<String>()),
            });
            if let Err(wrong) = wrong {
                let story = of.story.join("\n  ");
                self.problems.push(format!("{event_token}: {wrong}\n  {story}"));
            }
        }
    }

    /// The answer to a request is about to be handed to the worker.
    pub(crate) fn answered(&mut self, request: &Request, answer: &Reply, now: Duration) {
        self.hear(now);
        let commands = said(request);
        let sent = match request.method {
            Method::Batch => Sent::Batch(commands.len()),
            _ => Sent::Single,
        };
        let ends = match reply::read(answer, sent) {
            Verdict::Ran { outcomes, .. } => {
                let done = |outcome: &Outcome| match outcome {
                    Outcome::Done(_) => Fate::Done,
                    Outcome::Refused(Refusal::Server(_)) => Fate::Unknown,
                    Outcome::Refused(_) | Outcome::NotExecuted => Fate::Refused,
                };
                outcomes.iter().map(done).collect()
            }
            Verdict::Refused(_) => vec![Fate::Refused; commands.len()],
            Verdict::Unknown(_) => vec![Fate::Unknown; commands.len()],
        };
        for (Said { is_end, event_token, .. }, fate) in commands.into_iter().zip(ends) {
            let of = self.of(&event_token);
            of.happens(|| format!("{now:?} {} {fate:?}", if is_end { "end" } else { "entry" }));
            if is_end {
                if fate == Fate::Done {
                    of.close();
                }
                continue;
            }
            let Some((notice, in_doubt)) = of.out.take() else { continue };
            if fate == Fate::Done {
                let stored = of.stored.min(notice.saturating_sub(of.untold()));
                of.stored -= stored;
                of.owed += stored;
                of.told += notice;
                (of.may_be_told, of.tried) = (0, 0);
                self.seen.told += notice;
            } else if fate == Fate::Unknown || in_doubt {
                of.may_be_told = notice;
            }
        }
    }

    /// How many lines the log of each token has to be told of: what a journal has to hold, if the process ends.
    #[cfg(test)]
    pub(crate) fn untold(&mut self, now: Duration) -> HashMap<u32, u64> {
        self.hear(now);
        let open = self.tokens.iter().filter(|(_, of)| !of.closed);
        open.map(|(token, of)| (*token, of.untold() + of.stored)).collect()
    }

    /// The process has ended. These notices are in the journal. All of `owed` have to be, but for those that were told
    /// since.
    #[cfg(test)]
    pub(crate) fn ended(
        &mut self,
        stored: &HashMap<u32, u64>,
        owed: &HashMap<u32, u64>,
        now: Duration,
    ) {
        let before = self.untold(now);
        for (token, of) in &mut self.tokens {
            let stored = stored.get(token).copied().unwrap_or(0);
            let owed = owed.get(token).copied().unwrap_or(0);
            let owed = owed.min(before.get(token).copied().unwrap_or(0));
            of.happens(|| format!("{now:?} the process ends, {stored} of {owed} are stored"));
            if stored < owed {
                let story = of.story.join("\n  ");
                self.problems.push(format!("a notice is not in the journal\n  {story}"));
            }
            if !of.closed {
                (of.lost, of.owed, of.stored) = (of.told + stored, of.told, stored);
            }
            of.before.clear();
            of.out = None;
            of.refused = 0;
            (of.may_be_told, of.tried) = (0, 0);
        }
    }

    /// Nothing is pending, and the portal has worked for some time: all logs tell of all lost lines.
    #[cfg(test)]
    pub(crate) fn is_quiet(&mut self, now: Duration) {
        self.hear(now);
        for of in self.tokens.values_mut() {
            of.pass(now);
            of.owed += std::mem::take(&mut of.stored);
            if !of.closed && of.untold() > of.tried {
                let (untold, owed, story) = (of.untold(), of.owed, of.story.join("\n  "));
                let problem = format!("{untold} of {owed} lines are not told at all\n  {story}");
                self.problems.push(problem);
            }
        }
    }

    /// What is wrong, if anything is.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.problems.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} problems, first: {first}", self.problems.len())),
        }
    }

    fn of(&mut self, event_token: &str) -> &mut OfToken {
        let fingerprint = EventToken::parse(event_token).map_or(0, |token| token.fingerprint().0);
        self.tokens.entry(fingerprint).or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Done,
    Refused,
    Unknown,
}

impl OfToken {
    fn happens(&mut self, what: impl FnOnce() -> String) {
        if self.story.len() == STORY {
            self.story.remove(0);
        }
        self.story.push(what());
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        if !self.closed {
            self.owed += lines;
        }
    }

    /// Its log is not open any more.
    fn close(&mut self) {
        self.closed = true;
        self.owed = self.told;
        (self.stored, self.refused) = (0, 0);
        self.before.clear();
        (self.may_be_told, self.tried) = (0, 0);
    }

    /// Closes it if its time is over.
    fn pass(&mut self, now: Duration) {
        if self.waits_until.is_some_and(|until| until <= now) {
            self.waits_until = None;
            self.close();
        }
    }

    fn untold(&self) -> u64 {
        self.owed.saturating_sub(self.told)
    }

    fn entry_sent(&mut self, message: &str) -> Result<(), String> {
        let repeats = message.contains("(possible repeat");
        let (lines, retold) = notices(message);
        // It was forgotten meanwhile.
        let reopened = std::mem::take(&mut self.closed);
        let before = numbers(message).filter_map(|n| self.before.get(&n)).max();
        let before = before.copied().unwrap_or(0);
        self.out = Some((lines, repeats));
        self.tried = lines;
        let left = self.lost.saturating_sub(self.told);
        if lines > left {
            return Err(format!("a notice about {lines} lines, when {left} are not told"));
        }
        if self.told + lines < before {
            let untold = before - self.told;
            let due: Vec<_> = numbers(message).map(|n| (n, self.before.get(&n).copied())).collect();
            return Err(format!("a notice about {lines} lines, when {untold} are due: {due:?}"));
        }
        if reopened {
            self.may_be_told = retold;
        }
        if !repeats && retold != self.may_be_told {
            let may = self.may_be_told;
            return Err(format!("{may} lines may have been reported, and it says {retold}"));
        }
        Ok(())
    }

    fn end_sent(&mut self, has_entry: bool, now: Duration) -> Result<(), String> {
        let is_overdue = self.ends_at.is_none_or(|at| at <= now);
        if is_overdue && !has_entry {
            self.close();
        }
        if self.closed || is_overdue || self.untold() <= self.tried {
            return Ok(());
        }
        let (untold, tried) = (self.untold(), self.tried);
        Err(format!("an end, when {untold} lost lines are not told, and {tried} were tried"))
    }
}

/// So many events of a token are kept for the words about a problem.
const STORY: usize = 200;

/// The commands of a request.
pub(crate) fn said(request: &Request) -> Vec<Said> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    if let Method::Named(_) = request.method {
        return Vec::new();
    }
    if request.method != Method::Batch {
        let is_end = request.method == Method::EventSend;
        return vec![Said {
            is_end,
            event_token: text("EVENT_TOKEN"),
            message: text("LOG_MESSAGE"),
        }];
    }
    let commands = body["cmd"].as_object();
    let commands = (0..commands.map_or(0, |commands| commands.len())).map(|n| {
        let command = body["cmd"][format!("c{n}")].as_str().unwrap_or_default();
        let (event_token, message, values) = parse(command);
        Said { is_end: values.is_some(), event_token, message }
    });
    commands.collect()
}
