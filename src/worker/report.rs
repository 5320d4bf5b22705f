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
    Late,
    /// The portal stops waiting for an activity soon, and lines are pending.
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
    /// The guard was dropped on a thread that delivery waits for.
    ClosedByItself,
    FormatFailed,
    /// The guard was dropped before the first line.
    Unguarded,
    /// A line was refused since the guard was dropped.
    Closed,
    /// Two layers take the same spans.
    SharedSpans,
    /// The layer was not shown what was meant for it.
    Unseen(Unseen),
    Panicked,
}

impl Trouble {
    /// It is unknown whether a request was executed. `choice`: what is done about it.
    pub(crate) fn unknown_outcome(choice: UnknownOutcome) -> Trouble {
        match choice {
            UnknownOutcome::Repeat => Trouble::UnknownOutcome,
            UnknownOutcome::GiveUp => Trouble::OutcomeGivenUp,
        }
    }

    /// Mistakes that look like success unless somebody reads the reports.
    fn is_told_in_any_case(self) -> bool {
        matches!(self, Trouble::Unguarded | Trouble::Closed | Trouble::Unseen(Unseen::Filtered))
    }

    /// What happened, and what to do.
    fn advice(self) -> &'static str {
        match self {
            Trouble::Lost(DropReason::Closed) => {
                "lines came after the guard was dropped, and are lost: drop it at the end of `main`"
            }
            Trouble::Lost(DropReason::TokenShare) => {
                "an event token logs more than its share of the queue or of memory, and lines of it are \
                 lost, so that the others lose none: log less there, or see `token_share`"
            }
            Trouble::Lost(reason) if reason.is_refusal() => {
                "lines found no room and are lost: is there a portal that takes no more, or does the \
                 app log more than portals take? see `queue_lines`, `pending_lines`, `pending_bytes`"
            }
            Trouble::Lost(_) => "lines were lost: see the reason, and `Snapshot::by_reason`",
            Trouble::Late => {
                "lines came after the end of their activity, or of the time that its portal waits, \
                 when nothing can be written any more: complete the activity after the last line"
            }
            Trouble::TimeRunsOut => {
                "the portal stops waiting for an activity soon, and lines of it are still pending: \
                 what is not written by then is late; complete sooner, or raise TIMEOUT_DURATION"
            }
            Trouble::Abandoned => {
                "an activity was dropped without an end, so its workflow waits: call `complete` or \
                 `fail` on every way out of the handler"
            }
            #[cfg(feature = "log")]
            Trouble::NoLog => {
                "the portal does not wait for this activity, so it has no log to write to: register it \
                 with USE_SUBSCRIPTION = Y, or ask the template's author to switch waiting on"
            }
            Trouble::CredentialBlocked => {
                "the portal does not accept the credentials: check that the webhook exists, or that \
                 the app is installed and its tokens are renewed, and the scope `bizproc`; lines \
                 wait until it is mended, or too old"
            }
            Trouble::PortalBlocked => {
                "the portal is closed, leads elsewhere, or has no business processes; lines wait until \
                 it is back, or too old"
            }
            Trouble::UnknownPortal => {
                "there are no credentials for a portal that spans name; its lines wait ten minutes \
                 for them: hand tokens over with `Handle::activity` or `Handle::accept`, or \
                 check the span's `portal`"
            }
            Trouble::Unstored => {
                "tokens that came with a request could not be stored; they are used, and lost with \
                 the process: see to the token store"
            }
            Trouble::NeverWorked => {
                "the portal denies event tokens, and has not accepted one since the start: is the \
                 webhook of the portal, and of the app, that the tokens come from?"
            }
            Trouble::RateLimited => {
                "the portal refuses requests for their rate: something else behind this IP address \
                 calls it too; lines are delayed, not lost"
            }
            Trouble::OperatingLimited => {
                "the portal refuses to spend more time on logging for now: log less, or in larger \
                 entries (`linger`, `retention`); lines are delayed, not lost"
            }
            Trouble::Unreachable => {
                "the portal cannot be reached, or there is no access to it: see the detail; lines wait"
            }
            Trouble::UnknownOutcome => {
                "no usable answer came from the portal: what was sent may stand in the log, and is \
                 sent again with a mark"
            }
            Trouble::OutcomeGivenUp => {
                "no usable answer came from the portal: what was sent may stand in the log, and is \
                 given up, as `on_unknown_outcome` says"
            }
            Trouble::UnusableToken(InvalidEventToken::Redacted) => {
                "a span's `event_token` is the redacted form of an EventToken: write \
                 `event_token = token.tag()`; the span is not tagged"
            }
            Trouble::UnusableToken(_) => {
                "a span's `event_token` is nothing that a portal issues; the span is not tagged"
            }
            Trouble::FormatFailed => {
                "the app's `Format` or `Wording` panicked or returned an error: those lines are \
                 written as by default, none is lost"
            }
            Trouble::Unguarded => {
                "the WorkerGuard was dropped before anything was logged: lines are delivered, but \
                 those that are pending when the process ends will be lost; keep the guard until the \
                 end of `main`, under a name (`let (layer, guard) = ..`, and not `_`)"
            }
            Trouble::Closed => {
                "a line was refused since the WorkerGuard was dropped, and so will be all others \
                 (`Snapshot::by_reason`): keep the guard until the end of `main`"
            }
            Trouble::SharedSpans => {
                "two layers of tracing-bizproc take the same spans, so that every line goes to both, \
                 and one of them cannot deliver it: build one layer, whose credentials know all \
                 portals (`Credentials::provider` of a map of webhooks)"
            }
            Trouble::Unseen(Unseen::Filtered) => {
                "a filter hides what is meant for a process's log, so it is not written; the detail says \
                 what is hidden, and what to add to the filter:"
            }
            Trouble::Unseen(Unseen::Poisoned) => {
                "another layer panicked while it held a span's data, which cannot be read since: events \
                 in that span are not written; see to that panic"
            }
            Trouble::Unseen(Unseen::Enclosed) => {
                "a filter hides the span of an event, and the subscriber's type hides the Registry \
                 that knows the spans around it, so the event is not written: let `downcast_raw` of \
                 that type pass the Registry on, or let the span through"
            }
            Trouble::ClosedByItself => {
                "the guard was dropped on the worker's own thread, or on one that it waits for, and so \
                 without a wait for pending lines: drop it at the end of `main`"
            }
            Trouble::Panicked => {
                "the worker panicked and goes on: see the panic's message; where it is not of a layer of \
                 the app's, please report it"
            }
        }
    }
}

/// Reports to be made.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    kinds: BTreeMap<Trouble, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// The portals that it happened to, as far as they have names: some of them.
    portals: BTreeSet<Box<str>>,
    detail: String,
    told: Option<Instant>,
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
    /// Notes that it happened `count` times to a portal. The last detail is reported: a code or an
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
            if kind.portals.len() < PORTALS_TOLD && !kind.portals.contains(portal) {
                kind.portals.insert(portal.into());
            }
        }
        let detail = detail.into();
        match trouble {
            // Each is something else to do.
            Trouble::Unseen(Unseen::Filtered) if !kind.detail.is_empty() => {
                kind.detail.push_str("; ");
                kind.detail.push_str(&detail);
            }
            // What was said of some is better than nothing.
            _ if detail.is_empty() => {}
            _ => kind.detail = detail,
        }
    }

    /// When the next kind that is held back may be reported.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let held = self.kinds.values().filter(|kind| kind.count > 0);
        held.filter_map(|kind| Some(kind.told? + SILENCE)).min()
    }

    /// Reports that are due: of kinds that were silent for a minute. `last`: all of them.
    pub(crate) fn due(&mut self, last: bool, now: Instant) -> Vec<Report> {
        let mut due = Vec::new();
        for (trouble, kind) in &mut self.kinds {
            let silent =
                kind.told.is_none_or(|told| now.saturating_duration_since(told) >= SILENCE);
            if kind.count > 0 && (silent || last) {
                due.push(Report {
                    trouble: *trouble,
                    count: std::mem::take(&mut kind.count),
                    portals: std::mem::take(&mut kind.portals),
                    detail: std::mem::take(&mut kind.detail),
                });
                kind.told = Some(now);
            }
        }
        due
    }
}

/// How the worker writes its reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Voice {
    /// An event, for the app's subscriber.
    #[default]
    Tracing,
    /// A record, for the app's logger. By `log` itself: tracing's own feature for it would make records
    /// of all crates' events.
    #[cfg(feature = "log")]
    Log,
}

impl Voice {
    fn is_heard(self) -> bool {
        match self {
            Voice::Tracing => tracing::enabled!(target: "tracing_bizproc", tracing::Level::WARN),
            #[cfg(feature = "log")]
            Voice::Log => log::log_enabled!(target: "tracing_bizproc", log::Level::Warn),
        }
    }
}

impl Report {
    /// Writes the report outside of any span, whatever span the worker's thread may be in.
    pub(crate) fn tell(self, voice: Voice) {
        let Report { trouble, count, portals, detail } = self;
        let portals = portals.into_iter().collect::<Vec<_>>().join(", ");
        let advice = trouble.advice();
        let reason = match trouble {
            Trouble::Lost(reason) => reason.as_str(),
            _ => "",
        };
        match voice {
            Voice::Tracing => {
                tracing::warn!(target: "tracing_bizproc", parent: None, count, portals, reason, detail = &*detail, "{advice}");
            }
            #[cfg(feature = "log")]
            Voice::Log => {
                log::warn!(target: "tracing_bizproc", count, portals = &*portals, reason, detail = &*detail; "{advice}");
            }
        }
        if trouble.is_told_in_any_case() && !voice.is_heard() {
            // Writing to standard error may fail, too.
            let said = format!("tracing-bizproc: {advice} {detail}");
            let _ = writeln!(std::io::stderr(), "{}", said.trim_end());
        }
    }
}

/// Reports that a line was refused because the worker is closed. This happens on a thread of its own:
/// the worker's thread has ended, and a caller must not wait for what the app's layers do with the
/// report.
pub(crate) fn tell_closed(voice: Voice) {
    let report = Report {
        trouble: Trouble::Closed,
        count: 1,
        portals: BTreeSet::new(),
        detail: String::new(),
    };
    let tells = std::thread::Builder::new().name("tracing-bizproc".to_owned()).spawn(move || {
        mark_worker_thread();
        report.tell(voice);
    });
    // Without a thread there is no report. The lines are counted.
    drop(tells);
}

/// Portals that a report names at the most.
const PORTALS_TOLD: usize = 8;
/// How long a kind of trouble is not reported again.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_at_once_and_then_once_a_minute_with_its_count() {
        let start = Instant::now();
        let mut reports = Reports::default();
        let told = |reports: &mut Reports, after: u64| {
            let due = reports.due(false, start + Duration::from_secs(after));
            due.iter().map(|report| report.count).collect::<Vec<_>>()
        };
        assert!(told(&mut reports, 0).is_empty());
        reports.add(Trouble::Late, 1, None, "");
        assert_eq!(told(&mut reports, 0), [1]);
        for _ in 0..5 {
            reports.add(Trouble::Late, 2, None, "");
        }
        reports.add(Trouble::RateLimited, 1, None, "");
        assert_eq!(told(&mut reports, 59), [1], "the other kind only");
        assert_eq!(reports.next_at(), Some(start + SILENCE));
        assert_eq!(told(&mut reports, 60), [10]);
        assert_eq!(reports.next_at(), None);
        assert!(told(&mut reports, 200).is_empty());
    }

    #[test]
    fn at_the_end_everything_is_told() {
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
        assert_eq!((due[0].count, due[0].portals.len()), (100, PORTALS_TOLD));
        assert!(due[0].portals.contains("portal 0"));
    }
}
