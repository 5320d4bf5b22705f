//! The REST API: from a hit to its answer.
//!
//! ```text
//! request (bytes -> call) -> hit (limits, auth) -> command (one method) -> answer
//!                                \-> batch -> substitution -> command, up to 50 times
//!                                                                \-> background (ends)
//! ```

mod answer;
mod auth;
mod background;
mod batch;
mod command;
mod error;
mod hit;
mod multipart;
mod request;
mod substitution;

pub(crate) use answer::{Reply, error_pair};
pub(crate) use auth::{Caller, Credentials};
pub use error::ErrorCode;
pub(crate) use hit::answer;
pub(crate) use request::{Head, RestPath, params, rest_path};
#[cfg(test)]
pub(crate) use substitution::substitute;
