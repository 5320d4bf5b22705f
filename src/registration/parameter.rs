//! The declaration of a property or a return value.

use serde_json::{Value, json};

use super::ordered::Ordered;

/// What kind of value it is.
///
/// ```
/// use tracing_bizproc::app::{Parameter, ValueKind};
///
/// let amount = Parameter::new(ValueKind::Double, "Amount");
/// let address = Parameter::new(ValueKind::Other("UF:address".to_owned()), "Address");
/// # drop((amount, address));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueKind {
    /// `true` and `false`, or `Y` and `N`.
    Bool,
    /// A date, as text.
    Date,
    /// A date with time, as text.
    DateTime,
    /// A number.
    Double,
    /// A whole number.
    Int,
    /// One of [`Parameter::option`]s.
    Select,
    /// A line of text.
    Text,
    /// Text with more than one line.
    LongText,
    /// A user: `user_5`, or the number.
    User,
    /// A file.
    File,
    /// A type that the document defines, for example `UF:address`.
    Other(String),
}

impl ValueKind {
    fn name(&self) -> &str {
        match self {
            ValueKind::Bool => "bool",
            ValueKind::Date => "date",
            ValueKind::DateTime => "datetime",
            ValueKind::Double => "double",
            ValueKind::Int => "int",
            ValueKind::Select => "select",
            ValueKind::Text => "string",
            ValueKind::LongText => "text",
            ValueKind::User => "user",
            ValueKind::File => "file",
            ValueKind::Other(name) => name,
        }
    }
}

/// The declaration of a property, or of a return value.
///
/// ```
/// use tracing_bizproc::app::{Parameter, ValueKind};
///
/// let carrier = Parameter::new(ValueKind::Select, "Carrier")
///     .option("dhl", "DHL")
///     .option("post", "Mail")
///     .required();
/// # drop(carrier);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    kind: ValueKind,
    name: Value,
    description: Option<String>,
    required: bool,
    multiple: bool,
    default: Option<String>,
    options: Vec<(String, String)>,
}

impl Parameter {
    /// A value of this kind, with this name for the authors of templates. It is not required, and
    /// single, by default.
    pub fn new(kind: ValueKind, name: impl Into<String>) -> Self {
        Parameter {
            kind,
            name: Value::String(name.into()),
            description: None,
            required: false,
            multiple: false,
            default: None,
            options: Vec::new(),
        }
    }

    /// Its name in another language, for example `de`.
    #[must_use]
    pub fn name_in(mut self, language: impl Into<String>, name: impl Into<String>) -> Self {
        translate(&mut self.name, language.into(), name.into());
        self
    }

    /// What it is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The author of a template has to set it.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// It may have several values.
    #[must_use]
    pub fn multiple(mut self) -> Self {
        self.multiple = true;
        self
    }

    /// The default value.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<String>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// A choice of [`ValueKind::Select`]: its value, and its name for people. The portal shows the choices in the
    /// order of the calls.
    #[must_use]
    pub fn option(mut self, value: impl Into<String>, name: impl Into<String>) -> Self {
        self.options.push((value.into(), name.into()));
        self
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let select = self.kind == ValueKind::Select;
        if select == self.options.is_empty() {
            return Err(
                "has a `ValueKind::Select` without options, or options of another kind of value",
            );
        }
        if self.name.as_str().is_some_and(str::is_empty) || self.kind.name().is_empty() {
            return Err("has a value without a name, or without a kind");
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Ordered {
        let yes_or_no = |yes| if yes { "Y" } else { "N" };
        let mut json = Ordered::Object(Vec::new());
        json.set("Name", self.name.clone());
        json.set("Type", self.kind.name());
        json.set("Required", yes_or_no(self.required));
        json.set("Multiple", yes_or_no(self.multiple));
        if let Some(description) = &self.description {
            json.set("Description", description.as_str());
        }
        if let Some(default) = &self.default {
            json.set("Default", default.as_str());
        }
        if !self.options.is_empty() {
            let options =
                self.options.iter().map(|(value, name)| (value.clone(), name.as_str().into()));
            json.set("Options", Ordered::Object(options.collect()));
        }
        json
    }

    /// If a return value does not match the declaration: what was declared.
    pub(crate) fn mismatch(&self, value: &Value) -> Option<&'static str> {
        match value {
            Value::Array(_) if !self.multiple => {
                Some("one value, since it is not declared multiple")
            }
            Value::Array(values) => values.iter().find_map(|value| self.single_mismatch(value)),
            value => self.single_mismatch(value),
        }
    }

    fn single_mismatch(&self, value: &Value) -> Option<&'static str> {
        let text = value.as_str();
        let number = |text: &str| text.trim().parse::<f64>().is_ok_and(f64::is_finite);
        let (fits, expected) = match self.kind {
            ValueKind::Bool => {
                let known = text.is_some_and(|text| matches!(text, "Y" | "N" | "1" | "0" | ""));
                (value.is_boolean() || known, "yes or no")
            }
            ValueKind::Int => {
                let whole = text.is_some_and(|text| text.trim().parse::<i64>().is_ok());
                (value.is_i64() || value.is_u64() || whole, "a whole number")
            }
            ValueKind::Double => (value.is_number() || text.is_some_and(number), "a number"),
            ValueKind::Select => {
                let known = |text: &str| self.options.iter().any(|(option, _)| option == text);
                (text.is_some_and(known), "one of its options")
            }
            ValueKind::User => {
                let id = text.map(|text| text.strip_prefix("user_").unwrap_or(text));
                let known = id.is_some_and(|id| id.parse::<u64>().is_ok());
                (value.is_u64() || known, "a user: user_5, or the number")
            }
            ValueKind::Date | ValueKind::DateTime => (text.is_some(), "text"),
            ValueKind::Text | ValueKind::LongText => {
                (!value.is_object() && !value.is_array(), "text")
            }
            ValueKind::File | ValueKind::Other(_) => (true, ""),
        };
        (!fits && !value.is_null()).then_some(expected)
    }
}

/// Adds a language. A name without a language counts as English.
pub(super) fn translate(name: &mut Value, language: String, text: String) {
    if let Value::String(english) = name {
        *name = json!({"en": std::mem::take(english)});
    }
    name[language] = Value::String(text);
}
