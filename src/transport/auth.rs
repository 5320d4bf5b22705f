//! Who calls: a webhook, or an app with OAuth tokens. Owns the secrets, and shows none of them.

use reqwest::Url;

mod endpoint;
mod tokens;
mod webhook;

pub(crate) use self::endpoint::Endpoint;
pub use self::endpoint::Hosts;
pub use self::tokens::Tokens;
pub use self::webhook::Webhook;

/// Whether the host is this machine, so that nothing that is sent to it leaves it.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        // RFC 6761, 6.3.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}
