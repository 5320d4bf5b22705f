//! How a line of the process log looks: its language, its time, and what it shows of an event.
//!
//! All of this runs on the worker's thread. An event call only packs typed values, so a format costs the
//! caller nothing.
//!
//! Three choices, each an option of [`Builder`](crate::Builder):
//!
//! - [`format`](crate::Builder::format): what is shown of an event. [`Story`] is the default;
//!   others are [`MessageOnly`], [`Full`], [`Json`], a closure, and your own [`Format`].
//! - [`wording`](crate::Builder::wording): the language of the texts of this crate.
//!   [`Language::English`] is the default; others are [`Language::Russian`] and your own [`Wording`].
//! - [`line_time`](crate::Builder::line_time): how a line shows its time, see [`LineTime`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
//! use tracing_bizproc::format::{Language, LineTime, MessageOnly, UtcOffset};
//!
//! let builder = tracing_bizproc::builder(webhook)
//!     .format(MessageOnly)
//!     .wording(Language::Russian)
//!     .line_time(LineTime::Offset(UtcOffset::hours(3)))
//!     .line_prefix("Магазин: ");
//! # drop(builder);
//! # Ok(())
//! # }
//! ```
//!
//! # What a format cannot do
//!
//! The text of a format is made safe afterwards. It stays one line: line breaks become ` ¶ `. The mark at the
//! beginning of a line (`•`) becomes `·`. Expressions that the portal would evaluate (`$result[..]`,
//! `{=user:..}`, `[timestamp=..]`) are shown as text. If a format panics or returns an error, no line is
//! lost: the line is written as [`Story`] does, and
//! [`Snapshot::format_failures`](crate::stats::Snapshot::format_failures) counts it.

use std::fmt;

mod language;
mod line;
mod ready;
mod time;
mod value;
mod wording;

pub use self::language::Language;
pub use self::line::{Field, Line, Span};
pub use self::ready::{Full, Json, MessageOnly, Story};
pub use self::time::{LineTime, UtcOffset};
pub(crate) use self::time::{unix_seconds, write_clock};
pub(crate) use self::value::Sink;
pub use self::wording::Wording;
pub(crate) use self::wording::{TELLS_CUT, Words};
pub use crate::line::Value;

/// Makes the text of a line of an event.
///
/// It may be a closure that takes a [`Line`] and writes to the sink. The mark, the time and the prefix of
/// the line come before this text.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// use std::fmt::Write;
/// use tracing_bizproc::format::Line;
///
/// let builder = tracing_bizproc::builder(webhook).format(|line: &Line<'_>, out: &mut dyn Write| {
///     write!(out, "[{}] ", line.target())?;
///     if let Some(message) = line.message() {
///         write!(out, "{message}")?;
///     }
///     for field in line.fields() {
///         write!(out, " {}: {field};", field.name())?;
///     }
///     Ok(())
/// });
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
///
/// It runs on the worker's thread, once for each line, and all other lines wait while it runs: it must not
/// block. A line that is longer than [`line_bytes`](crate::Builder::line_bytes) is cut, and
/// says so; when 1 MiB more has been written, the sink returns errors.
pub trait Format: Send + Sync + 'static {
    /// Writes the text of `line`.
    ///
    /// # Errors
    /// The errors of `out`. After an error the line is written as [`Story`] does, and counted as a
    /// [failure](crate::stats::Snapshot::format_failures).
    fn format(&self, line: &Line<'_>, out: &mut dyn fmt::Write) -> fmt::Result;
}

impl<F> Format for F
where
    F: Fn(&Line<'_>, &mut dyn fmt::Write) -> fmt::Result + Send + Sync + 'static,
{
    fn format(&self, line: &Line<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        self(line, out)
    }
}
