//! The worker with a journal, its driver, and a portal under a script. By the paused clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{all_well, messages, tag};
use crate::builder::{Builder, Keeping, Parts, Role};
use crate::completion::Completion;
use crate::error::CompleteError;
use crate::journal::Publisher;
use crate::journal::memory::Disk;
use crate::line::{LogLine, PortalId, Tag};
use crate::protocol::{Cause, Method, Reply, Request};
use crate::queue::{Close, Complete, Control, Flush, Producer, Scope};
use crate::simulation::Random;
use crate::simulation::told::Told;
use crate::stats::{AtDoor, DropReason, FlushReport, Snapshot, Stats};
use crate::transport::Transport;
use crate::worker::Worker;

/// A portal of which a test decides what it answers, and which keeps what was written.
#[derive(Clone, Default)]
pub(super) struct Portal(pub(super) Arc<Mutex<Written>>);

#[derive(Default)]
pub(super) struct Written {
    /// Entries in their order: text, and whether it was acknowledged.
    pub(super) entries: Vec<String>,
    ends: usize,
    answers: Answers,
    /// A portal that cannot be reached, while others can.
    away: Option<PortalId>,
    pub(super) random: Option<Random>,
    /// Texts of entries that requests carried, written or not.
    pub(super) carried: Vec<String>,
    /// Hears what is sent and answered, if a test wants that: see [`Portal::law`].
    pub(super) law: Option<(Told, Instant)>,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Answers {
    #[default]
    Well,
    /// Nothing is written, and the portal says so.
    Away,
    /// What is written is not answered.
    Silent,
    /// The same as away, but for requests of ends alone.
    EndsOnly,
    /// Any of these.
    Anyhow,
}

impl Transport for Portal {
    async fn call(&self, portal: Option<&PortalId>, request: Request) -> Reply {
        self.law(|law, now| law.sent(&request, now));
        let reply = self.reply(portal, &request).await;
        self.law(|law, now| law.answered(&request, &reply, now));
        reply
    }
}

impl Portal {
    async fn reply(&self, portal: Option<&PortalId>, request: &Request) -> Reply {
        tokio::time::sleep(Duration::from_millis(150)).await;
        if portal.is_some() && portal == self.0.lock().unwrap().away.as_ref() {
            return Reply::NotSent(Cause("refused".to_owned()));
        }
        let answers = {
            let mut written = self.0.lock().unwrap();
            if request.method != Method::EventSend {
                written.carried.extend(entries(request));
            }
            let answers = match (written.answers, &mut written.random) {
                (Answers::Anyhow, Some(random)) => match random.below(4) {
                    0 => Answers::Away,
                    1 => Answers::Silent,
                    _ => Answers::Well,
                },
                (Answers::EndsOnly, _) if request.method == Method::EventSend => Answers::Well,
                (Answers::EndsOnly, _) if entries(request).is_empty() => Answers::Well,
                (Answers::EndsOnly, _) => Answers::Away,
                (answers, _) => answers,
            };
            if answers != Answers::Away {
                match request.method {
                    Method::EventSend => written.ends += 1,
                    _ => written.entries.extend(entries(request)),
                }
                if request.method == Method::Batch {
                    written.ends += commands(request, "bizproc.event.send").len();
                }
            }
            answers
        };
        tokio::time::sleep(Duration::from_millis(150)).await;
        match answers {
            Answers::Well | Answers::Anyhow | Answers::EndsOnly => all_well(request.commands),
            Answers::Away => Reply::NotSent(Cause("refused".to_owned())),
            Answers::Silent => Reply::Unanswered(Cause("reset".to_owned())),
        }
    }
}

pub(super) fn commands(request: &Request, method: &str) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let commands = body["cmd"].as_object().into_iter().flatten();
    let texts = commands.filter_map(|(_, command)| command.as_str());
    texts.filter(|text| text.starts_with(method)).map(str::to_owned).collect()
}

pub(super) fn entries(request: &Request) -> Vec<String> {
    if request.method != Method::Batch || commands(request, "bizproc.event.send").is_empty() {
        return messages(request);
    }
    let logs = commands(request, "bizproc.activity.log");
    let message = |command: &String| {
        let query = command.split_once('?').unwrap().1;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "LOG_MESSAGE").unwrap().1.into_owned()
    };
    logs.iter().map(message).collect()
}

impl Portal {
    /// From now on the law of lost lines is checked.
    pub(super) fn listen(&self) {
        self.0.lock().unwrap().law = Some((Told::listen(), Instant::now()));
    }

    /// Tells the law something, if it is checked.
    pub(super) fn law<T>(&self, tell: impl FnOnce(&mut Told, Duration) -> T) -> Option<T> {
        let mut written = self.0.lock().unwrap();
        let (law, start) = written.law.as_mut()?;
        Some(tell(law, start.elapsed()))
    }

    pub(super) fn answers(&self, answers: Answers) {
        self.0.lock().unwrap().answers = answers;
    }

    pub(super) fn away(&self, portal: Option<PortalId>) {
        self.0.lock().unwrap().away = portal;
    }

    /// The numbers of lines in each entry, and whether it bears the mark of a repeat.
    pub(super) fn entries(&self) -> Vec<(bool, Vec<u32>)> {
        let written = self.0.lock().unwrap();
        let parse = |entry: &String| (entry.contains("possible repeat"), numbers(entry));
        written.entries.iter().map(parse).collect()
    }

    pub(super) fn lines(&self) -> Vec<u32> {
        self.entries().into_iter().flat_map(|(_, lines)| lines).collect()
    }

    pub(super) fn ends(&self) -> usize {
        self.0.lock().unwrap().ends
    }

    pub(super) fn said(&self, text: &str) -> bool {
        self.0.lock().unwrap().entries.iter().any(|entry| entry.contains(text))
    }
}

/// A run of the app.
pub(super) struct Run {
    pub(super) producer: Producer,
    stats: Arc<Stats>,
    tasks: Vec<JoinHandle<()>>,
    tags: RefCell<BTreeMap<u32, Arc<Tag>>>,
}

/// A new run on this disk.
pub(super) fn keeping(disk: &Disk) -> Keeping {
    Keeping {
        journal: disk.open(),
        publisher: Publisher(disk.next_publisher()),
        bound: Duration::from_millis(100),
        max_age: Duration::from_secs(7 * 86_400),
        role: Role::Keep,
        near: None,
    }
}

impl Run {
    pub(super) fn start(disk: &Disk, portal: &Portal, options: Builder) -> Run {
        Run::with(portal, options.keeping(keeping(disk)))
    }

    /// A run of an app with these options.
    pub(super) fn with(portal: &Portal, options: Builder) -> Run {
        let Parts { producer, consumer, engine, stats, tick, journal } = options.parts(1);
        let (desk, driver) = journal.unzip();
        let mut worker =
            Worker::new(consumer, engine, portal.clone(), stats.clone(), tick).with_journal(desk);
        let worker = tokio::spawn(async move { worker.run().await });
        let driver = tokio::spawn(driver.unwrap().run());
        Run { producer, stats, tasks: vec![worker, driver], tags: RefCell::default() }
    }

    pub(super) fn log(&self, token: u32, text: &str) {
        assert!(self.try_log(token, text));
    }

    pub(super) fn try_log(&self, token: u32, text: &str) -> bool {
        let mut line = LogLine::saying(&self.tag(token), text);
        line.at = SystemTime::now();
        self.producer.offer(line).is_ok()
    }

    /// The tag of an open span.
    pub(super) fn tag(&self, n: u32) -> Arc<Tag> {
        let new = || self.producer.tag(tag(n).event_token.clone(), None, 0);
        self.tags.borrow_mut().entry(n).or_insert_with(new).clone()
    }

    pub(super) fn stats(&self) -> Snapshot {
        self.stats.snapshot(&AtDoor {
            accepted: self.producer.accepted(),
            pending: self.producer.pending(),
            is_forked: false,
            refused: DropReason::refusals().map(|why| (why, self.producer.refused(why))).collect(),
            unusable_tokens: 0,
            unseen: 0,
        })
    }

    pub(super) async fn flush(&self, seconds: u64) -> FlushReport {
        self.ask_flush(Scope::All, seconds).await
    }

    pub(super) async fn flush_token(&self, token: u32, seconds: u64) -> FlushReport {
        self.ask_flush(Scope::Token(self.tag(token).event_token.clone()), seconds).await
    }

    async fn ask_flush(&self, scope: Scope, seconds: u64) -> FlushReport {
        let (reply, answer) = oneshot::channel();
        let deadline = (Instant::now() + Duration::from_secs(seconds)).into_std();
        let flush = Flush { scope, deadline, reply };
        self.producer.control(Control::Flush(flush)).ok().unwrap();
        answer.await.unwrap()
    }

    pub(super) fn complete(&self, token: u32, seconds: u64) {
        drop(self.ask_end(token, seconds));
    }

    pub(super) fn ask_end(
        &self,
        token: u32,
        seconds: u64,
    ) -> oneshot::Receiver<Result<FlushReport, CompleteError>> {
        let (reply, answer) = oneshot::channel();
        let tag = self.tag(token);
        let deadline = (Instant::now() + Duration::from_secs(seconds)).into_std();
        let (event_token, portal) = (tag.event_token.clone(), tag.portal.clone());
        let completion = Completion::new().value("status", "done");
        let complete = Complete { event_token, portal, completion, deadline, reply };
        self.producer.control(Control::Complete(complete)).ok().unwrap();
        answer
    }

    pub(super) async fn close(self, seconds: u64) -> (FlushReport, Snapshot) {
        let (reply, answer) = oneshot::channel();
        let deadline = (Instant::now() + Duration::from_secs(seconds)).into_std();
        self.producer.control(Control::Close(Close { deadline, reply })).ok().unwrap();
        let report = answer.await.unwrap();
        (report, self.stats())
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

    pub(super) fn adds_up(&self) {
        let stats = self.stats();
        let settled = stats.acknowledged() + stats.handed_over() + stats.late() + stats.lost();
        assert_eq!(stats.accepted() + stats.recovered(), settled + stats.pending(), "{stats}");
    }
}

/// Waits until nothing is pending, for so long at the most.
pub(super) async fn settled(run: &Run, seconds: u32) {
    for _ in 0..seconds {
        pass(1.0).await;
        if run.stats().pending() == 0 {
            return;
        }
    }
}

pub(super) async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

pub(super) fn numbers(entry: &str) -> Vec<u32> {
    entry.split('#').skip(1).step_by(2).map(|number| number.parse().unwrap()).collect()
}

pub(super) fn number(text: &str) -> u32 {
    text.split('#').nth(1).unwrap().parse().unwrap()
}

impl Run {
    /// Lines may be in motion between the counters.
    pub(super) fn adds_up_nearly(&self) {
        let stats = self.stats();
        let settled = stats.acknowledged() + stats.handed_over() + stats.late() + stats.lost();
        let all = stats.accepted() + stats.recovered();
        assert!(all.abs_diff(settled + stats.pending()) <= 64, "{stats}");
    }
}
