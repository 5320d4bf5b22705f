//! How much the portal takes: hits a second, and megabytes of batch bodies a second.
//!
//! `cargo bench -p bizproc-portal`. Clients and portal share the machine, so the figures are what
//! is left for the portal; each is the best of a few windows, since a neighbour's work is not the
//! portal's slowness. Each is printed beside its target; one below it ends the program with 1.

#![expect(clippy::print_stdout, reason = "figures are what the program is for")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bizproc_portal::{Portal, Retention};

/// Connections, and threads that write to them.
const CLIENTS: usize = 2;

fn main() -> ExitCode {
    // `cargo test --benches` runs this once, briefly.
    let smoke = !std::env::args().any(|argument| argument == "--bench");
    let (windows, time) = if smoke { (1, 50) } else { (10, 400) };
    let time = Duration::from_millis(time);
    let best = |portal: &Portal, request: &[u8]| {
        (0..windows).map(|_| run(portal, request, time)).fold(0.0, f64::max)
    };

    let portal = Portal::builder().retention(Retention::Cloud).start().expect("a portal");
    let token = portal.start_workflow("Order").open_activity("check").event_token();
    let line = format!("EVENT_TOKEN={}&LOG_MESSAGE=charged", encoded(&token));
    let single = request(&portal, "bizproc.activity.log", "x-www-form-urlencoded", &line);
    let hits = best(&portal, &single);

    // Half Latin, half Cyrillic: in JSON a byte beyond ASCII takes three characters.
    let text = encoded(&"order 1042 was charged, заказ оплачен\n".repeat(250));
    let commands: Vec<String> = (0..50)
        .map(|n| {
            let token = encoded(&token);
            format!(r#""c{n}":"bizproc.activity.log?EVENT_TOKEN={token}&LOG_MESSAGE={text}""#)
        })
        .collect();
    let body = format!(r#"{{"halt":0,"cmd":{{{}}}}}"#, commands.join(","));
    let batch = request(&portal, "batch", "json", &body);
    let megabytes = best(&portal, &batch) * body.len() as f64 / 1e6;

    println!("body of a batch: {} bytes, 50 commands", body.len());
    let met = [("portal_hits", hits, 2000.0), ("portal_batch_mb", megabytes, 160.0)].map(
        |(name, value, target)| {
            println!("figure {name} = {value:.0} (target >= {target:.0})");
            value >= target
        },
    );
    if smoke || met == [true, true] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Requests a second that all clients together get answered.
fn run(portal: &Portal, request: &[u8], time: Duration) -> f64 {
    let url = portal.page_url();
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let start = Instant::now();
    let done: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(host).expect("a connection");
                    let mut done = 0;
                    while start.elapsed() < time {
                        stream.write_all(request).expect("a request");
                        read_answer(&mut stream);
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    done as f64 / start.elapsed().as_secs_f64()
}

fn read_answer(stream: &mut TcpStream) {
    let mut answer = Vec::with_capacity(1 << 14);
    let mut chunk = [0; 1 << 14];
    loop {
        let read = stream.read(&mut chunk).expect("an answer");
        assert!(read > 0, "the portal hung up");
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.and_then(|length| length.parse().ok()) <= Some(body.len()) {
            return;
        }
    }
}

fn request(portal: &Portal, method: &str, kind: &str, body: &str) -> Vec<u8> {
    let url = portal.webhook_url();
    let (_, path) = url["http://".len()..].split_once('/').expect("a path");
    let length = body.len();
    let head = format!(
        "POST /{path}{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/{kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    (head + body).into_bytes()
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(byte as char);
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}
