//! PHP values: what a parameter of a call can be.

use std::borrow::Cow;

use indexmap::{Equivalent, IndexMap};

use super::float::string_float;

/// A PHP value. Strings are bytes, as in PHP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, [u8]>),
    Array(Array<'a>),
}

/// A key of a PHP array: a string that reads as a decimal integer is that integer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Int(i64),
    Text(Cow<'a, [u8]>),
}

/// A PHP array: a map that remembers the order of insertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Array<'a> {
    entries: IndexMap<Key<'a>, Value<'a>>,
    /// Invariant: above every integer key, and never negative.
    next_index: i64,
}

impl<'a> Value<'a> {
    /// A string value.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into().into_bytes()))
    }

    /// PHP's `empty()`, which is also the negation of its cast to bool.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(truth) => !truth,
            Self::Int(number) => *number == 0,
            Self::Float(number) => *number == 0.0,
            Self::Text(bytes) => bytes.is_empty() || bytes.as_ref() == b"0",
            Self::Array(array) => array.is_empty(),
        }
    }

    /// The bytes of a string; nothing for every other type.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The array inside, if it is one.
    pub(crate) fn as_array(&self) -> Option<&Array<'a>> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    /// PHP's cast to string of a scalar; nothing for an array.
    pub(crate) fn to_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Null | Self::Bool(false) => Some(Cow::Borrowed(b"")),
            Self::Bool(true) => Some(Cow::Borrowed(b"1")),
            Self::Int(number) => Some(Cow::Owned(number.to_string().into_bytes())),
            Self::Float(number) => Some(Cow::Owned(string_float(*number).into_bytes())),
            Self::Text(bytes) => Some(Cow::Borrowed(bytes)),
            Self::Array(_) => None,
        }
    }
}

impl<'a> Key<'a> {
    /// The key that PHP makes of a string.
    pub(crate) fn from_bytes(bytes: Cow<'a, [u8]>) -> Self {
        match canonical_integer(&bytes) {
            Some(number) => Self::Int(number),
            None => Self::Text(bytes),
        }
    }

    /// The key as it would be written in JSON.
    pub(crate) fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Text(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// The key with its own storage.
    pub(crate) fn into_owned(self) -> Key<'static> {
        match self {
            Self::Int(number) => Key::Int(number),
            Self::Text(bytes) => Key::Text(Cow::Owned(bytes.into_owned())),
        }
    }
}

fn canonical_integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let leading_zero = digits.len() > 1 && digits[0] == b'0';
    if digits.is_empty() || digits.len() > 19 || leading_zero || bytes == b"-0" {
        return None;
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

impl<'a> Array<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key<'a>, &Value<'a>)> {
        self.entries.iter()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Key<'a>, Value<'a>)> {
        self.entries.into_iter()
    }

    /// Sets `key`; a key that is there already keeps its place.
    pub(crate) fn insert(&mut self, key: Key<'a>, value: Value<'a>) {
        if let Key::Int(number) = key {
            self.next_index = self.next_index.max(number.saturating_add(1));
        }
        self.entries.insert(key, value);
    }

    /// `$array[] = $value`
    pub(crate) fn push(&mut self, value: Value<'a>) {
        self.insert(Key::Int(self.next_index), value);
    }

    /// The array under `key`, made there (in place of anything else) if needed.
    pub(crate) fn array_at(&mut self, key: Option<Key<'a>>) -> &mut Array<'a> {
        let key = key.unwrap_or(Key::Int(self.next_index));
        if let Key::Int(number) = key {
            self.next_index = self.next_index.max(number.saturating_add(1));
        }
        let slot = self.entries.entry(key).or_insert(Value::Null);
        if !matches!(slot, Value::Array(_)) {
            *slot = Value::Array(Array::new());
        }
        match slot {
            Value::Array(array) => array,
            _ => unreachable!("the slot was made an array above"),
        }
    }

    /// `$array[$key]` for a string key, which may read as an integer.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.entries.get(&Sought(Key::from_bytes(Cow::Borrowed(key))))
    }

    /// The value of a top-level parameter whose name is matched in any case; the last one wins.
    pub(crate) fn get_ignoring_case(&self, name: &str) -> Option<&Value<'a>> {
        self.entries.iter().rev().find_map(|(key, value)| match key {
            Key::Text(bytes) if bytes.eq_ignore_ascii_case(name.as_bytes()) => Some(value),
            _ => None,
        })
    }

    /// Whether the keys are 0, 1, 2, .. in order: then PHP's JSON is a list.
    pub(crate) fn is_list(&self) -> bool {
        self.entries.keys().enumerate().all(|(index, key)| *key == Key::Int(index as i64))
    }

    /// `array_replace($this, $other)`
    pub(crate) fn replace_with(&mut self, other: Array<'a>) {
        for (key, value) in other.into_iter() {
            self.insert(key, value);
        }
    }
}

/// A key to look up, which need not live as long as the keys of the array.
#[derive(Hash)]
struct Sought<'b>(Key<'b>);

impl Equivalent<Key<'_>> for Sought<'_> {
    fn equivalent(&self, key: &Key<'_>) -> bool {
        self.0 == *key
    }
}

impl<'a, const N: usize> From<[(&'static str, Value<'a>); N]> for Array<'a> {
    fn from(pairs: [(&'static str, Value<'a>); N]) -> Self {
        let mut array = Self::new();
        for (key, value) in pairs {
            array.insert(Key::from_bytes(Cow::Borrowed(key.as_bytes())), value);
        }
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_follows_php() {
        for (value, empty) in [
            (Value::Null, true),
            (Value::text(""), true),
            (Value::text("0"), true),
            (Value::text("00"), false),
            (Value::text(" "), false),
            (Value::text("false"), false),
            (Value::Int(0), true),
            (Value::Float(0.0), true),
            (Value::Bool(true), false),
            (Value::Array(Array::new()), true),
        ] {
            assert_eq!(value.is_empty(), empty, "{value:?}");
        }
    }

    #[test]
    fn only_canonical_decimals_become_integer_keys() {
        for (text, integer) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("-0", None),
            ("07", None),
            ("+7", None),
            ("", None),
            ("-", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ] {
            let key = Key::from_bytes(Cow::Borrowed(text.as_bytes()));
            let found = if let Key::Int(number) = key { Some(number) } else { None };
            assert_eq!(found, integer, "{text}");
        }
    }
}
