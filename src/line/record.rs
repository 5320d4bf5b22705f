//! Events that are records of the `log` crate.
//!
//! The metadata of an event live for ever, those of a record do not. So tracing-log has one set of
//! metadata for all records of a level, and gives the target, the module, the file and the line of the
//! record as fields. The feature `log` of this crate does the same. The names of these fields identify
//! such an event, whichever version of tracing-log made it.

use tracing_core::Metadata;

use super::{LogLine, Value};

/// The target of all events that are records.
pub(crate) const RECORD_TARGET: &str = "log";

/// What a record says, and what it says of itself.
pub(crate) const RECORD_FIELDS: &[&str] =
    &["message", TARGET, "log.module_path", "log.file", "log.line"];

const TARGET: &str = "log.target";

/// Whether events with these metadata are records.
pub(super) fn is_record(metadata: &Metadata<'_>) -> bool {
    metadata.target() == RECORD_TARGET && metadata.fields().field(TARGET).is_some()
}

/// Whether a record's field says where it comes from, and is no part of what it says.
pub(super) fn is_origin(name: &str) -> bool {
    RECORD_FIELDS[1..].contains(&name)
}

/// Where an event was logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    pub(crate) target: &'a str,
    pub(crate) module_path: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) line: Option<u32>,
}

impl LogLine {
    /// Where the event was logged: a record says so itself.
    pub(crate) fn origin(&self) -> Origin<'_> {
        let metadata = self.metadata;
        let (target, module_path) = (metadata.target(), metadata.module_path());
        let mut origin =
            Origin { target, module_path, file: metadata.file(), line: metadata.line() };
        if is_record(metadata) {
            for (name, value) in self.fields.iter(metadata) {
                match (name, value) {
                    (TARGET, Value::Str(target)) => origin.target = target,
                    ("log.module_path", Value::Str(path)) => origin.module_path = Some(path),
                    ("log.file", Value::Str(file)) => origin.file = Some(file),
                    ("log.line", Value::U64(line)) => origin.line = u32::try_from(line).ok(),
                    _ => {}
                }
            }
        }
        origin
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_core::Callsite;

    use super::*;
    use crate::line::{Kind, Packer, Tag};

    /// As tracing-log makes them, by whatever version: other names are fields like others.
    #[test]
    fn the_place_of_a_record_is_in_its_fields() {
        let callsite = tracing::callsite!(
            name: "log event",
            kind: tracing::metadata::Kind::EVENT,
            target: "log",
            level: tracing::Level::WARN,
            fields: message, log.target, log.module_path, log.file, log.line, log.newer
        );
        let line = line(callsite.metadata(), |packer, name, field| match name {
            "log.line" => packer.word(field, Kind::U64, 7_u64.to_le_bytes()),
            _ => packer.str(field, name, usize::MAX),
        });
        let origin = Origin {
            target: "log.target",
            module_path: Some("log.module_path"),
            file: Some("log.file"),
            line: Some(7),
        };
        assert_eq!(line.origin(), origin);
        let names = line.fields().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names, ["message", "log.newer"]);
    }

    #[test]
    fn an_event_with_the_target_log_but_without_the_fields_is_not_a_record() {
        let callsite = tracing::callsite!(
            name: "sample",
            kind: tracing::metadata::Kind::EVENT,
            target: "log",
            level: tracing::Level::INFO,
            fields: message, log.file
        );
        let line =
            line(callsite.metadata(), |packer, name, field| packer.str(field, name, usize::MAX));
        assert_eq!((line.origin().target, line.origin().file), ("log", Some(file!())));
        assert_eq!(line.fields().count(), 2);
    }

    fn line(
        metadata: &'static Metadata<'static>,
        mut pack: impl FnMut(&mut Packer, &str, &tracing_core::Field),
    ) -> LogLine {
        let mut packer = Packer::new();
        for field in metadata.fields() {
            pack(&mut packer, field.name(), &field);
        }
        packer.finish();
        let fields = packer.take();
        let tag: Arc<Tag> = Tag::detached("t", None);
        LogLine { tag, metadata, at: std::time::UNIX_EPOCH, fields, span: None }
    }
}
