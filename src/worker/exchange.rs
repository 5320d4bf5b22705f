//! The worker's exchange with the driver of its journal: what the engine asks of the journal, and what the driver says.
//! The worker waits for an answer only at the end of the run.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::engine::{Engine, Outgoing};
use super::gate::Gate;
use crate::journal::desk::{Ask, Desk, Said};

/// See the module.
pub(super) struct Exchange {
    /// Set if there is a journal, until the end of the run.
    desk: Option<Desk>,
}

impl Exchange {
    pub(super) fn new(desk: Option<Desk>) -> Self {
        Exchange { desk }
    }

    pub(super) fn has_journal(&self) -> bool {
        self.desk.is_some()
    }

    /// The journal's present generation.
    pub(super) fn generation(&self) -> u64 {
        self.desk.as_ref().map_or(0, Desk::generation)
    }

    /// What the driver says next. Never returns without a journal. `None`: its thread has ended.
    pub(super) async fn said(&mut self) -> Option<Said> {
        match &mut self.desk {
            Some(desk) => desk.told().await,
            None => std::future::pending().await,
        }
    }

    /// The thread of the driver has ended.
    pub(super) fn ended(&mut self, engine: &mut Engine, now: Instant) {
        self.desk = None;
        engine.journal_is_away("its thread has ended", now);
    }

    /// Gives the journal's driver what it is to do. `all`: also what could wait for company.
    pub(super) fn hand_over(&self, engine: &mut Engine, all: bool, now: Instant) {
        let Some(desk) = &self.desk else { return };
        for ask in engine.asks(all, now) {
            desk.ask(ask);
        }
    }

    /// The same before a request leaves. Returns when the journal knows that it does, if it has to know.
    pub(super) fn announce(
        &self,
        engine: &mut Engine,
        now: Instant,
    ) -> Option<oneshot::Receiver<()>> {
        let desk = self.desk.as_ref()?;
        if !engine.asks_first() {
            return None;
        }
        let (noted, is_noted) = oneshot::channel();
        let mut noted = Some(noted);
        for ask in engine.asks(true, now) {
            desk.ask(match ask {
                Ask::Mark(marks, _) => Ask::Mark(marks, noted.take()),
                ask => ask,
            });
        }
        Some(is_noted)
    }

    /// Takes in what the journal's driver has said.
    pub(super) fn hear(&mut self, engine: &mut Engine, now: Instant) {
        while let Some(told) = self.desk.as_mut().and_then(Desk::try_told) {
            self.tell(engine, told, now);
        }
    }

    /// Tells the engine what the driver has said.
    pub(super) fn tell(&self, engine: &mut Engine, told: Said, now: Instant) {
        // With the data that was read, the journal has told its time, by which the data is judged.
        self.set_clock(engine, now);
        engine.told(told, now);
    }

    /// Sets the engine's wall clock, by the clock of the journal, if there is one.
    #[expect(clippy::disallowed_methods, reason = "the journal may have no other clock")]
    pub(super) fn set_clock(&self, engine: &mut Engine, now: Instant) {
        if let Some(desk) = &self.desk {
            engine.set_clock(now, desk.time(SystemTime::now()));
        }
    }

    /// The shutdown's time is over: what was accepted in the last moment is stored all the same, if the
    /// journal answers soon.
    #[expect(clippy::disallowed_methods, reason = "it waits for the journal here")]
    pub(super) async fn hand_over_rest(&mut self, engine: &mut Engine, now: Instant) {
        self.hand_over(engine, true, now);
        let until = tokio::time::Instant::now() + LAST_WORD;
        while let Some(desk) = &mut self.desk {
            if engine.has_stored_all() {
                return;
            }
            match tokio::time::timeout_at(until, desk.told()).await {
                Ok(Some(told)) => {
                    self.tell(engine, told, tokio::time::Instant::now().into_std());
                }
                _ => return,
            }
        }
    }

    /// The run ends: the last marks are noted, if the journal answers by the deadline.
    pub(super) async fn close(&mut self, engine: &mut Engine, now: Instant) {
        self.hand_over(engine, true, now);
        let Some(desk) = self.desk.take() else { return };
        let (done, is_done) = oneshot::channel();
        desk.ask(Ask::Close(done));
        let patience = engine.time_left(now) + LAST_WORD;
        // A journal that hangs has none of it.
        drop(tokio::time::timeout(patience, is_done).await);
    }

    /// Asks whether a request may leave, if other processes deliver from the journal, too.
    pub(super) fn gate(&self, engine: &mut Engine, call: Outgoing, now: Instant) -> Option<Gate> {
        if !engine.is_shared() {
            return None;
        }
        let intent = engine.intent(call, now);
        let is_leaving = engine.is_leaving(call);
        let (answer, permission) = oneshot::channel();
        let journal = self.desk.as_ref().map(|desk| {
            desk.ask(Ask::Intend(intent, answer));
            desk.journal().clone()
        });
        Some(Gate { journal, permission, is_leaving })
    }
}

/// How long the journal has at the end for what could not be said before.
const LAST_WORD: Duration = Duration::from_millis(40);
