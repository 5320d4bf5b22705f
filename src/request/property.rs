//! A value as PHP knows it: text, or an array of values.

use std::collections::HashMap;

/// The value of an activity's property.
///
/// Forms contain only text, so JSON is converted to the same texts: `true` is `1`, `false` and `null` are
/// empty, a number is its digits.
///
/// ```
/// use tracing_bizproc::app::Property;
///
/// let text = |text: &str| Property::Text(text.to_owned());
/// let carriers = Property::List(vec![text("DHL"), text("Mail")]);
/// assert_eq!(carriers.get("1").and_then(Property::as_str), Some("Mail"));
/// assert_eq!(carriers.values().len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Property {
    /// One value.
    Text(String),
    /// Values in order: an array with the keys 0, 1, 2 and so on.
    List(Vec<Property>),
    /// Values by key, in the order sent.
    Map(Vec<(String, Property)>),
}

impl Property {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Property::Text(text) => Some(text),
            Property::List(_) | Property::Map(_) => None,
        }
    }

    /// The value with this key; in a list, with this number.
    pub fn get(&self, key: &str) -> Option<&Property> {
        match self {
            Property::Text(_) => None,
            Property::List(values) => values.get(index(key)?),
            Property::Map(values) => {
                values.iter().find_map(|(name, value)| (name == key).then_some(value))
            }
        }
    }

    /// The values, without their keys. A text is one value.
    pub fn values(&self) -> Vec<&Property> {
        match self {
            Property::Text(_) => vec![self],
            Property::List(values) => values.iter().collect(),
            Property::Map(values) => values.iter().map(|(_, value)| value).collect(),
        }
    }
}

/// A value while it is being read.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Array(Array),
}

/// A PHP array: ordered, and its keys are texts or numbers, here always written as texts.
#[derive(Debug, Default)]
pub(crate) struct Array {
    pairs: Vec<(String, Node)>,
    /// The index of each key in `pairs`. A linear search would be too slow for a request of 1 MiB.
    places: HashMap<String, usize>,
    /// The number that PHP gives to a value that is appended.
    next: usize,
}

impl Array {
    /// The value under a key.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let place = *self.places.get(key)?;
        Some(&mut self.pairs[place].1)
    }

    /// Appends a value, and gives it back; `None` if there is one under this key.
    pub(crate) fn push(&mut self, key: String, node: Node) -> Option<&mut Node> {
        if self.places.contains_key(&key) {
            return None;
        }
        if let Some(number) = index(&key) {
            self.next = self.next.max(number.saturating_add(1));
        }
        self.places.insert(key.clone(), self.pairs.len());
        self.pairs.push((key, node));
        self.pairs.last_mut().map(|(_, node)| node)
    }

    /// Takes the value under a key out, and leaves an empty text.
    pub(crate) fn take(&mut self, key: &str) -> Option<Node> {
        let place = self.places.remove(key)?;
        Some(std::mem::replace(&mut self.pairs[place].1, Node::Text(String::new())))
    }

    /// The key that PHP gives to a value that is appended.
    pub(crate) fn next_index(&self) -> String {
        self.next.to_string()
    }
}

impl From<Node> for Property {
    fn from(node: Node) -> Self {
        match node {
            Node::Text(text) => Property::Text(text),
            Node::Array(Array { pairs, .. }) => {
                if pairs.iter().enumerate().all(|(at, (key, _))| index(key) == Some(at)) {
                    Property::List(pairs.into_iter().map(|(_, node)| node.into()).collect())
                } else {
                    let pairs = pairs.into_iter().map(|(key, node)| (key, node.into()));
                    Property::Map(pairs.collect())
                }
            }
        }
    }
}

/// The number that a key is, if PHP would take it for one: "7", and not "07" or "+7".
fn index(key: &str) -> Option<usize> {
    let number: usize = key.parse().ok()?;
    (number.to_string() == key).then_some(number)
}
