//! Publishing: lines go to a journal from which another process delivers them. They leave this process when they
//! are appended.
//!
//! ```text
//! line -> body -> backlog -> batch -> journal          handed over
//! end  -> backlog -> batch -> journal -> answer        the lane of this process sends it if none comes
//! ```
//! There is no schedule here, and nothing is read. Lanes exist for ends that no relay has sent in time.

use std::time::{Duration, Instant};

use super::Engine;
use crate::journal::desk::{Ask, Inquiry, Known, Said};
use crate::journal::{About, Mark, Publisher, StoredGap};
use crate::line::{EventToken, PortalId};
use crate::stats::DropReason;
use crate::worker::backlog::{Backlog, Note, What};
use crate::worker::ending::Ending;
use crate::worker::ledger::Condition;
use crate::worker::report::Trouble;

mod delivered;
mod ends;
mod intake;
mod near;
mod tokens;

use delivered::Deliveries;
use ends::Ends;
use tokens::{EndState, Tokens};

/// The engine's state for the journal that it publishes to.
#[derive(Debug)]
pub(super) struct Publishing {
    publisher: Publisher,
    backlog: Backlog,
    tokens: Tokens,
    ends: Ends,
    deliveries: Deliveries,
    /// How many lines of this run were handed over so far.
    handed_over: u64,
    /// Marks for the journal.
    marks: Vec<Mark>,
    /// Questions that the journal has not answered yet.
    asked: Option<Asked>,
    /// Everything goes through a journal on this machine first.
    by_way: bool,
    /// The data of earlier runs there is not known yet.
    starting: bool,
    /// Lines were lost in it, and it is not known which flushes wait for them.
    is_damaged: bool,
    /// Since when it has lines.
    stored_since: Option<Instant>,
    /// The last try to append has failed.
    failing: bool,
    /// How long the first line of a batch waits for more.
    gather: Duration,
    max_age: Duration,
}

/// An inquiry that is not answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Answers,
    Delivery(u64),
}

impl Publishing {
    pub(super) fn new(
        publisher: Publisher,
        style: About,
        gather: Duration,
        max_age: Duration,
        by_way: bool,
    ) -> Self {
        Publishing {
            publisher,
            backlog: Backlog::new(publisher),
            tokens: Tokens::new(style),
            ends: Ends::default(),
            deliveries: Deliveries::default(),
            handed_over: 0,
            marks: Vec::new(),
            asked: None,
            by_way,
            starting: by_way,
            is_damaged: false,
            stored_since: None,
            failing: false,
            gather,
            max_age,
        }
    }

    /// Whether everything is appended and answered.
    pub(super) fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.ends.is_empty()
    }

    /// When there is something to do.
    fn next_at(&self, now: Instant) -> Option<Instant> {
        let expires = self.backlog.oldest().map(|oldest| oldest + self.max_age);
        let inquiry = match self.asked {
            None => self.ends.inquiry_at().into_iter().chain(self.deliveries.inquiry_at()).min(),
            Some(_) => None,
        };
        let marks = (!self.marks.is_empty()).then_some(now);
        let others = [expires, inquiry, marks, self.tokens.sweep_at(), self.ends.next_at()];
        let due = self.backlog.due_at(self.gather);
        let others = others.into_iter().chain([due, self.deliveries.next_at()]);
        others.flatten().min()
    }

    /// The state of the portals of this process. `oldest` is approximate for each portal that has pending lines.
    pub(super) fn show(&self, condition: &mut Condition, pending: u64) {
        if pending > 0 {
            condition.is_failing |= self.failing;
            let oldest = [condition.oldest, self.backlog.oldest(), self.stored_since];
            condition.oldest = oldest.into_iter().flatten().min();
        }
    }

    /// Lines of a token are not pending here any more.
    fn has_ended(&mut self, event_token: &EventToken, lines: u64, ending: Ending) {
        let handed_over = if ending == Ending::HandedOver { lines } else { 0 };
        self.handed_over += handed_over;
        let Some(logged) = self.tokens.get_mut(event_token) else { return };
        logged.pending = logged.pending.saturating_sub(lines);
        logged.handed_over += handed_over;
        if let EndState::Asked(no) = logged.end {
            self.ends.count(no, ending, lines);
        }
    }

    /// Whether the data of earlier runs is not known yet.
    pub(super) fn is_starting(&self) -> bool {
        self.starting
    }
}

impl Engine {
    /// From now on, lines that are taken in are published.
    pub(crate) fn publish_as(
        &mut self,
        publisher: Publisher,
        style: About,
        gather: Duration,
        max_age: Duration,
        by_way: bool,
    ) {
        self.publisher = publisher;
        let publishing = Publishing::new(publisher, style, gather, max_age, by_way);
        self.publishing = Some(Box::new(publishing));
    }

    /// Waiting lines are appended soon.
    pub(super) fn hurry_publishing(&mut self) {
        if let Some(publishing) = &mut self.publishing {
            publishing.backlog.hurry();
        }
    }

    /// The requests for the journal's driver. `all`: also those that could wait for more data.
    pub(super) fn posts(&mut self, all: bool, now: Instant) -> Vec<Ask> {
        let closing = self.closing.is_some();
        let Some(publishing) = &mut self.publishing else { return Vec::new() };
        let mut asks = Vec::new();
        let due = publishing.backlog.due_at(publishing.gather);
        if due.is_some_and(|at| all || closing || at <= now) {
            asks.extend(publishing.backlog.batch().map(Ask::Append));
        }
        if !publishing.marks.is_empty() {
            asks.push(Ask::Mark(std::mem::take(&mut publishing.marks), None));
        }
        if publishing.asked.is_none() {
            let ends = publishing.ends.inquire(now);
            let inquiry = match ends.map(|ends| (Asked::Answers, Inquiry::Answers(ends))) {
                Some(inquiry) => Some(inquiry),
                None => publishing.deliveries.inquire(now),
            };
            if let Some((asked, inquiry)) = inquiry {
                publishing.asked = Some(asked);
                asks.push(Ask::Inquire(inquiry));
            }
        }
        asks
    }

    /// Notes for flushes how many lines are in no journal.
    pub(super) fn note_unpublished(&mut self) {
        if let Some(publishing) = self.publishing.as_ref().filter(|publishing| publishing.by_way) {
            self.ledger.set_unpublished(Some(publishing.backlog.lines()));
        }
    }

    /// Whether there is enough for a batch.
    pub(super) fn has_full_post(&self) -> bool {
        self.publishing.as_ref().is_some_and(|publishing| publishing.backlog.is_full())
    }

    /// Whether the journal has everything.
    pub(super) fn has_published_all(&self) -> bool {
        self.publishing.as_ref().is_none_or(|publishing| publishing.backlog.is_empty())
    }

    /// When [`posts`](Self::posts) or [`pass_published`](Self::pass_published) have something to do.
    pub(super) fn posts_at(&self, now: Instant) -> Option<Instant> {
        self.publishing.as_ref().and_then(|publishing| publishing.next_at(now))
    }

    /// Handles everything that is due.
    pub(super) fn pass_published(&mut self, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        publishing.tokens.sweep(now);
        if let Some(before) = now.checked_sub(publishing.max_age) {
            let mut old = publishing.backlog.give_up_out(Some(before));
            // Gaps among them may be stored, and would be told twice.
            old.retain(|note| !matches!(note.what, What::Gap(_)));
            while let Some(note) = publishing.backlog.pop_older(before) {
                old.push(note);
            }
            for note in old {
                self.lose_note(&note, DropReason::Expired, now);
            }
        }
        if let Some(publishing) = &mut self.publishing {
            self.ledger.report_untold(None, publishing.backlog.untold());
        }
        self.pass_ends(now);
    }

    /// A chunk that was not appended is lost.
    fn lose_note(&mut self, note: &Note, reason: DropReason, now: Instant) {
        self.settle_note(note, Ending::Dropped(reason), now);
        let lost = match note.what {
            What::Lines { lines, first, .. } => (reason, lines, first),
            // It waits on, behind what is there by now.
            What::Gap(StoredGap { reason, lines, since, .. }) => (reason, lines, since),
            What::Seal | What::End => return,
        };
        self.publish_gap(&note.event_token, &note.portal, lost, now);
    }

    /// The lines of a chunk have ended.
    fn settle_note(&mut self, note: &Note, ending: Ending, now: Instant) {
        let What::Lines { lines, charged, .. } = note.what else { return };
        let key = self.portal_of(&note.portal, now);
        let page = &mut self.portals[key].page;
        self.ledger.settle(page, &note.event_token, lines, charged, note.up_to, ending);
        self.stand(key, now);
        // The agenda looks at the portal again, so that it is forgotten when it is idle for a while.
        self.agenda.set(key, now);
        let Some(publishing) = &mut self.publishing else { return };
        publishing.has_ended(&note.event_token, lines, ending);
    }

    /// Handles a message of the journal's driver.
    pub(super) fn posted(&mut self, told: Said, now: Instant) {
        match told {
            Said::Appended { no, .. } => self.was_appended(no, now),
            Said::Failing { trouble } => {
                self.ledger.report(Trouble::NotPublished, 1, None, trouble);
                if let Some(publishing) = &mut self.publishing {
                    publishing.failing = true;
                }
                self.stand_all(now);
            }
            Said::Known(known) => {
                let Some(publishing) = &mut self.publishing else { return };
                match (publishing.asked.take(), known) {
                    (Some(Asked::Answers), Known::Answers(answers)) => {
                        publishing.ends.inquired(now);
                        self.answered(answers.unwrap_or_default(), now);
                    }
                    (Some(Asked::Delivery(number)), Known::Unsettled(lines)) => {
                        publishing.deliveries.counted(number, lines, now);
                    }
                    _ => {}
                }
            }
            Said::Stored { no } => self.was_stored(no, now),
            Said::NotStored { trouble } => {
                self.ledger.report(Trouble::NotStored, 1, None, trouble);
                if let Some(publishing) = &mut self.publishing {
                    publishing.starting = false;
                }
            }
            Said::Moved { moved, is_all } => self.moved(moved, is_all, now),
            Said::Evicted(evicted) => self.evicted_near(evicted, now),
            // The driver of a process that publishes sends no other messages.
            _ => {}
        }
    }

    fn was_appended(&mut self, no: u64, now: Instant) {
        self.is_appended_again(now);
        let Some(publishing) = &mut self.publishing else { return };
        for note in publishing.backlog.appended(no) {
            match note.what {
                What::Lines { .. } => self.settle_note(&note, Ending::HandedOver, now),
                What::End => {
                    self.end_appended(note.up_to, &note.event_token, &note.portal, now);
                }
                What::Gap(_) | What::Seal => {}
            }
        }
    }

    /// The relay's journal answers.
    fn is_appended_again(&mut self, now: Instant) {
        let publishing = self.publishing.as_mut();
        if publishing.is_some_and(|publishing| std::mem::take(&mut publishing.failing)) {
            self.stand_all(now);
        }
    }

    fn stand_all(&mut self, now: Instant) {
        for key in self.portals.keys() {
            self.stand(key, now);
        }
    }

    /// The app was removed from a portal.
    pub(super) fn withdraw_portal(&mut self, portal: &PortalId, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        let of_portal = |of: &Option<PortalId>| of.as_ref() == Some(portal);
        let notes = publishing.backlog.withdraw(|chunk| of_portal(&chunk.portal));
        for note in &notes {
            self.settle_note(note, Ending::Dropped(DropReason::Uninstalled), now);
        }
        self.forsake_ends(portal);
    }

    /// The run ends: lines that are not appended are lost here. Ends that are appended are left to the relay.
    pub(super) fn leave_unpublished(&mut self, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        let mut notes = publishing.backlog.give_up_out(None);
        notes.extend(publishing.backlog.withdraw(|_| true));
        for note in notes {
            self.settle_note(&note, Ending::Dropped(DropReason::ShutdownDeadline), now);
        }
        self.leave_ends();
    }
}
