//! What each workflow has used of its entry budget.
//!
//! The budget belongs to the workflow, whose id is readable at the start of an event token: the tokens
//! of parallel branches share it, and it outlives them all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::memo::{Clocks, Reader, Writer};
use super::schedule::Schedule;
use crate::journal::Memo;

/// The budgets of one portal's workflows, by workflow.
#[derive(Debug, Default)]
pub(crate) struct EntryBudgets {
    by_workflow: HashMap<Box<str>, EntryBudget>,
    /// Old workflows are removed when there are more than this.
    sweep_at: usize,
    /// What earlier owners of the portal have noted, by the keys of workflows that were not needed since.
    inherited: HashMap<u128, EntryBudget>,
    /// Workflows with changes that are to be noted for the next owner. `None`: there will be none.
    changed: Option<HashSet<Box<str>>>,
}

impl EntryBudgets {
    /// When the schedule allows the workflow's next entry. `None`: at once.
    pub(crate) fn next_at(&self, workflow: &str, schedule: &Schedule) -> Option<Instant> {
        self.of(workflow)?.next_at(schedule)
    }

    /// Whether half of the entries are used, so that closing spans wait for the schedule.
    pub(crate) fn is_tight(&self, workflow: &str, schedule: &Schedule) -> bool {
        self.of(workflow).is_some_and(|budget| budget.is_tight(schedule))
    }

    /// From now on changes are noted for the portal's next owner. `memos`: the notes of the earlier ones.
    pub(crate) fn inherit(&mut self, memos: &[Memo], clocks: Clocks) {
        self.changed.get_or_insert_default();
        for Memo { key, value } in memos {
            if let Some(budget) = EntryBudget::read(value, clocks) {
                if budget.used_within(FORGET, clocks.now) {
                    self.inherited.insert(*key, budget);
                }
            }
        }
    }

    /// What has changed since the last call.
    pub(crate) fn memos(&mut self, clocks: Clocks) -> Vec<Memo> {
        let changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        let memo = |workflow: Box<str>| {
            let value = self.by_workflow.get(&workflow)?.write(clocks);
            Some(Memo { key: memo_key(&workflow), value })
        };
        changed.into_iter().filter_map(memo).collect()
    }

    /// The workflow is needed now: what was noted of it counts.
    fn recall(&mut self, workflow: &str) {
        if let Some(changed) = &mut self.changed {
            if !changed.contains(workflow) {
                changed.insert(workflow.into());
            }
        }
        if self.inherited.is_empty() || self.by_workflow.contains_key(workflow) {
            return;
        }
        if let Some(budget) = self.inherited.remove(&memo_key(workflow)) {
            self.by_workflow.insert(workflow.into(), budget);
        }
    }

    fn of(&self, workflow: &str) -> Option<&EntryBudget> {
        let known = self.by_workflow.get(workflow);
        if known.is_some() || self.inherited.is_empty() {
            return known;
        }
        self.inherited.get(&memo_key(workflow))
    }

    /// Counts an entry as sent, and returns how many lines will have rolled off once it is written.
    pub(crate) fn sent(&mut self, workflow: &str, schedule: &Schedule, now: Instant) -> u64 {
        self.recall(workflow);
        if let Some(budget) = self.by_workflow.get_mut(workflow) {
            return budget.sent(now, schedule);
        }
        if self.by_workflow.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.sweep(now);
        }
        self.by_workflow.entry(workflow.into()).or_default().sent(now, schedule)
    }

    /// The portal wrote an entry of `lines`, or may have. Returns how many lines it rolled off.
    pub(crate) fn written(&mut self, workflow: &str, lines: u32, schedule: &Schedule) -> u64 {
        self.recall(workflow);
        self.by_workflow.get_mut(workflow).map_or(0, |budget| budget.written(lines, schedule))
    }

    /// Takes a count of [`sent`](Self::sent) back: the portal wrote nothing.
    pub(crate) fn not_sent(&mut self, workflow: &str) {
        self.recall(workflow);
        if let Some(budget) = self.by_workflow.get_mut(workflow) {
            budget.not_sent();
        }
    }

    /// Removes workflows without entries for a long time. Returns whether none is left.
    pub(crate) fn forget_old(&mut self, now: Instant) -> bool {
        self.by_workflow.retain(|_, budget| budget.used_within(FORGET, now));
        self.inherited.retain(|_, budget| budget.used_within(FORGET, now));
        self.by_workflow.is_empty()
    }

    /// Makes room: removes old workflows. If that is not enough, removes the half without entries for the
    /// longest time.
    fn sweep(&mut self, now: Instant) {
        self.forget_old(now);
        if self.by_workflow.len() >= MOST_WORKFLOWS {
            let mut last: Vec<_> = self.by_workflow.values().filter_map(|b| b.last).collect();
            let half = last.len() / 2;
            if let Some((_, median, _)) = (!last.is_empty()).then(|| last.select_nth_unstable(half))
            {
                let median = *median;
                self.by_workflow.retain(|_, budget| budget.last.is_some_and(|at| at > median));
            }
        }
        self.by_workflow.shrink_to_fit();
        self.sweep_at = (self.by_workflow.len() * 2).clamp(SWEEP_FROM, MOST_WORKFLOWS);
    }
}

/// What one workflow has used.
#[derive(Debug, Default)]
struct EntryBudget {
    first: Option<Instant>,
    last: Option<Instant>,
    sent: u32,
    /// Lines in each of our entries that the portal still shows, oldest first.
    shown: VecDeque<u32>,
    rolled_off: u64,
}

impl EntryBudget {
    /// When the schedule allows the next entry. `None`: at once.
    fn next_at(&self, schedule: &Schedule) -> Option<Instant> {
        self.first.map(|first| first + schedule.after(self.sent))
    }

    /// Whether half of the entries are used, so that closing spans wait for the schedule.
    fn is_tight(&self, schedule: &Schedule) -> bool {
        schedule.kept.is_some_and(|kept| self.sent as usize * 2 >= kept)
    }

    /// Counts an entry as sent, and returns how many lines will have rolled off once it is written.
    fn sent(&mut self, now: Instant, schedule: &Schedule) -> u64 {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.sent = self.sent.saturating_add(1);
        let rolls = schedule.kept.is_some_and(|kept| self.shown.len() >= kept);
        let next = if rolls { self.shown.front().copied().map_or(0, u64::from) } else { 0 };
        self.rolled_off.saturating_add(next)
    }

    /// The portal wrote an entry of `lines`, or may have. Returns how many lines it rolled off.
    fn written(&mut self, lines: u32, schedule: &Schedule) -> u64 {
        let Some(kept) = schedule.kept else { return 0 };
        self.shown.push_back(lines);
        let surplus = self.shown.len().saturating_sub(kept);
        let lines = self.shown.drain(..surplus).map(u64::from).sum();
        self.rolled_off = self.rolled_off.saturating_add(lines);
        lines
    }

    /// Takes a count of [`sent`](Self::sent) back: the portal wrote nothing.
    fn not_sent(&mut self) {
        self.sent = self.sent.saturating_sub(1);
        if self.sent == 0 {
            self.first = None;
        }
    }

    /// For the portal's next owner.
    fn write(&self, clocks: Clocks) -> Vec<u8> {
        let mut memo = Writer::new(FORM, clocks);
        memo.maybe_time(self.first);
        memo.maybe_time(self.last);
        memo.number(self.sent.into());
        memo.number(self.rolled_off);
        let skipped = self.shown.len().saturating_sub(MOST_SHOWN);
        self.shown.iter().skip(skipped).for_each(|lines| memo.number((*lines).into()));
        memo.finish()
    }

    fn read(memo: &[u8], clocks: Clocks) -> Option<Self> {
        let mut memo = Reader::new(FORM, memo, clocks)?;
        // Nothing was sent later than now. Otherwise, a wrong clock could hold a log up for a year.
        let past = |at: Option<Instant>| at.map(|at| at.min(clocks.now));
        let mut budget = EntryBudget {
            first: past(memo.maybe_time()?),
            last: past(memo.maybe_time()?),
            sent: u32::try_from(memo.number()?).ok()?,
            rolled_off: memo.number()?,
            shown: VecDeque::new(),
        };
        while let Some(lines) = memo.number() {
            if budget.shown.len() == MOST_SHOWN {
                return None;
            }
            budget.shown.push_back(u32::try_from(lines).ok()?);
        }
        Some(budget)
    }

    fn used_within(&self, time: Duration, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) <= time)
    }
}

/// After this time without an entry, the count of a workflow starts again.
const FORGET: Duration = Duration::from_secs(6 * 3_600);
/// Nothing is removed below this number of workflows.
const SWEEP_FROM: usize = 1_024;
/// The maximum number of workflows. A workflow that is removed too early may write its next entries faster than
/// its log can keep them; there is no other loss.
const MOST_WORKFLOWS: usize = 32_768;

/// The key of a workflow's memo: the same in all processes and versions (FNV-1a of 128 bits). It is never that of
/// the portal itself, which is even.
pub(crate) fn memo_key(workflow: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash =
        workflow.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    hash | 1
}

/// The form of these memos.
const FORM: u8 = 1;
/// Most entries of a workflow that a memo tells of.
const MOST_SHOWN: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::worker::schedule::Retention;

    fn clocks(now: Instant, seconds: u64) -> Clocks {
        Clocks { now, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    /// The next owner has clocks of its own.
    #[test]
    fn the_next_owner_goes_on_where_the_last_one_was() {
        let schedule = Schedule::new(Retention::Cloud);
        let now = Instant::now() + FORGET;
        let mut one = EntryBudgets::default();
        one.inherit(&[], clocks(now, 1_000_000));
        for (second, lines) in [(0, 3), (5, 7)] {
            one.sent("w", &schedule, now + Duration::from_secs(second));
            one.written("w", lines, &schedule);
        }
        one.sent("v", &schedule, now);
        one.not_sent("v");
        let memos = one.memos(clocks(now + Duration::from_secs(10), 1_000_010));
        assert_eq!(memos.len(), 2);
        assert!(one.memos(clocks(now, 1_000_000)).is_empty(), "nothing has changed since");

        let later = now + FORGET / 2;
        let mut two = EntryBudgets::default();
        two.inherit(&memos, clocks(later, 1_000_020));
        let start = later - Duration::from_secs(20);
        assert_eq!(two.next_at("w", &schedule), Some(start + schedule.after(2)));
        assert_eq!(two.next_at("v", &schedule), None);
        two.sent("w", &schedule, later);
        assert_eq!(two.by_workflow["w"].shown, [3, 7]);
        assert_eq!(two.next_at("w", &schedule), Some(start + schedule.after(3)));
        // Nobody needs what is too old.
        let mut three = EntryBudgets::default();
        three.inherit(&memos, clocks(now, 1_000_100 + FORGET.as_secs()));
        assert_eq!(three.next_at("w", &schedule), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_memo_or_none(mut bytes: Vec<u8>, form: bool) {
            if let (true, Some(first)) = (form, bytes.first_mut()) {
                *first = FORM;
            }
            let schedule = Schedule::new(Retention::Cloud);
            let now = Instant::now();
            let mut budgets = EntryBudgets::default();
            let memo = Memo { key: memo_key("w"), value: bytes };
            budgets.inherit(&[memo], clocks(now, 1_000_000));
            budgets.next_at("w", &schedule);
            budgets.sent("w", &schedule, now);
            budgets.written("w", 1, &schedule);
            proptest::prop_assert_eq!(budgets.memos(clocks(now, 1_000_000)).len(), 1);
        }
    }

    #[test]
    fn a_self_hosted_portal_has_no_schedule_and_rolls_nothing_off() {
        let schedule = Schedule::new(Retention::SelfHosted);
        let now = Instant::now();
        let mut budget = EntryBudget::default();
        for _ in 0..1_000 {
            assert_eq!(budget.sent(now, &schedule), 0);
            assert_eq!(budget.written(3, &schedule), 0);
            assert_eq!(budget.next_at(&schedule), Some(now));
        }
        assert!(!budget.is_tight(&schedule));
    }

    #[test]
    fn lines_of_entries_past_the_kept_ones_have_rolled_off() {
        let schedule =
            Schedule::new(Retention::Custom { kept: 2, base: Duration::from_secs(1), growth: 1.3 });
        let now = Instant::now();
        let mut budget = EntryBudget::default();
        for (lines, rolled_off) in [(5, 0), (7, 0), (1, 5), (1, 12)] {
            assert_eq!(budget.sent(now, &schedule), rolled_off, "as told in the entry");
            budget.written(lines, &schedule);
            assert_eq!(budget.rolled_off, rolled_off, "as it came");
        }
    }

    #[test]
    fn an_entry_that_was_not_written_is_taken_back() {
        let schedule = Schedule::new(Retention::Cloud);
        let mut budget = EntryBudget::default();
        budget.sent(Instant::now(), &schedule);
        budget.not_sent();
        assert_eq!(budget.next_at(&schedule), None);
    }

    #[test]
    fn a_workflow_is_remembered_for_six_hours() {
        let schedule = Schedule::new(Retention::Cloud);
        let (start, mut budgets) = (Instant::now(), EntryBudgets::default());
        budgets.sent("5e.1", &schedule, start);
        assert!(!budgets.forget_old(start + FORGET));
        assert!(budgets.next_at("5e.1", &schedule).is_some());
        assert!(budgets.forget_old(start + FORGET + Duration::from_secs(1)));
        assert_eq!(budgets.next_at("5e.1", &schedule), None);
    }

    #[test]
    fn the_newest_of_very_many_workflows_are_remembered() {
        let schedule = Schedule::new(Retention::Cloud);
        let (start, mut budgets) = (Instant::now(), EntryBudgets::default());
        for n in 0..200_000_u64 {
            let now = start + Duration::from_millis(n);
            budgets.sent(&format!("5e.{n}"), &schedule, now);
            assert!(budgets.by_workflow.len() <= MOST_WORKFLOWS);
        }
        assert!(budgets.by_workflow.len() >= MOST_WORKFLOWS / 2);
        assert!(budgets.next_at("5e.199999", &schedule).is_some());
        assert!(budgets.next_at("5e.0", &schedule).is_none());
    }
}
