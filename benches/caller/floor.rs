//! The floor: the least work of a layer that captures an event with its types and the fields of its spans, adds
//! the time, boxes it and pushes it to a worker that polls. It finds no token, keeps no budget, counts no drops,
//! and would deadlock on a `Debug` impl that logs.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

pub(crate) struct Floor {
    sender: Sender<Record>,
    delivered: Arc<AtomicU64>,
}

impl Floor {
    pub(crate) fn new() -> Floor {
        let (sender, receiver) = bounded(8_192);
        let delivered = Arc::new(AtomicU64::new(0));
        let counter = delivered.clone();
        std::thread::spawn(move || drain(&receiver, &counter));
        Floor { sender, delivered }
    }

    /// How many events the worker has received.
    pub(crate) fn delivered(&self) -> Arc<AtomicU64> {
        self.delivered.clone()
    }
}

fn drain(receiver: &Receiver<Record>, delivered: &AtomicU64) {
    loop {
        while let Ok(record) = receiver.try_recv() {
            std::hint::black_box((&record.at, record.metadata, &record.data));
            drop(record);
            delivered.fetch_add(1, Relaxed);
        }
        std::thread::sleep(Duration::from_millis(4));
    }
}

struct Record {
    at: SystemTime,
    metadata: &'static Metadata<'static>,
    data: Box<[u8]>,
    _span: Option<Arc<SpanFields>>,
}

/// A span's own fields, and through `up` those of the spans around it.
struct SpanFields {
    _up: Option<Arc<SpanFields>>,
    _metadata: &'static Metadata<'static>,
    _data: Box<[u8]>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Floor {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).expect("the span was just made");
        let up = span.parent().and_then(|up| up.extensions().get::<Arc<SpanFields>>().cloned());
        let data = packed(|pack| attrs.record(pack));
        let fields = SpanFields { _up: up, _metadata: attrs.metadata(), _data: data };
        span.extensions_mut().insert(Arc::new(fields));
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let at = SystemTime::now();
        let span = ctx.event_span(event);
        let span = span.and_then(|span| span.extensions().get::<Arc<SpanFields>>().cloned());
        let data = packed(|pack| event.record(pack));
        let record = Record { at, metadata: event.metadata(), data, _span: span };
        // If an event is dropped here, a delivery is missing later.
        let _ = self.sender.try_send(record);
    }
}

fn packed(record: impl FnOnce(&mut Pack<'_>)) -> Box<[u8]> {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        record(&mut Pack(buffer));
        buffer.as_slice().into()
    })
}

/// The field's index, a kind, and eight bytes or a length and text.
struct Pack<'a>(&'a mut Vec<u8>);

impl Pack<'_> {
    fn word(&mut self, field: &Field, kind: u8, word: [u8; 8]) {
        let mut record = [0; 10];
        record[0] = field.index() as u8;
        record[1] = kind;
        record[2..].copy_from_slice(&word);
        self.0.extend_from_slice(&record);
    }

    fn text(&mut self, field: &Field, put: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(&[field.index() as u8, 4, 0, 0]);
        let at = self.0.len();
        put(self.0);
        let len = (self.0.len() - at) as u16;
        self.0[at - 2..at].copy_from_slice(&len.to_le_bytes());
    }
}

impl Visit for Pack<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.word(field, 0, value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.word(field, 1, value.to_le_bytes());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.word(field, 2, value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.word(field, 3, u64::from(value).to_le_bytes());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, |bytes| bytes.extend_from_slice(value.as_bytes()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, |bytes| {
            let _ = write!(Utf8(bytes), "{value:?}");
        });
    }
}

struct Utf8<'a>(&'a mut Vec<u8>);

impl Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
