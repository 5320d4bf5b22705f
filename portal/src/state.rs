//! The business processes of a portal: it decides, and does no I/O.
//!
//! A call goes `Processes::read` (token, message), `Processes::begin` (lock) and
//! `Processes::finish` (write, unlock); between the last two lies the server time of the command,
//! during which the workflow is locked.

mod activity;
mod call;
mod process;
mod processes;
mod token;
mod tracking;

pub(crate) use activity::Opening;
pub use activity::{Completion, Delivery, LostReason};
pub(crate) use call::{Call, Started};
pub use process::Lost;
pub(crate) use process::{Process, Stage};
pub(crate) use processes::Processes;
pub(crate) use token::TokenKey;
pub use tracking::{Entry, EntryKind};
