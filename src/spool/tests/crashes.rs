//! Random programs with kills, losses of power and failing disks. No answered line is lost, no settled line comes
//! back, and order is kept.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::*;
use crate::stats::DropReason;

#[derive(Clone, Debug)]
enum Op {
    /// Lines of these tokens.
    Append(Vec<(usize, usize)>),
    /// A mark for a part of a token's lines: a run, a token, and where the part begins and ends.
    Mark(MarkKind, usize, usize, (u8, u8)),
    Read(usize),
    Kill,
    /// Files keep this part (of 256) of the data that was not synced.
    LosePower(u8),
    /// The next operation meets these failures.
    Fail(Vec<&'static str>),
    WriteAtOnce(Option<usize>),
    /// The disk has room for this number of bytes more.
    Fill(Option<usize>),
    Adopt,
}

fn any_op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        3 => Just(MarkKind::Settled), 3 => Just(MarkKind::Tried), 1 => Just(MarkKind::Returned)
    ];
    let call = prop::sample::select(vec![
        "write",
        "sync",
        "truncate",
        "create",
        "sync_dir",
        "remove_file",
        "rename",
        "is_linked",
    ]);
    prop_oneof![
        8 => prop::collection::vec((0..6_usize, 0..4_usize), 1..4).prop_map(Op::Append),
        8 => (kind, 0..3_usize, 0..6_usize, any::<(u8, u8)>())
            .prop_map(|(kind, run, token, part)| Op::Mark(kind, run, token, part)),
        2 => (1..300_usize).prop_map(Op::Read),
        1 => Just(Op::Kill),
        1 => any::<u8>().prop_map(Op::LosePower),
        1 => prop::collection::vec(call, 1..3).prop_map(Op::Fail),
        1 => prop::option::of(1..40_usize).prop_map(Op::WriteAtOnce),
        1 => prop::option::of(0..200_usize).prop_map(Op::Fill),
        1 => Just(Op::Adopt),
    ]
}

/// The expected state of a line.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// `None`: nobody was told.
    present: Option<bool>,
    tried: Option<bool>,
    /// It was marked as tried, and this is the last mark of this kind that was answered.
    tried_for_sure: bool,
}

struct Model {
    disk: FakeDisk,
    process: FakeDisk,
    files: Files,
    fsync: bool,
    runs: u128,
    batches: u64,
    next: Number,
    known: BTreeMap<(u128, usize), BTreeMap<Number, Known>>,
    /// Lines of batches that failed.
    failed: u64,
    /// Lines that the spool said are lost.
    lost: u64,
    max_bytes: u64,
    /// Lines that it gave up because there was no room: a run, a token, numbers.
    given_up: Vec<(u128, EventToken, (Number, Number))>,
}

fn start(process: &FakeDisk, fsync: bool, max_bytes: u64, run: u128) -> Result<Files, SpoolError> {
    let limits = Limits { segment_bytes: 400, max_bytes, ..limits(fsync) };
    Files::open(Arc::new(process.clone()), limits, Publisher(run))
}

impl Model {
    fn new(fsync: bool, max_bytes: u64) -> Self {
        let disk = FakeDisk::new();
        let process = disk.process();
        let files = start(&process, fsync, max_bytes, 1).unwrap();
        let known = BTreeMap::new();
        Model {
            disk,
            process,
            files,
            fsync,
            runs: 1,
            batches: 0,
            next: 1,
            known,
            failed: 0,
            lost: 0,
            max_bytes,
            given_up: Vec::new(),
        }
    }

    fn append(&mut self, tokens: &[(usize, usize)]) {
        let mut chunks = Vec::new();
        let mut lines = Vec::new();
        for &(token, count) in tokens {
            let numbers: Vec<_> = (self.next..).take(count).collect();
            self.next += count as u64 + 1;
            chunks.push(chunk(token, &numbers));
            lines.extend(numbers.into_iter().map(|no| (token, no)));
        }
        self.batches += 1;
        let appended = now(self.files.append(&batch(self.runs, self.batches, chunks))).is_ok();
        let present = appended.then_some(true);
        for (token, no) in &lines {
            let known = Known { present, tried: Some(false), tried_for_sure: false };
            self.known.entry((self.runs, *token)).or_default().insert(*no, known);
        }
        if !appended {
            self.failed += lines.len() as u64;
        }
        self.evicted();
    }

    fn evicted(&mut self) {
        for lost in now(self.files.evicted(at(0))).unwrap_or_default() {
            match lost.of.zip(lost.numbers) {
                None => self.lost += lost.lines,
                Some(((publisher, _, event_token), numbers)) => {
                    assert_eq!(lost.reason, DropReason::SpoolFull);
                    self.given_up.push((publisher.0, event_token, numbers));
                }
            }
        }
    }

    fn mark(&mut self, kind: MarkKind, run: usize, token: usize, (from, to): (u8, u8)) {
        let runs: Vec<_> =
            self.known.keys().filter(|key| key.1 == token).map(|key| key.0).collect();
        let Some(run) = runs.get(run % runs.len().max(1)) else { return };
        let Some(lines) = self.known.get_mut(&(*run, token)) else { return };
        let numbers: Vec<_> = lines.keys().copied().collect();
        let Some(last) = numbers.len().checked_sub(1) else { return };
        let from = usize::from(from) * last / 255;
        let to = from + usize::from(to) * (last - from) / 255;
        let range = (numbers[from], numbers[to]);
        // Like the worker: settled lines were marked as tried before.
        let kinds =
            if kind == MarkKind::Settled { vec![MarkKind::Tried, kind] } else { vec![kind] };
        for kind in kinds {
            let done = now(self.files.mark(&[mark(*run, token, range, kind)])).is_ok();
            for (_, known) in lines.range_mut(range.0..=range.1) {
                match kind {
                    MarkKind::Settled => {
                        known.present = known.present.filter(|_| done).map(|_| false)
                    }
                    kind => {
                        known.tried = done.then_some(kind == MarkKind::Tried);
                        known.tried_for_sure = done && kind == MarkKind::Tried;
                    }
                }
            }
            if !done {
                return;
            }
        }
    }

    /// Compares the lines that are read with the expected ones. After a crash, this also sets the state of the
    /// uncertain lines.
    fn compare(&mut self, most_bytes: usize, crash: Option<Crash>) {
        self.evicted();
        let given_up = std::mem::take(&mut self.given_up);
        for (run, event_token, (from, up_to)) in given_up {
            let token = (0..6).find(|token| super::token(*token) == event_token).unwrap();
            let known = self.known.get_mut(&(run, token)).unwrap();
            for (_, known) in known.range_mut(from..=up_to) {
                known.present = known.present.filter(|present| !present);
            }
        }
        let mut read = lines(&read_all(&self.files, None, most_bytes));
        for ((run, token), known) in &mut self.known {
            let key = (*run, super::token(*token).expose().to_owned());
            let read = read.remove(&key).unwrap_or_default();
            assert!(read.is_sorted(), "{read:?}");
            let read: BTreeMap<_, _> = read.into_iter().collect();
            for (no, known) in known.iter() {
                let found = read.get(no);
                let may_return = crash == Some(Crash::Power);
                match (known.present, found) {
                    (Some(true), None) => panic!("{no} of {run} is lost"),
                    (Some(false), Some(tried)) => {
                        assert!(may_return, "{no} of {run} was settled");
                        assert!(*tried || !known.tried_for_sure, "{no} comes again without a mark");
                    }
                    _ => (),
                }
                match (found, known.tried) {
                    (Some(false), _) if known.tried_for_sure => panic!("{no} was tried"),
                    // A mark that was not synced is forgotten.
                    (Some(true), Some(false)) if crash != Some(Crash::Power) => {
                        panic!("{no} was not tried")
                    }
                    _ => (),
                }
            }
            assert!(read.keys().all(|no| known.contains_key(no)), "{read:?} {known:?}");
            if crash.is_some() {
                // Settled lines may come back after a loss of power, because that mark was not synced.
                for (no, known) in known {
                    if let Some(tried) = read.get(no).copied() {
                        let (present, tried_for_sure) = (Some(true), tried);
                        *known = Known { present, tried: Some(tried), tried_for_sure };
                    }
                }
            }
        }
        assert!(read.is_empty(), "{read:?}");
        assert!(self.lost <= self.failed, "{} lost, {} failed", self.lost, self.failed);
    }

    fn crash(&mut self, crash: Crash, kept: u8) {
        match crash {
            Crash::Kill => self.process.kill(),
            Crash::Power => self.disk.lose_power(kept),
        }
        self.disk.fail(&[]);
        self.disk.set_capacity(None);
        self.runs += 1;
        (self.batches, self.next) = (0, 1);
        // If the report of a loss could not be stored, the loss is reported again.
        self.lost = 0;
        // Otherwise folders that do not fit would be left for later.
        self.max_bytes = 1 << 30;
        self.process = self.disk.process();
        self.files = start(&self.process, self.fsync, self.max_bytes, self.runs).unwrap();
        assert!(adopt_all(&self.files).left.is_empty());
        self.compare(50, Some(crash));
    }

    fn run(&mut self, ops: &[Op]) {
        let mut failing = false;
        for op in ops {
            match op {
                Op::Append(tokens) => self.append(tokens),
                Op::Mark(kind, run, token, part) => self.mark(*kind, *run, *token, *part),
                Op::Read(most_bytes) => self.compare(*most_bytes, None),
                Op::Kill => self.crash(Crash::Kill, 0),
                // Without fsync, nothing is promised after a loss of power.
                Op::LosePower(kept) if self.fsync => self.crash(Crash::Power, *kept),
                Op::LosePower(_) => (),
                Op::Fail(calls) => {
                    let calls: Vec<_> =
                        calls.iter().map(|call| (*call, ErrorKind::Other)).collect();
                    self.disk.fail(&calls);
                    failing = true;
                    continue;
                }
                Op::WriteAtOnce(bytes) => self.disk.write_at_once(*bytes),
                Op::Fill(room) => {
                    let used = self.disk.bytes();
                    self.disk.set_capacity(room.map(|room| used + room));
                }
                Op::Adopt => drop(adopt_all(&self.files)),
            }
            if std::mem::take(&mut failing) {
                self.disk.fail(&[]);
            }
        }
        self.disk.set_capacity(None);
        self.compare(1, None);
        self.crash(Crash::Kill, 0);
        self.settle_all();
    }

    /// When everything is settled, no file stays.
    fn settle_all(&mut self) {
        let all: Vec<_> = self.known.keys().copied().collect();
        for (run, token) in all {
            let settled = mark(run, token, (0, Number::MAX), MarkKind::Settled);
            now(self.files.mark(&[settled])).unwrap();
        }
        assert!(read_all(&self.files, None, 1).is_empty());
        let names = self.process.list(Path::new(DIR)).unwrap();
        assert_eq!(names, [format!("{:032x}", self.runs)]);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Kill,
    Power,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_answered_survives_the_process(ops in prop::collection::vec(any_op(), 1..60)) {
        Model::new(false, 1 << 30).run(&ops);
    }

    #[test]
    fn with_fsync_it_survives_power_loss(ops in prop::collection::vec(any_op(), 1..60)) {
        Model::new(true, 1 << 30).run(&ops);
    }

    #[test]
    fn what_finds_no_room_is_told(
        ops in prop::collection::vec(any_op(), 1..60), max_bytes in 800..3_000_u64
    ) {
        Model::new(false, max_bytes).run(&ops);
    }
}
