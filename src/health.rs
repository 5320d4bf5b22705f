//! Whether lines reach their logs: what [`Handle::health`](crate::Handle::health) says.

pub use crate::stats::{Cause, Health, Status};
