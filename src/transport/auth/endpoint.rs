//! The address of a portal, and the hosts that may be called.

use std::fmt;

use reqwest::Url;

use super::is_loopback;
use crate::error::EndpointError;
use crate::protocol::Method;

/// The address of a portal's REST API, `https://HOST/rest/`. It contains no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Url);

impl Endpoint {
    /// An address that a request or the app names: https, or http to this machine; no credentials,
    /// no query.
    pub(crate) fn parse(url: &str) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse_with_http(url)?;
        if endpoint.is_plain() { Err(EndpointError::Insecure) } else { Ok(endpoint) }
    }

    /// As [`parse`](Endpoint::parse), but also accepts plain http to any host. Whether it may be called is
    /// checked before each call.
    pub(crate) fn parse_with_http(url: &str) -> Result<Self, EndpointError> {
        let mut url = Url::parse(url).map_err(|_| EndpointError::NotAUrl)?;
        if url.host_str().is_none() {
            return Err(EndpointError::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::UserInfo);
        }
        if !matches!(url.scheme(), "https" | "http") {
            return Err(EndpointError::Insecure);
        }
        url.set_query(None);
        url.set_fragment(None);
        // The path of the request is ignored: REST v2 is always at `/rest/`.
        url.set_path("/rest/");
        Ok(Endpoint(url))
    }

    /// Whether requests could be read on the way: plain http to another machine.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() != "https" && !is_loopback(&self.0)
    }

    /// The address of a method.
    pub(in crate::transport) fn method(&self, method: &Method) -> Url {
        self.named(method.name())
    }

    /// The address of a method by its name.
    pub(in crate::transport) fn named(&self, method: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("/rest/{method}"));
        url
    }

    /// The host, with its port where it is not the usual one.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The hosts at which portals may be called with an app's tokens.
///
/// An entry is a host (`portal.example`), or `*.` and a domain for all of its subdomains (`*.bitrix24.com`).
/// Add the port if it is not 443 (`127.0.0.1:8080`). If the entry is a URL
/// (`https://portal.example/rest/`), only its host is used. Case does not matter. A host may have letters of
/// any language (`портал.рф`).
///
/// Entries such as `*` or `*example` allow nothing, because anybody could register a matching host.
///
/// ```
/// # use tracing_bizproc::auth::Hosts;
/// let hosts = Hosts::from(["acme.bitrix24.com", "*.acme.example"]);
/// assert!(hosts.allows("ACME.bitrix24.com"));
/// assert!(hosts.allows("crm.acme.example"));
/// assert!(!hosts.allows("acme.example"));
/// assert!(!hosts.allows("acme.bitrix24.com.evil.example"));
///
/// // An entry may be what the portal gives as its `client_endpoint`.
/// assert!(Hosts::from(["https://acme.bitrix24.com/rest/"]).allows("acme.bitrix24.com"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// The domains of the vendor's cloud portals. Anybody can open a portal there, so such a host proves
    /// nothing about the caller.
    ///
    /// ```
    /// # use tracing_bizproc::auth::Hosts;
    /// assert!(Hosts::bitrix24().allows("acme.bitrix24.com"));
    /// assert!(!Hosts::bitrix24().allows("acme.bitrix24.example"));
    /// ```
    pub fn bitrix24() -> Self {
        CLOUD.iter().map(|zone| format!("*.bitrix24.{zone}")).collect()
    }

    /// These hosts and the others.
    #[must_use]
    pub fn and(mut self, others: Hosts) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(crate) fn entries(&self) -> &[String] {
        &self.0
    }

    /// Whether calls may go to this host.
    pub fn allows(&self, host: &str) -> bool {
        let host = in_ascii(&host.to_lowercase());
        self.0.iter().any(|entry| match entry.strip_prefix('*') {
            // ".acme.example": there must be something before the dot.
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => *entry == host,
        })
    }
}

/// Zones of the vendor's cloud. (The sites that portals' owners publish are in others.)
const CLOUD: [&str; 21] = [
    "by", "cn", "co", "com", "com.br", "com.tr", "de", "es", "eu", "fr", "id", "in", "it", "jp",
    "kz", "mx", "pl", "ru", "ua", "uk", "vn",
];

/// The entries, separated by commas.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("none"),
            entries => f.write_str(&entries.join(", ")),
        }
    }
}

impl<T: AsRef<str>> FromIterator<T> for Hosts {
    fn from_iter<I: IntoIterator<Item = T>>(hosts: I) -> Self {
        let entry = |host: T| entry(host.as_ref());
        // "*" alone, or "*example", would allow hosts that anybody can register.
        let usable = |host: &String| match host.strip_prefix('*') {
            None => !host.is_empty(),
            Some(below) => below.starts_with('.') && is_domain(&below[1..]),
        };
        Hosts(hosts.into_iter().map(entry).filter(usable).collect())
    }
}

/// Whether it begins with a name, so that `*.` before it does not match everything that ends in a dot.
fn is_domain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphanumeric())
}

/// The host, as [`Endpoint::host`] writes it, of what may be written as a URL.
fn entry(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let usual_ports = match scheme {
        "http" => &[":80"][..],
        "" => &[":443", ":80"],
        _ => &[":443"],
    };
    let host = usual_ports.iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host);
    match host.strip_prefix("*.") {
        Some(domain) if is_domain(domain) => format!("*.{}", in_ascii(domain)),
        _ => in_ascii(host),
    }
}

/// A host in lower case, perhaps with a port, as a URL has it: a name in letters of any language becomes ASCII,
/// and an IPv6 address its short form. Everything else stays as it is.
fn in_ascii(host: &str) -> String {
    if host.is_ascii() && !host.starts_with('[') {
        return host.to_owned();
    }
    let endpoint = Endpoint::parse_with_http(&format!("https://{host}/"));
    endpoint.map_or_else(|_| host.to_owned(), |endpoint| endpoint.host())
}

impl<T: AsRef<str>, const N: usize> From<[T; N]> for Hosts {
    fn from(hosts: [T; N]) -> Self {
        hosts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_or_loopback_and_ends_in_rest() {
        for (given, expected) in [
            ("https://a.bitrix24.com/rest/", "https://a.bitrix24.com/rest/batch"),
            ("https://A.bitrix24.com", "https://a.bitrix24.com/rest/batch"),
            ("https://a.bitrix24.com/evil/?x=1#y", "https://a.bitrix24.com/rest/batch"),
            ("http://127.0.0.1:81/rest/", "http://127.0.0.1:81/rest/batch"),
        ] {
            assert_eq!(Endpoint::parse(given).unwrap().method(&Method::Batch).as_str(), expected);
        }
        assert_eq!(Endpoint::parse("http://127.0.0.1:81/rest/").unwrap().host(), "127.0.0.1:81");
        assert_eq!(Endpoint::parse("http://a.example/rest/"), Err(EndpointError::Insecure));
        let plain = Endpoint::parse_with_http("http://a.example/rest/").unwrap();
        assert!(plain.is_plain() && plain.host() == "a.example");
        assert_eq!(Endpoint::parse_with_http("ftp://a.example/"), Err(EndpointError::Insecure));
        assert_eq!(Endpoint::parse("ftp://127.0.0.1/"), Err(EndpointError::Insecure));
        for given in ["", "/rest/", "a.example", "file:///rest/"] {
            assert_eq!(Endpoint::parse(given), Err(EndpointError::NotAUrl), "{given}");
        }
        for given in ["https://u:s3cret@a.example/rest/", "https://s3cret@a.example/rest/"] {
            let error = Endpoint::parse(given).unwrap_err();
            assert_eq!(error, EndpointError::UserInfo);
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn an_entry_may_be_written_as_a_url() {
        for (entry, host) in [
            ("https://a.example", "a.example"),
            ("HTTPS://A.example/rest/", "a.example"),
            (" https://a.example:443/rest/\n", "a.example"),
            ("a.example:443", "a.example"),
            ("a.example/", "a.example"),
            ("https://a.example:8443/", "a.example:8443"),
            ("http://127.0.0.1:80/rest/", "127.0.0.1"),
            ("http://[::1]:8080/rest/", "[::1]:8080"),
            ("https://*.a.example/", "x.a.example"),
        ] {
            let hosts = Hosts::from([entry]);
            assert!(hosts.allows(host), "{entry}");
            for other in ["", "https", "evil.example", "a.example.evil.example"] {
                assert!(!hosts.allows(other), "{entry}");
            }
        }
        for nothing in ["", "https://", "https://*", "https://*a.example", "/a.example"] {
            let hosts = Hosts::from([nothing]);
            for host in ["", "a.example", "xa.example", "x.a.example", "*"] {
                assert!(!hosts.allows(host), "{nothing}");
            }
        }
    }

    /// Regression: the entry had no effect, because an address has its host in ASCII.
    #[test]
    fn a_host_may_be_written_with_letters_of_any_language() {
        for (entry, address) in [
            ("портал.рф", "https://портал.рф/rest/"),
            ("https://Портал.РФ/rest/", "https://xn--80awhdgm.xn--p1ai/rest/"),
            ("*.компания.рф:8443", "https://crm.КОМПАНИЯ.рф:8443/rest/"),
            ("bücher.example", "https://xn--bcher-kva.example"),
            ("box.local:80", "http://box.local/rest/"),
            ("box.local:443", "https://box.local/rest/"),
            ("[2001:DB8::1]", "https://[2001:db8:0:0::1]/rest/"),
        ] {
            let hosts = Hosts::from([entry]);
            let host = Endpoint::parse_with_http(address).unwrap().host();
            assert!(hosts.allows(&host), "{entry}: {host} is not in {hosts}");
        }
        assert!(Hosts::from(["портал.рф"]).allows("Портал.рф"));
        assert!(!Hosts::from(["портал.рф"]).allows("портал.example"));
    }

    /// Regression: every host that ends in a dot was allowed.
    #[test]
    fn a_star_without_a_domain_allows_nothing() {
        for entry in ["*.", "https://*./", "*..", "*.*", "*.:443"] {
            let hosts = Hosts::from([entry]);
            for host in ["evil.example.", "evil.", "evil", "a..", "evil.*"] {
                assert!(!hosts.allows(host), "{entry}: {host}");
            }
        }
    }

    #[test]
    fn a_star_allows_subdomains_only() {
        let hosts = Hosts::from(["a.example", "*.b.example", "*", "*c.example", "d.example:444"]);
        for host in ["a.example", "A.EXAMPLE", "x.b.example", "x.y.b.example", "d.example:444"] {
            assert!(hosts.allows(host), "{host}");
        }
        for host in [
            "",
            "x.a.example",
            "b.example",
            ".b.example.evil",
            "xb.example",
            "c.example",
            "xc.example",
            "d.example",
            "a.example:8443",
            "evil",
            "evilb.example",
        ] {
            assert!(!hosts.allows(host), "{host}");
        }
    }
}
