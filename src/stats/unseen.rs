//! Why the layer may not be shown what is meant for it.

use std::fmt;

use tracing_core::{LevelFilter, Metadata};

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

/// What shows that something was meant for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The app works on an activity.
    Activity,
    /// Only that the code has such a callsite: the app may have had no activity at all.
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
    /// All records that our logger wants, by the level of the `log` crate: its own name for that.
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
                 RUST_LOG=my_app=info,tracing_bizproc=info, and see that the layer is part of the \
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
                "every span at INFO, since the level of the whole process is {}: let INFO through",
                level.to_string().to_uppercase()
            ),
            #[cfg(feature = "log")]
            Hidden::Records(level) => write!(
                f,
                "every record, since `log::max_level()` is {level}: call `BizprocLogger::init`, or \
                 `log::set_max_level`"
            ),
        }
    }
}
