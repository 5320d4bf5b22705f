//! Relays: workers that deliver from one journal that they share. By the paused clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::kept::{Answers, Portal, pass};
use super::{options, tag};
use crate::builder::{Builder, Parts, delivering};
use crate::journal::memory::Disk;
use crate::journal::memory::owned::Member;
use crate::journal::{About, Batch, Chunk, Content, Publisher, StoredEnd, StoredLine};
use crate::line::PortalId;
use crate::protocol::{Method, Reply, Request};
use crate::queue::{Control, LetGo, Producer};
use crate::stats::{AtDoor, Snapshot, Stats};
use crate::transport::{Refreshed, Transport};
use crate::worker::Worker;

mod contents;
mod storm;

/// A relay.
pub(super) struct Relay {
    pub(super) producer: Producer,
    stats: Arc<Stats>,
    tasks: Vec<JoinHandle<()>>,
}

impl Relay {
    pub(super) fn start(
        disk: &Disk,
        portal: &(impl Transport + Sync),
        member: Member,
        options: Builder,
    ) -> Relay {
        let options = options.keeping(delivering(disk.share(member), Duration::from_secs(86_400)));
        let Parts { producer, consumer, engine, stats, tick, journal } = options.parts(member);
        let (desk, driver) = journal.unzip();
        let mut worker =
            Worker::new(consumer, engine, portal.clone(), stats.clone(), tick).with_journal(desk);
        let worker = tokio::spawn(async move { worker.run().await });
        let driver = tokio::spawn(driver.unwrap().run());
        Relay { producer, stats, tasks: vec![worker, driver] }
    }

    pub(super) fn stats(&self) -> Snapshot {
        self.stats.snapshot(&AtDoor {
            accepted: self.producer.accepted(),
            pending: self.producer.pending(),
            is_forked: false,
            refused: Vec::new(),
            unusable_tokens: 0,
            unseen: 0,
        })
    }

    pub(super) fn adds_up(&self) {
        let stats = self.stats();
        let settled = stats.acknowledged() + stats.handed_over() + stats.late() + stats.lost();
        assert_eq!(stats.accepted() + stats.recovered(), settled + stats.pending(), "{stats}");
    }

    pub(super) fn let_go(
        &self,
        keep: impl Fn(Option<&PortalId>) -> bool + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (reply, is_done) = oneshot::channel();
        let let_go = LetGo { keep: Box::new(keep), reply };
        assert!(self.producer.control(Control::LetGo(let_go)).is_ok());
        is_done
    }

    /// As `kill -9` does it.
    pub(super) async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            drop(task.await);
        }
    }
}

/// A process that writes to the journal.
pub(super) struct Writer {
    disk: Disk,
    publisher: Publisher,
    numbers: u64,
    batches: u64,
    about: Option<Arc<About>>,
}

impl Writer {
    pub(super) fn new(disk: &Disk) -> Writer {
        let publisher = Publisher(disk.next_publisher());
        Writer { disk: disk.clone(), publisher, numbers: 0, batches: 0, about: None }
    }

    pub(super) fn append(&mut self, portal: Option<&str>, token: u32, content: Content) {
        self.batches += 1;
        let chunk = Chunk {
            portal: portal.map(PortalId::from),
            event_token: tag(token).event_token.clone(),
            content,
            about: self.about.clone(),
        };
        let (publisher, no, chunks) = (self.publisher, self.batches, vec![chunk]);
        self.disk.append_now(&Batch { publisher, no, chunks });
    }

    pub(super) fn lines(&mut self, portal: Option<&str>, token: u32, texts: &[&str]) {
        let mut line = |text: &&str| {
            self.numbers += 1;
            StoredLine {
                no: self.numbers,
                at: SystemTime::now(),
                level: tracing_core::Level::INFO,
                body: (*text).to_owned(),
                cut: 0,
                tried: false,
            }
        };
        let lines = texts.iter().map(&mut line).collect();
        self.append(portal, token, Content::Lines(lines));
    }

    pub(super) fn end(&mut self, portal: Option<&str>, token: u32, seconds: u64) -> u64 {
        self.numbers += 1;
        let end = StoredEnd {
            no: self.numbers,
            values: r#"{"status":"done"}"#.to_owned(),
            message: None,
            failed: false,
            deadline: SystemTime::now() + Duration::from_secs(seconds),
            waits_until: None,
        };
        self.append(portal, token, Content::End(end));
        self.numbers
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_delivers_lines_and_ends_of_its_portals_only() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    disk.give(&Some("other".into()), Some(2));
    let relay = Relay::start(&disk, &portal, 1, options());
    writer.lines(None, 1, &["#1#", "#2#"]);
    writer.lines(Some("other"), 2, &["#3#"]);
    pass(5.0).await;
    writer.lines(None, 1, &["#4#"]);
    writer.end(None, 1, 60);
    pass(10.0).await;
    assert_eq!(portal.lines(), [1, 2, 4]);
    assert_eq!((portal.ends(), disk.unsettled(), disk.unsettled_ends()), (1, 1, 0));
    let stats = relay.stats();
    assert_eq!((stats.recovered(), stats.acknowledged(), stats.pending()), (3, 3, 0), "{stats}");
    relay.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_portal_that_is_let_go_is_delivered_by_the_next_owner_without_repeats() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    let two = Relay::start(&disk, &portal, 2, options());
    portal.answers(Answers::Away);
    writer.lines(None, 1, &["#1#", "#2#"]);
    // Tried and refused.
    pass(3.0).await;
    writer.lines(None, 1, &["#3#"]);
    pass(0.2).await;
    disk.hide(&None);
    one.let_go(|_| false).await.unwrap();
    let stats = one.stats();
    assert_eq!((stats.handed_over(), stats.pending()), (3, 0), "{stats}");
    one.adds_up();
    portal.answers(Answers::Well);
    disk.give(&None, Some(2));
    pass(10.0).await;
    assert_eq!(portal.lines(), [1, 2, 3]);
    assert!(portal.entries().iter().all(|(marked, _)| !marked), "{:?}", portal.entries());
    // And back, from the middle.
    disk.hide(&None);
    two.let_go(|_| false).await.unwrap();
    disk.give(&None, Some(1));
    writer.lines(None, 1, &["#4#"]);
    pass(10.0).await;
    assert_eq!(portal.lines(), [1, 2, 3, 4]);
    one.adds_up();
    two.adds_up();
    assert_eq!(disk.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_lines_of_a_killed_relay_are_repeated_with_their_mark_if_they_were_out() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    portal.answers(Answers::Silent);
    writer.lines(None, 1, &["#1#"]);
    while portal.lines().is_empty() {
        pass(0.05).await;
    }
    writer.lines(None, 1, &["#2#"]);
    pass(0.05).await;
    one.kill().await;
    portal.answers(Answers::Well);
    disk.give(&None, Some(2));
    let two = Relay::start(&disk, &portal, 2, options());
    pass(30.0).await;
    assert_eq!(portal.entries(), [(false, vec![1]), (true, vec![1]), (false, vec![2])]);
    two.adds_up();
}

/// The owner changes, and the earlier owner does not know: its request does not leave.
#[tokio::test(start_paused = true)]
async fn a_fenced_request_does_not_leave_and_its_lines_are_not_in_doubt() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    writer.lines(None, 1, &["#1#"]);
    // Its linger is not over.
    pass(0.3).await;
    disk.give(&None, Some(2));
    pass(5.0).await;
    assert!(portal.lines().is_empty());
    let stats = one.stats();
    assert_eq!((stats.handed_over(), stats.requests(), stats.withheld()), (1, 0, 1), "{stats}");
    let two = Relay::start(&disk, &portal, 2, options());
    pass(10.0).await;
    assert_eq!(portal.entries(), [(false, vec![1])]);
    // It comes back.
    disk.hide(&None);
    two.let_go(|_| false).await.unwrap();
    disk.give(&None, Some(1));
    writer.lines(None, 1, &["#2#"]);
    pass(10.0).await;
    assert_eq!(portal.entries(), [(false, vec![1]), (false, vec![2])]);
    one.adds_up();
    two.adds_up();
}

/// The fence was an error of the moment: the portal is still owned, and nothing else says so.
#[tokio::test(start_paused = true)]
async fn a_portal_that_was_lost_by_mistake_is_read_again() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    pass(1.0).await;
    writer.lines(None, 1, &["#1#"]);
    pass(0.3).await;
    disk.give(&None, Some(2));
    while one.stats().withheld() == 0 {
        pass(0.01).await;
    }
    writer.lines(None, 1, &["#2#"]);
    disk.give(&None, Some(1));
    pass(10.0).await;
    assert_eq!(portal.lines(), [1, 2]);
    one.adds_up();
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_while_the_journal_fails() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let one = Relay::start(&disk, &portal, 1, options());
    writer.lines(None, 1, &["#1#"]);
    pass(0.3).await;
    disk.cut(1, true);
    pass(30.0).await;
    assert_eq!((portal.lines(), one.stats().requests()), (vec![], 0));
    disk.cut(1, false);
    writer.lines(None, 1, &["#2#"]);
    pass(10.0).await;
    assert_eq!(portal.lines(), [1, 2]);
    assert!(portal.entries().iter().all(|(marked, _)| !marked));
    one.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_portal_with_more_than_its_window_is_read_in_order() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    portal.answers(Answers::Away);
    let one = Relay::start(&disk, &portal, 1, options().pending_lines(400));
    for n in 0..5_000_u32 {
        writer.lines(None, n % 10, &[&format!("#{n}#")]);
        if n % 100 == 0 {
            pass(0.1).await;
            assert!(one.producer.pending() < 400, "{}", one.stats());
        }
        if n == 2_500 {
            disk.renew(1);
        }
    }
    // It goes in time although its lines are far behind.
    writer.end(None, 77, 5);
    portal.answers(Answers::EndsOnly);
    pass(8.0).await;
    assert_eq!(portal.ends(), 1, "{} {}", one.stats(), disk.unsettled_ends());
    one.adds_up();
    assert_eq!(one.stats().pending(), 5_000, "{}", one.stats());
    portal.answers(Answers::Well);
    pass(3_600.0).await;
    let mut of: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    portal.lines().into_iter().for_each(|n| of.entry(n % 10).or_default().push(n));
    assert!(of.values().all(|lines| lines.len() == 500 && lines.is_sorted()));
    one.adds_up();
    assert_eq!((one.stats().pending(), disk.unsettled()), (0, 0));
}

/// Answers entries with a token that has expired, and ends with credentials that are deleted.
#[derive(Clone)]
struct Revoked;

impl Transport for Revoked {
    async fn call(&self, _portal: Option<&PortalId>, request: Request) -> Reply {
        let (seconds, code) = match request.method {
            Method::EventSend => (2.0, "INVALID_CREDENTIALS"),
            _ => (1.0, "expired_token"),
        };
        pass(seconds).await;
        let body = format!(r#"{{"error":"{code}"}}"#).into_bytes();
        Reply::Http { status: 401, body }
    }

    async fn refresh(&self, _portal: Option<&PortalId>) -> Refreshed {
        pass(10.0).await;
        Refreshed::Renewed
    }
}

/// Regression: the refusal of an end hid that new access was on its way. So the portal counted as let go, and the worker
/// panicked when the access arrived.
#[tokio::test(start_paused = true)]
async fn a_portal_is_not_let_go_while_new_access_is_on_its_way() {
    let disk = Disk::new();
    let mut writer = Writer::new(&disk);
    disk.give(&None, Some(1));
    let relay = Relay::start(&disk, &Revoked, 1, options());
    writer.lines(None, 2, &["#1#"]);
    pass(1.5).await;
    writer.end(None, 1, 0);
    pass(3.0).await;
    disk.hide(&None);
    let is_done = relay.let_go(|_| false);
    is_done.await.unwrap();
    pass(20.0).await;
    assert!(relay.tasks.iter().all(|task| !task.is_finished()), "nothing has panicked");
    relay.adds_up();
}
