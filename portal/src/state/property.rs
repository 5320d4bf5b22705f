//! Properties of an activity: values that a workflow passes to an application.
//!
//! They are converted with the settings of the site, not as values of the REST API: dates in the
//! site's format, users as `user_5`, files as ids (server behaviour, inferred).

use crate::clock::UnixTime;
use crate::php::{self, Array, Value};
use crate::settings::Language;

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PropertyValue {
    /// Nothing: an empty text arrives.
    Null,
    /// `Y` or `N`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A text, or the key of a list (`select`).
    Text(String),
    /// A day, in the site's format.
    Date(UnixTime),
    /// A moment in UTC, in the site's format.
    DateTime(UnixTime),
    /// `user_5`
    User(u64),
    /// The id of a file.
    File(u64),
    /// Several values; none at all sends nothing.
    List(Vec<PropertyValue>),
}

impl From<&str> for PropertyValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for PropertyValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for PropertyValue {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for PropertyValue {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i32> for PropertyValue {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for PropertyValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for PropertyValue {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl<T: Into<PropertyValue>> From<Vec<T>> for PropertyValue {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// What kind of value a property was declared to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropertyType {
    Bool,
    Date,
    DateTime,
    Double,
    File,
    Int,
    Text,
    User,
}

impl PropertyType {
    /// Names that the portal does not know are texts to it.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "bool" => Self::Bool,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "double" => Self::Double,
            "file" => Self::File,
            "int" => Self::Int,
            "user" => Self::User,
            _ => Self::Text,
        }
    }

    /// Makes a value of this kind from what a call or a test gives; what does not fit stays the
    /// text that it is.
    pub(crate) fn read(self, value: &Value<'_>) -> PropertyValue {
        if let Value::Array(values) = value {
            return PropertyValue::List(values.iter().map(|(_, value)| self.read(value)).collect());
        }
        let bytes = value.to_bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if *value == Value::Null {
            return PropertyValue::Null;
        }
        let read = match self {
            Self::Bool => match &*text {
                "Y" | "1" | "true" => Some(PropertyValue::Bool(true)),
                "N" | "0" | "false" | "" => Some(PropertyValue::Bool(false)),
                _ => None,
            },
            Self::Int => text.parse().ok().map(PropertyValue::Int),
            Self::Double => text.parse().ok().map(PropertyValue::Double),
            Self::Date => UnixTime::read_iso(&text).map(PropertyValue::Date),
            Self::DateTime => UnixTime::read_iso(&text).map(PropertyValue::DateTime),
            Self::User => text.trim_start_matches("user_").parse().ok().map(PropertyValue::User),
            Self::File => text.parse().ok().map(PropertyValue::File),
            Self::Text => None,
        };
        read.unwrap_or(PropertyValue::Text(text))
    }
}

impl PropertyValue {
    /// The fields of a form that carry the value under `name`.
    pub(crate) fn fields(&self, name: &str, language: Language) -> Vec<(String, String)> {
        let Self::List(values) = self else {
            return vec![(name.to_owned(), self.written(language))];
        };
        let fields = values.iter().enumerate();
        fields.map(|(at, value)| (format!("{name}[{at}]"), value.written(language))).collect()
    }

    fn written(&self, language: Language) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(truth) => if *truth { "Y" } else { "N" }.to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Double(number) => {
                let bytes = Value::Float(*number).to_bytes().unwrap_or_default().into_owned();
                php::lossy(&bytes).to_string()
            }
            Self::Text(text) => text.clone(),
            Self::Date(time) => language.date(*time),
            Self::DateTime(time) => language.date_time(*time),
            Self::User(id) => format!("user_{id}"),
            Self::File(id) => id.to_string(),
            // A list inside of a list has no field of its own.
            Self::List(values) => {
                values.iter().map(|value| value.written(language)).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// A property, or a return value, as an application has declared it.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) kind: PropertyType,
    pub(crate) default: Option<PropertyValue>,
}

/// The values of an activity's properties: those that are given, and defaults for the others.
///
/// A name that was not declared is left out; with no declaration at all everything is taken.
pub(crate) fn values(declared: &[Declared], given: &Array<'_>) -> Vec<(String, PropertyValue)> {
    let value = |declared: &Declared| {
        let given = given.get_ignoring_case(&declared.name).map(|value| declared.kind.read(value));
        let value = given.or_else(|| declared.default.clone()).unwrap_or(PropertyValue::Null);
        (declared.name.clone(), value)
    };
    declared.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sent(kind: &str, json: &str) -> Vec<String> {
        let value = php::json_decode(json.as_bytes()).unwrap();
        let fields = PropertyType::named(kind).read(&value).fields("p", Language::De);
        fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn properties_are_converted_as_the_site_shows_them() {
        for (kind, json, expected) in [
            ("bool", "true", &["p=Y"][..]),
            ("bool", "\"N\"", &["p=N"]),
            ("int", "\"42\"", &["p=42"]),
            ("double", "1.5", &["p=1.5"]),
            ("date", "\"2026-11-27\"", &["p=27.11.2026"]),
            ("datetime", "\"2026-11-27T08:10:05+00:00\"", &["p=27.11.2026 08:10:05"]),
            ("datetime", "\"2026-11-27T10:10:05+02:00\"", &["p=27.11.2026 08:10:05"]),
            ("select", "\"pdf\"", &["p=pdf"]),
            ("user", "5", &["p=user_5"]),
            ("user", "[\"user_5\", 7]", &["p[0]=user_5", "p[1]=user_7"]),
            ("file", "[31, 32]", &["p[0]=31", "p[1]=32"]),
            ("string", "null", &["p="]),
            ("string", "[]", &[]),
            ("int", "\"many\"", &["p=many"]),
        ] {
            assert_eq!(sent(kind, json), expected, "{kind} {json}");
        }
    }

    #[test]
    fn dates_follow_the_language_of_the_site() {
        let moment = UnixTime::new(Duration::from_secs(1_795_788_605));
        assert_eq!(Language::En.date_time(moment), "11/27/2026 02:10:05 pm");
        assert_eq!(Language::En.date(moment), "11/27/2026");
        assert_eq!(Language::Ru.date_time(moment), "27.11.2026 14:10:05");
    }
}
