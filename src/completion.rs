//! How an app ends an activity: return values and a last message.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// How an activity ends: its return values, a last message, and how long to wait for its lines.
///
/// ```
/// use std::time::Duration;
/// use tracing_bizproc::Completion;
///
/// let completion = Completion::new()
///     .value("status", "shipped")
///     .value("parcels", ["RA1", "RA2"].len())
///     .value("numbers", ["RA1", "RA2"])
///     .value("remark", None::<String>)
///     .message("Order shipped in two parcels")
///     .timeout(Duration::from_secs(3));
/// # drop(completion);
/// ```
#[derive(Clone)]
#[must_use = "it does nothing by itself: pass it to `complete`"]
pub struct Completion {
    pub(crate) values: Map<String, Value>,
    pub(crate) message: Option<String>,
    pub(crate) timeout: Duration,
    /// The message is the text of an error.
    pub(crate) failed: bool,
}

impl Completion {
    /// No return values, no message, 10 s for the lines.
    pub fn new() -> Self {
        Completion {
            values: Map::new(),
            message: None,
            timeout: Duration::from_secs(10),
            failed: false,
        }
    }

    /// Sets a return value, under the name that the activity was registered with. `None` leaves it empty. The
    /// last value of a name counts; upper and lower case are the same (server behaviour).
    pub fn value(mut self, name: impl Into<String>, value: impl Into<ReturnValue>) -> Self {
        let name = name.into();
        self.values.retain(|other, _| !other.eq_ignore_ascii_case(&name));
        self.values.insert(name, value.into().0);
        self
    }

    /// A last line for the process log, sent with the request that ends the activity. Without it, the portal
    /// writes its default text (server behaviour). A line that is longer than an entry is cut, and says so.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The return values as a JSON object.
    pub(crate) fn values_text(&self) -> String {
        // Text, numbers, yes and no, and lists of these can always be written.
        serde_json::to_string(&self.values).unwrap_or_default()
    }

    /// How long its last message is. In bytes.
    pub(crate) fn message_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, String::len)
    }

    /// A completion that was stored; `None` if these are no return values. Its time is over.
    pub(crate) fn stored(values: &str, message: Option<String>, failed: bool) -> Option<Self> {
        let values = serde_json::from_str(values).ok()?;
        Some(Completion { values, message, timeout: Duration::ZERO, failed })
    }

    /// Puts the word for an error before the message, in the language of the log.
    pub(crate) fn failed(mut self) -> Self {
        self.failed = true;
        self
    }

    /// How long to wait until the lines of the activity are written. Then the activity is ended in any case.
    /// Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for Completion {
    fn default() -> Self {
        Completion::new()
    }
}

/// Without the values, which are the customer's data.
impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("values", &self.values.keys().collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A value for the process: text, a number, a `bool`, nothing, or a list of these.
///
/// It is made with `From`, so [`Completion::value`] accepts values of these types directly. NaN and infinite
/// numbers are nothing, because JSON does not have them.
///
/// ```
/// use tracing_bizproc::ReturnValue;
///
/// let carriers = vec!["DHL".to_owned(), "Mail".to_owned()];
/// assert_eq!(ReturnValue::from(&carriers[..]), ReturnValue::from(["DHL", "Mail"]));
/// assert_eq!(ReturnValue::from(carriers.len()), ReturnValue::from(2));
/// assert_eq!(ReturnValue::from(carriers.first()), ReturnValue::from("DHL"));
/// ```
#[derive(Clone, PartialEq)]
pub struct ReturnValue(Value);

impl fmt::Debug for ReturnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnValue(..)")
    }
}

macro_rules! return_values {
    ($($of:ty),*) => {$(
        impl From<$of> for ReturnValue {
            fn from(value: $of) -> Self {
                ReturnValue(Value::from(value))
            }
        }
    )*};
}

return_values!(&str, String, bool, i8, i16, i32, i64, isize, u8, u16, u32, f64);

/// Numbers above 2^63 - 1 become texts: as numbers, PHP would round them.
impl From<u64> for ReturnValue {
    fn from(number: u64) -> Self {
        match i64::try_from(number) {
            Ok(number) => ReturnValue::from(number),
            Err(_) => ReturnValue::from(number.to_string()),
        }
    }
}

/// As for `u64`.
impl From<usize> for ReturnValue {
    fn from(number: usize) -> Self {
        ReturnValue::from(number as u64)
    }
}

impl From<&String> for ReturnValue {
    fn from(text: &String) -> Self {
        ReturnValue::from(text.as_str())
    }
}

/// `None` is `null`: the process gets an empty value.
impl<T: Into<ReturnValue>> From<Option<T>> for ReturnValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(ReturnValue(Value::Null), Into::into)
    }
}

impl<T: Into<ReturnValue>> From<Vec<T>> for ReturnValue {
    fn from(values: Vec<T>) -> Self {
        list(values)
    }
}

impl<T: Into<ReturnValue>, const N: usize> From<[T; N]> for ReturnValue {
    fn from(values: [T; N]) -> Self {
        list(values)
    }
}

impl<T: Into<ReturnValue> + Clone> From<&[T]> for ReturnValue {
    fn from(values: &[T]) -> Self {
        list(values.iter().cloned())
    }
}

impl<T: Into<ReturnValue> + Clone> From<&Vec<T>> for ReturnValue {
    fn from(values: &Vec<T>) -> Self {
        ReturnValue::from(values.as_slice())
    }
}

fn list<T: Into<ReturnValue>>(values: impl IntoIterator<Item = T>) -> ReturnValue {
    ReturnValue(values.into_iter().map(|value| value.into().0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_names_and_none_of_the_values() {
        let completion = Completion::new().value("status", "paid 4242").message("thank you");
        let shown = format!("{completion:?} {:?}", ReturnValue::from("paid 4242"));
        assert!(shown.contains("status") && !shown.contains("4242") && !shown.contains("thank"));
    }

    /// Regression: to the portal, names in upper and lower case are the same. It got both values, and which one counted
    /// followed from the alphabet.
    #[test]
    fn the_last_value_of_a_name_counts_in_upper_and_lower_case() {
        let completion = Completion::new().value("status", "new").value("STATUS", "shipped");
        assert_eq!(completion.values_text(), r#"{"STATUS":"shipped"}"#);
        let completion = Completion::new().value("STATUS", "new").value("status", "shipped");
        assert_eq!(completion.values_text(), r#"{"status":"shipped"}"#);
    }

    /// Regression: PHP reads 18446744073709551615 as 1.8446744073709552E+19.
    #[test]
    fn numbers_that_php_would_round_are_texts() {
        let completion = Completion::new()
            .value("all", u64::MAX)
            .value("fits", i64::MAX as u64)
            .value("list", [1, u64::MAX])
            .value("nan", f64::NAN);
        let expected = serde_json::json!({
            "all": "18446744073709551615",
            "fits": 9_223_372_036_854_775_807_i64,
            "list": [1, "18446744073709551615"],
            "nan": null,
        });
        assert_eq!(Value::Object(completion.values), expected);
    }

    #[test]
    fn values_become_json_of_their_kind() {
        let names = ["a".to_owned(), "b".to_owned()];
        let completion = Completion::new()
            .value("n", 2)
            .value("len", names.len())
            .value("list", vec!["a", "b"])
            .value("array", ["a", "b"])
            .value("slice", &names[..])
            .value("name", &names[0])
            .value("some", names.first())
            .value("none", None::<bool>)
            .value("holes", vec![Some(1), None]);
        let values = Value::Object(completion.values);
        let expected = serde_json::json!({
            "n": 2,
            "len": 2,
            "list": ["a", "b"],
            "array": ["a", "b"],
            "slice": ["a", "b"],
            "name": "a",
            "some": "a",
            "none": null,
            "holes": [1, null],
        });
        assert_eq!(values, expected);
    }
}
