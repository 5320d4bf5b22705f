//! Whether lines reach their logs, in one word and with the causes.

use std::fmt;
use std::time::Duration;

use super::{DropReason, PortalSnapshot};

/// Whether lines reach their logs, and if not, why.
///
/// It is computed from what the worker knows already: no request is sent for it. Its `Display` is one line
/// of text.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
/// # let (layer, guard) = tracing_bizproc::builder(webhook).build()?;
/// # let _: tracing_bizproc::BizprocLayer<tracing_subscriber::Registry> = layer;
/// use tracing_bizproc::stats::Status;
///
/// let handle = guard.handle();
/// let health = handle.health();
/// assert_eq!(health.status(), Status::Ready);
/// assert_eq!(health.to_string(), "ready");
///
/// guard.shutdown_blocking(std::time::Duration::ZERO);
/// assert_eq!(handle.health().status().as_str(), "blocked");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    status: Status,
    causes: Vec<Cause>,
}

/// One word for a [`Health`]. Ordered from best to worst.
///
/// ```
/// use tracing_bizproc::stats::Status;
///
/// // What a page for operators may show; a liveness probe should not look at it.
/// fn http_status(status: Status) -> u16 {
///     if status < Status::Blocked { 200 } else { 503 }
/// }
/// assert_eq!(http_status(Status::Degraded), 200);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Lines reach their logs, or none has been logged yet.
    Ready,
    /// Some lines do not reach their logs, or not in time. Pending lines may still arrive.
    Degraded,
    /// No lines reach their logs, and something must be fixed first.
    Blocked,
}

/// Why lines do not reach their logs, or not in time.
///
/// ```
/// use tracing_bizproc::stats::{Cause, Health};
///
/// /// Portals whose customers have to do something.
/// fn blocked(health: &Health) -> Vec<Option<&str>> {
///     let portal = |cause| match cause {
///         &Cause::PortalBlocked { ref portal, .. } => Some(portal.as_deref()),
///         _ => None,
///     };
///     health.causes().iter().filter_map(portal).collect()
/// }
/// # drop(blocked);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The worker was closed: its guard was dropped, or this process is a fork.
    Closed,
    /// A portal accepts nothing, and something must be fixed first.
    #[non_exhaustive]
    PortalBlocked {
        /// The portal, as spans name it; `None` for the portal of spans without the field `portal`.
        portal: Option<String>,
        /// What must be fixed.
        reason: DropReason,
    },
    /// Requests to a portal fail, and are tried again.
    #[non_exhaustive]
    PortalFailing {
        /// The portal, as above.
        portal: Option<String>,
        /// For how long.
        since: Duration,
    },
    /// Lines of a portal have waited longer than `max_hold` plus one minute.
    #[non_exhaustive]
    LinesWait {
        /// The portal, as above.
        portal: Option<String>,
        /// How long the oldest has waited.
        oldest: Duration,
    },
    /// There is no room for another line: the queue is full, or the budget is used up.
    NoRoom,
}

impl Status {
    /// The word, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ready => "ready",
            Status::Degraded => "degraded",
            Status::Blocked => "blocked",
        }
    }

    /// All of them, the best first.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for the gauges"))]
    pub(crate) const ALL: [Status; 3] = [Status::Ready, Status::Degraded, Status::Blocked];
}

impl Health {
    /// `patience`: lines that wait longer are late.
    pub(crate) fn new(
        closed: bool,
        no_room: bool,
        portals: &[PortalSnapshot],
        patience: Duration,
    ) -> Self {
        let mut causes = Vec::new();
        if closed {
            causes.push(Cause::Closed);
        }
        if no_room {
            causes.push(Cause::NoRoom);
        }
        for portal in portals {
            let name = || portal.portal().map(str::to_owned);
            if let Some(reason) = portal.blocked() {
                causes.push(Cause::PortalBlocked { portal: name(), reason });
            } else if let Some(since) = portal.failing_for() {
                causes.push(Cause::PortalFailing { portal: name(), since });
            }
            if let Some(oldest) = portal.oldest_pending().filter(|oldest| *oldest > patience) {
                causes.push(Cause::LinesWait { portal: name(), oldest });
            }
        }
        let all_blocked = portals.iter().all(|portal| portal.blocked().is_some());
        let status = match (causes.is_empty(), closed || all_blocked && !portals.is_empty()) {
            (_, true) => Status::Blocked,
            (false, false) => Status::Degraded,
            (true, false) => Status::Ready,
        };
        Health { status, causes }
    }

    /// In one word.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why it is not [ready](Status::Ready). Empty when it is.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.as_str())?;
        for (n, cause) in self.causes.iter().take(CAUSES_SHOWN).enumerate() {
            write!(f, "{}{cause}", if n == 0 { ": " } else { "; " })?;
        }
        match self.causes.len().saturating_sub(CAUSES_SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |portal: &Option<String>| match portal {
            Some(portal) => format!("portal {portal}"),
            None => "the default portal".to_owned(),
        };
        match self {
            Cause::Closed => f.write_str("the worker was closed"),
            Cause::NoRoom => f.write_str("no room for another line"),
            Cause::PortalBlocked { portal, reason } => write!(f, "{}: {reason}", name(portal)),
            Cause::PortalFailing { portal, since } => {
                write!(f, "{}: requests have failed for {} s", name(portal), since.as_secs())
            }
            Cause::LinesWait { portal, oldest } => {
                write!(f, "{}: a line has waited {} s", name(portal), oldest.as_secs())
            }
        }
    }
}

/// How many causes the line of text contains.
const CAUSES_SHOWN: usize = 8;
