//! Reasons why the layer does not see spans or events of a process log.

use std::fmt;

use tracing_core::{LevelFilter, Metadata};

/// Why the layer did not see a span or an event of a process log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unseen {
    /// A filter hides a span that declares an event token.
    Filtered,
    /// Another layer panicked while it held the lock of the span's data, so the data cannot be read any
    /// more.
    Poisoned,
    /// A filter hides the span of an event, and the subscriber's type does not forward `downcast_raw` to the
    /// Registry, so the spans around the hidden one are not found.
    Enclosed,
}

impl Unseen {
    pub(crate) const ALL: [Unseen; 3] = [Unseen::Filtered, Unseen::Poisoned, Unseen::Enclosed];
}

/// How we know that a hidden span belongs to a process log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The app works on an activity.
    Activity,
    /// The code has a callsite with the token field. The app may not have had an activity yet.
    Code,
}

/// What a filter hides. Its `Display` says what to add to the filter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hidden {
    /// The span of an activity, which is this crate's own.
    Activity,
    /// A span or an event that declares an event token.
    Callsite(&'static Metadata<'static>),
    /// All spans at INFO, by the level of the whole process.
    Level(LevelFilter),
    /// All records that our logger wants, by `log::max_level()`, with the level's name in the `log` crate.
    #[cfg(feature = "log")]
    Records(&'static str),
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Hidden) -> bool {
        match (self, other) {
            (Hidden::Callsite(one), Hidden::Callsite(other)) => std::ptr::eq(*one, *other),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hidden::Activity => f.write_str(
                "the span of an activity: let `tracing_bizproc=info` through, as in \
                 RUST_LOG=my_app=info,tracing_bizproc=info, and check that the layer is part of the \
                 subscriber",
            ),
            Hidden::Callsite(metadata) => {
                let (target, kind) =
                    (metadata.target(), if metadata.is_span() { "span" } else { "event" });
                let level = metadata.level().as_str().to_lowercase();
                write!(f, "the {kind} `{}`: let `{target}={level}` through", metadata.name())
            }
            Hidden::Level(level) => write!(
                f,
                "every span at INFO, because the maximum level of the whole process is {}: let INFO through",
                level.to_string().to_uppercase()
            ),
            #[cfg(feature = "log")]
            Hidden::Records(level) => write!(
                f,
                "every record, because `log::max_level()` is {level}: call `BizprocLogger::init`, or \
                 `log::set_max_level`"
            ),
        }
    }
}
