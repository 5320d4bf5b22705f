//! Ends of activities that are published: who waits for them, and what happens if no relay answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::{EndState, Engine};
use crate::completion::Completion;
use crate::error::{CompleteError, WorkerError};
use crate::journal::{Answer, Mark, MarkKind, Number, Outcome, StoredEnd};
use crate::line::{EventToken, PortalId};
use crate::queue::Complete;
use crate::stats::FlushReport;
use crate::worker::agenda::Agenda;
use crate::worker::backlog::Of;
use crate::worker::ending::Ending;

mod own;

type Result = std::result::Result<FlushReport, CompleteError>;

/// All ends that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Ends {
    by_no: BTreeMap<Number, End>,
    /// When the lane of this process sends each of them.
    own_at: Agenda<Number>,
    /// When the newest end was appended.
    newest: Option<Instant>,
    /// When the first end was appended for which the journal was not asked yet.
    unasked_since: Option<Instant>,
    /// The last end of the last inquiry, if there were more than fit into it. The next one continues behind it.
    asked_up_to: Option<Number>,
    asked_at: Option<Instant>,
    /// How many ends wait for the answer of a relay.
    appended: usize,
    /// How many ends the lane of this process has.
    own: usize,
}

#[derive(Debug)]
struct End {
    portal: Option<PortalId>,
    event_token: EventToken,
    completion: Completion,
    deadline: Instant,
    bytes: usize,
    /// The results of lines of its token since then.
    report: FlushReport,
    reply: oneshot::Sender<Result>,
    /// It is in the journal of this machine.
    near: bool,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    /// In the backlog, or with the journal.
    Waits,
    /// In the journal.
    Appended,
    /// In the lane of this process.
    Own { published: Published, answer: oneshot::Receiver<Result> },
}

/// Whether an end that this process sends is in the journal, too.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Published {
    No,
    /// A relay may send it.
    Yes,
    /// A relay could not send it.
    InVain,
}

impl Ends {
    pub(super) fn is_empty(&self) -> bool {
        self.by_no.is_empty()
    }

    /// Lines of the end's token have ended.
    pub(super) fn count(&mut self, no: Number, ending: Ending, lines: u64) {
        if let Some(end) = self.by_no.get_mut(&no) {
            ending.count(&mut end.report, lines);
        }
    }

    /// The journal of this machine has it.
    pub(super) fn is_near(&mut self, no: Number) {
        if let Some(end) = self.by_no.get_mut(&no) {
            end.near = true;
        }
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.own_at.next_at()
    }

    /// When the journal is to be asked for answers: soon after an end was appended, and less often after a while.
    pub(super) fn inquiry_at(&self) -> Option<Instant> {
        let newest = self.newest.filter(|_| self.appended > 0)?;
        // Further ends do not put this off: they may come all the time.
        let first = self.unasked_since.map(|since| since + ASK_FIRST);
        let again = self.asked_at.map(|asked_at| match self.asked_up_to {
            // The other ends have waited as long.
            Some(_) => asked_at + ASK_FIRST,
            None => {
                let wait = asked_at.saturating_duration_since(newest).clamp(ASK_FIRST, ASK_SELDOM);
                asked_at + wait
            }
        });
        first.into_iter().chain(again).min()
    }

    /// The ends to ask for, if it is time.
    pub(super) fn inquire(&mut self, now: Instant) -> Option<Vec<Number>> {
        self.inquiry_at().filter(|at| *at <= now)?;
        self.unasked_since = None;
        let after = self.asked_up_to.take().unwrap_or(0);
        let mut appended = self
            .by_no
            .range(after.saturating_add(1)..)
            .filter(|(_, end)| matches!(end.stands, Stands::Appended))
            .map(|(no, _)| *no);
        let asked: Vec<Number> = appended.by_ref().take(MOST_ASKED).collect();
        if appended.next().is_some() {
            self.asked_up_to = asked.last().copied();
        }
        Some(asked)
    }

    pub(super) fn inquired(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    fn take(&mut self, no: Number) -> Option<End> {
        let end = self.by_no.remove(&no)?;
        self.own_at.remove(no);
        match end.stands {
            Stands::Waits => {}
            Stands::Appended => self.appended -= 1,
            Stands::Own { .. } => self.own -= 1,
        }
        Some(end)
    }
}

impl Engine {
    /// An activity is to be ended by the relay, after its lines if they arrive in time.
    pub(in super::super) fn publish_end(&mut self, complete: Complete, now: Instant) {
        let Complete { event_token, portal, completion, deadline, reply } = complete;
        let wall = self.ledger.wall(now).unwrap_or(SystemTime::UNIX_EPOCH);
        let closing = self.closing;
        let Some(publishing) = &mut self.publishing else { return };
        let known = publishing.tokens.get(&event_token).map(|logged| &logged.portal);
        let portal = match (portal, known) {
            (Some(portal), _) => Some(portal),
            (None, Some(portal)) => portal.clone(),
            (None, None) if self.rules.default_portal => None,
            (None, None) => return refuse(reply, CompleteError::UnknownPortal),
        };
        let logged = publishing.tokens.logged(&event_token, &portal, now);
        if matches!(logged.end, EndState::Asked(_) | EndState::Done) {
            return refuse(reply, CompleteError::AlreadyCompleted);
        }
        let end = StoredEnd {
            no: self.seq + 1,
            values: completion.values_text(),
            message: completion.message.clone(),
            failed: completion.failed,
            deadline: wall + deadline.saturating_duration_since(now),
            waits_until: logged.about.waits_until,
        };
        let bytes = size_of::<End>() + 2 * (end.values.len() + completion.message_bytes());
        if !self.ledger.hold_end(bytes) {
            return refuse(reply, CompleteError::Worker(WorkerError::Busy));
        }
        self.seq += 1;
        let no = self.seq;
        logged.end = EndState::Asked(no);
        let about = logged.about.clone();
        let of = Of { portal: &portal, event_token: &event_token, about: &about };
        publishing.backlog.end(of, end, now);
        publishing.backlog.hurry();
        let mut own_at = deadline;
        if let Some(closing) = closing {
            own_at = own_at.min(half_way(now, closing));
        }
        let (report, stands) = (FlushReport::default(), Stands::Waits);
        let near = false;
        let end =
            End { portal, event_token, completion, deadline, bytes, report, reply, near, stands };
        publishing.ends.by_no.insert(no, end);
        publishing.ends.own_at.set(no, own_at);
    }

    /// The journal has an end.
    pub(super) fn end_appended(
        &mut self,
        no: Number,
        event_token: &EventToken,
        portal: &Option<PortalId>,
        now: Instant,
    ) {
        let Some(publishing) = &mut self.publishing else { return };
        let ends = &mut publishing.ends;
        let own_now = match ends.by_no.get_mut(&no) {
            Some(end) => match &mut end.stands {
                Stands::Waits => {
                    end.stands = Stands::Appended;
                    ends.appended += 1;
                    ends.newest = Some(now);
                    ends.unasked_since.get_or_insert(now);
                    ends.own_at.set(no, end.deadline + PATIENCE);
                    false
                }
                Stands::Own { published, .. } => {
                    *published = Published::Yes;
                    false
                }
                Stands::Appended => false,
            },
            // It was answered before the journal had it.
            None => true,
        };
        if own_now {
            self.settle_published(no, event_token, portal);
        }
    }

    /// No relay needs to send this end any more.
    fn settle_published(
        &mut self,
        no: Number,
        event_token: &EventToken,
        portal: &Option<PortalId>,
    ) {
        let Some(publishing) = &mut self.publishing else { return };
        publishing.marks.push(Mark {
            publisher: publishing.publisher,
            portal: portal.clone(),
            event_token: event_token.clone(),
            from: no,
            up_to: no,
            kind: MarkKind::Settled,
        });
    }

    /// Handles answers of relays.
    pub(super) fn answered(&mut self, answers: Vec<Answer>, now: Instant) {
        for Answer { no, outcome, .. } in answers {
            let Some(publishing) = &mut self.publishing else { return };
            let is_appended = |end: &End| matches!(end.stands, Stands::Appended);
            if !publishing.ends.by_no.get(&no).is_some_and(is_appended) {
                continue;
            }
            match outcome {
                // The relay did not reach the portal. This process may.
                Outcome::NotSent => self.send_own(no, true, now),
                Outcome::Accepted => self.end_through(no, Ok(FlushReport::default())),
                Outcome::Refused(code) => {
                    self.end_through(no, Err(CompleteError::Refused { code }));
                }
            }
        }
    }

    /// Answers the callers that wait for an end. `told`: the answer, with the results of lines that were in the
    /// lane.
    fn end_through(&mut self, no: Number, told: Result) {
        let Some(publishing) = &mut self.publishing else { return };
        let Some(end) = publishing.ends.take(no) else { return };
        self.ledger.release_end(end.bytes);
        let mut pending = 0;
        if let Some(logged) = publishing.tokens.get_mut(&end.event_token) {
            pending = logged.pending;
            if logged.end == EndState::Asked(no) {
                let done =
                    matches!(told, Ok(_) | Err(CompleteError::HandedOver | CompleteError::OnDisk));
                logged.end = if done { EndState::Done } else { EndState::Failed };
            }
        }
        let mut report = end.report;
        let told = told.map(|of_lane| {
            report.add(&of_lane);
            report.set_pending(pending, u64::MAX);
            report
        });
        // The caller may have stopped waiting.
        drop(end.reply.send(told));
    }

    /// The app was removed from a portal: its activities cannot be ended any more.
    pub(super) fn forsake_ends(&mut self, portal: &PortalId) {
        let Some(publishing) = &mut self.publishing else { return };
        let of_portal = publishing.ends.by_no.iter().filter(|(_, end)| {
            end.portal.as_ref() == Some(portal) && !matches!(end.stands, Stands::Own { .. })
        });
        let of_portal: Vec<Number> = of_portal.map(|(no, _)| *no).collect();
        for no in of_portal {
            self.end_through(no, Err(CompleteError::NotSent));
        }
    }

    /// The run ends.
    pub(super) fn leave_ends(&mut self) {
        let Some(publishing) = &mut self.publishing else { return };
        let mut all = Vec::new();
        for (no, end) in &mut publishing.ends.by_no {
            let left = match (&mut end.stands, end.near) {
                (Stands::Appended, _) => CompleteError::HandedOver,
                // The next run publishes it.
                (Stands::Waits, true) => CompleteError::OnDisk,
                (Stands::Own { published: Published::No, answer }, true) => match answer.try_recv()
                {
                    Ok(Ok(report)) => {
                        all.push((*no, Ok(report), true));
                        continue;
                    }
                    _ => CompleteError::OnDisk,
                },
                (Stands::Own { published: Published::Yes, answer }, _) => match answer.try_recv() {
                    Ok(told @ (Ok(_) | Err(CompleteError::Refused { .. }))) => {
                        all.push((*no, told, true));
                        continue;
                    }
                    // A relay sends it.
                    _ => CompleteError::HandedOver,
                },
                (Stands::Own { .. }, _) => continue,
                (Stands::Waits, false) => CompleteError::NotSent,
            };
            all.push((*no, Err(left), false));
        }
        for (no, told, is_done) in all {
            let end =
                self.publishing.as_ref().and_then(|publishing| publishing.ends.by_no.get(&no));
            if let (true, Some(end)) = (is_done, end) {
                let (event_token, portal) = (end.event_token.clone(), end.portal.clone());
                self.settle_published(no, &event_token, &portal);
            }
            self.end_through(no, told);
        }
        self.answer_own_ends();
    }
}

fn refuse(reply: oneshot::Sender<Result>, why: CompleteError) {
    // The caller may have stopped waiting.
    drop(reply.send(Err(why)));
}

fn half_way(now: Instant, deadline: Instant) -> Instant {
    now + deadline.saturating_duration_since(now) / 2
}

/// How long after its deadline an end waits for the answer of a relay. Then this process sends it, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// When the journal is asked for answers, after an end was appended ..
const ASK_FIRST: Duration = Duration::from_millis(50);
/// .. and how often after a while.
const ASK_SELDOM: Duration = Duration::from_millis(500);
/// Most ends in one inquiry.
const MOST_ASKED: usize = 10_000;
