//! From bytes to parameters: path, query, and bodies in every form that PHP reads.

use std::net::IpAddr;

use crate::php::{Array, Value, json_decode, parse_form, parse_str, trim};

/// What is known of a hit before its body was read.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) source: IpAddr,
    pub(crate) tls: bool,
    pub(crate) http_method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// The name by which it came, without a port.
    pub(crate) host: String,
    pub(crate) content_type: String,
    /// The token of an `Authorization: Bearer` header.
    pub(crate) bearer: Option<String>,
}

impl Head {
    /// Whether it came by this name; an empty one is nobody's.
    pub(crate) fn is_for(&self, name: &str) -> bool {
        !name.is_empty() && self.host.eq_ignore_ascii_case(name)
    }
}

/// `/rest/{user}/{code}/{method}` or `/rest/{method}`, with or without `.json` and a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestPath {
    /// User id and code of a webhook.
    pub(crate) webhook: Option<(u64, String)>,
    /// In lower case; empty if there is none.
    pub(crate) method: String,
}

/// Reads a path below `/rest/`; nothing for any other path.
pub(crate) fn rest_path(path: &str) -> Option<RestPath> {
    let rest = path.strip_prefix("/rest/").or_else(|| (path == "/rest").then_some(""))?;
    let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
    let (webhook, method) = match segments.as_slice() {
        [user, code, rest @ ..] if user.bytes().all(|byte| byte.is_ascii_digit()) => {
            // A user id beyond 64 bits belongs to nobody, as 0 does.
            let user = user.parse().unwrap_or(0);
            (Some((user, (*code).to_owned())), rest.first().copied())
        }
        segments => (None, segments.first().copied()),
    };
    let method = method.unwrap_or_default().to_lowercase();
    let method = method.strip_suffix(".json").unwrap_or(&method).to_owned();
    Some(RestPath { webhook, method })
}

/// The parameters of a hit, as PHP and the portal put them together: the query, overridden by
/// the fields of the body.
///
/// JSON is looked at only if PHP itself saw no fields, and JSON that cannot be read is silently
/// taken for `{}` (server behaviour).
pub(crate) fn params<'a>(head: &'a Head, body: &'a [u8]) -> Array<'a> {
    let mut params = parse_str(head.query.as_bytes());
    if head.http_method != "POST" {
        return params;
    }
    params.replace_with(fields(&head.content_type, body));
    params
}

/// The fields of a body: what PHP sees by itself, or else what the portal makes of its text.
fn fields<'a>(content_type: &str, body: &'a [u8]) -> Array<'a> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("multipart/form-data") {
        return super::multipart::fields(content_type, body);
    }
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let fields = parse_form(body);
        if !fields.is_empty() {
            return fields;
        }
    }
    match kind {
        "application/json" => match json_decode(trim(body)) {
            Some(Value::Array(fields)) => fields,
            _ => Array::new(),
        },
        // What says nothing of JSON is a form, whatever it is called.
        _ => parse_str(trim(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(webhook: Option<(u64, &str)>, method: &str) -> Option<RestPath> {
        let webhook = webhook.map(|(user, code)| (user, code.to_owned()));
        Some(RestPath { webhook, method: method.to_owned() })
    }

    #[test]
    fn paths_are_read_in_every_form() {
        for (text, expected) in [
            ("/rest/1/abc/batch", path(Some((1, "abc")), "batch")),
            ("/rest/1/abc/batch/", path(Some((1, "abc")), "batch")),
            ("/rest/1/abc/Batch.json", path(Some((1, "abc")), "batch")),
            ("/rest/1/abc/", path(Some((1, "abc")), "")),
            ("/rest/batch.json", path(None, "batch")),
            ("/rest/bizproc.activity.log/", path(None, "bizproc.activity.log")),
            ("/rest/", path(None, "")),
            ("/page", None),
        ] {
            assert_eq!(rest_path(text), expected, "{text}");
        }
    }
}
