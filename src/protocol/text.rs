//! What may stand in a `LOG_MESSAGE`: one line made safe, lines joined into entries, entries split.

/// Largest entry: the portal's note column holds 65,535 bytes (MySQL TEXT, server behaviour); the
/// rest is room for what the portal adds.
pub(crate) const ENTRY_BYTES: usize = 60_000;

/// Opens every line, since the page collapses line breaks. Never stands inside a line: see
/// [`push_safe`].
pub(crate) const LINE_MARK: char = '•';

/// What happens to characters above U+FFFF, which some installations cannot store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Astral {
    /// Written as `\u{1F600}`.
    Escape,
    /// Written as they are: the portal is known to store them.
    Keep,
}

/// Appends `text` to `out` so that it can neither break the portal's storage, nor be substituted
/// or interpreted by it, nor pose as another line.
pub(crate) fn push_safe(out: &mut String, text: &str, astral: Astral) {
    let _ = (out, text, astral);
    todo!()
}
