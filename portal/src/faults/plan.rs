//! The plan: which hit meets which fault.

use super::Fault;
use crate::random::Random;

/// The hits of a plan.
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
    /// Happens once, after this number of hits.
    Countdown(u64),
    /// Happens for each hit on the method.
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
    /// Affects one hit, after `pass` hits without a fault.
    pub(crate) fn after(&mut self, pass: u64, fault: Fault) {
        self.rules.push(Rule { selector: Selector::Countdown(pass), fault });
    }

    pub(crate) fn on_method(&mut self, method: &str, fault: Fault) {
        let selector = Selector::Method(method.to_lowercase());
        self.rules.push(Rule { selector, fault });
    }

    /// Affects a share of all hits; the seed decides which.
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

    /// The share of hits with random faults, and the seed.
    pub(crate) fn random(&self) -> Option<(f64, u64)> {
        self.random.as_ref().map(|plan| (plan.chance as f64 / 1e6, plan.seed))
    }

    /// The fault of the hit that has just arrived. Each hit must be asked for exactly once.
    ///
    /// Hits on the OAuth server meet faults only by name, so that counting and chance depend on calls of the
    /// REST API only.
    pub(crate) fn strike(&mut self, method: &str) -> Option<Fault> {
        let mut struck = None;
        let oauth = method.starts_with("oauth/");
        self.rules.retain_mut(|rule| match &mut rule.selector {
            Selector::Countdown(_) if oauth => true,
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
        let by_chance = self.random.as_mut().filter(|_| !oauth).and_then(RandomPlan::strike);
        struck.or(by_chance)
    }
}

impl RandomPlan {
    /// Draws twice for each hit, so that the fault of one hit does not depend on others.
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
    use crate::faults::Moment;

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
    fn the_same_seed_affects_the_same_hits() {
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
