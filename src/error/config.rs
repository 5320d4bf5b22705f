//! Errors of options that are given as text.

/// A text that is not a value of the option.
///
/// ```
/// use tracing_bizproc::format::Language;
///
/// let error = "fr".parse::<Language>().unwrap_err();
/// assert_eq!(error.to_string(), "invalid value \"fr\": expected en or ru");
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value {text:?}: expected {expected}")]
pub struct InvalidOption {
    text: String,
    expected: &'static str,
}

impl InvalidOption {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        InvalidOption { text: text.to_owned(), expected }
    }
}

/// Why options that were given as text were not accepted.
///
/// ```
/// use tracing_bizproc::config::Config;
///
/// let error = Config::new().set("linger", "soon").unwrap_err();
/// assert!(error.to_string().starts_with("linger is \"soon\": expected "));
/// let error = Config::new().set("lingr", "1s").unwrap_err();
/// assert_eq!(error.to_string(), "unknown option lingr; did you mean linger?");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such option.
    #[error("unknown option {name}{}", .meant.as_ref().map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
    #[non_exhaustive]
    Unknown {
        /// The option or the variable, as it was given.
        name: String,
        /// An option whose name differs in a letter or two.
        meant: Option<String>,
    },
    /// The option does not have this value.
    #[error("{name} is {value:?}: expected {expected}")]
    #[non_exhaustive]
    Value {
        /// The option or the variable.
        name: String,
        /// The value, as it was given.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The file that the option names could not be read.
    #[error("{name} names a file that could not be read: {}", .path.display())]
    #[non_exhaustive]
    File {
        /// The option or the variable.
        name: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The variable holds no UTF-8.
    #[error("{variable} is not UTF-8")]
    #[non_exhaustive]
    NotUnicode {
        /// The variable.
        variable: String,
    },
}

impl ConfigError {
    pub(crate) fn value(name: &str, value: &str, expected: &'static str) -> Self {
        ConfigError::Value { name: name.to_owned(), value: value.to_owned(), expected }
    }

    pub(crate) fn from_option(name: &str, error: InvalidOption) -> Self {
        let InvalidOption { text, expected } = error;
        ConfigError::Value { name: name.to_owned(), value: text, expected }
    }
}
