//! The state of tokens that have logged recently.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::{About, Number};
use crate::line::{EventToken, PortalId};

/// The tokens that have logged recently.
#[derive(Debug)]
pub(super) struct Tokens {
    all: HashMap<EventToken, Logged>,
    /// How another process writes lines of this process.
    style: Arc<About>,
    /// When to look for idle tokens.
    sweep_at: Option<Instant>,
}

/// The state of a token.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) portal: Option<PortalId>,
    pub(super) about: Arc<About>,
    /// Lines of it that are not appended.
    pub(super) pending: u64,
    /// How many of these are in the journal of this machine.
    pub(super) stored: u64,
    /// How many of its lines were handed over.
    pub(super) handed_over: u64,
    /// Whether it has lines since its last seal.
    pub(super) unsealed: bool,
    pub(super) end: EndState,
    pub(super) waits_until: Option<Instant>,
    pub(super) last_used: Instant,
}

/// Whether the activity of a token is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum EndState {
    Open,
    /// The end with this number ends it.
    Asked(Number),
    /// It could not be ended. It may be tried again, but takes no more lines.
    Failed,
    Done,
}

impl Tokens {
    pub(super) fn new(style: About) -> Self {
        Tokens { all: HashMap::new(), style: Arc::new(style), sweep_at: None }
    }

    pub(super) fn style(&self) -> About {
        (*self.style).clone()
    }

    pub(super) fn get(&self, event_token: &EventToken) -> Option<&Logged> {
        self.all.get(event_token)
    }

    pub(super) fn get_mut(&mut self, event_token: &EventToken) -> Option<&mut Logged> {
        self.all.get_mut(event_token)
    }

    /// The tokens that have lines since their last seal.
    pub(super) fn unsealed(&self) -> Vec<EventToken> {
        let unsealed = self.all.iter().filter(|(_, logged)| logged.unsealed);
        unsealed.map(|(event_token, _)| event_token.clone()).collect()
    }

    /// The tokens that have lines in the journal of this machine.
    pub(super) fn stored(&self) -> Vec<(EventToken, Option<PortalId>, u64)> {
        let stored = self.all.iter().filter(|(_, logged)| logged.stored > 0);
        let stored = stored.map(|(event_token, logged)| {
            (event_token.clone(), logged.portal.clone(), logged.stored)
        });
        stored.collect()
    }

    pub(super) fn sweep_at(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// The state of a token. The token counts as used now.
    pub(super) fn logged(
        &mut self,
        event_token: &EventToken,
        portal: &Option<PortalId>,
        now: Instant,
    ) -> &mut Logged {
        self.sweep_at.get_or_insert(now + SWEEP_EVERY);
        if !self.all.contains_key(event_token) {
            let logged = Logged {
                portal: portal.clone(),
                about: self.style.clone(),
                pending: 0,
                stored: 0,
                handed_over: 0,
                unsealed: false,
                end: EndState::Open,
                waits_until: None,
                last_used: now,
            };
            self.all.insert(event_token.clone(), logged);
        }
        let logged = self.all.get_mut(event_token).expect("it was inserted above");
        logged.last_used = now;
        logged
    }

    /// Forgets tokens that are idle.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        self.all.retain(|_, logged| {
            let idle = now.saturating_duration_since(logged.last_used) >= FORGET;
            let awaited = logged.waits_until.is_some_and(|until| now < until);
            let busy = logged.pending > 0 || matches!(logged.end, EndState::Asked(_));
            busy || !idle || awaited && logged.end == EndState::Open
        });
        self.sweep_at = (!self.all.is_empty()).then(|| now + SWEEP_EVERY);
    }
}

/// A token is forgotten after this time without use. The same time is promised for completions.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// How often to look for idle tokens.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
