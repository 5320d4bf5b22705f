//! The operating limit of a portal.

use std::time::Duration;

/// The operating limit of a portal. Self-hosted portals have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatingLimit {
    pub(crate) limit: Duration,
    pub(crate) release: Release,
    pub(crate) outer_batch: OuterBatch,
}

/// How a blocked method becomes free again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// When enough of the time used has expired (the documentation).
    Expiry,
    /// Ten minutes after it was blocked (the Russian documentation).
    TenMinutes,
    /// 300 seconds after it was blocked, with a clean slate (newer servers). The default.
    #[default]
    Ban,
}

/// Whether `batch` is metered itself, beside its commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterBatch {
    /// It is not (the documentation, and older servers).
    Unmetered,
    /// Half of its time counts, so that a whole batch can be refused (newer servers). The
    /// default.
    #[default]
    HalfWeight,
    /// All of its time counts, and that of its commands does not: each `operating` in
    /// `result_time` is the one sum of the hit (measured on rest 26.500).
    Alone,
}

impl OperatingLimit {
    /// A limit of server time per method and credential in ten minutes. The documentation speaks
    /// of 480 seconds, the server's default is 420.
    pub fn new(limit: Duration) -> Self {
        Self { limit, release: Release::default(), outer_batch: OuterBatch::default() }
    }

    /// How a blocked method becomes free. Default: [`Release::Ban`].
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// Whether `batch` is metered itself. Default: [`OuterBatch::HalfWeight`].
    pub fn outer_batch(mut self, outer_batch: OuterBatch) -> Self {
        self.outer_batch = outer_batch;
        self
    }
}
