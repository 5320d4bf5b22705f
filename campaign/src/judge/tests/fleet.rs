//! A fleet: replicas that count their own lines, and relays that deliver.

use std::time::Duration;

use crate::evidence::{End, Entry, Evidence, Gap, Promise};
use crate::finding::{About, Finding, Kind};
use crate::journal::{Fate, Hit};
use crate::judge::judge;
use crate::line::Line;
use crate::run::{Ending, Run, Trouble, TroubleKind};
use crate::verdict::Verdict;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 100 * SECOND;

fn line(run: u32, number: u32) -> Line {
    Line { activity: 3, run: Some(run), number }
}

/// Replica 0 has logged five lines, one in a second; relays 1 and 2 deliver.
fn evidence() -> Evidence {
    let mut replica = Run::default();
    replica.story.lines = (1..=5).map(|n| (START + u64::from(n) * SECOND, line(0, n))).collect();
    let bound = Duration::from_secs(1);
    Evidence {
        promise: Promise { bound, keeps_limits: true, ..Promise::default() },
        runs: vec![replica, Run::default(), Run::default()],
        ..Evidence::default()
    }
}

fn entry(run: u32, is_marked: bool, numbers: &[u32]) -> Entry {
    let lines = numbers.iter().map(|number| line(0, *number)).collect();
    let (arrived, is_intact, fate) = (0, true, Fate::Written);
    Entry { activity: 3, run, arrived, is_marked, lines, is_intact, fate }
}

fn judged(change: impl FnOnce(&mut Evidence)) -> Verdict {
    let mut evidence = evidence();
    change(&mut evidence);
    judge(&evidence)
}

#[test]
fn lines_that_came_once_and_in_order_are_good() {
    let verdict =
        judged(|it| it.entries = vec![entry(1, false, &[1, 2]), entry(2, false, &[3, 4, 5])]);
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.sent, verdict.delivered, verdict.repeated), (5, 5, 0));
}

#[test]
fn nothing_at_all_is_not_good() {
    assert!(!judge(&Evidence::default()).is_good());
}

#[test]
fn a_repeat_with_a_mark_is_good_and_one_without_is_not() {
    let repeat = |is_marked| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3]), entry(2, is_marked, &[2, 3])];
            it.entries.push(entry(2, false, &[4, 5]));
        })
    };
    let (marked, unmarked) = (repeat(true), repeat(false));
    assert!(marked.is_good() && marked.repeated == 2, "{marked}");
    assert!(!unmarked.is_good() && unmarked.count(Kind::UnmarkedRepeat) == 2, "{unmarked}");
    assert_eq!(unmarked.findings[0].about.runs, [1, 2]);
}

#[test]
fn a_copy_without_a_mark_behind_the_marked_one_is_told_apart() {
    let verdict = judged(|it| {
        it.entries = vec![entry(2, true, &[1, 2, 3, 4, 5]), entry(1, false, &[4, 5])];
    });
    assert_eq!((verdict.late_copies, verdict.repeated), (2, 2));
    assert!(verdict.is_good(), "{verdict}");
}

#[test]
fn a_line_that_is_missing_is_not_good_although_something_says_why() {
    let missing = |change: &dyn Fn(&mut Evidence)| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 4, 5])];
            change(it);
        })
    };
    let verdict = missing(&|_| ());
    assert_eq!((verdict.lost(), verdict.unexplained()), (0, 1), "{verdict}");
    let gap = |it: &mut Evidence| {
        it.gaps = vec![Gap { activity: 3, reason: "queue full".to_owned(), lines: 1 }];
    };
    let counted = |it: &mut Evidence| it.runs[0].story.lost = vec![("overflow".to_owned(), 1)];
    for verdict in [missing(&gap), missing(&counted)] {
        assert_eq!((verdict.lost(), verdict.unexplained()), (1, 0), "{verdict}");
        assert!(!verdict.is_good());
    }
}

#[test]
fn what_was_refused_or_thrown_away_was_not_delivered() {
    for fate in [Fate::Refused, Fate::ThrownAway] {
        let verdict = judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
            it.entries[0].fate = fate;
        });
        assert_eq!((verdict.delivered, verdict.unexplained()), (0, 5), "{fate:?}");
    }
}

#[test]
fn a_killed_replica_loses_only_what_is_inside_of_the_window_and_was_not_flushed() {
    let killed = |flushed, window| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4])];
            it.runs[0].end = Ending::Killed(START + 5 * SECOND + SECOND / 2);
            it.runs[0].story.flushed = flushed;
            it.promise.bound = Duration::from_millis(window);
        })
    };
    let verdict = killed(4, 600);
    assert!(verdict.is_good() && verdict.in_window == 1, "{verdict}");
    assert_eq!(verdict.oldest_in_window, Duration::from_millis(500));
    assert_eq!(verdict.older_by_clock, 0);
    for verdict in [killed(4, 400), killed(5, 600)] {
        assert_eq!((verdict.in_window, verdict.unexplained()), (0, 1), "{verdict}");
    }
}

#[test]
fn lines_that_waited_for_a_database_that_was_away_are_told_apart() {
    let verdict = judged(|it| {
        it.entries = vec![entry(1, false, &[1, 2, 3, 4])];
        it.runs[0].end = Ending::Killed(START + 9 * SECOND);
        let (from, until) = (START + 5 * SECOND, START + 20 * SECOND);
        it.runs[0].troubles = vec![Trouble { from, until, kind: TroubleKind::NoDatabase }];
    });
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.in_window, verdict.older_by_clock), (1, 1));
}

#[test]
fn a_first_copy_behind_later_lines_is_out_of_order_and_a_repeat_is_not() {
    let verdict = judged(|it| {
        it.entries =
            vec![entry(1, false, &[1, 3]), entry(1, true, &[1]), entry(1, false, &[2, 4, 5])];
    });
    assert_eq!(verdict.count(Kind::OutOfOrder), 1, "{verdict}");
    assert!(!verdict.is_good());
}

#[test]
fn replicas_have_an_order_of_their_own() {
    let verdict = judged(|it| {
        let mut other = Run::default();
        other.story.lines = vec![(START, line(3, 1)), (START, line(3, 2))];
        it.runs.push(other);
        it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
        it.entries[0].lines.splice(4..4, [line(3, 1), line(3, 2)]);
    });
    assert!(verdict.is_good() && verdict.delivered == 7, "{verdict}");
}

#[test]
fn strangers_changed_texts_and_refused_requests_are_seen() {
    let judged = |change: &dyn Fn(&mut Evidence)| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
            change(it);
        })
    };
    let stranger = |it: &mut Evidence| {
        let (kind, sentence) = (Kind::Stranger, "who?".to_owned());
        it.findings.push(Finding { kind, about: About::default(), sentence });
    };
    assert!(!judged(&stranger).is_good());
    assert!(!judged(&|it| it.entries[0].is_intact = false).is_good());
    let error = Some("QUERY_LIMIT_EXCEEDED".to_owned());
    let refused = Hit { run: Some(1), error, ..Hit::default() };
    let verdict = judged(&|it| it.hits = vec![refused.clone()]);
    assert!(!verdict.is_good() && verdict.refused == 1 && verdict.unexplained() == 0, "{verdict}");
    let verdict = judged(&|it| {
        it.hits = vec![refused.clone()];
        it.promise.keeps_limits = false;
    });
    assert!(verdict.is_good() && verdict.refused == 1);
    let planned = Hit { fault: Some("busy".to_owned()), ..refused.clone() };
    assert_eq!(judged(&|it| it.hits = vec![planned.clone()]).refused, 0);
}

#[test]
fn ends_are_good_in_time_and_told_apart_otherwise() {
    let ended = |arrived: Option<u64>, answer: Option<Option<&str>>, end| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
            let asked = START + 6 * SECOND;
            it.runs[0].story.ends = vec![(asked, 3, Duration::from_secs(10))];
            let answer = answer.map(|error| (asked + SECOND, 3, error.map(str::to_owned)));
            it.runs[0].story.ended.extend(answer);
            it.runs[0].end = end;
            it.ends.extend(arrived.map(|seconds| End {
                activity: 3,
                run: 1,
                arrived: asked + seconds * SECOND,
                is_right: true,
            }));
        })
    };
    let verdict = ended(Some(1), Some(None), Ending::Finished);
    assert!(verdict.is_good() && verdict.ends.arrived == 1, "{verdict}");
    assert_eq!(
        (verdict.ends.sent_by_asker, &verdict.ends.times[..]),
        (0, &[Duration::from_secs(1)][..])
    );
    let verdict = ended(Some(12), Some(None), Ending::Finished);
    assert!(!verdict.is_good() && verdict.ends.late == 1, "{verdict}");
    let verdict = ended(None, Some(Some("not sent")), Ending::Finished);
    assert!(!verdict.is_good() && verdict.ends.failed == 1, "{verdict}");
    assert!(!ended(None, Some(None), Ending::Finished).is_good());
    assert!(!ended(None, None, Ending::Stopped(START + 7 * SECOND)).is_good());
    assert!(!ended(None, None, Ending::Killed(START + 8 * SECOND)).is_good());
    let verdict = ended(None, None, Ending::Killed(START + 6 * SECOND + SECOND / 2));
    assert!(verdict.is_good() && verdict.ends.in_window == 1, "{verdict}");
}
