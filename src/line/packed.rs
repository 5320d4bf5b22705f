//! Fields as typed bytes: written on the caller's thread, read by the worker.
//!
//! A record is the field's index, its kind, and the value: eight or sixteen bytes of a number, or a
//! length and text. Formatting a number costs the caller about as much as all the rest of an event,
//! so the worker does it. Text that borrows is written at once.

use std::cell::Cell;
use std::fmt::{self, Write};

use tracing_core::Metadata;
use tracing_core::field::Field;

/// The fields of one event or span.
///
/// Few bytes travel in the line itself, which is 140 instructions of 1,640 and the one allocation less
/// than a box. (In time about 3 %.)
pub(crate) struct Packed(Bytes);

enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

/// Room for a sentence and two numbers. With it a line has 128 bytes, two cache lines, and is a message
/// to the worker without another word in front of it.
const SHORT: usize = 86;

/// The value of a field, by its type.
///
/// ```
/// use std::fmt::{self, Write};
/// use tracing_bizproc::format::{Line, Value};
///
/// /// Amounts with two places: amount=99.50
/// fn amounts(line: &Line<'_>, out: &mut dyn Write) -> fmt::Result {
///     line.fields().try_for_each(|field| match field.value() {
///         Value::F64(amount) => write!(out, "{}={amount:.2} ", field.name()),
///         _ => write!(out, "{}={field} ", field.name()),
///     })
/// }
/// let builder = tracing_bizproc::disabled().format(amounts);
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A signed integer of 128 bits.
    I128(i128),
    /// An unsigned integer of 128 bits.
    U128(u128),
    /// A float, also one that was an `f32`.
    F64(f64),
    /// Yes or no.
    Bool(bool),
    /// A string, or what `Debug` or `Display` wrote.
    Str(&'a str),
    /// The start of a text that was too long.
    Cut {
        /// What was kept.
        text: &'a str,
        /// At least how many bytes were not.
        missing: u64,
    },
    /// The value's `Debug` or `Display` panicked.
    Unwritable,
}

impl Packed {
    /// Most bytes that are captured of one event or span.
    pub(crate) const MAX_LEN: usize = 1 << 20;

    /// Records as a [`Packer`] wrote them.
    fn of(records: &[u8]) -> Packed {
        let mut short = [0; SHORT];
        match short.get_mut(..records.len()) {
            Some(room) => {
                room.copy_from_slice(records);
                Packed(Bytes::Short(records.len() as u8, short))
            }
            None => Packed(Bytes::Long(records.into())),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Bytes that are not kept here but in a box.
    #[inline]
    pub(crate) fn boxed_bytes(&self) -> usize {
        match &self.0 {
            Bytes::Short(..) => 0,
            Bytes::Long(bytes) => bytes.len(),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Long(bytes) => bytes,
        }
    }

    /// The values in the order in which they were recorded, under their fields' names.
    pub(crate) fn iter(
        &self,
        metadata: &'static Metadata<'static>,
    ) -> impl Iterator<Item = (&str, Value<'_>)> {
        Records(self.bytes()).filter_map(move |record| {
            if record.index == LEFT_OUT {
                return Some((FIELDS_LEFT_OUT, record.value));
            }
            if let Some(name) = record.name {
                return Some((name, record.value));
            }
            let field = metadata.fields().iter().nth(record.index.into())?;
            Some((field.name(), record.value))
        })
    }

    /// These fields, but for those that `newer` has: then its own.
    pub(crate) fn updated(&self, newer: &Packed) -> Packed {
        let mut bytes = Vec::with_capacity(self.len() + newer.len());
        let mut rest = Records(self.bytes());
        loop {
            let before = rest.0;
            let Some(record) = rest.next() else { break };
            if !Records(newer.bytes()).any(|other| other.index == record.index) {
                bytes.extend_from_slice(&before[..before.len() - rest.0.len()]);
            }
        }
        bytes.extend_from_slice(newer.bytes());
        bytes.truncate(Self::MAX_LEN + 64);
        Packed::of(&bytes)
    }
}

impl Default for Packed {
    #[inline]
    fn default() -> Packed {
        Packed(Bytes::Short(0, [0; SHORT]))
    }
}

/// The name under which the fields are counted that found no room.
pub(crate) const FIELDS_LEFT_OUT: &str = "fields_left_out";

/// The index of no field: the record counts the fields that found no room.
const LEFT_OUT: u8 = u8::MAX;
/// The index of no field: the record has its name with it.
const NAMED: u8 = u8::MAX - 1;

/// Bytes that are written one after the other: few of them where they stay, many of them in a vector.
struct Buffer {
    /// `Long`, of nothing, once the bytes are in `long`.
    packed: Packed,
    long: Vec<u8>,
}

impl Buffer {
    #[inline]
    fn new() -> Buffer {
        Buffer { packed: Packed::default(), long: Vec::new() }
    }

    #[inline]
    fn len(&self) -> usize {
        match &self.packed.0 {
            Bytes::Short(len, _) => usize::from(*len),
            Bytes::Long(_) => self.long.len(),
        }
    }

    #[inline]
    fn put<const N: usize>(&mut self, more: [u8; N]) {
        if let Bytes::Short(len, bytes) = &mut self.packed.0 {
            let start = usize::from(*len);
            if let Some(room) = bytes.get_mut(start..start + N) {
                room.copy_from_slice(&more);
                *len += N as u8;
                return;
            }
        }
        self.put_long(&more);
    }

    #[inline]
    fn put_text(&mut self, text: &str) {
        if let Bytes::Short(len, bytes) = &mut self.packed.0 {
            let start = usize::from(*len);
            if let Some(room) = bytes.get_mut(start..start + text.len()) {
                room.copy_from_slice(text.as_bytes());
                *len += text.len() as u8;
                return;
            }
        }
        self.put_long(text.as_bytes());
    }

    #[cold]
    #[inline(never)]
    fn put_long(&mut self, more: &[u8]) {
        if let Bytes::Short(..) = &self.packed.0 {
            self.long = SCRATCH.try_with(Cell::take).unwrap_or_default();
            self.long.clear();
            self.long.extend_from_slice(self.packed.bytes());
            self.packed = Packed(Bytes::Long(Box::default()));
        }
        self.long.extend_from_slice(more);
    }

    /// Replaces bytes that were written.
    #[inline]
    fn patch<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        let written = match &mut self.packed.0 {
            Bytes::Short(_, bytes) => &mut bytes[..],
            Bytes::Long(_) => &mut self.long,
        };
        if let Some(place) = written.get_mut(at..at + N) {
            place.copy_from_slice(&bytes);
        }
    }

    fn truncate(&mut self, to: usize) {
        match &mut self.packed.0 {
            Bytes::Short(len, _) => *len = to.min(usize::from(*len)) as u8,
            Bytes::Long(_) => self.long.truncate(to),
        }
    }

    #[inline]
    fn take(&mut self) -> Packed {
        match &self.packed.0 {
            Bytes::Short(..) => {
                std::mem::replace(&mut self.packed, Packed(Bytes::Long(Box::default())))
            }
            Bytes::Long(_) => self.take_long(),
        }
    }

    #[cold]
    #[inline(never)]
    fn take_long(&mut self) -> Packed {
        let long = std::mem::take(&mut self.long);
        let packed = Packed::of(&long);
        if long.capacity() <= MAX_SCRATCH {
            let _ = SCRATCH.try_with(|scratch| scratch.set(long));
        }
        packed
    }
}

thread_local! {
    /// For many bytes. Taken out and not borrowed, because code of the app runs in the meantime: a `Debug`
    /// impl that logs finds an empty buffer, and one that panics leaves none.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A larger one is freed and not kept for each thread.
const MAX_SCRATCH: usize = 64 * 1024;

/// Writes records, up to [`Packed::MAX_LEN`].
///
/// Few bytes are written where they stay until the line is sent. (Through a buffer for each thread,
/// they were filled up and copied once more: 60 instructions of 1,016.)
pub(crate) struct Packer {
    bytes: Buffer,
    left_out: u64,
}

impl Packer {
    #[inline]
    pub(crate) fn new() -> Packer {
        Packer { bytes: Buffer::new(), left_out: 0 }
    }

    /// Marks that fields are missing, if any are. Nothing is written after that.
    #[inline]
    pub(crate) fn finish(&mut self) {
        if self.left_out > 0 {
            self.bytes.put([LEFT_OUT, Kind::U64 as u8]);
            self.bytes.put(self.left_out.to_le_bytes());
        }
    }

    /// What was written, once it is finished. By reference, so that the bytes are not moved before.
    #[inline]
    pub(crate) fn take(&mut self) -> Packed {
        self.bytes.take()
    }

    #[inline]
    pub(crate) fn word(&mut self, field: &Field, kind: Kind, word: [u8; 8]) {
        let Some(index) = self.room(field) else { return };
        let mut record = [0; 10];
        record[0] = index;
        record[1] = kind as u8;
        record[2..].copy_from_slice(&word);
        self.bytes.put(record);
    }

    pub(crate) fn wide(&mut self, field: &Field, kind: Kind, wide: [u8; 16]) {
        let Some(index) = self.room(field) else { return };
        self.bytes.put([index, kind as u8]);
        self.bytes.put(wide);
    }

    #[inline]
    pub(crate) fn str(&mut self, field: &Field, text: &str, limit: usize) {
        self.text(field, limit, |sink| {
            let _enough = sink.write_str(text);
        });
    }

    /// A record of the text that `write` writes, up to `limit` bytes. Code of the app runs there and may
    /// panic; then the caller must [`truncate`](Self::truncate) the buffer.
    #[inline]
    pub(crate) fn text(&mut self, field: &Field, limit: usize, write: impl FnOnce(&mut Sink<'_>)) {
        let Some(index) = self.room(field) else { return };
        let start = self.len();
        self.bytes.put([index, Kind::Str as u8, 0, 0, 0, 0]);
        self.write_text(start + 1, start + 2, limit, write);
    }

    /// The text that `write` writes. Its length, and whether it was cut, stand before it.
    #[inline]
    fn write_text(
        &mut self,
        kind_at: usize,
        len_at: usize,
        limit: usize,
        write: impl FnOnce(&mut Sink<'_>),
    ) {
        let start = self.len();
        let end = start.saturating_add(limit).min(Packed::MAX_LEN);
        let mut sink = Sink { bytes: &mut self.bytes, end, cut: 0 };
        write(&mut sink);
        let cut = sink.cut;
        self.bytes.patch(len_at, ((self.len() - start) as u32).to_le_bytes());
        if cut > 0 {
            self.bytes.put((cut as u64).to_le_bytes());
            self.bytes.patch(kind_at, [Kind::CutStr as u8]);
        }
    }

    /// A record of a value whose name the metadata do not know.
    #[cfg(feature = "log")]
    pub(crate) fn named(&mut self, name: &str, value: Value<'_>, limit: usize) {
        if self.len() >= Packed::MAX_LEN {
            self.left_out += 1;
            return;
        }
        let start = self.len();
        let most = usize::from(u16::MAX);
        let end = (0..=most.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
        let name = &name[..end.unwrap_or(0)];
        self.bytes.put([NAMED, 0]);
        self.bytes.put((name.len() as u16).to_le_bytes());
        self.bytes.put_text(name);
        let kind = match value {
            Value::I64(n) => self.put(Kind::I64, n.to_le_bytes()),
            Value::U64(n) => self.put(Kind::U64, n.to_le_bytes()),
            Value::I128(n) => self.put(Kind::I128, n.to_le_bytes()),
            Value::U128(n) => self.put(Kind::U128, n.to_le_bytes()),
            Value::F64(n) => self.put(Kind::F64, n.to_le_bytes()),
            Value::Bool(b) => self.put(Kind::Bool, u64::from(b).to_le_bytes()),
            Value::Str(text) | Value::Cut { text, .. } => {
                self.bytes.patch(start + 1, [Kind::Str as u8]);
                let len_at = self.len();
                self.bytes.put([0; 4]);
                return self.write_text(start + 1, len_at, limit, |sink| {
                    let _enough = sink.write_str(text);
                });
            }
            Value::Unwritable => Kind::Unwritable,
        };
        self.bytes.patch(start + 1, [kind as u8]);
    }

    #[cfg(feature = "log")]
    fn put<const N: usize>(&mut self, kind: Kind, bytes: [u8; N]) -> Kind {
        self.bytes.put(bytes);
        kind
    }

    /// Stands for a value that could not be written.
    pub(crate) fn unwritable(&mut self, field: &Field) {
        if let Some(index) = self.room(field) {
            self.bytes.put([index, Kind::Unwritable as u8]);
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Removes what was written since the buffer had this length.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The field's index, if there is room for a record. Fields past the 254th are left out.
    #[inline]
    fn room(&mut self, field: &Field) -> Option<u8> {
        match u8::try_from(field.index()) {
            Ok(index) if index < NAMED && self.len() < Packed::MAX_LEN => Some(index),
            _ => {
                self.left_out += 1;
                None
            }
        }
    }
}

/// Accepts text up to the cap, then stops the formatter with an error.
pub(crate) struct Sink<'a> {
    bytes: &'a mut Buffer,
    /// The length at which it has enough.
    end: usize,
    cut: usize,
}

impl Write for Sink<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.end.saturating_sub(self.bytes.len()) && self.cut == 0 {
            self.bytes.put_text(text);
            return Ok(());
        }
        self.cut(text)
    }
}

impl Sink<'_> {
    #[cold]
    fn cut(&mut self, text: &str) -> fmt::Result {
        let room = match self.cut {
            0 => self.end.saturating_sub(self.bytes.len()),
            _ => 0,
        };
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let kept = &text[..end.unwrap_or(0)];
        self.bytes.put_text(kept);
        self.cut += text.len() - kept.len();
        Err(fmt::Error)
    }
}

/// What a record's bytes are.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    I64,
    U64,
    F64,
    Bool,
    I128,
    U128,
    Str,
    /// Text, followed by the count of bytes that are missing.
    CutStr,
    /// Nothing: the value panicked.
    Unwritable,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::I64,
        Kind::U64,
        Kind::F64,
        Kind::Bool,
        Kind::I128,
        Kind::U128,
        Kind::Str,
        Kind::CutStr,
        Kind::Unwritable,
    ];
}

struct Record<'a> {
    index: u8,
    /// Of a record that has it with it.
    name: Option<&'a str>,
    value: Value<'a>,
}

/// Reads records from the front. Stops early, without a panic, at bytes that no [`Packer`] wrote.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let [index, kind] = self.take()?;
        let name = if index == NAMED { Some(self.name()?) } else { None };
        let value = match Kind::ALL.get(usize::from(kind))? {
            Kind::I64 => Value::I64(i64::from_le_bytes(self.take()?)),
            Kind::U64 => Value::U64(u64::from_le_bytes(self.take()?)),
            Kind::F64 => Value::F64(f64::from_le_bytes(self.take()?)),
            Kind::Bool => Value::Bool(u64::from_le_bytes(self.take()?) != 0),
            Kind::I128 => Value::I128(i128::from_le_bytes(self.take()?)),
            Kind::U128 => Value::U128(u128::from_le_bytes(self.take()?)),
            Kind::Str => Value::Str(self.text()?),
            Kind::CutStr => {
                let text = self.text()?;
                Value::Cut { text, missing: u64::from_le_bytes(self.take()?) }
            }
            Kind::Unwritable => Value::Unwritable,
        };
        Some(Record { index, name, value })
    }
}

impl<'a> Records<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn name(&mut self) -> Option<&'a str> {
        let len = u16::from_le_bytes(self.take()?).into();
        self.str(len)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = u32::from_le_bytes(self.take()?) as usize;
        self.str(len)
    }

    fn str(&mut self, len: usize) -> Option<&'a str> {
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> &'static Metadata<'static> {
        let callsite = tracing::callsite!(
            name: "packed", kind: tracing::metadata::Kind::EVENT, fields: message, a, b, c
        );
        tracing_core::Callsite::metadata(callsite)
    }

    fn field(name: &str) -> Field {
        metadata().fields().field(name).unwrap()
    }

    fn pack(fill: impl FnOnce(&mut Packer)) -> Packed {
        let mut packer = Packer::new();
        fill(&mut packer);
        packer.finish();
        packer.take()
    }

    fn unpack(packed: &Packed) -> Vec<(&str, Value<'_>)> {
        packed.iter(metadata()).collect()
    }

    #[test]
    fn what_was_packed_comes_out_in_order() {
        let name = 'ё';
        let packed = pack(|packer| {
            packer.text(&field("message"), usize::MAX, |sink| {
                write!(sink, "charged {name}").unwrap()
            });
            packer.word(&field("a"), Kind::I64, (-7i64).to_le_bytes());
            packer.wide(&field("b"), Kind::U128, u128::MAX.to_le_bytes());
            packer.str(&field("c"), "", usize::MAX);
        });
        assert_eq!(
            unpack(&packed),
            [
                ("message", Value::Str("charged ё")),
                ("a", Value::I64(-7)),
                ("b", Value::U128(u128::MAX)),
                ("c", Value::Str("")),
            ]
        );
    }

    #[test]
    fn short_and_long_captures_have_the_same_content() {
        for len in [0, SHORT - 6, SHORT - 5, 10 * SHORT] {
            let text = "x".repeat(len);
            let packed = pack(|packer| packer.str(&field("a"), &text, usize::MAX));
            assert_eq!(packed.len(), len + 6);
            assert_eq!(unpack(&packed), [("a", Value::Str(&text))]);
        }
    }

    /// Like a `Debug` impl that panics after a long text.
    #[test]
    fn removed_bytes_do_not_change_the_rest() {
        let long = "x".repeat(2 * SHORT);
        let packed = pack(|packer| {
            packer.str(&field("a"), "kept", usize::MAX);
            let start = packer.len();
            packer.str(&field("b"), &long, usize::MAX);
            packer.truncate(start);
            packer.unwritable(&field("b"));
            packer.word(&field("c"), Kind::Bool, 1u64.to_le_bytes());
        });
        assert_eq!(packed.boxed_bytes(), 0);
        assert_eq!(
            unpack(&packed),
            [("a", Value::Str("kept")), ("b", Value::Unwritable), ("c", Value::Bool(true))]
        );
    }

    #[test]
    fn a_later_record_replaces_an_earlier_one() {
        let old = pack(|packer| {
            packer.str(&field("a"), "old", usize::MAX);
            packer.str(&field("b"), "kept", usize::MAX);
        });
        let new = pack(|packer| packer.word(&field("a"), Kind::Bool, 1u64.to_le_bytes()));
        let both = old.updated(&new);
        assert_eq!(unpack(&both), [("b", Value::Str("kept")), ("a", Value::Bool(true))]);
    }

    #[test]
    fn capture_stops_at_the_cap_between_characters_and_says_what_is_missing() {
        let mut writes = 0;
        let packed = pack(|packer| {
            packer.text(&field("message"), usize::MAX, |sink| {
                while sink.write_str("Договор ").is_ok() {
                    writes += 1;
                }
            });
            packer.str(&field("a"), "no room is left", usize::MAX);
        });
        assert!(packed.len() <= Packed::MAX_LEN + 32, "{}", packed.len());
        let fields = unpack(&packed);
        let [("message", Value::Cut { text, missing }), (FIELDS_LEFT_OUT, Value::U64(1))] =
            fields[..]
        else {
            panic!("{}", fields.len())
        };
        let cut = missing as usize;
        assert_eq!(text.len() + cut, (writes + 1) * "Договор ".len());
        assert!(cut > 0 && text.len() > Packed::MAX_LEN - 32);
    }

    #[test]
    fn a_value_over_its_limit_is_cut_between_characters_and_the_next_is_whole() {
        let packed = pack(|packer| {
            packer.str(&field("a"), "Договор", 5);
            packer.str(&field("b"), "whole", 5);
            packer.text(&field("c"), 3, |sink| {
                let _enough = ["one", "two"].iter().try_for_each(|part| sink.write_str(part));
            });
        });
        let cut = |text, missing| Value::Cut { text, missing };
        assert_eq!(
            unpack(&packed),
            [("a", cut("До", 10)), ("b", Value::Str("whole")), ("c", cut("one", 3))]
        );
    }

    #[test]
    fn a_text_over_the_cap_is_cut_and_counted_exactly() {
        let long = "x".repeat(Packed::MAX_LEN + 1_000);
        let packed = pack(|packer| packer.str(&field("c"), &long, usize::MAX));
        let fields = unpack(&packed);
        let [("c", Value::Cut { text, missing: cut })] = fields[..] else {
            panic!("{}", fields.len())
        };
        assert_eq!(text.len() + cut as usize, long.len());
    }

    #[test]
    fn fields_past_the_254th_are_counted() {
        let names = (0..300).map(|n| &*format!("f{n}").leak()).collect::<Vec<&'static str>>();
        let names: &'static [&'static str] = names.leak();
        let callsite = metadata().callsite();
        let fields = tracing_core::field::FieldSet::new(names, callsite);
        let kind = tracing_core::Kind::EVENT;
        let (level, file) = (tracing_core::Level::INFO, None);
        let many = Metadata::new("many", "many", level, file, None, None, fields, kind);
        let many: &'static Metadata<'static> = Box::leak(Box::new(many));
        let packed = pack(|packer| {
            for (n, field) in many.fields().iter().enumerate() {
                packer.word(&field, Kind::U64, (n as u64).to_le_bytes());
            }
        });
        let fields = packed.iter(many).collect::<Vec<_>>();
        assert_eq!(fields.len(), 255);
        assert_eq!(fields[253], ("f253", Value::U64(253)));
        assert_eq!(fields[254], ("fields_left_out", Value::U64(46)));
    }

    proptest::proptest! {
        #[test]
        fn bytes_that_nobody_packed_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Packed::of(&bytes).iter(metadata()).count();
        }
    }
}
