//! An event, as a format sees it.

use std::fmt;
use std::time::SystemTime;

use tracing_core::Level;

use super::value::{self, Sink};
use super::wording::Words;
use crate::fields::MESSAGE;
use crate::line::{FIELDS_LEFT_OUT, LogLine, SpanFields, Value};

/// An event, as a [`Format`](super::Format) sees it: its message, its fields, the spans around it, and its
/// place in the code.
///
/// The field with the event token, and its portal, are not among the fields, nor are private ones.
///
/// ```
/// use std::fmt::{self, Write};
/// use tracing_bizproc::format::Line;
///
/// /// WARN Card declined (payment: amount=99.5)
/// fn with_level(line: &Line<'_>, out: &mut dyn Write) -> fmt::Result {
///     write!(out, "{} ", line.level())?;
///     line.message().map_or(Ok(()), |message| write!(out, "{message}"))
/// }
/// let builder = tracing_bizproc::disabled().format(with_level);
/// # drop(builder);
/// ```
#[derive(Clone, Copy)]
pub struct Line<'a> {
    source: &'a LogLine,
    words: &'a Words,
}

impl<'a> Line<'a> {
    pub(crate) fn new(source: &'a LogLine, words: &'a Words) -> Self {
        Line { source, words }
    }

    /// The message of the event. `None` if it has only fields.
    pub fn message(&self) -> Option<Field<'a>> {
        let (name, value) = self.source.fields().find(|(name, _)| *name == MESSAGE)?;
        (value != Value::Str("")).then(|| self.field(name, value))
    }

    /// The event's own fields, in the order in which they were written, without the message.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let line = *self;
        let mut message_passed = false;
        let others = self.source.fields().filter(move |(name, _)| {
            // A second field of that name is an ordinary field.
            let message = *name == MESSAGE && !message_passed;
            message_passed |= message;
            !message
        });
        others.map(move |(name, value)| line.field(name, value))
    }

    /// The spans between the tagged span and the event, innermost first. Spans without fields are
    /// left out.
    pub fn spans(&self) -> impl Iterator<Item = Span<'a>> + use<'a> {
        let words = self.words;
        self.source.spans().map(move |source| Span { source, words })
    }

    /// The event's level.
    pub fn level(&self) -> Level {
        *self.source.metadata.level()
    }

    /// The word for the level in the language of the log: `WARNING`, `ERROR`. Empty for levels that are not
    /// shown.
    pub fn level_word(&self) -> &'a str {
        self.words.level(self.level())
    }

    /// The event's target: the path of its module, if it names no other. Of a record of the `log` crate,
    /// its own.
    pub fn target(&self) -> &'a str {
        self.source.origin().target
    }

    /// The path of the module that logged it, if known.
    pub fn module_path(&self) -> Option<&'a str> {
        self.source.origin().module_path
    }

    /// The source file that logged it, if known.
    pub fn file(&self) -> Option<&'a str> {
        self.source.origin().file
    }

    /// The line in that file, if known.
    pub fn line_number(&self) -> Option<u32> {
        self.source.origin().line
    }

    /// When it was logged, by the clock of the app. (Exact for [`Json`](super::Json) and formats of your
    /// own. For the others, which show seconds, it may be a few milliseconds early.)
    pub fn time(&self) -> SystemTime {
        self.source.at
    }

    fn field(&self, name: &'a str, value: Value<'a>) -> Field<'a> {
        Field::new(name, value, self.words)
    }
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("level", &self.level())
            .field("target", &self.target())
            .finish_non_exhaustive()
    }
}

/// A span around an event.
///
/// ```
/// use std::fmt::{self, Write};
/// use tracing_bizproc::format::Line;
///
/// /// order > payment: Card charged
/// fn with_spans(line: &Line<'_>, out: &mut dyn Write) -> fmt::Result {
///     let names: Vec<&str> = line.spans().map(|span| span.name()).collect();
///     write!(out, "{}: ", names.join(" > "))?;
///     line.message().map_or(Ok(()), |message| write!(out, "{message}"))
/// }
/// let builder = tracing_bizproc::disabled().format(with_spans);
/// # drop(builder);
/// ```
#[derive(Clone, Copy)]
pub struct Span<'a> {
    source: &'a SpanFields,
    words: &'a Words,
}

impl<'a> Span<'a> {
    /// The span's name.
    pub fn name(&self) -> &'a str {
        self.source.metadata.name()
    }

    /// The span's target.
    pub fn target(&self) -> &'a str {
        self.source.metadata.target()
    }

    /// The span's own fields. There is at least one.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let words = self.words;
        self.source.fields().map(move |(name, value)| Field::new(name, value, words))
    }
}

impl fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.name()).finish()
    }
}

/// A field of an event or of a span. Its `Display` is its value as the log shows it.
///
/// - A float has at most 15 significant digits: `0.3`, not `0.30000000000000004`. One that was an
///   `f32` is shown with the digits of an `f32`: `0.1`, not `0.10000000149011612`.
/// - A `SystemTime` (written as `?time`) is shown as date and time of day.
/// - An error (`error = &e as &dyn Error`) is shown with its sources: `not saved: disk full`.
/// - An `Option` that is a field by itself shows what is in it; `None` leaves the field out. With
///   `?` it is shown as Rust writes it, `Some(5)`.
///
/// ```
/// use std::fmt::{self, Write};
/// use tracing_bizproc::format::Line;
///
/// /// amount: 99.5; currency: EUR;
/// fn only_fields(line: &Line<'_>, out: &mut dyn Write) -> fmt::Result {
///     line.fields().try_for_each(|field| write!(out, "{}: {field}; ", field.name()))
/// }
/// let builder = tracing_bizproc::disabled().format(only_fields);
/// # drop(builder);
/// ```
#[derive(Clone, Copy)]
pub struct Field<'a> {
    name: &'a str,
    value: Value<'a>,
    words: &'a Words,
}

impl<'a> Field<'a> {
    fn new(name: &'a str, value: Value<'a>, words: &'a Words) -> Self {
        // The one name that is this crate's own.
        let name = if name == FIELDS_LEFT_OUT { words.fields_left_out() } else { name };
        Field { name, value, words }
    }

    /// The field's name.
    pub fn name(&self) -> &'a str {
        self.name.strip_prefix("r#").unwrap_or(self.name)
    }

    /// The value by its type.
    pub fn value(&self) -> Value<'a> {
        self.value
    }

    /// As `Display`, for a sink whose type is known.
    pub(super) fn write(&self, out: &mut impl Sink) -> fmt::Result {
        value::write(out, self.value, self.words)
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.name()).field(&self.value).finish()
    }
}
