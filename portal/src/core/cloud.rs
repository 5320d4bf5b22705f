//! Shared by several portals of one process: their list, the OAuth server, and a condition variable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::Core;
use crate::oauth::OAuthServer;
use crate::random::Random;

/// Portals of one process. A single portal is a cloud, too.
pub(crate) struct Cloud {
    portals: Mutex<Vec<Weak<Core>>>,
    oauth: Mutex<OAuthServer>,
    version: watch::Sender<u64>,
}

impl Cloud {
    pub(crate) fn new(random: Random) -> Arc<Self> {
        let oauth = Mutex::new(OAuthServer::new(random));
        Arc::new(Self { portals: Mutex::default(), oauth, version: watch::Sender::new(0) })
    }

    pub(crate) fn join(&self, core: &Arc<Core>) {
        self.list().push(Arc::downgrade(core));
    }

    /// The portals that are still there, in the order of their start.
    pub(crate) fn portals(&self) -> Vec<Arc<Core>> {
        self.list().iter().filter_map(Weak::upgrade).collect()
    }

    /// The OAuth server, locked: for a moment only. It may be taken while a world is locked, and
    /// no world while it is.
    pub(crate) fn oauth(&self) -> MutexGuard<'_, OAuthServer> {
        self.oauth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for a change of one of the portals.
    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Counts the changes.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Weak<Core>>> {
        self.portals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
