//! What was reported of things that others count: refused lines, mistakes in the app's setup, failures of its format.
//! Each is compared with what was reported before, so that it is reported once.

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::report::Trouble;
use crate::line::InvalidEventToken;
use crate::queue::Consumer;
use crate::stats::{DropReason, Meant, Stats, Unseen};

/// See the module. The setup of an app does not change.
#[derive(Default)]
pub(super) struct Told {
    /// Unusable tokens, by what is wrong with them.
    unusable: [u64; InvalidEventToken::ALL.len()],
    /// Lines refused at the door, by reason.
    refused: [u64; DropReason::COUNT],
    format_failures: u64,
    unguarded: bool,
    shared_spans: bool,
    /// When hidden spans were looked for.
    looked: Option<Instant>,
    /// How much of what a filter hides.
    hidden: usize,
    /// How often, by the cause.
    unseen: [u64; Unseen::ALL.len()],
}

impl Told {
    /// Reports to the engine what is new.
    pub(super) fn look(&mut self, consumer: &Consumer, stats: &Stats, engine: &mut Engine) {
        for (n, (why, count)) in consumer.unusable_tokens().enumerate() {
            if count > self.unusable[n] {
                self.unusable[n] = count;
                engine.report(Trouble::UnusableToken(why), None, why.to_string());
            }
        }
        for (why, lines) in consumer.refused() {
            let told = std::mem::replace(&mut self.refused[why as usize], lines);
            if lines > told {
                engine.refused_at_door(why, lines - told);
            }
        }
        if consumer.was_closed_without_wait() {
            engine.report(Trouble::ClosedByItself, None, "");
        }
        let failures = stats.format_failures();
        if failures > self.format_failures {
            engine.report(Trouble::FormatFailed, None, format!("{failures} so far"));
            self.format_failures = failures;
        }
        for hidden in consumer.hidden(self.hidden) {
            self.hidden += 1;
            let detail = hidden.to_string();
            engine.report(Trouble::Unseen(Unseen::Filtered), None, detail);
        }
        for (n, (why, count)) in consumer.unseen().enumerate() {
            // Each hidden callsite is reported once, by its name.
            if why != Unseen::Filtered && count > self.unseen[n] {
                self.unseen[n] = count;
                engine.report(Trouble::Unseen(why), None, "");
            }
        }
        if consumer.is_unguarded() && !std::mem::replace(&mut self.unguarded, true) {
            engine.report(Trouble::Unguarded, None, "");
        }
        if consumer.shares_spans() && !std::mem::replace(&mut self.shared_spans, true) {
            engine.report(Trouble::SharedSpans, None, "");
        }
    }

    /// Searches for hidden spans if an app works on activities and logs nothing. This takes a millisecond, so
    /// it is not done for each activity.
    pub(super) fn look_for_hidden(&mut self, consumer: &Consumer, meant: Meant, now: Instant) {
        let pause = if consumer.has_no_line() { A_MINUTE } else { 60 * A_MINUTE };
        let is_time = |looked: Instant| now.saturating_duration_since(looked) >= pause;
        if self.looked.is_none_or(is_time) {
            self.looked = Some(now);
            consumer.look_for_hidden(meant);
        }
    }
}

const A_MINUTE: Duration = Duration::from_secs(60);
