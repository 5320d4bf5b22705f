//! Where installations are stored, together with the tokens.

use std::future::ready;
use std::sync::Arc;

use serde_json::Value;

use super::record::Installation;
use crate::line::PortalId;
use crate::transport::auth::{CredentialFuture, FileStore, MemoryStore};

/// Where an app stores the portals on which it is installed. The rules are those of a
/// [`TokenStore`](crate::auth::TokenStore): a new record is stored only if the stored one is still the one
/// that it replaces, so replicas that share the store agree.
///
/// [`MemoryStore`] and [`FileStore`] implement both traits: pass a clone of the store that
/// [`OAuth`](crate::auth::OAuth) has. In a database, store an installation as text:
/// [`to_json`](Installation::to_json) and [`from_json`](Installation::from_json).
///
/// The futures are awaited in the app's handlers. If the client of a store blocks, use
/// [`on_thread`](crate::auth::on_thread).
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use tracing_bizproc::PortalId;
/// use tracing_bizproc::app::{Installation, InstallationStore};
/// use tracing_bizproc::auth::CredentialFuture;
///
/// /// As text, as a database would keep it.
/// struct Table(Mutex<HashMap<PortalId, String>>);
///
/// impl InstallationStore for Table {
///     fn installation<'a>(
///         &'a self,
///         portal: &'a PortalId,
///     ) -> CredentialFuture<'a, Option<Installation>> {
///         Box::pin(async move {
///             let rows = self.0.lock().map_err(|_| "the table is broken")?;
///             Ok(rows.get(portal).and_then(|text| Installation::from_json(text)))
///         })
///     }
///
///     fn swap_installation<'a>(
///         &'a self,
///         portal: &'a PortalId,
///         expected: Option<&'a Installation>,
///         new: Option<&'a Installation>,
///     ) -> CredentialFuture<'a, bool> {
///         Box::pin(async move {
///             // In a database: one `UPDATE .. WHERE installation = $expected`.
///             let mut rows = self.0.lock().map_err(|_| "the table is broken")?;
///             if rows.get(portal) != expected.map(Installation::to_json).as_ref() {
///                 return Ok(false);
///             }
///             match new {
///                 Some(new) => drop(rows.insert(portal.clone(), new.to_json())),
///                 None => drop(rows.remove(portal)),
///             }
///             Ok(true)
///         })
///     }
/// }
/// ```
pub trait InstallationStore: Send + Sync + 'static {
    /// The installation on this portal, if there is one.
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>>;

    /// Stores `new` (`None`: removes) if the portal's installation is `expected` at that moment (`None`:
    /// there is none), and returns whether it did. Compare and store have to be one atomic step for all
    /// processes that share the store.
    fn swap_installation<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Installation>,
        new: Option<&'a Installation>,
    ) -> CredentialFuture<'a, bool>;
}

impl<T: InstallationStore + ?Sized> InstallationStore for Arc<T> {
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>> {
        (**self).installation(portal)
    }

    fn swap_installation<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Installation>,
        new: Option<&'a Installation>,
    ) -> CredentialFuture<'a, bool> {
        (**self).swap_installation(portal, expected, new)
    }
}

impl InstallationStore for MemoryStore {
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>> {
        let stored = MemoryStore::installation(self, portal);
        Box::pin(ready(Ok(stored.as_deref().and_then(Installation::from_json))))
    }

    fn swap_installation<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Installation>,
        new: Option<&'a Installation>,
    ) -> CredentialFuture<'a, bool> {
        let expected = expected.map(Installation::to_json);
        let new = new.map(Installation::to_json);
        let swapped = MemoryStore::swap_installation(self, portal, expected.as_deref(), new);
        Box::pin(ready(Ok(swapped)))
    }
}

impl InstallationStore for FileStore {
    fn installation<'a>(
        &'a self,
        portal: &'a PortalId,
    ) -> CredentialFuture<'a, Option<Installation>> {
        let stored = FileStore::installation(self, portal);
        Box::pin(async move {
            let stored = stored.await?;
            let Some(stored) = stored else { return Ok(None) };
            match serde_json::from_value(stored) {
                Ok(installation) => Ok(Some(installation)),
                // Not `None`: then anybody could install the app in the name of this portal.
                Err(_) => {
                    Err("the installation of this portal in the file cannot be read: delete the \
                               key `installation` there, then install the app on the portal again"
                        .into())
                }
            }
        })
    }

    fn swap_installation<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Installation>,
        new: Option<&'a Installation>,
    ) -> CredentialFuture<'a, bool> {
        let value =
            |installation: &Installation| serde_json::to_value(installation).unwrap_or(Value::Null);
        FileStore::swap_installation(self, portal, expected.map(value), new.map(value))
    }
}
