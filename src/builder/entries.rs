//! Options about entries: when they are sent, how large they are, and how many the portal keeps.

use std::time::Duration;

use super::Builder;
use crate::worker::schedule::Retention;

impl Builder {
    /// How long the first line of an entry waits for more. Default: 1 s. At most `max_hold`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The log grows sooner, by smaller entries.
    /// let builder = builder.linger(Duration::from_millis(200));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long a line waits at most for the schedule of entries (see [`Retention`]). Default: 10
    /// minutes. A longer time keeps more of a long story within the portal's 50 entries.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // A story of a whole day fits, and its lines appear up to an hour late.
    /// let builder = builder.max_hold(Duration::from_secs(3_600)).max_age(Duration::from_secs(7_200));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = max_hold;
        self
    }

    /// How many entries of a workflow the portal keeps. Default: [`Retention::Cloud`].
    ///
    /// ```
    /// use tracing_bizproc::config::Retention;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // The portal keeps all entries.
    /// let builder = builder.retention(Retention::SelfHosted);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// A line at this level, or a more severe one, sends its entry at once. Default: none does.
    /// Every entry counts against the workflow's entry budget.
    ///
    /// ```
    /// use tracing::Level;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // An error is in the log as soon as the portal takes it.
    /// let builder = builder.send_at_once_from(Level::ERROR);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn send_at_once_from(mut self, level: tracing_core::Level) -> Self {
        self.ahead_from = Some(level);
        self
    }

    /// Largest entry, in bytes of UTF-8. Default and maximum: 60,000, because the portal's column holds
    /// 65,535 (server behaviour). At least 2,000. A longer line continues in the next entry.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // A proxy before the portal takes less.
    /// let builder = builder.entry_bytes(20_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn entry_bytes(mut self, bytes: usize) -> Self {
        self.entry_bytes = bytes;
        self
    }

    /// Longest line in the log, in bytes of UTF-8. Default: 59,000, which fits into one entry. At least
    /// 256 plus the length of `line_prefix`, at most 1,048,576. A longer line is cut, and says how many
    /// bytes are missing. A cloud portal keeps the newest 50 entries: a few lines of 1 MiB would fill all
    /// of them.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // Nobody reads more of a line.
    /// let builder = builder.line_bytes(4_000);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn line_bytes(mut self, bytes: usize) -> Self {
        self.line_bytes = bytes;
        self
    }
}
