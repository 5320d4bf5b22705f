//! Where a portal is served, and how it moves.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::core::{Addresses, Core};
use crate::server::{self, Site};

/// Serves a portal at these listeners.
pub(super) fn serve(
    core: &Arc<Core>,
    http: TcpListener,
    https: Option<TcpListener>,
    generation: u64,
) -> io::Result<()> {
    let serve = |site| server::serve(&core.runtime, core.clone(), site);
    serve(Site { listener: http, tls: None, generation })?;
    if let (Some(listener), Some(tls)) = (https, &core.tls) {
        serve(Site { listener, tls: Some(tls.clone()), generation })?;
    }
    Ok(())
}

/// Moves a portal to this name; without one, to another name if it has one, and otherwise to other
/// ports.
pub(super) fn relocate(core: &Arc<Core>, name: Option<&str>) -> io::Result<()> {
    let former = core.addresses();
    match (name, &former.domain) {
        (Some(name), _) => rename(core, former, name),
        (None, Some(domain)) => {
            let moves = former.former_domains.len() + 1;
            let first = former.former_domains.first().unwrap_or(domain);
            let name = format!("moved-{moves}.{first}");
            rename(core, former, &name)
        }
        (None, None) => move_to_other_ports(core, former),
    }
}

/// Its ports stay.
fn rename(core: &Core, mut addresses: Addresses, name: &str) -> io::Result<()> {
    addresses.former_domains.extend(addresses.domain.replace(name.to_owned()));
    addresses.former_domains.retain(|former| former != name);
    if let Some(tls) = &core.tls {
        let own = std::iter::once(name.to_owned()).chain(addresses.former_domains.clone());
        tls.certify(&own.chain(core.identity.host_names.clone()).collect::<Vec<_>>())?;
    }
    core.set_addresses(addresses);
    core.changed();
    Ok(())
}

fn move_to_other_ports(core: &Arc<Core>, former: Addresses) -> io::Result<()> {
    let http = server::bind(0)?;
    let https = former.https.map(|_| server::bind(0)).transpose()?;
    let generation = former.generation + 1;
    core.set_addresses(Addresses {
        generation,
        http: http.local_addr()?,
        https: https.as_ref().map(|listener| listener.local_addr()).transpose()?,
        ..former
    });
    serve(core, http, https, generation)?;
    core.changed();
    Ok(())
}
