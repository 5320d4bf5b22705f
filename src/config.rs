//! Values of options, and options as text: from the environment, from a configuration file, or one by one.
//!
//! [`Quota`], [`Retention`], [`Overflow`] and [`UnknownOutcome`] are values of the options with similar names of
//! the [`Builder`](crate::Builder).
//!
//! A [`Config`] contains the options that were given, and [`Builder::config`](crate::Builder::config)
//! applies them. Other options keep their values.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
//! use tracing_bizproc::config::Config;
//!
//! // BIZPROC_LEVEL=debug BIZPROC_LINGER=500ms BIZPROC_WORDING=ru
//! let builder = tracing_bizproc::builder(webhook).config(&Config::from_env()?);
//! # drop(builder);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `serde`, a `Config` can be part of the app's own configuration, for example in TOML:
//!
#![cfg_attr(feature = "serde", doc = "```")]
#![cfg_attr(not(feature = "serde"), doc = "```ignore")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use serde::Deserialize;
//! use tracing_bizproc::auth::Webhook;
//! use tracing_bizproc::config::Config;
//!
//! #[derive(Deserialize)]
//! struct Settings {
//!     webhook: Webhook,
//!     #[serde(default)]
//!     bizproc: Config,
//! }
//!
//! let settings: Settings = toml::from_str(
//!     r#"
//!     webhook = "https://b24.example/rest/1/secret/"
//!
//!     [bizproc]
//!     level = "debug"
//!     linger = "500ms"
//!     queue_lines = 1000
//!     wording = "ru"
//!     line_time = "+03:00"
//!
//!     [bizproc.fields]
//!     private = ["password", "card.*"]
//!     shorten = { body = 200 }
//!     "#,
//! )?;
//! let builder = tracing_bizproc::builder(settings.webhook).config(&settings.bizproc);
//! # drop(builder);
//! # Ok(())
//! # }
//! ```
//!
//! A journal to publish to is a value of the program, so it is not among the options:
//! `Builder::publish_to` sets it.
//!
//! # The options
//!
//! The names are those of the methods of [`Builder`](crate::Builder), whose docs have defaults and limits.
//! The environment variable is `BIZPROC_` and the name in capitals; a dot becomes an underscore.
//!
//! | option | variable | value |
//! |---|---|---|
//! | `disabled` | `BIZPROC_DISABLED` | `true`: nothing is sent, as with [`disabled`](crate::disabled) |
//! | `self_hosted` | `BIZPROC_SELF_HOSTED` | `true`: the preset for self-hosted portals |
//! | `level` | `BIZPROC_LEVEL` | `off`, `error`, `warn`, `info`, `debug` or `trace` |
//! | `linger`, `max_hold`, `max_age`, `operating_limit`, `shutdown_timeout`, `connect_timeout`, `request_timeout` | `BIZPROC_LINGER`, .. | a time: `500ms`, `10s`, `5min`, `1h30min` |
//! | `retention` | `BIZPROC_RETENTION` | `cloud`, `self-hosted`, or `keep 50 base 1s growth 1.3` |
//! | `send_at_once_from` | `BIZPROC_SEND_AT_ONCE_FROM` | a level |
//! | `entry_bytes`, `line_bytes`, `request_bytes`, `pending_bytes` | `BIZPROC_ENTRY_BYTES`, .. | bytes: `60000`, `16MiB` |
//! | `queue_lines`, `pending_lines` | `BIZPROC_QUEUE_LINES`, .. | a number |
//! | `portal_share`, `token_share` | `BIZPROC_PORTAL_SHARE`, .. | a number above 0, at most 1 |
//! | `quota` | `BIZPROC_QUOTA` | `standard`, `enterprise`, `unlimited`, or `1.5/s burst 25` |
//! | `overflow` | `BIZPROC_OVERFLOW` | `drop-newest`, `drop-oldest`, or `block 100ms` |
//! | `on_unknown_outcome` | `BIZPROC_ON_UNKNOWN_OUTCOME` | `repeat` or `give-up` |
//! | `format` | `BIZPROC_FORMAT` | `story`, `message-only`, `full` or `json` |
//! | `wording` | `BIZPROC_WORDING` | `en` or `ru` |
//! | `line_time` | `BIZPROC_LINE_TIME` | `viewer`, `utc`, `none`, or an offset such as `+03:00` |
//! | `line_prefix` | `BIZPROC_LINE_PREFIX` | text |
//! | `keep_supplementary_characters` | `BIZPROC_KEEP_SUPPLEMENTARY_CHARACTERS` | `true` or `false` |
//! | `fail_open_activities` | `BIZPROC_FAIL_OPEN_ACTIVITIES` | text |
//! | `extra_roots_file` | `BIZPROC_EXTRA_ROOTS_FILE` | the path of a PEM file, which is read at once |
//! | `trust_certificate` | `BIZPROC_TRUST_CERTIFICATE` | SHA-256 fingerprints in hexadecimal digits, separated by commas |
//! | `fields.event_token`, `fields.portal`, `fields.marker` | `BIZPROC_FIELDS_EVENT_TOKEN`, .. | a field's name |
//! | `fields.private` | `BIZPROC_FIELDS_PRIVATE` | names, separated by commas |
//! | `fields.shorten` | `BIZPROC_FIELDS_SHORTEN` | names and bytes: `body=200, agent=20` |
//! | `fields.longest`, `fields.longest_in_spans` | `BIZPROC_FIELDS_LONGEST`, .. | bytes |
//! | `fields.marked_from` | `BIZPROC_FIELDS_MARKED_FROM` | a level |
//! | `spool.dir` | `BIZPROC_SPOOL_DIR` | a directory: lines are kept there until they are settled (feature `spool`) |
//! | `spool.fsync` | `BIZPROC_SPOOL_FSYNC` | `true`: lines survive a loss of power, too |
//! | `spool.bound`, `spool.max_age` | `BIZPROC_SPOOL_BOUND`, .. | a time. With a spool, `spool.max_age` is set and not `max_age` |
//! | `spool.max_bytes` | `BIZPROC_SPOOL_MAX_BYTES` | bytes |
//!
//! Credentials are secrets, so they are not options: [`Webhook::from_env`](crate::auth::Webhook::from_env)
//! reads `BITRIX24_WEBHOOK_URL`, and [`OAuth::from_env`](crate::auth::OAuth::from_env) reads
//! `BITRIX24_CLIENT_ID` and `BITRIX24_CLIENT_SECRET`.

use std::env;
use std::ffi::OsStr;
use std::time::Duration;

use tracing_core::{Level, LevelFilter};

use crate::error::ConfigError;
use crate::format::{Language, LineTime};
pub use crate::queue::Overflow;
pub use crate::worker::rate::Quota;
pub use crate::worker::retry::UnknownOutcome;
pub use crate::worker::schedule::Retention;

mod duration;
#[cfg(feature = "serde")]
mod serde;
mod setting;
mod values;

use self::setting::{Fingerprints, List, Prefix, Setting, Shortened};
pub(crate) use self::setting::{ReadyFormat, RootsFile};

/// Declares the options: their fields, and their names as text.
macro_rules! options {
    ($($field:ident $name:literal: $of:ty,)*) => {
        /// Options that were given as text. See the [module](self) for their names.
        ///
        /// ```
        /// use tracing_bizproc::config::Config;
        ///
        /// # fn main() -> Result<(), tracing_bizproc::error::ConfigError> {
        /// let mut config = Config::new();
        /// config.set("linger", "500ms")?;
        /// config.set("fields.private", "password, card.*")?;
        ///
        /// let error = config.set("level", "loud").unwrap_err();
        /// assert_eq!(
        ///     error.to_string(),
        ///     "level is \"loud\": expected off, error, warn, info, debug or trace"
        /// );
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $(pub(crate) $field: Option<$of>,)*
        }

        /// The names of all options.
        const NAMES: &[&str] = &[$($name),*];

        impl Config {
            fn parse(&mut self, name: &str, text: &str, said: &str) -> Result<(), ConfigError> {
                match name {
                    $($name => self.$field = Some(Setting::parse(text, said)?),)*
                    _ => return Err(unknown(said, name)),
                }
                Ok(())
            }

            /// The options that were given, by their names, as text that [`set`](Self::set) takes.
            pub fn options(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
                let shown = [$(($name, self.$field.as_ref().map(Setting::show)),)*];
                shown.into_iter().filter_map(|(name, text)| Some((name, text?)))
            }
        }
    };
}

options! {
    disabled "disabled": bool,
    self_hosted "self_hosted": bool,
    level "level": LevelFilter,
    linger "linger": Duration,
    max_hold "max_hold": Duration,
    retention "retention": Retention,
    send_at_once_from "send_at_once_from": Level,
    entry_bytes "entry_bytes": usize,
    line_bytes "line_bytes": usize,
    request_bytes "request_bytes": usize,
    quota "quota": Quota,
    operating_limit "operating_limit": Duration,
    overflow "overflow": Overflow,
    queue_lines "queue_lines": usize,
    pending_lines "pending_lines": usize,
    pending_bytes "pending_bytes": usize,
    portal_share "portal_share": f64,
    token_share "token_share": f64,
    max_age "max_age": Duration,
    on_unknown_outcome "on_unknown_outcome": UnknownOutcome,
    format "format": ReadyFormat,
    wording "wording": Language,
    line_time "line_time": LineTime,
    line_prefix "line_prefix": Prefix,
    keep_supplementary_characters "keep_supplementary_characters": bool,
    shutdown_timeout "shutdown_timeout": Duration,
    fail_open_activities "fail_open_activities": String,
    connect_timeout "connect_timeout": Duration,
    request_timeout "request_timeout": Duration,
    extra_roots_file "extra_roots_file": RootsFile,
    trust_certificate "trust_certificate": Fingerprints,
    event_token_field "fields.event_token": String,
    portal_field "fields.portal": String,
    marker_field "fields.marker": String,
    private_fields "fields.private": List,
    shortened_fields "fields.shorten": Shortened,
    longest "fields.longest": usize,
    longest_in_spans "fields.longest_in_spans": usize,
    marked_from "fields.marked_from": LevelFilter,
    spool_dir "spool.dir": String,
    spool_fsync "spool.fsync": bool,
    spool_bound "spool.bound": Duration,
    spool_max_bytes "spool.max_bytes": usize,
    spool_max_age "spool.max_age": Duration,
}

impl Config {
    /// No option is set.
    pub fn new() -> Self {
        Config::default()
    }

    /// Reads the options from environment variables. An empty variable is ignored.
    ///
    /// Other variables that begin with `BIZPROC_` are ignored, because other programs may use them. A
    /// name that differs from an option in one or two letters is an error.
    ///
    /// # Errors
    /// When the value of a variable is not valid. The error names both.
    pub fn from_env() -> Result<Self, ConfigError> {
        Config::from_variables(env::vars_os())
    }

    /// As [`from_env`](Self::from_env), with variables from another source, for example a `.env` file.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_variables<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Config::new();
        for (variable, value) in variables {
            let Some(variable) = variable.as_ref().to_str() else { continue };
            if !variable.starts_with(PREFIX) {
                continue;
            }
            let own = |name: &&&str| variable_of(name) == variable;
            match NAMES.iter().find(own) {
                Some(name) => {
                    let value = value
                        .as_ref()
                        .to_str()
                        .ok_or_else(|| ConfigError::NotUnicode { variable: variable.to_owned() })?;
                    if !value.trim().is_empty() {
                        config.parse(name, value, variable)?;
                    }
                }
                None => {
                    let mut options = NAMES.iter().map(|name| variable_of(name));
                    if let Some(meant) = options.find(|option| is_misspelled(option, variable)) {
                        let name = variable.to_owned();
                        return Err(ConfigError::Unknown { name, meant: Some(meant) });
                    }
                }
            }
        }
        Ok(config)
    }

    /// Sets the option with this name.
    ///
    /// # Errors
    /// When there is no such option, or the value is not valid.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        self.parse(name, value, name)
    }
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('.', "_"))
}

fn unknown(said: &str, name: &str) -> ConfigError {
    let meant = NAMES.iter().find(|option| is_misspelled(option, name));
    ConfigError::Unknown { name: said.to_owned(), meant: meant.map(|option| (*option).to_owned()) }
}

/// Whether the two names differ in one or two letters.
fn is_misspelled(option: &str, given: &str) -> bool {
    let (option, given) = (option.as_bytes(), given.as_bytes());
    if option.len().abs_diff(given.len()) > 2 {
        return false;
    }
    // The Levenshtein distance, row by row.
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (n, a) in option.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (m, b) in given.iter().enumerate() {
            let kept = diagonal + usize::from(a != b);
            diagonal = row[m + 1];
            row[m + 1] = kept.min(row[m] + 1).min(row[m + 1] + 1);
        }
    }
    (1..=2).contains(&row[given.len()])
}

/// The prefix of the environment variables.
const PREFIX: &str = "BIZPROC_";

#[cfg(test)]
mod tests;
