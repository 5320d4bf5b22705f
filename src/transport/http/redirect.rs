//! Reads redirects. They are not followed, because this would send the secret to a host that is not
//! approved.

use reqwest::Url;

use crate::protocol::Reply;
use crate::protocol::reply::Code;
use crate::transport::auth::Hosts;

/// Reads the target of a redirect (`location`) that came as the answer of `from`.
///
/// A portal that was renamed redirects from its old host to the new one ("changing the address of
/// Bitrix24", REST API documentation). A portal whose licence has expired redirects to one of its pages, or
/// to a page of the vendor (server behaviour). A web server that wants https redirects to itself.
pub(super) fn read(from: &Url, location: Option<&str>) -> Reply {
    let target = location.and_then(|location| from.join(location).ok());
    let Some((target, host)) = target.as_ref().and_then(|url| Some((url, host(url)?))) else {
        return Reply::Redirected(Code(
            "the portal redirects, but not to a valid address".to_owned(),
        ));
    };
    let same_name = from.host_str() == target.host_str();
    if same_name && from.scheme() == "http" && target.scheme() == "https" {
        return Reply::Redirected(Code(format!(
            "the portal wants https: write https://{host} instead of http:// as its address"
        )));
    }
    // A rename keeps https. Otherwise the advice would be to write the host that is written already.
    if same_name && from.scheme() == "https" && target.scheme() == "http" {
        return Reply::Redirected(Code(format!(
            "the portal redirects from https to http, and this is not followed: the web server of {host} \
             probably does not know that requests come over https (a proxy in front of it has to say so)"
        )));
    }
    let same = same_name && from.port_or_known_default() == target.port_or_known_default();
    if same || is_vendors_page(target) {
        return Reply::Redirected(Code(format!(
            "the portal redirects to a page of {host}: its licence may have expired"
        )));
    }
    Reply::Moved { host: Some(host) }
}

/// The host, with its port where it is not the usual one.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Whether the target is on one of the vendor's sites, and not the REST API of a portal.
fn is_vendors_page(target: &Url) -> bool {
    let Some(host) = target.host_str() else { return false };
    // Patterns such as `*.bitrix.info` match subdomains only. With "x." in front, they match the
    // domain itself, too.
    let vendors = Hosts::bitrix24().and(Hosts::from(VENDOR));
    !target.path().starts_with("/rest/") && vendors.allows(&format!("x.{host}"))
}

/// The vendor's sites, other than its cloud portals.
const VENDOR: [&str; 4] = ["*.1c-bitrix.ru", "*.bitrixsoft.com", "*.bitrix24.net", "*.bitrix.info"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(from: &str, location: &str) -> Reply {
        read(&Url::parse(from).unwrap(), Some(location))
    }

    #[test]
    fn each_kind_of_redirect_is_recognized() {
        let old = "https://old.bitrix24.com/rest/1/s3cret/batch";
        for (from, location, expected) in [
            (old, "https://new.bitrix24.com/rest/1/s3cret/batch", "new.bitrix24.com"),
            (old, "//new.example:444/", "new.example:444"),
            (old, "https://new.example/login?back=1", "new.example"),
            ("http://127.0.0.1:81/rest/", "http://127.0.0.1:82/rest/", "127.0.0.1:82"),
        ] {
            let Reply::Moved { host } = at(from, location) else { panic!("{location}") };
            assert_eq!(host.as_deref(), Some(expected));
        }
        let box_at = "http://box.example/rest/1/s3cret/batch";
        for (from, location, part) in [
            (old, "/", "licence"),
            (old, "https://old.bitrix24.com/settings/license.php", "page of old.bitrix24.com"),
            (old, "https://www.bitrix24.com/prices/", "page of www.bitrix24.com"),
            (old, "https://bitrix24.de/", "page of bitrix24.de"),
            (old, "https://www.1c-bitrix.ru/x", "licence"),
            (box_at, "https://box.example/rest/1/s3cret/batch", "write https://box.example"),
            (box_at, "https://box.example:8443/", "write https://box.example:8443"),
            (box_at, "http://box.example/bitrix/coupon", "licence"),
            (old, "http://old.bitrix24.com/rest/1/s3cret/batch", "from https to http"),
            (old, "http://old.bitrix24.com:8080/", "from https to http"),
            (old, "https://[broken/", "not to a valid address"),
            (old, "mailto:x@y.example", "not to a valid address"),
        ] {
            let Reply::Redirected(code) = at(from, location) else { panic!("{location}") };
            assert!(code.0.contains(part) && !code.0.contains("s3cret"), "{code}");
        }
    }

    proptest! {
        #[test]
        fn any_location_is_read_and_only_its_host_is_reported(path in "[ -~]{0,40}") {
            for location in [path.clone(), format!("https://new.example/{path}?s3cret#s3cret")] {
                match at("https://old.example/rest/1/s3cret/batch", &location) {
                    Reply::Moved { host: Some(told) } => prop_assert!(!told.contains('/')),
                    Reply::Redirected(told) => prop_assert!(!told.0.contains("s3cret")),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
