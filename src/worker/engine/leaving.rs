//! Lets go of portals that another process will deliver to. Nothing more is sent to them. Waiting lines leave
//! memory and stay in the journal. Requests in flight are awaited.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Engine;
use super::standing::AGAIN;
use crate::journal::Intent;
use crate::journal::desk::Ask;
use crate::line::PortalId;
use crate::queue::{Keeps, LetGo};
use crate::worker::report::Trouble;

/// Portals that were let go. Reads that began before that may return chunks of these portals.
pub(super) struct Left {
    keep: Keeps,
    /// The number of the last read of the tail, and the journal's generation at that time.
    asked: u64,
    generation: u64,
}

impl Left {
    /// Whether this read may have begun before that. When the portals come back, the generation has changed.
    pub(super) fn is_in_reads(&self, no: u64, generation: u64) -> bool {
        no <= self.asked && generation <= self.generation
    }

    pub(super) fn keeps(&self, portal: Option<&PortalId>) -> bool {
        (self.keep)(portal)
    }
}

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Left").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// The portals of one request to let go.
#[derive(Debug)]
pub(super) struct Leaving {
    no: u64,
    /// Portals that have requests in flight.
    portals: HashSet<Option<PortalId>>,
    /// The last marks and memos of the other portals.
    intents: Vec<Intent>,
    state: State,
    reply: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waits,
    Asked,
    /// The journal has failed.
    Again(Instant),
}

impl Leaving {
    pub(super) fn again_at(&self) -> Option<Instant> {
        match self.state {
            State::Again(at) => Some(at),
            _ => None,
        }
    }
}

impl Engine {
    /// Lets portals go. `generation`: the journal's present generation.
    pub(crate) fn let_go(&mut self, let_go: LetGo, generation: u64, now: Instant) {
        let LetGo { keep, reply } = let_go;
        let Some(shared) = self.shared_mut() else { return };
        shared.retake.retain(|portal, _| keep(portal.as_ref()));
        shared.let_go += 1;
        let (no, asked) = (shared.let_go, shared.asked);
        let gone = self.portals.iter().filter(|(_, portal)| !keep(portal.id.as_ref()));
        let gone: Vec<_> = gone.map(|(key, portal)| (key, portal.id.clone())).collect();
        let Some(shared) = self.shared_mut() else { return };
        shared.left.push(Left { keep, asked, generation });
        let portals = gone.iter().map(|(_, id)| id.clone()).collect();
        let (intents, state) = (Vec::new(), State::Waits);
        shared.leaving.push(Leaving { no, portals, intents, state, reply });
        for (key, _) in gone {
            self.leave(key, now);
        }
        self.go_on_letting_go(now);
    }

    /// Another process owns a portal, so it is let go. If this process owns it again soon, the portal is read from
    /// the start.
    pub(super) fn lose(&mut self, key: usize, now: Instant) {
        let portal = self.portals[key].id.clone();
        // The other process knows better which lines are in the log.
        drop(self.portals[key].page.unsaid());
        if let Some(shared) = self.shared_mut() {
            shared.retake.insert(portal, now + AGAIN);
        }
        self.leave(key, now);
    }

    fn leave(&mut self, key: usize, now: Instant) {
        let standing = &mut self.portals[key].standing;
        standing.leaves = true;
        standing.is_leaving.store(true, SeqCst);
        let behind = self.portals[key].behind.take();
        let parts = behind.map(|behind| behind.elsewhere.left()).unwrap_or_default();
        self.ledger.hand_over_stored(&mut self.portals[key].page, &parts);
        self.go_on_leaving(key, now);
    }

    /// Commands that come back for a portal that is let go are let go, too. The portal is forgotten when no
    /// request is in flight.
    pub(super) fn go_on_leaving(&mut self, key: usize, now: Instant) {
        if self.portals.get(key).is_none_or(|portal| !portal.standing.leaves) {
            return;
        }
        let (lane, mut turn) = self.turn(key, now);
        lane.let_go(&mut turn);
        if lane.is_out() {
            return;
        }
        let clocks = self.clocks(now);
        let mut portal = self.remove(key);
        if let Some(outbox) = self.ledger.outbox() {
            let own = outbox.publisher();
            outbox.gaps().let_go(own, portal.id.as_ref());
        }
        let (marks, memos) = (portal.page.unsaid(), portal.unsaid_memos(clocks));
        let Some(shared) = self.shared_mut() else { return };
        for leaving in &mut shared.leaving {
            if leaving.portals.remove(&portal.id) && !portal.standing.adopts {
                let (portal, marks, memos) = (portal.id.clone(), marks.clone(), memos.clone());
                leaving.intents.push(Intent { portal, marks, memos });
            }
        }
        self.go_on_letting_go(now);
    }

    /// When no request is in flight any more, the last marks are stored.
    pub(super) fn go_on_letting_go(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        let Some(shared) = &mut store.shared else { return };
        for leaving in &mut shared.leaving {
            let due = match leaving.state {
                State::Waits => leaving.portals.is_empty(),
                State::Asked => false,
                State::Again(at) => at <= now,
            };
            if due {
                leaving.state = State::Asked;
                let (no, intents) = (leaving.no, leaving.intents.clone());
                store.reads.push(Ask::LetGo { no, intents });
            }
        }
    }

    /// Whether the last marks are stored.
    pub(super) fn has_let_go(&mut self, no: u64, stored: Result<(), String>, now: Instant) {
        let Some(shared) = self.shared_mut() else { return };
        let Some(at) = shared.leaving.iter().position(|leaving| leaving.no == no) else { return };
        match stored {
            Ok(()) => {
                // The caller may have stopped waiting.
                let _ = shared.leaving.swap_remove(at).reply.send(());
            }
            Err(trouble) => {
                let leaving = &mut shared.leaving[at];
                leaving.state = State::Again(now + AGAIN);
                // Until then, another process may have owned the portals, and this one again. What it said of
                // its own tries counts more than this. Without it, some lines are marked in vain.
                leaving.intents.clear();
                self.ledger.report(Trouble::NotMarked, 1, None, trouble);
            }
        }
    }
}
