//! Who waits until lines are settled: flushes of everything, flushes of one token, the shutdown.
//!
//! Thousands may wait at once, so no step looks at all of them. Flushes of everything cut the lines
//! into epochs, by the numbers of the lines: a flush is finished when its epoch and all earlier ones are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use tokio::sync::oneshot;

use super::agenda::Agenda;
use super::ending::Ending;
use crate::line::{EventToken, Fingerprint};
use crate::stats::FlushReport;

type Reply = oneshot::Sender<FlushReport>;

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Number of the newest line that was taken in.
    newest: u64,
    /// What became of all lines so far.
    total: FlushReport,
    /// What became of the lines of epochs that are through.
    through: FlushReport,
    /// Oldest first. Invariant: `up_to` grows strictly.
    epochs: VecDeque<Epoch>,
    /// Lines behind the last epoch.
    open: Lines,
    tokens: HashMap<EventToken, Vec<Watch>>,
    /// Tokens of which a watch is through.
    answered: Vec<EventToken>,
    closing: Option<Watch>,
    deadlines: Agenda<u64>,
    waits_for: HashMap<u64, Whose>,
    number: u64,
}

/// Lines between two flushes of everything, and who flushed at their end.
#[derive(Debug)]
struct Epoch {
    up_to: u64,
    lines: Lines,
    flushes: Vec<Flush>,
}

#[derive(Debug, Default)]
struct Lines {
    pending: u64,
    settled: FlushReport,
}

/// A flush of everything.
#[derive(Debug)]
struct Flush {
    number: u64,
    /// What had become of all lines when it came.
    before: FlushReport,
    reply: Reply,
}

/// Waits for lines that are counted one by one.
#[derive(Debug)]
struct Watch {
    number: u64,
    up_to: u64,
    remaining: u64,
    report: FlushReport,
    reply: Reply,
}

/// Where the watch with a deadline stands.
#[derive(Debug)]
enum Whose {
    All,
    Token(EventToken),
    Close,
}

impl Watches {
    /// Waits for all lines so far.
    pub(super) fn all(&mut self, deadline: Instant, reply: Reply) {
        let number = self.number(deadline, Whose::All);
        let flush = Flush { number, before: self.total.clone(), reply };
        match self.epochs.back_mut() {
            Some(last) if last.up_to == self.newest => last.flushes.push(flush),
            _ => {
                let lines = std::mem::take(&mut self.open);
                self.epochs.push_back(Epoch { up_to: self.newest, lines, flushes: vec![flush] });
            }
        }
    }

    /// Waits for the `pending` lines of one token.
    pub(super) fn token(
        &mut self,
        event_token: EventToken,
        pending: u64,
        deadline: Instant,
        reply: Reply,
    ) {
        let number = self.number(deadline, Whose::Token(event_token.clone()));
        if pending == 0 {
            self.answered.push(event_token.clone());
        }
        let watch = Watch::new(number, self.newest, pending, reply);
        self.tokens.entry(event_token).or_default().push(watch);
    }

    /// Waits for all lines, also for those that are still to come.
    pub(super) fn close(&mut self, pending: u64, deadline: Instant, reply: Reply) {
        let number = self.number(deadline, Whose::Close);
        self.closing = Some(Watch::new(number, u64::MAX, pending, reply));
    }

    fn number(&mut self, deadline: Instant, whose: Whose) -> u64 {
        self.number += 1;
        self.deadlines.set(self.number, deadline);
        self.waits_for.insert(self.number, whose);
        self.number
    }

    /// A line was received.
    pub(super) fn taken(&mut self, seq: u64) {
        self.newest = seq;
        self.open.pending += 1;
        if let Some(closing) = &mut self.closing {
            closing.remaining += 1;
        }
    }

    /// Lines of other runs were found. They count as if they had been received now, with this number.
    pub(super) fn found(&mut self, seq: u64, lines: u64) {
        self.newest = self.newest.max(seq);
        self.open.pending += lines;
        if let Some(closing) = &mut self.closing {
            closing.remaining += lines;
        }
    }

    /// Lines will not come, and nobody knows which of their token; `None`: they have ended before. The shutdown
    /// alone waits for those that have no token.
    pub(super) fn gone(
        &mut self,
        token: Option<Fingerprint>,
        lines: u64,
        last_seq: u64,
        ending: Option<Ending>,
    ) {
        if let Some(closing) = &mut self.closing {
            closing.settle(lines, last_seq, ending);
        }
        let Some(token) = token else { return };
        if let Some(ending) = ending {
            ending.count(&mut self.total, lines);
        }
        self.settle_in_epoch(lines, last_seq, ending);
        let of_token = self.tokens.iter_mut().filter(|(of, _)| of.fingerprint() == token);
        for (event_token, watches) in of_token {
            for watch in watches {
                watch.settle(lines, last_seq, ending);
                if watch.remaining == 0 {
                    self.answered.push(event_token.clone());
                }
            }
        }
    }

    /// Whether somebody waits for lines of this token up to a number that is at least `from`, and below `to`.
    pub(super) fn divide(&self, event_token: &EventToken, from: u64, to: u64) -> bool {
        let between = |up_to: u64| (from..to).contains(&up_to);
        let epoch = self.epochs.partition_point(|epoch| epoch.up_to < from);
        let mut watches = self.tokens.get(event_token).into_iter().flatten();
        self.epochs.get(epoch).is_some_and(|epoch| between(epoch.up_to))
            || watches.any(|watch| between(watch.up_to))
    }

    fn settle_in_epoch(&mut self, lines: u64, last_seq: u64, ending: Option<Ending>) {
        let epoch = self.epochs.partition_point(|epoch| epoch.up_to < last_seq);
        match self.epochs.get_mut(epoch) {
            Some(epoch) => epoch.lines.settle(lines, ending),
            None => self.open.settle(lines, ending),
        }
    }

    /// Nothing is pending, whatever was counted.
    pub(super) fn nothing_is_pending(&mut self) {
        self.open.pending = 0;
        for epoch in &mut self.epochs {
            epoch.lines.pending = 0;
        }
        for (event_token, watches) in &mut self.tokens {
            watches.iter_mut().for_each(|watch| watch.remaining = 0);
            self.answered.push(event_token.clone());
        }
        if let Some(closing) = &mut self.closing {
            closing.remaining = 0;
        }
    }

    /// Lines are settled. The newest of them has the number `last_seq`.
    pub(super) fn settled(
        &mut self,
        event_token: &EventToken,
        lines: u64,
        last_seq: u64,
        ending: Ending,
    ) {
        ending.count(&mut self.total, lines);
        let ending = Some(ending);
        self.settle_in_epoch(lines, last_seq, ending);
        if let Some(closing) = &mut self.closing {
            closing.settle(lines, last_seq, ending);
        }
        if self.tokens.is_empty() {
            return;
        }
        for watch in self.tokens.get_mut(event_token).into_iter().flatten() {
            watch.settle(lines, last_seq, ending);
            if watch.remaining == 0 {
                self.answered.push(event_token.clone());
            }
        }
    }

    /// Answers those that are through, or out of time. `unstored`: lines that are in no journal.
    /// `starting`: there may be lines of other runs.
    pub(super) fn answer(&mut self, unstored: u64, starting: bool, now: Instant) {
        while let Some(front) = self.epochs.front() {
            if front.lines.pending > 0 {
                break;
            }
            let Some(epoch) = self.epochs.pop_front() else { break };
            self.through.add(&epoch.lines.settled);
            for flush in epoch.flushes {
                forget(&mut self.deadlines, &mut self.waits_for, flush.number);
                flush.answer(&self.through, 0, 0);
            }
        }
        for event_token in std::mem::take(&mut self.answered) {
            self.answer_token(&event_token, u64::MAX, |watch| watch.remaining == 0);
        }
        if self.closing.as_ref().is_some_and(|closing| closing.remaining == 0) && !starting {
            self.answer_close(u64::MAX);
        }
        let mut late = HashSet::new();
        while let Some(number) = self.deadlines.pop(now) {
            match self.waits_for.remove(&number) {
                Some(Whose::All) => drop(late.insert(number)),
                Some(Whose::Token(event_token)) => {
                    self.answer_token(&event_token, unstored, |watch| watch.number == number);
                }
                Some(Whose::Close) => self.answer_close(unstored),
                None => {}
            }
        }
        if !late.is_empty() {
            self.answer_late(&late, unstored);
        }
    }

    /// Answers flushes whose time is over with what is known.
    fn answer_late(&mut self, late: &HashSet<u64>, unstored: u64) {
        let (mut settled, mut pending) = (self.through.clone(), 0);
        for epoch in &mut self.epochs {
            settled.add(&epoch.lines.settled);
            pending += epoch.lines.pending;
            for flush in take_where(&mut epoch.flushes, |flush| late.contains(&flush.number)) {
                flush.answer(&settled, pending, unstored);
            }
        }
        self.join_epochs();
    }

    /// Nobody waits at the end of some epochs any more: their lines belong to the next ones.
    fn join_epochs(&mut self) {
        let mut joined: Option<Lines> = None;
        for mut epoch in std::mem::take(&mut self.epochs) {
            if let Some(lines) = joined.take() {
                epoch.lines.add(&lines);
            }
            match epoch.flushes.is_empty() {
                true => joined = Some(epoch.lines),
                false => self.epochs.push_back(epoch),
            }
        }
        if let Some(lines) = joined {
            self.open.add(&lines);
        }
    }

    fn answer_token(
        &mut self,
        event_token: &EventToken,
        unstored: u64,
        through: impl Fn(&Watch) -> bool,
    ) {
        let Some(watches) = self.tokens.get_mut(event_token) else { return };
        for watch in take_where(watches, through) {
            forget(&mut self.deadlines, &mut self.waits_for, watch.number);
            watch.answer(unstored);
        }
        if watches.is_empty() {
            self.tokens.remove(event_token);
        }
    }

    fn answer_close(&mut self, unstored: u64) {
        if let Some(closing) = self.closing.take() {
            forget(&mut self.deadlines, &mut self.waits_for, closing.number);
            closing.answer(unstored);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next_at()
    }
}

/// Takes out those for which `picked` holds. The order of the others does not matter.
fn take_where<T>(all: &mut Vec<T>, picked: impl Fn(&T) -> bool) -> Vec<T> {
    let mut taken = Vec::new();
    let mut n = 0;
    while n < all.len() {
        if picked(&all[n]) {
            taken.push(all.swap_remove(n));
        } else {
            n += 1;
        }
    }
    taken
}

fn forget(deadlines: &mut Agenda<u64>, waits_for: &mut HashMap<u64, Whose>, number: u64) {
    deadlines.remove(number);
    waits_for.remove(&number);
}

impl Lines {
    fn settle(&mut self, lines: u64, ending: Option<Ending>) {
        self.pending = self.pending.saturating_sub(lines);
        if let Some(ending) = ending {
            ending.count(&mut self.settled, lines);
        }
    }

    fn add(&mut self, other: &Lines) {
        self.pending += other.pending;
        self.settled.add(&other.settled);
    }
}

impl Flush {
    /// `settled`: what became of all lines up to this flush.
    fn answer(self, settled: &FlushReport, pending: u64, unstored: u64) {
        let mut report = settled.since(&self.before);
        report.set_pending(pending, unstored);
        // The caller may have stopped waiting.
        drop(self.reply.send(report));
    }
}

impl Watch {
    fn new(number: u64, up_to: u64, remaining: u64, reply: Reply) -> Self {
        Watch { number, up_to, remaining, report: FlushReport::default(), reply }
    }

    fn settle(&mut self, lines: u64, last_seq: u64, ending: Option<Ending>) {
        if last_seq <= self.up_to {
            self.remaining = self.remaining.saturating_sub(lines);
            if let Some(ending) = ending {
                ending.count(&mut self.report, lines);
            }
        }
    }

    fn answer(mut self, unstored: u64) {
        self.report.set_pending(self.remaining, unstored);
        // The caller may have stopped waiting.
        drop(self.reply.send(self.report));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::stats::DropReason;

    #[derive(Clone, Debug)]
    enum Step {
        Line(usize),
        /// The n-th line that is open ends.
        Settle(usize, bool),
        Flush(u64),
        FlushToken(usize, u64),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3_usize).prop_map(Step::Line),
            4 => (0..20_usize, any::<bool>()).prop_map(|(n, lost)| Step::Settle(n, lost)),
            2 => (1..30_u64).prop_map(Step::Flush),
            1 => (0..3_usize, 1..30_u64).prop_map(|(n, within)| Step::FlushToken(n, within)),
            2 => (1..10_u64).prop_map(Step::Pass),
        ]
    }

    /// A flush as the plain way has it: it looks at every line.
    struct Plain {
        of: Option<usize>,
        covers: Vec<u64>,
        deadline: u64,
        answer: oneshot::Receiver<FlushReport>,
        told: bool,
    }

    proptest! {
        #[test]
        fn flushes_are_answered_like_a_check_of_every_line(
            steps in prop::collection::vec(step(), 0..120),
        ) {
            #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
            let start = Instant::now();
            let tokens: Vec<EventToken> =
                (0..3).map(|n| EventToken::parse(&format!("5e.{n}|A|1.ff")).unwrap()).collect();
            let (mut watches, mut clock) = (Watches::default(), 0);
            // Each line's token, and how it ended.
            let mut lines: Vec<(usize, Option<Ending>)> = Vec::new();
            let mut open: Vec<u64> = Vec::new();
            let mut flushes: Vec<Plain> = Vec::new();
            for step in steps {
                match step {
                    Step::Line(token) => {
                        lines.push((token, None));
                        open.push(lines.len() as u64);
                        watches.taken(lines.len() as u64);
                    }
                    Step::Settle(n, lost) => {
                        if open.is_empty() {
                            continue;
                        }
                        let seq = open.remove(n % open.len());
                        let ending = match lost {
                            true => Ending::Dropped(DropReason::Evicted),
                            false => Ending::Acknowledged,
                        };
                        let line = &mut lines[seq as usize - 1];
                        line.1 = Some(ending);
                        watches.settled(&tokens[line.0], 1, seq, ending);
                    }
                    Step::Flush(within) => {
                        let (reply, answer) = oneshot::channel();
                        let deadline = clock + within;
                        watches.all(start + Duration::from_secs(deadline), reply);
                        let covers = open.clone();
                        flushes.push(Plain { of: None, covers, deadline, answer, told: false });
                    }
                    Step::FlushToken(token, within) => {
                        let (reply, answer) = oneshot::channel();
                        let deadline = clock + within;
                        let of = |seq: &u64| lines[*seq as usize - 1].0 == token;
                        let covers: Vec<u64> = open.iter().copied().filter(of).collect();
                        let at = start + Duration::from_secs(deadline);
                        watches.token(tokens[token].clone(), covers.len() as u64, at, reply);
                        let of = Some(token);
                        flushes.push(Plain { of, covers, deadline, answer, told: false });
                    }
                    Step::Pass(seconds) => clock += seconds,
                }
                watches.answer(u64::MAX, false, start + Duration::from_secs(clock));
                for flush in flushes.iter_mut().filter(|flush| !flush.told) {
                    let ended = |ending: fn(&Option<Ending>) -> bool| {
                        let covers = flush.covers.iter();
                        covers.filter(|seq| ending(&lines[**seq as usize - 1].1)).count() as u64
                    };
                    let pending = ended(Option::is_none);
                    let due = pending == 0 || clock >= flush.deadline;
                    match flush.answer.try_recv() {
                        Ok(report) => {
                            prop_assert!(due, "{:?} was answered too early", flush.of);
                            let acknowledged = ended(|e| *e == Some(Ending::Acknowledged));
                            prop_assert_eq!(report.acknowledged(), acknowledged);
                            prop_assert_eq!(report.pending(), pending);
                            let lost = flush.covers.len() as u64 - acknowledged - pending;
                            prop_assert_eq!(report.lost(), lost);
                            flush.told = true;
                        }
                        Err(_) => prop_assert!(!due, "{:?} was not answered", flush.of),
                    }
                }
            }
            for flush in flushes.iter().filter(|flush| !flush.told) {
                let next = watches.next_deadline();
                prop_assert!(next <= Some(start + Duration::from_secs(flush.deadline)));
            }
        }
    }
}
