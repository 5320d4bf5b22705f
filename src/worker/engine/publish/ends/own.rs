//! Ends that the lane of this process sends: the journal cannot be reached, no relay has answered, or the app shuts
//! down.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{Published, Stands, half_way};
use crate::error::CompleteError;
use crate::journal::Number;
use crate::worker::backlog::What;
use crate::worker::ending::Ending;
use crate::worker::engine::Engine;
use crate::worker::lane::EndAsked;

impl Engine {
    /// Sends ends that have waited long enough.
    pub(in super::super) fn pass_ends(&mut self, now: Instant) {
        loop {
            let Some(publishing) = &mut self.publishing else { return };
            let Some(no) = publishing.ends.own_at.pop(now) else { return };
            self.send_own(no, false, now);
        }
    }

    /// The lane of this process sends an end: the journal cannot be reached, or no relay has answered or reached the
    /// portal (`in_vain`).
    pub(super) fn send_own(&mut self, no: Number, in_vain: bool, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        let Some(end) = publishing.ends.by_no.get_mut(&no) else { return };
        let published = match end.stands {
            Stands::Waits => Published::No,
            Stands::Appended if in_vain => Published::InVain,
            Stands::Appended => Published::Yes,
            Stands::Own { .. } => return,
        };
        let (reply, answer) = oneshot::channel();
        end.stands = Stands::Own { published, answer };
        publishing.ends.own += 1;
        publishing.ends.appended -= usize::from(published != Published::No);
        publishing.ends.own_at.remove(no);
        let (event_token, portal) = (end.event_token.clone(), end.portal.clone());
        // The lane counts it from here on.
        self.ledger.release_end(std::mem::take(&mut end.bytes));
        let asked = EndAsked {
            completion: end.completion.clone(),
            deadline: end.deadline.min(now),
            patience: None,
            answer: reply,
            stamp: None,
            elsewhere: 0,
        };
        // Its lines would come after it.
        let late = publishing.backlog.withdraw(|chunk| chunk.event_token == event_token);
        for note in &late {
            if let What::Lines { .. } = note.what {
                self.settle_note(note, Ending::Late, now);
            }
        }
        if !self.rules.serves.includes(&portal) {
            // Only the relay has credentials for it. The caller gets this answer in the same way as one of the lane.
            return drop(asked.answer.send(Err(CompleteError::NoCredentials)));
        }
        let key = self.portal_of(&portal, now);
        let (lane, mut turn) = self.turn(key, now);
        lane.complete(&event_token, asked, &mut turn);
        self.agenda.set(key, now);
    }

    /// Passes on what the lane of this process has answered.
    pub(in super::super::super) fn answer_own_ends(&mut self) {
        let Some(publishing) = &mut self.publishing else { return };
        if publishing.ends.own == 0 {
            return;
        }
        let mut through = Vec::new();
        for (no, end) in &mut publishing.ends.by_no {
            let Stands::Own { published, answer } = &mut end.stands else { continue };
            match answer.try_recv() {
                Ok(told) => through.push((*no, *published, told)),
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => {
                    through.push((*no, *published, Err(CompleteError::NotSent)));
                }
            }
        }
        for (no, published, told) in through {
            let Some(publishing) = &self.publishing else { return };
            // Otherwise it may be in the journal of this machine.
            let published = published != Published::No || publishing.by_way;
            let end = publishing.ends.by_no.get(&no);
            if let (true, Some(end)) = (published, end) {
                let (event_token, portal) = (end.event_token.clone(), end.portal.clone());
                self.settle_published(no, &event_token, &portal);
            }
            self.end_through(no, told);
        }
    }

    /// The app is shutting down: ends that are not appended soon are sent by the lane of this process.
    pub(in super::super::super) fn close_published(&mut self, deadline: Instant, now: Instant) {
        let Some(publishing) = &mut self.publishing else { return };
        publishing.backlog.hurry();
        let by = half_way(now, deadline);
        let ends = &mut publishing.ends;
        for (no, end) in &ends.by_no {
            if matches!(end.stands, Stands::Waits) {
                let at = ends.own_at.at(*no).map_or(by, |at| at.min(by));
                ends.own_at.set(*no, at);
            }
        }
    }
}
