//! The parts of PHP that a portal's answers depend on: values, query strings, URLs, JSON.
//!
//! Pure functions from bytes to values; nothing here knows what a portal is. Where PHP's manual
//! and PHP's behaviour differ, behaviour is followed.

mod decode;
mod encode;
mod float;
mod query;
mod text;
mod url;
mod value;

pub(crate) use decode::json_decode;
pub(crate) use encode::json_encode;
#[cfg(test)]
pub(crate) use query::url_decode;
pub(crate) use query::{parse_form, parse_str, register};
pub(crate) use text::{lossy, trim, urlencode};
pub(crate) use url::parse_url;
pub(crate) use value::{Array, Key, Value};
