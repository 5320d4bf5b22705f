//! Checks all options, one by one and together.

use std::time::Duration;

use super::{Builder, YEAR, lines};
use crate::error::BuildError;
use crate::line::Packed;
use crate::protocol::text::ENTRY_BYTES;
use crate::queue;

impl Builder {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        self.check_keep()?;
        self.check_publishing()?;
        let wrong = |option, problem| Err(BuildError::Option { option, problem });
        let max_age = self.line_age();
        for (option, duration) in [("max_age", max_age), ("request_timeout", self.http.timeout)] {
            if duration > YEAR {
                return wrong(option, "must not be longer than a year");
            }
        }
        if !self.fingerprints_are_right {
            return wrong(
                "trust_certificate",
                "needs a SHA-256 fingerprint: 64 hexadecimal digits, as `openssl x509 -noout \
                 -fingerprint -sha256` prints them",
            );
        }
        if self.linger > self.max_hold {
            return wrong("linger", "must not be longer than max_hold");
        }
        if self.max_hold >= max_age {
            return wrong("max_age", "must be longer than max_hold");
        }
        if !(2_000..=ENTRY_BYTES).contains(&self.entry_bytes) {
            return wrong("entry_bytes", "must be between 2,000 and 60,000 bytes");
        }
        if !(LEAST_LINE..=Packed::MAX_LEN).contains(&self.line_bytes) {
            return wrong("line_bytes", "must be between 256 and 1,048,576 bytes");
        }
        if self.request_bytes < 500_000 {
            return wrong("request_bytes", "must be at least 500,000 bytes");
        }
        if let Some(problem) = self.fields.problem() {
            return wrong("fields", problem);
        }
        if !self.retention.is_valid() {
            return wrong("retention", "needs kept >= 1, base > 0, and growth between 1 and 10");
        }
        if !self.quota.is_valid() {
            return wrong("quota", "needs per_second >= 0.001 and burst >= 1");
        }
        if self.operating_limit < Duration::from_secs(1) {
            return wrong("operating_limit", "must be at least 1 s");
        }
        if self.limits.queue == 0 || self.limits.queue > MOST_QUEUED {
            return wrong("queue_lines", "must be between 1 and 16,777,216 lines");
        }
        if self.limits.lines == 0 || self.limits.lines > queue::MOST_LINES {
            return wrong("pending_lines", "must be between 1 and 67,108,864 lines");
        }
        if !(self.portal_share > 0.0 && self.portal_share <= 1.0) {
            return wrong("portal_share", "must be above 0 and at most 1");
        }
        if !(self.limits.token_share > 0.0 && self.limits.token_share <= 1.0) {
            return wrong("token_share", "must be above 0 and at most 1");
        }
        if self.limits.bytes < self.entry_bytes || self.limits.bytes as u64 > queue::MOST_BYTES {
            return wrong("pending_bytes", "must be between entry_bytes and 16 GiB");
        }
        if !self.lines.time.is_valid() {
            return wrong("line_time", "must have an offset of at most 18 hours");
        }
        let prefix = self.lines.prefix_bytes();
        if prefix > lines::MOST_PREFIX {
            return wrong("line_prefix", "must not be longer than 200 bytes in the log");
        }
        if self.line_bytes < LEAST_LINE + prefix {
            return wrong("line_bytes", "must be at least 256 bytes longer than line_prefix");
        }
        if self.http.timeout.is_zero() {
            return wrong("request_timeout", "must be above zero");
        }
        if self.http.connect_timeout.is_zero() {
            return wrong("connect_timeout", "must be above zero");
        }
        Ok(())
    }
}

/// Room for a line's time, a few words, and the note that it was cut.
const LEAST_LINE: usize = 256;
/// The queue's slots are allocated at once.
const MOST_QUEUED: usize = 1 << 24;
