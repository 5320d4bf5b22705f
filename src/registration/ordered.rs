//! JSON whose names stay in their order.

use serde::ser::{Serialize, Serializer};
use serde_json::Value;

/// A JSON value, or an object whose names stay in their order. A map of `serde_json` sorts them, and a portal shows
/// properties and options in the order in which they come.
#[derive(Debug)]
pub(super) enum Ordered {
    Value(Value),
    Object(Vec<(String, Ordered)>),
}

impl Ordered {
    /// Adds a name at the end. Only for objects.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Ordered>) {
        if let Ordered::Object(pairs) = self {
            pairs.push((name.to_owned(), value.into()));
        }
    }
}

impl<T: Into<Value>> From<T> for Ordered {
    fn from(value: T) -> Self {
        Ordered::Value(value.into())
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ordered::Value(value) => value.serialize(serializer),
            Ordered::Object(pairs) => {
                serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

/// As JSON.
impl std::fmt::Display for Ordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}
