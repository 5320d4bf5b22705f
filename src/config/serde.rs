//! Options in the app's own configuration, through serde.
//!
//! A value may be text, or the type of the format: a number, a `bool`, a list.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Config;
use crate::format::{Language, LineTime, UtcOffset};
use crate::line::PortalId;
use crate::queue::Overflow;
use crate::transport::auth::Webhook;
use crate::worker::rate::Quota;
use crate::worker::retry::UnknownOutcome;
use crate::worker::schedule::Retention;

/// A map of options. Needs a self-describing format, such as TOML, JSON or YAML.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Config::new();
        match Node::deserialize(deserializer)? {
            Node::Map(options) => config.take("", options).map_err(de::Error::custom)?,
            Node::Text(_) => return Err(de::Error::custom("expected a table of options")),
        }
        Ok(config)
    }
}

impl Config {
    fn take(
        &mut self,
        group: &str,
        options: Vec<(String, Node)>,
    ) -> Result<(), crate::error::ConfigError> {
        for (name, node) in options {
            let name = format!("{group}{name}");
            match node {
                Node::Text(text) => self.set(&name, &text)?,
                Node::Map(pairs) if name == "fields.shorten" => {
                    let mut lengths = Vec::new();
                    flatten("", pairs, &mut lengths);
                    self.set(&name, &lengths.join(","))?;
                }
                Node::Map(options) => self.take(&format!("{name}."), options)?,
            }
        }
        Ok(())
    }
}

/// Lengths of fields. A name with a dot (`http.body = 200`) is a group of its own in TOML.
fn flatten(group: &str, pairs: Vec<(String, Node)>, lengths: &mut Vec<String>) {
    for (name, node) in pairs {
        match node {
            Node::Text(bytes) => lengths.push(format!("{group}{name}={bytes}")),
            Node::Map(pairs) => flatten(&format!("{group}{name}."), pairs, lengths),
        }
    }
}

/// The value of an option.
enum Node {
    /// A value as text; a list is separated by commas.
    Text(String),
    /// A group of options.
    Map(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an option's value, or a group of options")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut texts: Vec<String> = Vec::new();
        while let Some(node) = list.next_element::<Node>()? {
            match node {
                Node::Text(text) => texts.push(text),
                Node::Map(_) => return Err(de::Error::custom("expected a list of texts")),
            }
        }
        Ok(Node::Text(texts.join(",")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut options = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if options.len() >= MOST_OPTIONS {
                map.next_value::<IgnoredAny>()?;
                return Err(de::Error::custom("too many options"));
            }
            options.push((name, map.next_value()?));
        }
        Ok(Node::Map(options))
    }
}

/// More than the number of options, or of fields to shorten in practice.
const MOST_OPTIONS: usize = 1_000;

/// A map of options as text, with the groups `fields` and `spool`.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, text) in self.options().filter(|(name, _)| !name.contains('.')) {
            map.serialize_entry(name, &text)?;
        }
        for group in ["fields", "spool"] {
            let of_group = |name: &'static str| name.strip_prefix(group)?.strip_prefix('.');
            let options = self.options().filter_map(|(name, text)| Some((of_group(name)?, text)));
            let options: Vec<_> = options.collect();
            if !options.is_empty() {
                map.serialize_entry(group, &Group(&options))?;
            }
        }
        map.end()
    }
}

struct Group<'a>(&'a [(&'static str, String)]);

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, text)| (name, text)))
    }
}

/// Types that are text in a configuration.
macro_rules! as_text {
    ($($of:ty),*) => {$(
        impl<'de> Deserialize<'de> for $of {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $of {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

as_text!(Language, LineTime, UtcOffset, Overflow, Quota, Retention, UnknownOutcome);

impl<'de> Deserialize<'de> for PortalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(PortalId::from)
    }
}

impl Serialize for PortalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// From its URL. It cannot be serialized, because it is a secret.
impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        Webhook::new(url).map_err(de::Error::custom)
    }
}
