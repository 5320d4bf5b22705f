//! Faults on command: what goes wrong, at which moment, and for which hit.

use std::borrow::Cow;
use std::time::Duration;

use crate::random::Random;
use crate::rest::ErrorCode;

/// Something that goes wrong with a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The hit waits, and then goes on as usual.
    Delay(Moment, Duration),
    /// The hit is never answered; the connection stays open.
    Hang(Moment),
    /// The connection is reset.
    Reset(Moment),
    /// Something else than the portal answers, such as a proxy in front of it.
    Answer(Moment, Canned),
    /// The hit is executed, and half of its answer arrives before the connection closes.
    Truncate,
    /// The hit is executed, and its answer arrives byte by byte, with this pause between them.
    Drip(Duration),
    /// The portal refuses the hit with this error, without executing it.
    Refuse(ErrorCode),
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The head was read, the body was not. Nothing is executed.
    BeforeRead,
    /// The whole hit was read. Nothing is executed.
    BeforeExecution,
    /// The hit was executed, and nothing was answered: for the client, the outcome is unknown.
    AfterExecution,
}

/// An answer that is ready before it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) body: Cow<'static, str>,
}

impl Canned {
    /// An answer of any shape.
    pub fn new(
        status: u16,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, content_type: content_type.into(), body: body.into() }
    }

    /// A page of HTML such as a proxy shows: 502, 504, 413, ..
    pub fn html(status: u16) -> Self {
        let body = format!(
            "<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
        );
        Self::new(status, "text/html", body)
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self::new(status, "text/html", "")
    }

    /// A body that says that it is JSON, and may or may not be.
    pub fn json(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, "application/json; charset=utf-8", body)
    }
}

/// Which hits a plan still has in mind.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    rules: Vec<Rule>,
    random: Option<RandomPlan>,
}

#[derive(Debug)]
struct Rule {
    selector: Selector,
    fault: Fault,
}

#[derive(Debug)]
enum Selector {
    /// Strikes once, when this many hits have passed.
    Countdown(u64),
    /// Strikes each hit on the method.
    Method(String),
}

#[derive(Debug)]
struct RandomPlan {
    seed: u64,
    random: Random,
    /// Out of a million hits.
    chance: u64,
    faults: Vec<Fault>,
}

impl FaultPlan {
    /// Strikes one hit, after `pass` hits went unharmed.
    pub(crate) fn after(&mut self, pass: u64, fault: Fault) {
        self.rules.push(Rule { selector: Selector::Countdown(pass), fault });
    }

    pub(crate) fn on_method(&mut self, method: &str, fault: Fault) {
        let selector = Selector::Method(method.to_lowercase());
        self.rules.push(Rule { selector, fault });
    }

    /// Strikes a share of all hits, as the seed has it.
    pub(crate) fn at_random(&mut self, seed: u64, share: f64, faults: Vec<Fault>) {
        let chance = (share.clamp(0.0, 1.0) * 1e6) as u64;
        self.random = Some(RandomPlan { seed, random: Random::from_seed(seed), chance, faults });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many faults are planned for certain hits or methods.
    pub(crate) fn planned(&self) -> usize {
        self.rules.len()
    }

    /// The share of hits that are struck at random, and the seed.
    pub(crate) fn random(&self) -> Option<(f64, u64)> {
        self.random.as_ref().map(|plan| (plan.chance as f64 / 1e6, plan.seed))
    }

    /// The fault of the hit that has just arrived. Each hit must be asked for exactly once.
    pub(crate) fn strike(&mut self, method: &str) -> Option<Fault> {
        let mut struck = None;
        self.rules.retain_mut(|rule| match &mut rule.selector {
            Selector::Countdown(0) if struck.is_none() => {
                struck = Some(rule.fault.clone());
                false
            }
            // Two faults for the same hit: the second one waits for the next.
            Selector::Countdown(left) => {
                *left = left.saturating_sub(1);
                true
            }
            Selector::Method(name) => {
                if struck.is_none() && name == method {
                    struck = Some(rule.fault.clone());
                }
                true
            }
        });
        let by_chance = self.random.as_mut().and_then(RandomPlan::strike);
        struck.or(by_chance)
    }
}

impl RandomPlan {
    /// Draws twice for each hit, so that what strikes one hit does not depend on the others.
    fn strike(&mut self) -> Option<Fault> {
        let (draw, which) = (self.random.below(1_000_000), self.random.next());
        if draw >= self.chance || self.faults.is_empty() {
            return None;
        }
        let index = which % self.faults.len() as u64;
        usize::try_from(index).ok().and_then(|index| self.faults.get(index)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Fault = Fault::Reset(Moment::BeforeRead);
    const HANG: Fault = Fault::Hang(Moment::AfterExecution);

    #[test]
    fn faults_that_were_queued_strike_one_hit_each() {
        let mut plan = FaultPlan::default();
        plan.after(0, RESET);
        plan.after(0, HANG);
        plan.after(3, Fault::Truncate);
        let struck: Vec<_> = (0..5).map(|_| plan.strike("batch")).collect();
        assert_eq!(struck, [Some(RESET), Some(HANG), None, Some(Fault::Truncate), None]);
        assert_eq!(plan.planned(), 0);
    }

    #[test]
    fn a_fault_of_a_method_strikes_until_it_is_cleared() {
        let mut plan = FaultPlan::default();
        plan.on_method("Batch", RESET);
        assert_eq!(plan.strike("bizproc.activity.log"), None);
        assert_eq!(plan.strike("batch"), Some(RESET));
        assert_eq!(plan.strike("batch"), Some(RESET));
        plan.clear();
        assert_eq!(plan.strike("batch"), None);
    }

    #[test]
    fn the_same_seed_strikes_the_same_hits() {
        let struck = |seed| {
            let mut plan = FaultPlan::default();
            plan.at_random(seed, 0.3, vec![RESET, HANG]);
            (0..1000).map(|_| plan.strike("batch")).collect::<Vec<_>>()
        };
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
        let share = struck(7).iter().flatten().count();
        assert!((200..400).contains(&share), "{share}");
    }
}
