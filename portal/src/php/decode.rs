//! `json_decode` into PHP values, borrowing text from the body where no escape stands in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Array, Key, Value};

/// The value of a JSON text; nothing for what is not JSON.
pub(crate) fn json_decode(json: &[u8]) -> Option<Value<'_>> {
    serde_json::from_slice(json).ok()
}

impl Value<'static> {
    /// The same value with storage of its own.
    pub(crate) fn from_json(json: serde_json::Value) -> Self {
        // A value of JSON is a value of PHP, so nothing can go wrong.
        Self::deserialize(json).unwrap_or(Self::Null)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::text(text))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut array = Array::new();
        while let Some(value) = seq.next_element()? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut array = Array::new();
        while let Some((key, value)) = map.next_entry::<KeyText<'de>, Value<'de>>()? {
            array.insert(Key::from_bytes(key.0), value);
        }
        Ok(Value::Array(array))
    }
}

struct KeyText<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for KeyText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ValueVisitor)? {
            Value::Text(bytes) => Ok(Self(bytes)),
            other => Err(serde::de::Error::custom(format!("key {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::php::json_encode;

    #[test]
    fn json_survives_the_way_through_php() {
        for (json, again) in [
            (r#"{"halt":0,"cmd":{"c0":"x"}}"#, r#"{"halt":0,"cmd":{"c0":"x"}}"#),
            (r#"{"0":"a","1":"b"}"#, r#"["a","b"]"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("[null,true,1.5]", "[null,true,1.5]"),
        ] {
            let value = json_decode(json.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(json_encode(&value)).unwrap(), again);
        }
        assert_eq!(json_decode(b"{\"a\":"), None);
        assert_eq!(json_decode(b"\"\\ud800\""), None);
    }
}
