//! The REST API: from a hit to its answer.
//!
//! ```text
//! request (bytes -> call) -> hit (limits, auth) -> command (one method) -> answer
//!                                \-> batch -> substitution -> command, up to 50 times
//!                                                                \-> background (ends)
//! ```

mod answer;
mod background;
mod batch;
mod command;
mod hit;
mod methods;
mod multipart;
mod request;
mod substitution;

pub(crate) use answer::{Reply, error_pair, refuse};
pub(crate) use hit::answer;
pub(crate) use request::{Head, RestPath, params, rest_path};
#[cfg(test)]
pub(crate) use substitution::substitute;
