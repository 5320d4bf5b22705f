//! The journal: every hit on the portal, in order.

use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::UnixTime;
use crate::state::{Delivery, LostReason};

/// Requests to applications that the journal keeps.
const SENT: usize = 1000;

/// An HTTP hit on the REST API or on the OAuth server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hit {
    /// Counted from 1 in the order of arrival.
    pub number: u64,
    /// When its head had been read.
    pub arrived: UnixTime,
    /// When its answer was ready; `None` while it is in progress, or if the connection was cut.
    pub answered: Option<UnixTime>,
    /// Where it came from.
    pub source: IpAddr,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The HTTP method.
    pub http_method: String,
    /// The path, with the webhook's code left out.
    pub path: String,
    /// The method of the REST API, in lower case; empty if the path has none.
    pub rest_method: String,
    /// Bytes of the body.
    pub bytes: usize,
    /// What the hit asked for, in the order of execution: one call, or the commands of a batch.
    pub commands: Vec<CommandRecord>,
    /// The HTTP status of the answer; `None` if there was none.
    pub status: Option<u16>,
    /// The code of the error that refused the whole hit.
    pub error: Option<String>,
    /// The planned fault that it met.
    pub fault: Option<String>,
}

/// A call, alone or in a batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandRecord {
    /// The key in the batch; empty for a direct call.
    pub key: String,
    /// The method, in lower case.
    pub method: String,
    /// The workflow of its token; `None` if the token is not valid.
    pub workflow: Option<String>,
    /// The activity of its token.
    pub activity: Option<String>,
    /// The message as it was sent, if it was a text.
    pub message: Option<Arc<str>>,
    /// Its result.
    pub outcome: CommandOutcome,
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandOutcome {
    /// An entry was written.
    Written,
    /// The activity was completed, and an entry written.
    Completed,
    /// The portal answered `true`, and a background job ends the activity. Once the job
    /// has run, this becomes [`Completed`](Self::Completed) or [`Lost`](Self::Lost).
    Queued,
    /// The portal answered `true` and dropped the line.
    Lost(LostReason),
    /// The portal answered with an error of this code.
    Refused(String),
    /// The method is not about a workflow.
    Answered,
}

/// Counters since the start of the portal. Unlike the journal, they are never reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// HTTP hits on the REST API.
    pub hits: u64,
    /// Hits that were refused whole.
    pub refused_hits: u64,
    /// Commands executed, single calls included.
    pub commands: u64,
    /// Commands that were answered with an error.
    pub refused_commands: u64,
    /// Entries that applications wrote.
    pub entries: u64,
    /// Lines in those entries.
    pub lines: u64,
    /// Entries lost silently.
    pub lost: u64,
    /// Bytes of request bodies.
    pub bytes: u64,
}

impl Counters {
    /// Counts what became of a command.
    fn count(&mut self, outcome: &CommandOutcome, message: &str) {
        match outcome {
            CommandOutcome::Written | CommandOutcome::Completed => {
                self.entries += 1;
                self.lines += message.lines().count() as u64;
            }
            CommandOutcome::Lost(_) => self.lost += 1,
            CommandOutcome::Refused(_) => self.refused_commands += 1,
            CommandOutcome::Queued | CommandOutcome::Answered => {}
        }
    }
}

/// A request that the portal has sent to an application: once, and not again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sent {
    /// Counted from 1.
    pub number: u64,
    /// When it was sent.
    pub at: UnixTime,
    /// What it was: the name of an event, `activity CODE`, or `page`.
    pub what: String,
    /// Where it went, without a query.
    pub url: String,
    /// Its answer; `None` while it is in progress.
    pub delivery: Option<Delivery>,
}

impl Sent {
    /// Whether the application did not answer with a success status.
    pub fn has_failed(&self) -> bool {
        match self.delivery {
            Some(Delivery::Answered(status)) => !(200..300).contains(&status),
            Some(Delivery::Failed(_)) => true,
            None => false,
        }
    }
}

/// The hits, oldest first.
#[derive(Debug)]
pub(crate) struct Journal {
    sent: std::collections::VecDeque<Sent>,
    first_sent: u64,
    hits: std::collections::VecDeque<Hit>,
    /// Number of the first hit that is kept.
    first: u64,
    text_bytes: usize,
    text_limit: usize,
    pub(crate) counters: Counters,
}

impl Journal {
    /// A journal that forgets its oldest hits when the messages in it exceed `text_limit` bytes.
    pub(crate) fn new(text_limit: usize) -> Self {
        Self {
            sent: std::collections::VecDeque::new(),
            first_sent: 1,
            hits: std::collections::VecDeque::new(),
            first: 1,
            text_bytes: 0,
            text_limit,
            counters: Counters::default(),
        }
    }

    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.hits.iter().cloned().collect()
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.first - 1
    }

    /// Notes the arrival of a hit and returns its number.
    pub(crate) fn arrived(&mut self, mut hit: Hit) -> u64 {
        hit.number = self.first + self.hits.len() as u64;
        self.counters.hits += u64::from(!hit.rest_method.starts_with("oauth/"));
        let number = hit.number;
        self.hits.push_back(hit);
        number
    }

    /// The hit of this number, if it was not forgotten.
    pub(crate) fn hit(&mut self, number: u64) -> Option<&mut Hit> {
        self.hits.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Notes a command that was executed; returns its place among the commands of the hit.
    pub(crate) fn command(&mut self, number: u64, record: CommandRecord) -> usize {
        self.counters.commands += 1;
        let message = record.message.as_deref().unwrap_or_default();
        self.counters.count(&record.outcome, message);
        let bytes = message.len();
        let Some(hit) = self.hit(number) else { return 0 };
        hit.commands.push(record);
        let place = hit.commands.len() - 1;
        self.text_bytes += bytes;
        while self.text_bytes > self.text_limit && self.hits.len() > 1 {
            self.forget_oldest();
        }
        place
    }

    /// Notes what became of a command that was queued.
    pub(crate) fn settle(
        &mut self,
        number: u64,
        place: usize,
        outcome: CommandOutcome,
        message: &str,
    ) {
        self.counters.count(&outcome, message);
        let command = self.hit(number).and_then(|hit| hit.commands.get_mut(place));
        if let Some(command) = command {
            command.outcome = outcome;
        }
    }

    /// Notes a request that goes out, and returns its number.
    pub(crate) fn sending(&mut self, at: UnixTime, what: &str, url: &str) -> u64 {
        let number = self.first_sent + self.sent.len() as u64;
        let url = url.split('?').next().unwrap_or_default().to_owned();
        self.sent.push_back(Sent { number, at, what: what.to_owned(), url, delivery: None });
        if self.sent.len() > SENT {
            self.sent.pop_front();
            self.first_sent += 1;
        }
        number
    }

    pub(crate) fn delivered(&mut self, number: u64, delivery: Delivery) {
        let place = number.checked_sub(self.first_sent).and_then(|at| usize::try_from(at).ok());
        if let Some(sent) = place.and_then(|place| self.sent.get_mut(place)) {
            sent.delivery = Some(delivery);
        }
    }

    /// What was sent, oldest first.
    pub(crate) fn sent(&self) -> impl DoubleEndedIterator<Item = &Sent> {
        self.sent.iter()
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.hits.pop_front() else { return };
        self.first += 1;
        let messages = oldest.commands.iter().filter_map(|command| command.message.as_ref());
        self.text_bytes -= messages.map(|message| message.len()).sum::<usize>();
    }
}
