//! Options about how much may wait, and what happens to more.

use super::Builder;
use crate::queue::Overflow;

impl Builder {
    /// What happens to a line if the queue is full or the budget is spent. Default:
    /// [`Overflow::DropNewest`].
    ///
    /// ```
    /// use tracing_bizproc::config::Overflow;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The newest lines matter most.
    /// let builder = builder.overflow(Overflow::DropOldest);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = overflow;
        self
    }

    /// Lines in the queue between the callers and the worker. Default: 8,192; at most 16,777,216. This
    /// limit and those below are exact up to 512 lines and 128 KiB. Threads that log at the same moment may
    /// exceed larger limits, by about 248 lines at most.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // Threads that log much at the same moment need more room.
    /// let builder = builder.queue_lines(65_536);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn queue_lines(mut self, lines: usize) -> Self {
        self.limits.queue = lines;
        self
    }

    /// Lines that may be pending: accepted, and not yet acknowledged, late or lost. With a spool, lines that are
    /// only on disk do not count. Default: 65,536; at most 67,108,864.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A portal may be away for longer before lines are refused.
    /// let builder = builder.pending_lines(1_000_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn pending_lines(mut self, lines: usize) -> Self {
        self.limits.lines = lines;
        self
    }

    /// Bytes that pending lines may use: their fields, long fields of the spans around them, and about 150
    /// for each line itself; or their text, if it is longer because many characters had to be escaped.
    /// Default: 16 MiB; at least `entry_bytes`, at most 16 GiB. A line that is larger than this limit is
    /// accepted if no other line is pending.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A small machine.
    /// let builder = builder.pending_bytes(4 << 20);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn pending_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// The share of `pending_lines` and `pending_bytes` that one portal may use, above 0 and at most 1, so
    /// that a portal that cannot be reached leaves room for the others. Default: 0.5; with a webhook,
    /// which has one portal, 1. Further lines are dropped, and counted as
    /// [`PortalShare`](crate::stats::DropReason::PortalShare): the newest, or the portal's oldest under
    /// [`Overflow::DropOldest`].
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // No portal may hold more than a tenth of what may be pending.
    /// let builder = builder.portal_share(0.1);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn portal_share(mut self, share: f64) -> Self {
        self.portal_share = share;
        self
    }

    /// The share of `queue_lines`, `pending_lines` and `pending_bytes` that one event token may use, above 0
    /// and at most 1, so that a token that logs without end leaves room for the others, and they lose
    /// nothing. Default: 0.75. If several tokens log much, each gets less, so that some room is always
    /// left. Further lines are refused, and counted as [`TokenShare`](crate::stats::DropReason::TokenShare).
    ///
    /// With [`Overflow::DropOldest`], if a token uses more than a sixteenth of what may be pending, its own
    /// oldest lines are dropped first. Limits of up to 1,024 lines or 256 KiB are not shared like this. 1
    /// switches the share off.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A workflow that logs without end takes a quarter of the room at most.
    /// let builder = builder.token_share(0.25);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn token_share(mut self, share: f64) -> Self {
        self.limits.token_share = share;
        self
    }
}
