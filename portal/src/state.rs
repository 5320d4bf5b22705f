//! The business processes of a portal: it decides, and does no I/O.
//!
//! A call goes `Processes::begin` (token, message, lock) and `Processes::finish` (write, unlock);
//! between the two lies the server time of the command, during which the workflow is locked.

mod process;
mod token;
mod tracking;

pub(crate) use process::{Call, Opening, Process, Processes, Stage};
pub use process::{Completion, Lost, LostReason};
pub(crate) use token::TokenKey;
pub use tracking::{Entry, EntryKind};
