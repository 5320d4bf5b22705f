//! Reads JSON into the same values as a form, within the same limits.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Bounds;
use super::property::{Array, Node};
use crate::error::RequestError;

/// Reads `body`, which must be an object.
pub(super) fn parse(body: &[u8]) -> Result<Array, RequestError> {
    let limits = Bounds::default();
    let refused = Cell::new(None);
    let value = Value { limits: &limits, refused: &refused, depth: 0 };
    let mut json = serde_json::Deserializer::from_slice(body);
    let node = value.deserialize(&mut json).and_then(|node| json.end().map(|()| node));
    match node {
        Ok(Node::Array(array)) => Ok(array),
        Ok(Node::Text(_)) => Err(RequestError::WrongType { field: "the body" }),
        Err(error) => Err(refused.take().unwrap_or_else(|| match std::str::from_utf8(body) {
            Ok(_) => RequestError::NotJson { line: error.line(), column: error.column() },
            Err(_) => RequestError::NotUtf8,
        })),
    }
}

/// One value, at its depth.
#[derive(Clone, Copy)]
struct Value<'a> {
    limits: &'a Bounds,
    /// Why a value was refused. The parser's error type cannot carry it.
    refused: &'a Cell<Option<RequestError>>,
    depth: usize,
}

impl Value<'_> {
    fn refuse<E: serde::de::Error>(&self, error: RequestError) -> E {
        self.refused.set(Some(error));
        E::custom("refused")
    }

    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth > Bounds::DEPTH {
            return Err(self.refuse(RequestError::TooDeep));
        }
        Ok(Value { depth: self.depth + 1, ..self })
    }

    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        self.limits.count().map_err(|error| self.refuse(error))
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Node, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    // As PHP turns them into text.
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Text(if value { "1" } else { "" }.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        let mut array = Array::default();
        while let Some(value) = values.next_element_seed(below)? {
            self.count()?;
            array.push(array.next_index(), value);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        let mut array = Array::default();
        while let Some(key) = pairs.next_key::<String>()? {
            self.count()?;
            let value = pairs.next_value_seed(below)?;
            if array.push(key, value).is_none() {
                return Err(self.refuse(RequestError::Duplicate));
            }
        }
        Ok(Node::Array(array))
    }
}
