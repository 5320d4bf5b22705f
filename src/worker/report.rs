//! What the worker tells the app's engineers of its own trouble: through `tracing`, at target
//! `tracing_bizproc`, each kind at most once a minute, with a count of what happened meanwhile.
//!
//! It speaks on the worker's own thread, which our layers do not listen to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::line::InvalidEventToken;
use crate::stats::DropReason;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    Lost(DropReason),
    Late,
    /// The portal stops waiting for an activity soon, and lines are pending.
    TimeRunsOut,
    /// An activity was dropped without an end.
    Abandoned,
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
    UnusableToken(InvalidEventToken),
    FormatFailed,
    Panicked,
}

impl Trouble {
    /// What happened, and what to do.
    fn advice(self) -> &'static str {
        match self {
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
            Trouble::CredentialBlocked => {
                "the portal does not accept the credentials: check that the webhook exists, or that \
                 the app is installed and its tokens are renewed, and the scope `bizproc`; lines \
                 wait until it is mended, or too old"
            }
            Trouble::PortalBlocked => {
                "the portal is closed, moved, or has no business processes; lines wait until it is \
                 back, or too old"
            }
            Trouble::UnknownPortal => {
                "there are no credentials for a portal that spans name; its lines wait ten minutes \
                 for them: hand tokens over with `Bizproc::activity` or `Bizproc::accept`, or \
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
            Trouble::Unreachable => "the portal cannot be reached; lines wait",
            Trouble::UnknownOutcome => {
                "no usable answer came from the portal: what was sent may stand in the log, and is \
                 sent again with a mark"
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
            Trouble::Panicked => "the worker panicked and goes on: please report this",
        }
    }
}

/// What is to be told.
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
    /// Notes that it happened `count` times to a portal. The last detail is the one that is told: a
    /// code or an error, never a secret.
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
        kind.detail = detail.into();
    }

    /// What may be told now: kinds that were silent for a minute. `last`: nothing is told later.
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

impl Report {
    /// Speaks. Outside of any span, whatever the worker's thread may be in.
    pub(crate) fn tell(self) {
        let Report { trouble, count, portals, detail } = self;
        let portals = portals.into_iter().collect::<Vec<_>>().join(", ");
        let advice = trouble.advice();
        let reason = match trouble {
            Trouble::Lost(reason) => reason.as_str(),
            _ => "",
        };
        tracing::warn!(target: "tracing_bizproc", parent: None, count, portals, reason, detail, "{advice}");
    }
}

/// Portals that a report names at the most.
const PORTALS_TOLD: usize = 8;
/// How long a kind of trouble is silent after it was told.
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
        assert_eq!(told(&mut reports, 60), [10]);
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
