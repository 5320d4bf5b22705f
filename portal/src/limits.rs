//! The two limits of the REST API. The time is an argument.

mod operating;
mod rate;

pub(crate) use operating::{HitMeter, MeterKey, MeteredAs, Operating, OperatingMeter};
pub(crate) use rate::RateLimit;
