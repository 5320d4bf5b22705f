//! An app on a portal: installation, updates, renames, removal.
//!
//! Requests of a portal are parsed here, and verified with what was stored at the installation. A new
//! installation is checked by [`Installations`](crate::app::Installations), which asks the authorization
//! server.

mod claim;
mod event;
mod record;
mod store;

pub(crate) use self::claim::Claim;
pub use self::event::{AppRequest, InstallRequest, UninstallRequest, UpdateRequest};
pub use self::record::Installation;
pub use self::store::InstallationStore;

#[cfg(test)]
mod tests;
