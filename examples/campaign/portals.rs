//! The portals of a campaign.

use std::io;
use std::time::Duration;

use bizproc_portal::{EventSend, Fault, Portal, PortalBuilder, ServerTime, Tariff};

/// Portals of several kinds, each with its own faults.
pub(crate) fn start(seed: u64) -> io::Result<Vec<Portal>> {
    let kinds: [fn(PortalBuilder) -> PortalBuilder; PORTALS] = [
        |builder| builder,
        |builder| builder.event_send(EventSend::Background),
        |builder| builder.tariff(Tariff::Standard),
        |builder| builder.server_time(ServerTime::Spent(Duration::from_millis(10))),
        |builder| builder.tariff(Tariff::Enterprise).event_send(EventSend::Background),
        |builder| builder,
    ];
    let mut portals: Vec<Portal> = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let seed = seed.wrapping_mul(PORTALS as u64).wrapping_add(number as u64);
        let mut builder = kind(Portal::builder().seed(seed));
        if let Some(first) = portals.first() {
            builder = builder.beside(first);
        }
        let portal = builder.start()?;
        portal.faults().at_random(seed, 0.06, Fault::assorted());
        portals.push(portal);
    }
    Ok(portals)
}

/// "127.0.0.1:40521" of a URL.
pub(crate) fn authority(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or_default()
}

/// The code of a webhook: the last part of its URL.
pub(crate) fn code(url: &str) -> &str {
    url.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

pub(crate) const PORTALS: usize = 6;
