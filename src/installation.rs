//! An app's life on a portal: installed, updated, renamed, removed.
//!
//! What a portal posts is parsed here, and verified against what was stored at the installation.
//! Whether a new installation is to be believed is asked by [`Installations`](crate::Installations),
//! which talks to the authorization server.

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
