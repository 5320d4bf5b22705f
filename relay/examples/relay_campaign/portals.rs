//! The portals of a campaign.

use std::io;
use std::time::Duration;

use bizproc_portal::{Canned, Fault, Moment, Portal, Tariff};

use crate::options::Options;

/// Portals that enforce the limit of a standard plan. Some answers are lost.
pub(crate) fn start(options: &Options) -> io::Result<Vec<Portal>> {
    let mut portals: Vec<Portal> = Vec::new();
    for number in 0..options.portals as u64 {
        let seed = options.course.seed.wrapping_mul(1000).wrapping_add(number);
        let mut builder = Portal::builder().seed(seed).tariff(Tariff::Standard);
        if let Some(first) = portals.first() {
            builder = builder.beside(first);
        }
        let portal = builder.start()?;
        portal.faults().at_random(seed, 0.01, faults());
        portals.push(portal);
    }
    Ok(portals)
}

/// After these, the outcome of a request is not known.
fn faults() -> Vec<Fault> {
    vec![
        Fault::Delay(Moment::BeforeExecution, Duration::from_secs(1)),
        Fault::Reset(Moment::BeforeRead),
        Fault::Reset(Moment::AfterExecution),
        Fault::Truncate,
        Fault::Answer(Moment::AfterExecution, Canned::html(504)),
    ]
}
