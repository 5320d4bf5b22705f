//! Counts the lines of each token of a portal that are in no lane: in a journal only, or on their way to it.
//!
//! Flushes and ends wait for these lines. A flush waits only for the lines before it. So lines are counted in
//! parts, and each flush ends a part. Parts are joined when no flush separates them any more.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use crate::journal::Number;
use crate::line::Fingerprint;
use crate::worker::agenda::NumberHasher;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// Lines of this run: each part has the lines of a token from its number up to that of the token's next part.
    own: BTreeMap<(u32, Number), u64>,
    /// Lines of other runs: those of a token that were counted together.
    found: BTreeMap<(u32, Number), u64>,
    /// The number at which a token's newest part begins, if a flush of this token has started it.
    cuts: HashMap<u64, Number, BuildHasherDefault<NumberHasher>>,
    /// The same for flushes of everything.
    cut: Number,
}

/// Lines that were counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) token: Fingerprint,
    pub(crate) own: bool,
    /// A flush or end that waits for one of these lines waits for this number.
    pub(crate) seq: Number,
    pub(crate) lines: u64,
}

impl Elsewhere {
    /// Adds a line of this run that is in no lane. `are_apart`: whether somebody waits for lines up to a number
    /// that is above the first argument, and not above the second one.
    pub(crate) fn put(&mut self, token: Fingerprint, are_apart: impl Fn(Number, Number) -> bool) {
        let cut = self.cuts.get(&u64::from(token.0)).copied().unwrap_or(0).max(self.cut);
        if let Some(lines) = self.own.get_mut(&(token.0, cut)) {
            *lines += 1;
            return;
        }
        let before: Vec<(Number, u64)> =
            of(&self.own, token).map(|((_, cut), lines)| (*cut, *lines)).collect();
        let mut last: Option<Number> = None;
        for (cut, lines) in before.into_iter().chain([(cut, 1)]) {
            match last {
                Some(last) if !are_apart(last, cut) => {
                    self.own.remove(&(token.0, cut));
                    *self.own.entry((token.0, last)).or_default() += lines;
                }
                _ => {
                    *self.own.entry((token.0, cut)).or_default() = lines;
                    last = Some(cut);
                }
            }
        }
    }

    /// Lines of other runs were found. `seq` stands for all lines that are counted together with them.
    pub(crate) fn find(&mut self, token: Fingerprint, seq: Number, lines: u64) {
        if lines > 0 {
            *self.found.entry((token.0, seq)).or_default() += lines;
        }
    }

    /// A flush came after the line `up_to`: of this token, or of all.
    pub(crate) fn cut(&mut self, token: Option<Fingerprint>, up_to: Number) {
        match token {
            None => self.cut = up_to,
            Some(token) if of(&self.own, token).next().is_some() => {
                self.cuts.insert(u64::from(token.0), up_to);
            }
            Some(_) => {}
        }
    }

    /// These lines of this run are in a lane now, or settled. `last` is the newest of them. Returns the lines that were
    /// counted.
    pub(crate) fn take(&mut self, token: Fingerprint, last: Number, lines: u64) -> Option<Part> {
        let (&(_, cut), _) = self.own.range((token.0, 0)..(token.0, last.max(1))).next_back()?;
        let lines = take(&mut self.own, (token.0, cut), lines);
        if of(&self.own, token).next().is_none() {
            self.cuts.remove(&u64::from(token.0));
        }
        Some(Part { token, own: true, seq: cut + 1, lines })
    }

    /// The same for lines of other runs, which were counted as `seq`.
    pub(crate) fn take_found(
        &mut self,
        token: Fingerprint,
        seq: Number,
        lines: u64,
    ) -> Option<Part> {
        self.found.get(&(token.0, seq))?;
        let lines = take(&mut self.found, (token.0, seq), lines);
        Some(Part { token, own: false, seq, lines })
    }

    /// Lines of this token.
    pub(crate) fn of(&self, token: Fingerprint) -> u64 {
        let own: u64 = of(&self.own, token).map(|(_, lines)| lines).sum();
        let found: u64 = of(&self.found, token).map(|(_, lines)| lines).sum();
        own + found
    }

    /// All lines that are left.
    pub(crate) fn left(&self) -> Vec<Part> {
        let part = |own| {
            move |(&(token, at), &lines): (&(u32, Number), &u64)| {
                let seq = if own { at + 1 } else { at };
                Part { token: Fingerprint(token), own, seq, lines }
            }
        };
        self.found.iter().map(part(false)).chain(self.own.iter().map(part(true))).collect()
    }
}

fn of(
    parts: &BTreeMap<(u32, Number), u64>,
    token: Fingerprint,
) -> impl Iterator<Item = (&(u32, Number), &u64)> {
    parts.range((token.0, 0)..=(token.0, Number::MAX))
}

fn take(parts: &mut BTreeMap<(u32, Number), u64>, key: (u32, Number), lines: u64) -> u64 {
    let Some(counted) = parts.get_mut(&key) else { return 0 };
    let lines = lines.min(*counted);
    *counted -= lines;
    if *counted == 0 {
        parts.remove(&key);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Fingerprint = Fingerprint(1);
    const B: Fingerprint = Fingerprint(2);

    #[test]
    fn lines_before_a_flush_are_counted_apart_from_those_after_it() {
        let mut elsewhere = Elsewhere::default();
        let waits = |_, _| true;
        for _ in 1..=3 {
            elsewhere.put(A, waits);
        }
        elsewhere.cut(None, 3);
        for token in [A, B, A] {
            elsewhere.put(token, waits);
        }
        elsewhere.cut(Some(A), 6);
        elsewhere.put(A, waits);
        elsewhere.find(A, 100, 5);
        let part = |token, own, seq, lines| Part { token, own, seq, lines };
        let all = [
            part(A, false, 100, 5),
            part(A, true, 1, 3),
            part(A, true, 4, 2),
            part(A, true, 7, 1),
            part(B, true, 4, 1),
        ];
        assert_eq!(elsewhere.left(), all);
        assert_eq!((elsewhere.of(A), elsewhere.of(B)), (11, 1));
        assert_eq!(elsewhere.take(A, 5, 1), Some(part(A, true, 4, 1)));
        assert_eq!(elsewhere.take(A, 3, 10), Some(part(A, true, 1, 3)));
        assert_eq!(elsewhere.take(A, 2, 1), None);
        assert_eq!(elsewhere.take_found(A, 99, 1), None);
        assert_eq!(elsewhere.take_found(A, 100, 4), Some(part(A, false, 100, 4)));
        assert_eq!(elsewhere.of(A), 3);
    }

    #[test]
    fn many_flushes_leave_few_parts() {
        let mut elsewhere = Elsewhere::default();
        for n in 1..=1_000 {
            // The last three flushes still wait.
            elsewhere.put(A, |after, up_to| (after + 1..=up_to).any(|at| at + 3 > n));
            elsewhere.cut(if n % 2 == 0 { None } else { Some(A) }, n);
        }
        assert_eq!(elsewhere.of(A), 1_000);
        assert!(elsewhere.left().len() <= 5, "{:?}", elsewhere.left());
    }
}
