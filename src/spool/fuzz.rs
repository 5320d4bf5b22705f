//! A fuzz target: any files in the spool's directory.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use super::disk::fake::FakeDisk;
use super::disk::{Disk, child, write_all};
use super::files::{Files, Limits};
use super::frame::{self, HEAD};
use super::header::Header;
use crate::journal::{Content, Journal, JournalFuture, Mark, MarkKind, Publisher, Query};

/// Two segments of a dead run. The first byte says what the rest is: files as they are, or payloads of records,
/// which are separated by 0xff and get heads and checksums. The second byte says where the second segment begins.
///
/// # Panics
/// When reading does not end, or when the lines that were read cannot be settled.
pub(crate) fn replay(data: &[u8]) {
    let [kind, at, rest @ ..] = data else { return };
    let (one, two) = rest.split_at(usize::from(*at).min(rest.len()));
    let disk = FakeDisk::new();
    let dir = Path::new("/spool");
    let folder = dir.join(format!("{:032x}", 1));
    for path in [dir, &folder] {
        disk.make_dir(path).expect("it is the first");
    }
    drop(disk.lock(&child(&folder, "lock"), true));
    for (number, bytes) in [(1, one), (2, two)] {
        let file = if kind % 2 == 0 { bytes.to_vec() } else { framed(number, *kind, bytes) };
        let created = disk.create(&folder.join(format!("{number:08x}.seg")));
        write_all(&mut *created.expect("it is the first"), &file).expect("there is room");
    }
    let limits = Limits {
        dir: dir.to_owned(),
        fsync: false,
        max_bytes: 1 << 20,
        max_age: Duration::from_secs(3600),
        segment_bytes: 1 << 10,
    };
    let files = Files::open(Arc::new(disk.clone()), limits, Publisher(2)).expect("opened");
    while now(files.adopt()).more {}
    let mut after = None;
    loop {
        let read = now(files.read(Query { portal: None, after, most_bytes: 20 }));
        for (publisher, chunk) in read.chunks {
            let numbers: Vec<u64> = match &chunk.content {
                Content::Lines(lines) => lines.iter().map(|line| line.no).collect(),
                Content::Missed(gap) => vec![gap.no],
                Content::End(end) => vec![end.no],
                Content::Seal(seal) => vec![seal.no],
            };
            for no in numbers {
                let (portal, event_token) = (chunk.portal.clone(), chunk.event_token.clone());
                let kind = MarkKind::Settled;
                now(files.mark(&[Mark {
                    publisher,
                    portal,
                    event_token,
                    from: no,
                    up_to: no,
                    kind,
                }]));
            }
        }
        if read.at_end {
            break;
        }
        assert!(after.is_none_or(|after| after < read.up_to), "it goes on");
        after = Some(read.up_to);
    }
    let read = now(files.read(Query { portal: None, after: None, most_bytes: 20 }));
    assert!(read.chunks.is_empty() && read.at_end, "all is settled");
    now(files.evicted(SystemTime::UNIX_EPOCH));
}

/// A file whose records are complete.
fn framed(number: u32, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let rewritten = (kind & 2 != 0).then_some(u32::from(kind >> 4));
    let before = u32::from(kind >> 2 & 3);
    let header = Header { publisher: 1, segment: number, before, rewritten };
    let mut file = header.write().to_vec();
    let mut lines = 0;
    for payload in bytes.split(|&byte| byte == 0xff) {
        let start = file.len();
        file.resize(start + HEAD, 0);
        file.extend_from_slice(payload);
        let some = u32::from(payload.first().copied().unwrap_or(0) % 4);
        frame::close(&mut file[start..], header.salt(), lines, some);
        lines += some;
    }
    file
}

fn now<T>(mut future: JournalFuture<'_, T>) -> T {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("this disk does not fail"),
        Poll::Pending => panic!("it blocks instead"),
    }
}
