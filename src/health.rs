//! Whether lines reach their logs: what [`Bizproc::health`](crate::Bizproc::health) says.

pub use crate::stats::{Cause, Health, Status};
