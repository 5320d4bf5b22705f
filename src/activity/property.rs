//! A value as PHP knows it: text, or an array of values.

/// The value of an activity's property.
///
/// Forms carry nothing but text, so what came as JSON reads the same: `true` is `1`, `false` and
/// `null` are empty, a number is its digits.
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
pub(super) enum Node {
    Text(String),
    Array(Array),
}

/// A PHP array: ordered, and its keys are texts or numbers, here always written as texts.
#[derive(Debug, Default)]
pub(super) struct Array(pub(super) Vec<(String, Node)>);

impl Array {
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The key that PHP gives to a value that is appended.
    pub(super) fn next_index(&self) -> String {
        let last = self.0.iter().filter_map(|(key, _)| index(key)).max();
        last.map_or(0, |last| last.saturating_add(1)).to_string()
    }
}

impl From<Node> for Property {
    fn from(node: Node) -> Self {
        match node {
            Node::Text(text) => Property::Text(text),
            Node::Array(array) => {
                let in_order =
                    array.0.iter().enumerate().all(|(at, (key, _))| index(key) == Some(at));
                if in_order {
                    Property::List(array.0.into_iter().map(|(_, node)| node.into()).collect())
                } else {
                    let pairs = array.0.into_iter().map(|(key, node)| (key, node.into()));
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
