//! How each kind of option is read from text, and written as text.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tracing_core::{Level, LevelFilter};

use super::duration;
use crate::error::{ConfigError, InvalidOption};
use crate::format::{Language, LineTime};
use crate::queue::Overflow;
use crate::transport::http::Fingerprint;
use crate::worker::rate::Quota;
use crate::worker::retry::UnknownOutcome;
use crate::worker::schedule::Retention;

/// A kind of option.
pub(super) trait Setting: Sized {
    /// Reads `text`. `said` is the name that the user gave, for errors.
    fn parse(text: &str, said: &str) -> Result<Self, ConfigError>;

    /// Writes it so that `parse` reads the same.
    fn show(&self) -> String;
}

/// Types with `FromStr` and `Display`.
macro_rules! by_their_text {
    ($($of:ty),*) => {$(
        impl Setting for $of {
            fn parse(text: &str, said: &str) -> Result<Self, ConfigError> {
                text.trim().parse().map_err(|error: InvalidOption| ConfigError::from_option(said, error))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

by_their_text!(Language, LineTime, Overflow, Quota, Retention, UnknownOutcome);

/// Types that are read by a function.
macro_rules! by_function {
    ($($of:ty, $expected:literal, $read:expr, $show:expr;)*) => {$(
        impl Setting for $of {
            fn parse(text: &str, said: &str) -> Result<Self, ConfigError> {
                let read: fn(&str) -> Option<$of> = $read;
                read(text.trim()).ok_or_else(|| ConfigError::value(said, text, $expected))
            }

            fn show(&self) -> String {
                let show: fn(&$of) -> String = $show;
                show(self)
            }
        }
    )*};
}

by_function! {
    bool, "true or false", |text| text.to_ascii_lowercase().parse().ok(), bool::to_string;
    f64, "a number such as 0.5", |text| text.parse().ok(), f64::to_string;
    usize, "a number, or bytes such as 16MiB", bytes, usize::to_string;
    String, "text", |text| Some(text.to_owned()), String::clone;
    Duration, "a time such as 500ms, 10s or 1h30min", duration::parse, |time| {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = duration::write(&mut text, *time);
        text
    };
    Level, "error, warn, info, debug or trace", |text| level(text)?.into_level(), |level| {
        level.as_str().to_ascii_lowercase()
    };
    LevelFilter, "off, error, warn, info, debug or trace", level, |level| {
        level.to_string().to_ascii_lowercase()
    };
    ReadyFormat, "story, message-only, full or json", ReadyFormat::parse, |format| {
        format.as_str().to_owned()
    };
    Fingerprints, "SHA-256 fingerprints of 64 hexadecimal digits, separated by commas", Fingerprints::parse,
    Fingerprints::show_all;
    List, "names, separated by commas", List::parse, |list| list.0.join(", ");
    Shortened, "names and bytes such as body=200, agent=20", Shortened::parse, |shortened| {
        let pairs = shortened.0.iter().map(|(name, bytes)| format!("{name}={bytes}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
}

/// Only by its name: `LevelFilter` itself reads an empty text as ERROR.
fn level(text: &str) -> Option<LevelFilter> {
    let named = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic());
    if named { text.parse().ok() } else { None }
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.replace('_', "").parse::<usize>().ok()?.checked_mul(unit)
}

/// A built-in format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadyFormat {
    Story,
    MessageOnly,
    Full,
    Json,
}

impl ReadyFormat {
    const ALL: [ReadyFormat; 4] =
        [ReadyFormat::Story, ReadyFormat::MessageOnly, ReadyFormat::Full, ReadyFormat::Json];

    fn as_str(self) -> &'static str {
        match self {
            ReadyFormat::Story => "story",
            ReadyFormat::MessageOnly => "message-only",
            ReadyFormat::Full => "full",
            ReadyFormat::Json => "json",
        }
    }

    fn parse(text: &str) -> Option<ReadyFormat> {
        ReadyFormat::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(text))
    }
}

/// Text whose spaces at both ends are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) String);

impl Setting for Prefix {
    fn parse(text: &str, _: &str) -> Result<Self, ConfigError> {
        Ok(Prefix(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Names, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl List {
    fn parse(text: &str) -> Option<List> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        (!names.iter().any(String::is_empty)).then_some(List(names))
    }
}

/// Fingerprints of certificates, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprints(pub(crate) Vec<Fingerprint>);

impl Fingerprints {
    fn parse(text: &str) -> Option<Fingerprints> {
        let all = text.split(',').map(|one| one.trim().parse().ok());
        all.collect::<Option<Vec<_>>>().map(Fingerprints)
    }

    fn show_all(&self) -> String {
        let all = self.0.iter().map(|fingerprint| format!("{fingerprint:?}"));
        all.collect::<Vec<_>>().join(", ")
    }
}

/// Names and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortened(pub(crate) Vec<(String, usize)>);

impl Shortened {
    fn parse(text: &str) -> Option<Shortened> {
        let pairs = text.split(',').map(|pair| {
            let (name, number) = pair.split_once('=')?;
            let (name, number) = (name.trim(), bytes(number.trim())?);
            (!name.is_empty()).then(|| (name.to_owned(), number))
        });
        pairs.collect::<Option<Vec<_>>>().map(Shortened)
    }
}

/// A file of certificates, which is read when the option is set.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RootsFile {
    path: PathBuf,
    pub(crate) pem: Vec<u8>,
}

impl Setting for RootsFile {
    fn parse(text: &str, said: &str) -> Result<Self, ConfigError> {
        let path = PathBuf::from(text.trim());
        match fs::read(&path) {
            Ok(pem) => Ok(RootsFile { path, pem }),
            Err(error) => Err(ConfigError::File { name: said.to_owned(), path, source: error }),
        }
    }

    fn show(&self) -> String {
        self.path.display().to_string()
    }
}

impl std::fmt::Debug for RootsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RootsFile").field(&self.path).finish()
    }
}
