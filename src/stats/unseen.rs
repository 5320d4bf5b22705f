//! Why the layer may not be shown what is meant for it.

/// Something that was meant for a log was hidden from the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unseen {
    /// A filter hides a span that declares an event token.
    Filtered,
    /// Another layer panicked while it held the span's data, which cannot be read since.
    Poisoned,
    /// A filter hides an event's span, and the subscriber's type hides the Registry, which knows the
    /// spans around that.
    Enclosed,
}

impl Unseen {
    pub(crate) const ALL: [Unseen; 3] = [Unseen::Filtered, Unseen::Poisoned, Unseen::Enclosed];
}
