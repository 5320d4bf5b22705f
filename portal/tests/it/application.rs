//! An application on the other side: it takes what the portal sends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// More than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An application that answers everything with 200. It ends with the test.
pub(crate) struct Application {
    pub(crate) url: String,
    requests: Receiver<Request>,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) form: Vec<(String, String)>,
}

impl Application {
    pub(crate) fn start() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    pub(crate) fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(request) = read(stream.unwrap(), answer) else { continue };
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { url, requests }
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request of the portal's")
    }

    /// Whether nothing has come that was not taken.
    pub(crate) fn has_no_more(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

impl Request {
    /// A field of the form.
    pub(crate) fn told(&self, name: &str) -> &str {
        self.has(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.form))
    }

    pub(crate) fn has(&self, name: &str) -> Option<&str> {
        value(&self.form, name)
    }

    pub(crate) fn asked(&self, name: &str) -> &str {
        value(&self.query, name).unwrap_or_else(|| panic!("no {name}: {:?}", self.query))
    }
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn read(mut stream: TcpStream, answer: &str) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if length?.parse() == Ok(body.len()) {
                stream.write_all(answer.as_bytes()).ok()?;
                let target = head.split(' ').nth(1)?;
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                return Some(Request {
                    head: head.to_owned(),
                    path: path.to_owned(),
                    query: fields(query),
                    form: fields(body),
                });
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn fields(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}
