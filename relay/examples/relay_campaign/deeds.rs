//! How often each kind of event has happened.

use std::fmt;

/// The counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) relay_kills: u64,
    pub(crate) replica_kills: u64,
    pub(crate) relay_pauses: u64,
    pub(crate) replica_pauses: u64,
    pub(crate) cuts: u64,
    pub(crate) silences: u64,
    pub(crate) slow_links: u64,
    pub(crate) crashes: u64,
    pub(crate) rolls: u64,
    pub(crate) restarts: u64,
}

/// In three lines.
impl fmt::Display for Deeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deeds { relay_kills, replica_kills, relay_pauses, replica_pauses, .. } = self;
        let Deeds { cuts, silences, slow_links, crashes, rolls, restarts, .. } = self;
        write!(
            f,
            "relays: kills={relay_kills} pauses={relay_pauses} rolling_restarts={rolls}\n\
             replicas: kills={replica_kills} pauses={replica_pauses} restarts={restarts}\n\
             database: cuts={cuts} silences={silences} slow_links={slow_links} crashes={crashes}"
        )
    }
}
