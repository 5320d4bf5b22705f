//! Reports of the worker about its own trouble, for the engineers of the app: through `tracing`, at the
//! target `tracing_bizproc`, each kind at most once a minute, with a count.
//!
//! Reports are written on the worker's thread, which our layers ignore.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::retry::UnknownOutcome;
use crate::line::InvalidEventToken;
use crate::queue::mark_worker_thread;
use crate::stats::{DropReason, Unseen};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    Lost(DropReason),
    /// The log of a token does not mention its lost lines, although it could be written.
    Untold,
    Late,
    /// The portal soon stops waiting for an activity, and lines of it are pending.
    TimeRunsOut,
    /// An activity was dropped without an end.
    Abandoned,
    /// The portal does not wait for an activity.
    #[cfg(feature = "log")]
    NoLog,
    CredentialBlocked,
    PortalBlocked,
    /// There are no credentials for a portal.
    UnknownPortal,
    /// Tokens that arrived could not be stored.
    Unstored,
    NeverWorked,
    RateLimited,
    OperatingLimited,
    Unreachable,
    UnknownOutcome,
    /// The same, where a gap is preferred to a repeat.
    OutcomeGivenUp,
    UnusableToken(InvalidEventToken),
    /// The guard was dropped on the worker's thread, or on one that the worker waits for.
    ClosedByItself,
    /// Lines cannot be stored.
    NotStored,
    /// Lines cannot be appended to the journal of a relay.
    NotPublished,
    /// Results of lines cannot be noted on disk.
    NotMarked,
    /// Lines on disk cannot be read, or the disk does not answer.
    NotRead,
    /// What another run has left on disk cannot be taken over.
    LeftAlone,
    /// An end was found when its portal no longer waited for it.
    LateEnd,
    /// An end on disk is damaged or was removed.
    LostEnd,
    FormatFailed,
    /// The guard was dropped before the first line.
    Unguarded,
    /// A line was refused because the guard is dropped.
    Closed,
    /// Two layers handle the same spans.
    SharedSpans,
    /// The layer does not see spans or events that it needs.
    Unseen(Unseen),
    Panicked,
}

impl Trouble {
    /// It is not known whether a request was executed. `choice`: what happens to its entries.
    pub(crate) fn unknown_outcome(choice: UnknownOutcome) -> Trouble {
        match choice {
            UnknownOutcome::Repeat => Trouble::UnknownOutcome,
            UnknownOutcome::GiveUp => Trouble::OutcomeGivenUp,
        }
    }

    /// Mistakes of the app that look like success if nobody sees the report.
    fn goes_to_stderr_if_hidden(self) -> bool {
        matches!(self, Trouble::Unguarded | Trouble::Closed | Trouble::Unseen(Unseen::Filtered))
    }

    /// What happened, and what to do.
    fn advice(self) -> &'static str {
        match self {
            Trouble::Lost(DropReason::Closed) => {
                "lines were logged after the guard was dropped, and are lost: drop it at the end of `main`"
            }
            Trouble::Lost(DropReason::TokenShare) => {
                "one event token logs more than its share of the queue or of memory, so lines of it are \
                 lost, and no lines of others: log less there, or change `token_share`"
            }
            Trouble::Lost(reason) if reason.is_refusal() => {
                "the queue or the memory budget is full, and lines are lost: check whether a portal is \
                 blocked or slow, or log less; see `queue_lines`, `pending_lines`, `pending_bytes`"
            }
            Trouble::Lost(_) => "lines were lost: see the reason, and `Snapshot::by_reason`",
            Trouble::Untold => {
                "the notice about lost lines was given up, so the process log does not mention them: it waited \
                 for a day, or there were too many notices; the lines were counted when they were lost"
            }
            Trouble::Late => {
                "lines were logged, or were still pending, when their activity had ended or timed out, so \
                 they are not written: complete the activity after the last line"
            }
            Trouble::TimeRunsOut => {
                "the portal soon stops waiting for an activity, and lines of it are still pending; lines \
                 that are not written in time are late: complete the activity earlier, or set a longer \
                 timeout in the template"
            }
            Trouble::Abandoned => {
                "an activity was dropped without an end, so its workflow waits: call `complete` or \
                 `fail` on every code path of the handler"
            }
            #[cfg(feature = "log")]
            Trouble::NoLog => {
                "the portal does not wait for this activity, so nothing can be written to its log: \
                 register it with USE_SUBSCRIPTION = Y, or switch waiting on in the template"
            }
            Trouble::CredentialBlocked => {
                "the portal does not accept the credentials: check (1) that the webhook exists, or that \
                 the app is installed, (2) that it has the scope `bizproc`, (3) that the app's tokens \
                 are valid; lines wait until this is fixed, but not longer than `max_age` \
                 (with a spool: its own `max_age`)"
            }
            Trouble::PortalBlocked => {
                "the portal is closed, has moved, redirects to a page, or has no business processes: see \
                 the detail; lines wait until this is fixed, but not longer than `max_age` \
                 (with a spool: its own `max_age`)"
            }
            Trouble::UnknownPortal => {
                "there are no credentials for the portal of a span: give its tokens to `Handle::activity` \
                 or `Handle::accept`, or check the field `portal` of the span (with a relay: the replicas \
                 must keep their tokens in its `PgStore`); its lines wait for ten minutes, or with a spool \
                 until its `max_age`"
            }
            Trouble::Unstored => {
                "tokens that came with a request could not be stored; they are used until the process \
                 ends: check the token store"
            }
            Trouble::NeverWorked => {
                "the portal has rejected all event tokens so far: check that the webhook, or the app, \
                 belongs to the portal from which the requests come"
            }
            Trouble::RateLimited => {
                "the portal refuses requests because there are too many: another program behind this IP \
                 address also calls it (see `quota`); lines are delayed, not lost"
            }
            Trouble::OperatingLimited => {
                "the server time that the portal allows for logging is used up: log less, or in larger \
                 entries (`linger`, `retention`); lines are delayed, not lost"
            }
            Trouble::Unreachable => {
                "the portal cannot be reached, or there is no access to it: see the detail; lines wait, \
                 but not longer than `max_age` (with a spool: its own `max_age`)"
            }
            Trouble::UnknownOutcome => {
                "the portal gave no usable answer: what was sent may be in the log, and is sent again \
                 with a mark"
            }
            Trouble::OutcomeGivenUp => {
                "the portal gave no usable answer: what was sent may be in the log, and is given \
                 up, because `on_unknown_outcome` is `GiveUp`"
            }
            Trouble::UnusableToken(InvalidEventToken::Redacted) => {
                "a span's `event_token` is the redacted form of an EventToken: write \
                 `event_token = token.as_field()`; the span is not tagged"
            }
            Trouble::UnusableToken(_) => {
                "the `event_token` of a span cannot be an event token of a portal; the span is not tagged"
            }
            Trouble::FormatFailed => {
                "the app's `Format` or `Wording` panicked or returned an error: these lines are written \
                 in the default format, none is lost"
            }
            Trouble::Unguarded => {
                "the WorkerGuard was dropped before anything was logged: lines are delivered, but lines \
                 that are pending when the process ends will be lost; keep the guard until the end of \
                 `main`, under a name (`let (layer, guard) = ..`, and not `_`)"
            }
            Trouble::Closed => {
                "a line was refused because the WorkerGuard is dropped; all further lines will be refused, \
                 too (`Snapshot::by_reason`): keep the guard until the end of `main`"
            }
            Trouble::SharedSpans => {
                "two layers of tracing-bizproc handle the same spans, so every line is sent twice: build \
                 one layer, with credentials for all portals (`Credentials::provider` of a map of \
                 webhooks)"
            }
            Trouble::Unseen(Unseen::Filtered) => {
                "a filter hides spans or events of a process log, so they are not written; the detail \
                 says what is hidden, and what to add to the filter:"
            }
            Trouble::Unseen(Unseen::Poisoned) => {
                "another layer panicked while it used the data of a span, so the data cannot be read any \
                 more, and events in that span are not written: fix that panic"
            }
            Trouble::Unseen(Unseen::Enclosed) => {
                "a filter hides the span of an event, and the subscriber's type does not forward \
                 `downcast_raw` to the Registry, so the event is not written: forward it, or let the \
                 span pass the filter"
            }
            Trouble::NotStored => {
                "the disk fails, is full or is slow (see the detail): lines may be only in memory, where a \
                 crash loses them (`Snapshot::unstored` counts them): check the directory of the spool"
            }
            Trouble::NotPublished => {
                "the journal of the relay cannot be reached, or refuses lines (see the detail): lines wait in \
                 memory, up to `pending_lines` and `max_age`, and are then lost: check the database"
            }
            Trouble::NotMarked => {
                "the disk or the database fails, is full or is slow (see the detail): it could not be noted \
                 which lines were sent, so after a crash they may be sent again: check the directory of the \
                 spool, or the database of the relay"
            }
            Trouble::NotRead => {
                "stored lines cannot be read (see the detail): new lines are delivered from memory, and lines \
                 that are only stored when they can be read again: check the directory of the spool, or the \
                 database of the relay"
            }
            Trouble::LeftAlone => {
                "lines of another run cannot be read, and stay on disk (see the detail): new lines are not \
                 affected"
            }
            Trouble::LateEnd => {
                "the end of an activity could not be sent before the app stopped, and now the portal no \
                 longer waits for it: its workflow has continued without return values"
            }
            Trouble::LostEnd => {
                "the end of an activity is no longer on disk, or is damaged (see the detail): if it is not in \
                 memory either, it is not sent, and its workflow waits for the timeout of the activity"
            }
            Trouble::ClosedByItself => {
                "the guard was dropped on the worker's own thread, or on one that the worker waits for, so \
                 it did not wait for pending lines: drop it at the end of `main`"
            }
            Trouble::Panicked => {
                "the worker panicked and goes on: see the message of the panic; if it does not come from a \
                 layer of the app, please report it"
            }
        }
    }
}

/// Reports that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    kinds: BTreeMap<Trouble, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// Some of the portals to which it happened, if they have names.
    portals: BTreeSet<Box<str>>,
    detail: String,
    /// When it was last reported.
    reported: Option<Instant>,
}

/// One report that is due.
#[derive(Debug)]
pub(crate) struct Report {
    trouble: Trouble,
    count: u64,
    portals: BTreeSet<Box<str>>,
    detail: String,
}

impl Reports {
    /// Notes that it happened `count` times to a portal. The report has the last detail: a code or an
    /// error, never a secret.
    pub(crate) fn add(
        &mut self,
        trouble: Trouble,
        count: u64,
        portal: Option<&str>,
        detail: impl Into<String>,
    ) {
        let kind = self.kinds.entry(trouble).or_default();
        kind.count += count;
        if let Some(portal) = portal {
            if kind.portals.len() < PORTALS_NAMED && !kind.portals.contains(portal) {
                kind.portals.insert(portal.into());
            }
        }
        let detail = detail.into();
        match trouble {
            // Each detail asks for a change of its own, so all are kept.
            Trouble::Unseen(Unseen::Filtered) if !kind.detail.is_empty() => {
                kind.detail.push_str("; ");
                kind.detail.push_str(&detail);
            }
            // An earlier detail is better than none.
            _ if detail.is_empty() => {}
            _ => kind.detail = detail,
        }
    }

    /// When the next kind that waits for the end of its minute may be reported.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let held = self.kinds.values().filter(|kind| kind.count > 0);
        held.filter_map(|kind| Some(kind.reported? + SILENCE)).min()
    }

    /// Reports that are due: of kinds that were silent for a minute. `last`: all of them.
    pub(crate) fn due(&mut self, last: bool, now: Instant) -> Vec<Report> {
        let mut due = Vec::new();
        for (trouble, kind) in &mut self.kinds {
            let silent =
                kind.reported.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
            if kind.count > 0 && (silent || last) {
                due.push(Report {
                    trouble: *trouble,
                    count: std::mem::take(&mut kind.count),
                    portals: std::mem::take(&mut kind.portals),
                    detail: std::mem::take(&mut kind.detail),
                });
                kind.reported = Some(now);
            }
        }
        due
    }
}

/// Where the worker writes its reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReportSink {
    /// An event, for the app's subscriber.
    #[default]
    Tracing,
    /// A record, for the app's logger. It is written with the `log` crate, because the feature `log` of
    /// `tracing` would turn the events of all crates into records.
    #[cfg(feature = "log")]
    Log,
}

impl ReportSink {
    /// Whether the app's subscriber or logger shows the reports.
    fn is_enabled(self) -> bool {
        match self {
            ReportSink::Tracing => {
                tracing::enabled!(target: "tracing_bizproc", tracing::Level::WARN)
            }
            #[cfg(feature = "log")]
            ReportSink::Log => log::log_enabled!(target: "tracing_bizproc", log::Level::Warn),
        }
    }
}

impl Report {
    /// Writes the report outside of any span, whatever span the worker's thread may be in.
    pub(crate) fn emit(self, sink: ReportSink) {
        let Report { trouble, count, portals, detail } = self;
        let portals = portals.into_iter().collect::<Vec<_>>().join(", ");
        let advice = trouble.advice();
        let reason = match trouble {
            Trouble::Lost(reason) => reason.as_str(),
            _ => "",
        };
        match sink {
            ReportSink::Tracing => {
                let [portals, reason, detail] = [&*portals, reason, &*detail].map(unless_empty);
                tracing::warn!(target: "tracing_bizproc", parent: None, count, portals, reason, detail, "{advice}");
            }
            #[cfg(feature = "log")]
            ReportSink::Log => {
                log::warn!(target: "tracing_bizproc", count, portals = &*portals, reason, detail = &*detail; "{advice}");
            }
        }
        if trouble.goes_to_stderr_if_hidden() && !sink.is_enabled() {
            let text = format!("tracing-bizproc: {advice} {detail}");
            // There is nowhere else to write if this fails.
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
        }
    }
}

/// An empty field is left out.
fn unless_empty(field: &str) -> Option<&str> {
    (!field.is_empty()).then_some(field)
}

/// Reports that a line was refused because the worker is closed. This happens on a thread of its own:
/// the worker's thread has ended, and a caller must not wait for what the app's layers do with the
/// report.
pub(crate) fn report_closed(sink: ReportSink) {
    let report = Report {
        trouble: Trouble::Closed,
        count: 1,
        portals: BTreeSet::new(),
        detail: String::new(),
    };
    let thread = std::thread::Builder::new().name("tracing-bizproc".to_owned()).spawn(move || {
        mark_worker_thread();
        report.emit(sink);
    });
    // If no thread can be started there is no report. The lines are counted in any case.
    drop(thread);
}

/// How many portals a report names at most.
const PORTALS_NAMED: usize = 8;
/// How long a kind of trouble is not reported again.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_reported_at_once_and_then_once_a_minute_with_its_count() {
        let start = Instant::now();
        let mut reports = Reports::default();
        let reported = |reports: &mut Reports, after: u64| {
            let due = reports.due(false, start + Duration::from_secs(after));
            due.iter().map(|report| report.count).collect::<Vec<_>>()
        };
        assert!(reported(&mut reports, 0).is_empty());
        reports.add(Trouble::Late, 1, None, "");
        assert_eq!(reported(&mut reports, 0), [1]);
        for _ in 0..5 {
            reports.add(Trouble::Late, 2, None, "");
        }
        reports.add(Trouble::RateLimited, 1, None, "");
        assert_eq!(reported(&mut reports, 59), [1], "the other kind only");
        assert_eq!(reports.next_at(), Some(start + SILENCE));
        assert_eq!(reported(&mut reports, 60), [10]);
        assert_eq!(reports.next_at(), None);
        assert!(reported(&mut reports, 200).is_empty());
    }

    #[test]
    fn at_the_end_everything_is_reported() {
        let now = Instant::now();
        let mut reports = Reports::default();
        reports.add(Trouble::Late, 1, None, "");
        reports.due(false, now);
        reports.add(Trouble::Late, 7, None, "");
        assert_eq!(reports.due(true, now)[0].count, 7);
    }

    #[test]
    fn a_report_names_some_of_the_portals_that_it_is_about() {
        let now = Instant::now();
        let mut reports = Reports::default();
        for n in 0..100 {
            reports.add(
                Trouble::CredentialBlocked,
                1,
                Some(&format!("portal {n}")),
                "invalid_grant",
            );
        }
        let due = reports.due(false, now);
        assert_eq!((due[0].count, due[0].portals.len()), (100, PORTALS_NAMED));
        assert!(due[0].portals.contains("portal 0"));
    }
}
