//! A record as a line: packed like an event, with the names of its key-values.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::kv::{self, Key, VisitSource, VisitValue};
use log::{Level, Record};
use tracing_core::field::FieldSet;
use tracing_core::{Callsite, Interest, Kind, Metadata, identify_callsite};

use crate::fields::Fields;
use crate::line::{Packed, Packer, RECORD_FIELDS, RECORD_TARGET, Value};

/// The metadata and the fields of a record.
pub(super) fn packed(record: &Record<'_>, fields: &Fields) -> (&'static Metadata<'static>, Packed) {
    let metadata = metadata(record.level());
    let mut packer = Packer::new();
    for field in metadata.fields() {
        match field.name() {
            "message" => message(&mut packer, &field, record),
            "log.target" => packer.str(&field, record.target(), usize::MAX),
            "log.module_path" => {
                record
                    .module_path()
                    .into_iter()
                    .for_each(|path| packer.str(&field, path, usize::MAX));
            }
            "log.file" => {
                record.file().into_iter().for_each(|file| packer.str(&field, file, usize::MAX))
            }
            _ => record.line().into_iter().for_each(|line| {
                packer.word(&field, crate::line::Kind::U64, u64::from(line).to_le_bytes());
            }),
        }
    }
    // If the source returns an error, the rest of its key-values is lost for all loggers.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        record.key_values().visit(&mut Pairs(&mut packer, fields))
    }));
    packer.finish();
    (metadata, packer.take())
}

/// The text. Code of the app writes it, and may panic. Without this logger it might not have been called.
fn message(packer: &mut Packer, field: &tracing_core::Field, record: &Record<'_>) {
    let start = packer.len();
    let written = catch_unwind(AssertUnwindSafe(|| {
        packer.text(field, usize::MAX, |sink| {
            // An error of the sink (it is full) or of the value. The text so far is kept.
            let _enough = sink.write_fmt(*record.args());
        });
    }));
    if written.is_err() {
        packer.truncate(start);
        packer.unwritable(field);
    }
}

struct Pairs<'a>(&'a mut Packer, &'a Fields);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let (Pairs(packer, fields), name) = (self, key.as_str());
        let marks = fields.is_marker(name) && value.to_bool().is_some();
        if marks || fields.is_token(name) || fields.names().contain(name) || fields.hides(name) {
            return Ok(());
        }
        value.visit(&mut Named(packer, name, fields.limit_of(name, true)))
    }
}

/// A value under its name.
struct Named<'a>(&'a mut Packer, &'a str, usize);

impl<'v> VisitValue<'v> for Named<'_> {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        // `Display`, as loggers show it.
        self.visit_str(&value.to_string())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::U64(value), self.2);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::I64(value), self.2);
        Ok(())
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::U128(value), self.2);
        Ok(())
    }

    fn visit_i128(&mut self, value: i128) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::I128(value), self.2);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::F64(value), self.2);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::Bool(value), self.2);
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0.named(self.1, Value::Str(value), self.2);
        Ok(())
    }
}

fn metadata(level: Level) -> &'static Metadata<'static> {
    match level {
        Level::Error => &ERROR.0,
        Level::Warn => &WARN.0,
        Level::Info => &INFO.0,
        Level::Debug => &DEBUG.0,
        Level::Trace => &TRACE.0,
    }
}

/// The metadata of all records of a level. They are not registered, because no subscriber sees records.
struct OfLevel(Metadata<'static>);

impl Callsite for OfLevel {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &self.0
    }
}

macro_rules! of_level {
    ($name:ident) => {
        static $name: OfLevel = OfLevel(Metadata::new(
            "log record",
            RECORD_TARGET,
            tracing_core::Level::$name,
            None,
            None,
            None,
            FieldSet::new(RECORD_FIELDS, identify_callsite!(&$name)),
            Kind::EVENT,
        ));
    };
}

of_level!(ERROR);
of_level!(WARN);
of_level!(INFO);
of_level!(DEBUG);
of_level!(TRACE);
