//! The settings of a portal, all in one table.
//!
//! The table at the end is what the builder, the setters of a running portal, the page and the
//! command line are made of.

mod kinds;
mod operating;
mod table;
mod words;

pub use kinds::{
    Authorization, BlankSubscription, Charset, Condition, EventSend, Language, MissingMethods,
    OwnEntries, Retention, ServerTime, SqlMode, Statuses, Substitution, Tariff,
};
pub use operating::{OperatingLimit, OuterBatch, Release};
pub use table::Setting;
pub(crate) use table::{Settings, each_setting};
