//! What the worker asks of its journal, and when.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::kept::{Portal, Run, keeping, number, pass};
use super::{options, tag};
use crate::builder::Parts;
use crate::completion::Completion;
use crate::journal::Content;
use crate::journal::desk::{Ask, Said};
use crate::journal::memory::{Disk, Faults};
use crate::line::{LogLine, Tag};
use crate::queue::{Close, Complete, Control};

/// Regression: with many portals and a slow disk, some requests left before their mark was noted.
#[tokio::test(start_paused = true)]
async fn each_of_many_portals_notes_its_mark_before_its_request_leaves() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    pass(2.0).await;
    disk.fail(Faults { takes: Duration::from_millis(25), ..Faults::default() });
    let mut tags = Vec::new();
    for n in 0..26 {
        let portal = Some(format!("p{n}").as_str().into());
        let tag = run.producer.tag(tag(n).event_token.clone(), portal, 0);
        let mut line = LogLine::saying(&tag, &format!("#{n}#"));
        line.at = SystemTime::now();
        assert!(run.producer.offer(line).is_ok());
        tags.push(tag);
    }
    let mut early = BTreeSet::new();
    for _ in 0..1_000 {
        pass(0.005).await;
        let carried = portal.0.lock().unwrap().carried.clone();
        let tried: BTreeSet<u32> = disk.ever_tried().iter().map(|text| number(text)).collect();
        early.extend(carried.iter().map(|text| number(text)).filter(|n| !tried.contains(n)));
    }
    assert_eq!(portal.lines().len(), 26);
    assert!(early.is_empty(), "{early:?} were sent before their mark");
}

/// Regression: lines that came behind a close without time left filled the batch for the journal. Then nothing
/// was taken from the queue any more, and the worker used a whole core.
#[tokio::test]
async fn lines_that_come_behind_a_late_close_are_counted() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    let (reply, answer) = oneshot::channel();
    let deadline = Instant::now().into_std();
    assert!(run.producer.control(Control::Close(Close { deadline, reply })).is_ok());
    for n in 0..5_000 {
        run.try_log(1, &format!("#{n}# {}", "x".repeat(100)));
    }
    answer.await.unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    while run.producer.pending() > 0 {
        assert!(Instant::now() < limit, "{}", run.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Regression: an end that was asked for without a portal was stored for the default portal, and settled for its
/// own.
#[test]
fn an_end_is_stored_for_the_portal_that_knows_its_token() {
    let disk = Disk::new();
    let options = options().keeping(keeping(&disk));
    let Parts { mut engine, producer: _producer, consumer: _consumer, .. } = options.parts(1);
    let now = std::time::Instant::now();
    engine.set_clock(now, SystemTime::now());
    engine.told(Said::Adopted { publishers: Vec::new(), left: Vec::new(), ends: Vec::new() }, now);
    let tag = Tag::detached("5c1dc1c3f00001.78875596|A1|1.abcdef", Some("p1"));
    engine.line(&LogLine::saying(&tag, "x"), now);
    let (reply, _answer) = oneshot::channel();
    let deadline = now + Duration::from_secs(5);
    let completion = Completion::new().value("status", "done");
    let event_token = tag.event_token.clone();
    engine.complete(Complete { event_token, portal: None, completion, deadline, reply }, now);
    let appended = engine.asks(true, now).into_iter().filter_map(|ask| match ask {
        Ask::Append(batch) => Some(batch.chunks),
        _ => None,
    });
    let chunks: Vec<_> = appended.flatten().collect();
    assert!(chunks.iter().any(|chunk| matches!(chunk.content, Content::End(_))));
    assert!(chunks.iter().all(|chunk| chunk.portal == tag.portal), "{chunks:?}");
}
