//! `Faults`: the faults that a test plans.

use std::fmt;

use crate::core::Core;
use crate::faults::Fault;

/// Plans faults for hits on the REST API.
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    core: &'a Core,
}

impl fmt::Debug for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl<'a> Faults<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// The next hit. Called again before that hit, the fault is for the hit after it, and so on.
    pub fn next(&self, fault: Fault) -> &Self {
        self.after(0, fault)
    }

    /// One hit, after `pass` hits without a fault.
    pub fn after(&self, pass: u64, fault: Fault) -> &Self {
        self.core.world().faults.after(pass, fault);
        self
    }

    /// Every hit on a method, until the plan is cleared.
    pub fn on_method(&self, method: &str, fault: Fault) -> &Self {
        self.core.world().faults.on_method(method, fault);
        self
    }

    /// A share (0.0 to 1.0) of all hits, each with one of `faults`, as `seed` has it.
    pub fn at_random(&self, seed: u64, share: f64, faults: Vec<Fault>) -> &Self {
        self.core.world().faults.at_random(seed, share, faults);
        self
    }

    /// Ends every plan.
    pub fn clear(&self) {
        self.core.world().faults.clear();
    }
}
