//! Which fields have a meaning for the layer, and which are written, shortened or left out.

use std::borrow::Cow;

use tracing_core::field::Field;
use tracing_core::{LevelFilter, Metadata};

/// What the layer does with fields, by their names: which field has the event token, which fields are
/// private or shortened, and which field selects or excludes a single event.
///
/// For [`Builder::fields`](crate::Builder::fields). Names are compared as a whole, and the case matters.
/// This is computed once for each place in the code, not for each event.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// use tracing::Level;
/// use tracing_bizproc::fields::Fields;
///
/// let fields = Fields::new()
///     .event_token("b24_token")
///     .private(["password", "card.*"])
///     .shorten("body", 200)
///     .marked_from(Level::DEBUG);
/// let builder = tracing_bizproc::builder(webhook).fields(fields);
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
///
/// # Private without an option
///
/// A field whose name begins with `private.` is never written to the log of a process. Other layers
/// show it as they show all fields:
///
/// ```
/// let card = "4242 4242 4242 4242";
/// tracing::info!(amount = 99.5, private.card = card, "Card charged");
/// ```
///
/// # Marked events
///
/// An event with `bizproc = false` is not written, whatever its level. One with `bizproc = true` is
/// written although it is below the layer's level, down to [`marked_from`](Self::marked_from). The field
/// itself is not shown. The value has to be a `bool`. With another type, or on a span, it is an ordinary
/// field.
///
/// ```
/// tracing::info!(bizproc = false, "Retrying, for the engineers");
/// tracing::debug!(bizproc = true, "For the process's owner, if the app said `marked_from`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing by itself: hand it to `Builder::fields`"]
pub struct Fields {
    names: Names,
    /// Whether the names are other than the usual ones.
    renamed: bool,
    private: Vec<String>,
    shortened: Vec<(String, usize)>,
    longest: usize,
    longest_in_spans: usize,
    marker: Cow<'static, str>,
    marked_from: LevelFilter,
}

/// The fields that say to which log an event belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) event_token: Cow<'static, str>,
    pub(crate) portal: Cow<'static, str>,
}

impl Fields {
    const DEFAULT: Fields = Fields {
        names: Names::DEFAULT,
        renamed: false,
        private: Vec::new(),
        shortened: Vec::new(),
        longest: usize::MAX,
        longest_in_spans: LONGEST_IN_SPANS,
        marker: Cow::Borrowed("bizproc"),
        marked_from: LevelFilter::OFF,
    };

    /// The defaults; see each method.
    pub const fn new() -> Self {
        Fields::DEFAULT
    }

    /// The field of a span or an event that contains the event token. Default: `event_token`.
    ///
    /// With another name, a field `event_token` is ignored. It is not written either, because it probably
    /// contains a secret.
    pub fn event_token(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.names.event_token = name.into();
        self.renamed = true;
        self
    }

    /// The field, in the same span or event, that names the portal of the event token. Default: `portal`.
    pub fn portal(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.names.portal = name.into();
        self.renamed = true;
        self
    }

    /// Fields that are never written, neither those of events nor those of spans. They are added to the
    /// fields given before; default: those that begin with `private.`. A name that ends in `.*` means all
    /// fields that begin with the text before `*`.
    ///
    /// The message, and the inside of a value, are not checked.
    pub fn private<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.private.extend(names.into_iter().map(Into::into));
        self
    }

    /// Shortens a field to this number of bytes. The line says how many are missing. The last call for a field
    /// counts. Default: no field.
    pub fn shorten(mut self, name: impl Into<String>, bytes: usize) -> Self {
        self.shortened.push((name.into(), bytes));
        self
    }

    /// Longest value of an event's field, in bytes. The rest is cut, with a mark that says how much. The
    /// message is not affected. Default: only the limit of an event, 1 MiB.
    pub fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// As [`longest`](Self::longest), for fields of spans, which every line inside the span repeats.
    /// Default: 1,024.
    pub fn longest_in_spans(mut self, bytes: usize) -> Self {
        self.longest_in_spans = bytes;
        self
    }

    /// The field that selects or excludes an event. Default: `bizproc`.
    pub fn marker(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.marker = name.into();
        self
    }

    /// Events of this level and above are written if they are [marked](Self#marked-events) with
    /// `true`, also below the layer's own level. Default: off.
    ///
    /// The maximum level of the process must then be at least that verbose. This layer asks for it, so
    /// `tracing` and `log` look at all events of these levels. Layers with a filter see the same as before.
    pub fn marked_from(mut self, level: impl Into<LevelFilter>) -> Self {
        self.marked_from = level.into();
        self
    }

    /// What is wrong with the names, if something is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let Names { event_token, portal } = &self.names;
        let own = [&**event_token, &**portal, &*self.marker];
        let private = self.private.iter().map(String::as_str);
        let shortened = self.shortened.iter().map(|(name, _)| name.as_str());
        if own.into_iter().chain(private).chain(shortened).any(|name| name.trim().is_empty()) {
            Some("must not have a field without a name")
        } else if own.contains(&MESSAGE) {
            Some("must not use the field `message` for the token, the portal or the marker")
        } else if event_token == portal || own[..2].contains(&&*self.marker) {
            Some("needs three different names for the token, the portal and the marker")
        } else if own[..2].iter().any(|name| self.shortened(name).is_some()) {
            Some("must not shorten the token or the portal, because they are never shown")
        } else if self.private.iter().any(|name| !is_clear(name)) {
            Some("knows `*` only at the end of a private name, after a dot: `card.*`")
        } else if self.shortened.iter().any(|(name, _)| name.contains('*')) {
            Some("must not have `*` in the name of a field to shorten: name each field")
        } else if own.iter().any(|name| name.trim() != *name) {
            Some("must not have spaces around the names for the token, the portal and the marker")
        } else if own[..2].iter().any(|name| self.hides(name)) {
            Some("must not list the token or the portal as private, because they are never shown")
        } else {
            None
        }
    }

    /// The token's field, if these metadata declare one, and the names that are in use there.
    #[inline]
    pub(crate) fn token_field(&self, metadata: &Metadata<'_>) -> Option<(Field, &Names)> {
        match metadata.fields().field(&*self.names.event_token) {
            Some(field) => Some((field, &self.names)),
            None if self.renamed => self.own_token_field(metadata),
            None => None,
        }
    }

    /// The spans that this crate makes itself keep its own names.
    #[cold]
    fn own_token_field(&self, metadata: &Metadata<'_>) -> Option<(Field, &Names)> {
        let own = metadata.target() == OWN_SPANS;
        let field = if own { metadata.fields().field(EVENT_TOKEN) } else { None };
        Some((field?, &Names::DEFAULT))
    }

    /// Whether some field of an event needs a look each time: it may be private, be cut, be the marker,
    /// or a token by another name.
    pub(crate) fn need_look(&self, metadata: &Metadata<'_>) -> bool {
        let special =
            |name: &str| self.is_marker(name) || self.hides(name) || self.shortened(name).is_some();
        self.renamed
            || self.longest != usize::MAX
            || metadata.fields().iter().any(|field| special(field.name()))
    }

    #[cfg(feature = "log")]
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    #[cfg(feature = "log")]
    pub(crate) fn marker_name(&self) -> &str {
        &self.marker
    }

    /// The marker's field, if these metadata declare it.
    pub(crate) fn marker_field(&self, metadata: &Metadata<'_>) -> Option<Field> {
        metadata.fields().field(&*self.marker)
    }

    /// Whether an event with this metadata is written if its marker says so.
    pub(crate) fn may_be_marked(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.marked_from
            && metadata.is_event()
            && self.marker_field(metadata).is_some()
    }

    pub(crate) fn lowest_marked(&self) -> LevelFilter {
        self.marked_from
    }

    /// Whether text of this field is a token, whatever else is known of it. The usual name is one also
    /// where another is in use: what has it is likely to be a secret.
    #[inline]
    pub(crate) fn is_token(&self, name: &str) -> bool {
        name == EVENT_TOKEN || self.renamed && name == self.names.event_token
    }

    /// Whether a field is private.
    pub(crate) fn hides(&self, name: &str) -> bool {
        name.starts_with(PRIVATE)
            || self.private.iter().any(|private| match private.strip_suffix('*') {
                Some(start) if start.ends_with('.') => name.starts_with(start),
                _ => name == private,
            })
    }

    pub(crate) fn is_marker(&self, name: &str) -> bool {
        name == self.marker
    }

    /// The bytes that are written of a field.
    pub(crate) fn limit_of(&self, name: &str, is_event: bool) -> usize {
        let longest = match is_event {
            true if name == MESSAGE => usize::MAX,
            true => self.longest,
            false => self.longest_in_spans,
        };
        self.shortened(name).unwrap_or(longest)
    }

    fn shortened(&self, name: &str) -> Option<usize> {
        let mut shortened = self.shortened.iter().rev();
        shortened.find(|(shortened, _)| shortened == name).map(|(_, bytes)| *bytes)
    }
}

impl Default for Fields {
    fn default() -> Self {
        Fields::DEFAULT
    }
}

impl Names {
    #[inline]
    pub(crate) fn contain(&self, name: &str) -> bool {
        name == self.event_token || name == self.portal
    }

    const DEFAULT: Names =
        Names { event_token: Cow::Borrowed(EVENT_TOKEN), portal: Cow::Borrowed(PORTAL) };
}

/// Whether a private name means what it says: a name, or a group such as `card.*`.
fn is_clear(name: &str) -> bool {
    let group = name.strip_suffix(".*").filter(|group| !group.is_empty());
    !group.unwrap_or(name).contains('*')
}

/// The field that makes a span's events lines of a business process's log.
pub(crate) const EVENT_TOKEN: &str = "event_token";
/// The field beside [`EVENT_TOKEN`] that says which portal the token is of.
const PORTAL: &str = "portal";
/// The field that `tracing` gives the text of an event.
pub(crate) const MESSAGE: &str = "message";
/// Fields whose names begin so are private everywhere.
const PRIVATE: &str = "private.";
/// Of a span's values, which each line inside repeats.
const LONGEST_IN_SPANS: usize = 1_024;
/// The target of the spans of activities.
const OWN_SPANS: &str = "tracing_bizproc::activity";
