//! The two limits of the REST API. Both are told the time and never ask for it.

mod rate;

pub(crate) use rate::RateLimit;
