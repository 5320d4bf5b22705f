//! The sinks of the candidates, in this process or over loopback. They count events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use loki_api::prost::Message;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use sentry::protocol::{EnvelopeItem, ItemContainer};

/// Events that have arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived(Arc<AtomicU64>);

impl Arrived {
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }
}

/// An HTTP server on loopback that counts the events in each body with `count`. Returns its address.
pub fn serve(arrived: &Arrived, count: fn(&[u8]) -> usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let arrived = arrived.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrived = arrived.clone();
            std::thread::spawn(move || while answer(&stream, &arrived, count).is_some() {});
        }
    });
    format!("http://{address}")
}

/// Reads one request and answers that it succeeded.
fn answer(stream: &TcpStream, arrived: &Arrived, count: fn(&[u8]) -> usize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let header = line.trim().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        assert!(!header.starts_with("transfer-encoding"), "bodies are expected to have a length");
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    arrived.add(count(&body));
    let reply = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    (&*stream).write_all(reply.as_bytes()).ok()
}

/// Entries in a push to Loki: protobuf in a Snappy block.
pub fn loki_entries(body: &[u8]) -> usize {
    let plain = snap::raw::Decoder::new().decompress_vec(body).expect("a Snappy block");
    let push = loki_api::logproto::PushRequest::decode(&*plain).expect("a push request");
    push.streams.iter().map(|stream| stream.entries.len()).sum()
}

/// Log records in an OTLP request as JSON.
pub fn otlp_records(body: &[u8]) -> usize {
    fn count(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Object(object) => object
                .iter()
                .map(|(key, value)| match (key.as_str(), value.as_array()) {
                    ("logRecords", Some(records)) => records.len(),
                    _ => count(value),
                })
                .sum(),
            serde_json::Value::Array(values) => values.iter().map(count).sum(),
            _ => 0,
        }
    }
    count(&serde_json::from_slice(body).expect("JSON"))
}

impl LogExporter for Arrived {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.add(batch.iter().count());
        Ok(())
    }
}

impl sentry::Transport for Arrived {
    fn send_envelope(&self, envelope: sentry::Envelope) {
        for item in envelope.into_items() {
            if let EnvelopeItem::ItemContainer(ItemContainer::Logs(logs)) = item {
                self.add(logs.len());
            }
        }
    }

    fn flush(&self, _: Duration) -> bool {
        true
    }
}

impl Write for Arrived {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.add(bytes.iter().filter(|byte| **byte == b'\n').count());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
