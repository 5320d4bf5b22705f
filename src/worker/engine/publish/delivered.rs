//! Flushes that wait until a relay has delivered the lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Asked, Engine, Publishing};
use crate::journal::Number;
use crate::journal::desk::Inquiry;
use crate::line::{EventToken, PortalId};
use crate::queue::{Flush, Scope};
use crate::stats::FlushReport;

/// All flushes that wait.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    number: u64,
    all: BTreeMap<u64, Delivery>,
    /// At least this number of the lines that were handed over are settled.
    settled: u64,
}

#[derive(Debug)]
struct Delivery {
    of: Option<(Option<PortalId>, EventToken)>,
    up_to: Number,
    /// How many lines were handed over before.
    before: u64,
    deadline: Instant,
    reply: oneshot::Sender<FlushReport>,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    /// Lines are not appended yet.
    Appending(oneshot::Receiver<FlushReport>),
    /// All lines are appended. The journal is asked how many of them are not settled.
    Appended {
        report: Box<FlushReport>,
        /// How many lines of this run were handed over by then: all, and those that the flush is about.
        handed_over: (u64, u64),
        unsettled: Option<u64>,
        ask_at: Instant,
        wait: Duration,
    },
}

impl Deliveries {
    pub(super) fn inquiry_at(&self) -> Option<Instant> {
        self.all.values().filter_map(Delivery::ask_at).min()
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.all.values().map(|delivery| delivery.deadline).min()
    }

    pub(super) fn inquire(&mut self, now: Instant) -> Option<(Asked, Inquiry)> {
        self.inquiry_at().filter(|at| *at <= now)?;
        // Whoever has stopped waiting would keep the others from their turns until the deadline.
        self.all.retain(|_, delivery| !delivery.reply.is_closed());
        let due = self.all.iter().filter_map(|(number, delivery)| {
            let ask_at = delivery.ask_at().filter(|at| *at <= now)?;
            Some((ask_at, *number))
        });
        let (_, number) = due.min()?;
        let Delivery { of, up_to, .. } = self.all.get(&number)?;
        let inquiry = Inquiry::Unsettled { of: of.clone(), up_to: *up_to };
        Some((Asked::Delivery(number), inquiry))
    }

    /// The number of lines that are not settled. `None`: the journal did not answer.
    pub(super) fn counted(&mut self, number: u64, lines: Option<u64>, now: Instant) {
        let Some(delivery) = self.all.get_mut(&number) else { return };
        let Stands::Appended { unsettled, ask_at, wait, .. } = &mut delivery.stands else { return };
        if let (None, Some(lines)) = (&delivery.of, lines) {
            self.settled = self.settled.max(delivery.before.saturating_sub(lines));
        }
        *unsettled = lines.or(*unsettled);
        *ask_at = now + *wait;
        *wait = (*wait * 2).min(ASK_SELDOM);
    }

    /// Answers flushes that are done or out of time. `handed_over`: how many lines of this run were handed over so far;
    /// `of_token`: the same for one token.
    fn answer(&mut self, handed_over: u64, of_token: impl Fn(&EventToken) -> u64, now: Instant) {
        let mut through = Vec::new();
        for (number, delivery) in &mut self.all {
            if let Stands::Appending(appended) = &mut delivery.stands {
                let report = match appended.try_recv() {
                    Ok(report) => report,
                    Err(oneshot::error::TryRecvError::Empty) => continue,
                    Err(oneshot::error::TryRecvError::Closed) => FlushReport::default(),
                };
                let report = Box::new(report);
                let of_this = delivery.of.as_ref().map_or(handed_over, |(_, of)| of_token(of));
                let handed_over = (handed_over, of_this);
                let (unsettled, ask_at, wait) = (None, now, ASK_FIRST);
                delivery.stands = Stands::Appended { report, handed_over, unsettled, ask_at, wait };
            }
            let Stands::Appended { report, unsettled, .. } = &delivery.stands else { continue };
            let is_late = now >= delivery.deadline || report.pending() > 0;
            if is_late || *unsettled == Some(0) {
                through.push(*number);
            }
        }
        for number in through {
            let Some(Delivery { stands, reply, .. }) = self.all.remove(&number) else { continue };
            let Stands::Appended { mut report, handed_over, unsettled, .. } = stands else {
                continue;
            };
            // Lines may be pending unless the journal has said that they are settled.
            let (all, of_this) = handed_over;
            let stored = unsettled.unwrap_or(of_this.min(all.saturating_sub(self.settled)));
            report.set_pending(report.pending() + stored, report.pending());
            // The caller may have stopped waiting.
            drop(reply.send(*report));
        }
    }
}

impl Delivery {
    fn ask_at(&self) -> Option<Instant> {
        match &self.stands {
            Stands::Appending(_) => None,
            Stands::Appended { ask_at, .. } => Some(*ask_at),
        }
    }
}

impl Engine {
    /// Like [`flush`](Self::flush). If lines are published, it also waits until a relay has delivered them.
    pub(crate) fn flush_delivered(&mut self, flush: Flush, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return self.flush(flush, now) };
        let Flush { scope, deadline, reply } = flush;
        let (of, unsealed) = match &scope {
            Scope::All => (None, publishing.tokens.unsealed()),
            Scope::Token(event_token) => {
                let logged = publishing.tokens.get(event_token);
                // The portal of a forgotten token is not known. Then the flush waits for all lines.
                let of = logged.map(|logged| (logged.portal.clone(), event_token.clone()));
                (of, vec![event_token.clone()])
            }
        };
        for event_token in unsealed {
            self.publish_seal(&event_token, now);
        }
        let up_to = self.seq;
        let (appended, is_appended) = oneshot::channel();
        self.flush(Flush { scope, deadline, reply: appended }, now);
        let Some(publishing) = &mut self.publishing else { return };
        let before = publishing.handed_over;
        let deliveries = &mut publishing.deliveries;
        deliveries.number += 1;
        let stands = Stands::Appending(is_appended);
        let delivery = Delivery { of, up_to, before, deadline, reply, stands };
        deliveries.all.insert(deliveries.number, delivery);
    }

    /// Answers flushes whose lines are delivered.
    pub(in super::super) fn answer_deliveries(&mut self, now: Instant) {
        if let Some(publishing) = &mut self.publishing {
            let Publishing { deliveries, tokens, handed_over, .. } = &mut **publishing;
            let of_token =
                |of: &EventToken| tokens.get(of).map_or(*handed_over, |logged| logged.handed_over);
            deliveries.answer(*handed_over, of_token, now);
        }
    }
}

/// When the journal is asked again how many lines are not settled ..
const ASK_FIRST: Duration = Duration::from_millis(50);
/// .. and how often after a while.
const ASK_SELDOM: Duration = Duration::from_secs(1);
