//! The two limits of the REST API. Both are told the time and never ask for it.

mod operating;
mod rate;

pub(crate) use operating::{HitMeter, MeterKey, MeteredAs, Operating, OperatingMeter};
pub(crate) use rate::RateLimit;
