//! The business processes of a portal: it decides, and does no I/O.
//!
//! A call goes `Processes::read` (token, message), `Processes::begin` (lock) and
//! `Processes::finish` (write, unlock); between the last two lies the server time of the command,
//! during which the workflow is locked.

mod activity;
mod call;
mod process;
mod processes;
mod property;
mod registry;
mod template;
mod token;
mod tracking;

pub(crate) use activity::Opening;
pub use activity::{Completion, Delivery, LostReason};
pub(crate) use call::{Call, Started};
pub use process::Lost;
pub(crate) use process::{Origin, Process, Stage};
pub(crate) use processes::Processes;
pub use property::PropertyValue;
pub(crate) use property::{Declared, PropertyType, values};
pub(crate) use registry::{Binding, Kind, Registration, Registry};
pub(crate) use template::{DOCUMENT_TYPE, Step, Steps, Template, Templates};
pub(crate) use token::TokenKey;
pub use tracking::{Entry, EntryKind};
