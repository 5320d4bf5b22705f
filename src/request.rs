//! Reads what a portal posts to an app: a form or JSON, as PHP would read it, within limits.
//!
//! Nothing is verified here: the callers do that.

use std::cell::Cell;

use crate::error::RequestError;

mod form;
mod json;
mod property;

pub use self::property::Property;
pub(crate) use self::property::{Array, Node};

/// Reads a body by its content type: a form (also without a type), or JSON.
pub(crate) fn read(content_type: Option<&str>, body: &[u8]) -> Result<Array, RequestError> {
    if body.len() > Bounds::BYTES {
        return Err(RequestError::TooLarge);
    }
    let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
    let (media, parameters) = content_type.split_once(';').unwrap_or((&content_type, ""));
    let read = match media.trim() {
        "" | "application/x-www-form-urlencoded" => form::parse(body),
        "application/json" => json::parse(body),
        _ => return Err(RequestError::ContentType),
    };
    match read {
        // The declared type is better than a guess.
        Err(RequestError::NotUtf8) if is_windows_1251(parameters) => Err(RequestError::Windows1251),
        read => read,
    }
}

/// Reads a query, the part of an address after `?`.
pub(crate) fn query(query: &str) -> Result<Array, RequestError> {
    match query.len() {
        0..=Bounds::BYTES => form::parse(query.as_bytes()),
        _ => Err(RequestError::TooLarge),
    }
}

fn is_windows_1251(parameters: &str) -> bool {
    parameters.contains("1251")
}

/// Limits of a request.
#[derive(Default)]
pub(crate) struct Bounds {
    fields: Cell<usize>,
}

impl Bounds {
    /// Real requests have 2 to 20 KiB.
    pub(crate) const BYTES: usize = 1 << 20;
    /// Levels of nested keys. Real requests have 3.
    pub(crate) const DEPTH: usize = 16;
    /// Values. Real requests have 30 to 100; PHP accepts 1,000 by default.
    pub(crate) const FIELDS: usize = 4_096;

    fn count(&self) -> Result<(), RequestError> {
        self.fields.set(self.fields.get() + 1);
        if self.fields.get() > Bounds::FIELDS { Err(RequestError::TooMany) } else { Ok(()) }
    }
}

/// A required text, which must not be empty.
pub(crate) fn required(fields: &mut Array, field: &'static str) -> Result<String, RequestError> {
    optional(fields, field)?.ok_or(RequestError::Missing { field })
}

/// An optional text. An empty text counts as missing, because PHP writes null like this.
pub(crate) fn optional(
    fields: &mut Array,
    field: &'static str,
) -> Result<Option<String>, RequestError> {
    Ok(text(fields, field)?.filter(|text| !text.is_empty()))
}

/// An optional text, which may be empty.
pub(crate) fn text(
    fields: &mut Array,
    field: &'static str,
) -> Result<Option<String>, RequestError> {
    match fields.take(field) {
        Some(Node::Text(text)) => Ok(Some(text)),
        Some(Node::Array(_)) => Err(RequestError::WrongType { field }),
        None => Ok(None),
    }
}

/// Optional seconds. An empty text counts as missing.
pub(crate) fn seconds(
    fields: &mut Array,
    field: &'static str,
) -> Result<Option<u64>, RequestError> {
    let Some(text) = optional(fields, field)? else { return Ok(None) };
    match text.parse() {
        Ok(number) if number <= LATEST => Ok(Some(number)),
        _ => Err(RequestError::Invalid { field }),
    }
}

/// A required array.
pub(crate) fn array(fields: &mut Array, field: &'static str) -> Result<Array, RequestError> {
    match fields.take(field) {
        Some(Node::Array(array)) => Ok(array),
        Some(Node::Text(_)) => Err(RequestError::WrongType { field }),
        None => Err(RequestError::Missing { field }),
    }
}

/// The year 9999, so that adding to a time cannot overflow.
const LATEST: u64 = 253_402_300_799;
