//! An app that keeps its lines by itself. Its runs go on with the numbers of the runs before them.

use std::time::Duration;

use crate::evidence::{End, Entry, Evidence, Gap, Promise};
use crate::finding::Kind;
use crate::journal::Fate;
use crate::judge::judge;
use crate::line::Line;
use crate::record::{Moment, Story};
use crate::run::{BEAT, Ending, Run, Trouble, TroubleKind};
use crate::verdict::{Ends, Verdict};

const SECOND: Moment = 1_000_000_000;
/// When the first run of these tests is killed.
const KILLED: Moment = 100 * SECOND;
const LIMIT: Duration = Duration::from_secs(10);

/// An app that has logged ten lines, of which each took a millisecond, and has ended its activity; all of it arrived.
/// Then it was killed, two seconds later, with a spool.
fn all_is_well() -> Evidence {
    let number = |number: u32| (KILLED - 2 * SECOND + u64::from(number) * 1_000_000, line(number));
    let story = Story {
        lines: (1..=10).map(number).collect(),
        ends: vec![(KILLED - SECOND, 1, LIMIT)],
        ended: vec![(KILLED - SECOND / 2, 1, None)],
        beats: (0..100).map(|beat| KILLED - 2 * SECOND + beat * BEAT).collect(),
        ..Story::default()
    };
    let bound = Duration::from_millis(100);
    Evidence {
        promise: Promise { bound, repeats_at_once: true, ..Promise::default() },
        runs: vec![Run { story, end: Ending::Killed(KILLED), ..Run::default() }],
        entries: vec![entry(&[1, 2, 3]), entry(&[4, 5, 6, 7]), entry(&[8, 9, 10])],
        ends: vec![End { activity: 1, run: 0, arrived: KILLED - SECOND / 2, is_right: true }],
        ..Evidence::default()
    }
}

fn line(number: u32) -> Line {
    Line { activity: 1, run: None, number }
}

fn entry(numbers: &[u32]) -> Entry {
    let lines = numbers.iter().map(|number| line(*number)).collect();
    let (is_marked, is_intact, fate) = (false, true, Fate::Written);
    Entry { activity: 1, run: 0, arrived: 0, is_marked, lines, is_intact, fate }
}

fn marked(lines: &[u32]) -> Entry {
    Entry { is_marked: true, ..entry(lines) }
}

fn gap(activity: u32, reason: &str, lines: u64) -> Gap {
    Gap { activity, reason: reason.to_owned(), lines }
}

/// The verdict on what is well but for one change.
fn but(change: impl FnOnce(&mut Evidence)) -> Verdict {
    let mut evidence = all_is_well();
    change(&mut evidence);
    judge(&evidence)
}

#[track_caller]
fn is_bad(verdict: &Verdict, sentence: &str) {
    assert!(!verdict.is_good() && verdict.unexplained() > 0, "{verdict}");
    assert!(verdict.findings.iter().any(|it| it.sentence.contains(sentence)), "{verdict}");
}

#[test]
fn what_is_well_is_good() {
    let verdict = but(|_| {});
    assert!(verdict.is_good(), "{verdict}");
    let expected = "sent=10 delivered=10 repeated=0 in_window=0 lost=0 unexplained=0";
    assert_eq!(verdict.in_one_line("sent"), expected);
    let times = vec![Duration::from_millis(500)];
    let expected = Ends { asked: 1, arrived: 1, sent_by_asker: 1, times, ..Ends::default() };
    assert_eq!(verdict.ends, expected);
}

#[test]
fn a_campaign_that_has_sent_nothing_proves_nothing() {
    let verdict = but(|it| {
        it.runs.clear();
        it.entries.clear();
        it.ends.clear();
    });
    assert!(verdict.findings.is_empty() && !verdict.is_good());
}

#[test]
fn a_lost_line_is_unexplained() {
    let verdict = but(|it| it.entries[1] = entry(&[4, 6, 7]));
    is_bad(&verdict, "k1-5 is missing");
    let expected = "sent=10 delivered=9 repeated=0 in_window=0 lost=0 unexplained=1";
    assert_eq!(verdict.in_one_line("sent"), expected);
}

#[test]
fn a_line_that_the_portal_threw_away_or_refused_is_not_delivered() {
    for fate in [Fate::ThrownAway, Fate::Refused] {
        is_bad(&but(|it| it.entries[2].fate = fate), "k1-10 is missing");
    }
}

#[test]
fn a_line_that_is_younger_than_the_bound_is_in_the_window() {
    let verdict = but(|it| {
        it.runs[0].story.lines.push((KILLED - SECOND / 20, line(11)));
        it.runs[0].story.lines.push((KILLED - SECOND / 5, line(12)));
    });
    is_bad(&verdict, "k1-12 is missing");
    assert_eq!((verdict.in_window, verdict.unexplained()), (1, 1));
}

#[test]
fn time_in_which_the_run_had_no_processor_does_not_count_and_is_told() {
    let verdict = but(|it| {
        let story = &mut it.runs[0].story;
        story.lines.push((KILLED - SECOND, line(11)));
        // Stopped 40 ms later, and until its kill.
        story.beats.retain(|beat| *beat < KILLED - SECOND + 2 * BEAT);
    });
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.in_window, verdict.older_by_clock), (1, 1));
}

#[test]
fn a_run_without_beats_is_judged_by_the_clock() {
    let verdict = but(|it| {
        it.runs[0].story.beats.clear();
        it.runs[0].story.lines.push((KILLED - SECOND / 20, line(11)));
        it.runs[0].story.lines.push((KILLED - SECOND / 2, line(12)));
    });
    is_bad(&verdict, "k1-12 is missing");
    assert_eq!((verdict.in_window, verdict.unexplained()), (1, 1));
}

#[test]
fn without_a_spool_lines_are_lost_within_the_stated_window_and_not_beyond() {
    let without = |memory: u64| {
        but(|it| {
            it.promise.memory = Some(Duration::from_secs(memory));
            it.entries.truncate(2);
        })
    };
    let verdict = without(3);
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.lost(), verdict.lost["killed"]), (3, 3));
    assert_eq!(verdict.oldest_lost, Duration::from_nanos(2 * SECOND - 8_000_000));
    is_bad(&without(1), "k1-8 is missing");
}

#[test]
fn with_a_spool_a_loss_is_bad_although_it_was_told() {
    let told = [
        but(|it| {
            it.entries.truncate(2);
            it.gaps = vec![gap(1, "queue full", 2), gap(1, "entry refused", 1)];
        }),
        but(|it| {
            it.entries.truncate(2);
            it.runs[0].story.lost = vec![("queue full".to_owned(), 3)];
        }),
        but(|it| {
            it.entries.truncate(2);
            let kind = TroubleKind::DiskFull;
            it.runs[0].troubles = vec![Trouble { from: 0, until: KILLED, kind }];
        }),
    ];
    for verdict in told {
        assert!(verdict.unexplained() == 0 && !verdict.is_good(), "{verdict}");
        assert_eq!((verdict.lost(), verdict.count(Kind::Lost)), (3, 3));
    }
}

#[test]
fn what_was_told_explains_no_more_than_it_says() {
    let verdict = but(|it| {
        it.entries.truncate(2);
        it.gaps = vec![gap(1, "queue full", 1), gap(2, "queue full", 5)];
        it.runs[0].story.lost = vec![("queue full".to_owned(), 1)];
    });
    is_bad(&verdict, "k1-10 is missing");
    assert_eq!((verdict.lost(), verdict.unexplained()), (2, 1));
}

#[test]
fn a_marked_repeat_is_counted_and_an_unmarked_one_is_unexplained() {
    let verdict = but(|it| it.entries.insert(2, marked(&[4, 5, 6, 7])));
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.repeated, verdict.marked_in_vain), (4, 0));
    is_bad(&but(|it| it.entries.insert(2, entry(&[7]))), "k1-7 came 2 times without a mark");
}

#[test]
fn the_unmarked_copy_may_come_last_if_another_run_has_sent_it() {
    let verdict = but(|it| {
        it.entries[1] = Entry { run: 1, ..marked(&[4, 5, 6, 7]) };
        it.entries[2].run = 1;
        it.entries.push(entry(&[4, 5, 6, 7]));
    });
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.repeated, verdict.marked_in_vain, verdict.late_copies), (4, 1, 4));
}

#[test]
fn a_swapped_pair_is_unexplained() {
    is_bad(&but(|it| it.entries.swap(0, 1)), "k1-1 came behind number 7");
    is_bad(&but(|it| it.entries[1] = entry(&[5, 4, 6, 7])), "k1-4 came behind number 5");
}

#[test]
fn order_holds_over_runs() {
    let verdict = but(|it| {
        it.entries[1].run = 2;
        it.entries.swap(1, 2);
    });
    is_bad(&verdict, "k1-4 came behind number 10");
}

#[test]
fn without_a_spool_the_network_may_hold_back_what_a_killed_run_has_sent() {
    let held_back = |memory: Option<Duration>, run: u32| {
        but(|it| {
            it.promise.memory = memory;
            it.entries[2].run = run;
            it.entries.swap(1, 2);
        })
    };
    let verdict = held_back(Some(Duration::from_secs(60)), 1);
    assert!(verdict.is_good() && verdict.overtaken == 4, "{verdict}");
    is_bad(&held_back(Some(Duration::from_secs(60)), 0), "k1-4 came behind number 10");
    is_bad(&held_back(None, 1), "k1-4 came behind number 10");
}

#[test]
fn what_is_tried_again_behind_newer_lines_is_unexplained_if_repeats_go_at_once() {
    let later = |repeats_at_once: bool| {
        but(|it| {
            it.promise.repeats_at_once = repeats_at_once;
            it.entries.push(marked(&[4, 5]));
        })
    };
    is_bad(&later(true), "run 0 sent [4, 5] of k1 behind");
    assert!(later(false).is_good());
    let verdict = but(|it| {
        let replayed = [marked(&[1, 2, 3]), marked(&[4, 5, 6, 7])];
        it.entries.extend(replayed.map(|entry| Entry { run: 1, ..entry }));
    });
    assert!(verdict.is_good(), "a successor may repeat all that it finds: {verdict}");
}

#[test]
fn a_text_that_was_changed_is_unexplained() {
    is_bad(&but(|it| it.entries[1].is_intact = false), "changed on its way: k1-4 k1-5");
}

#[test]
fn what_the_judge_did_not_see_is_unexplained() {
    let verdict = but(|it| it.unseen(Default::default(), "a journal has forgotten hits"));
    is_bad(&verdict, "forgotten");
}

#[test]
fn a_missing_end_is_unexplained() {
    let verdict = but(|it| {
        it.ends.clear();
        it.runs[0].story.ended.clear();
    });
    is_bad(&verdict, "the end of k1 is missing");
    is_bad(&but(|it| it.ends.clear()), "was confirmed, and did not arrive");
}

#[test]
fn an_end_with_other_values_or_that_nobody_asked_for_is_unexplained() {
    is_bad(&but(|it| it.ends[0].is_right = false), "brought another message or value");
    let other = |it: &mut Evidence| it.ends.push(End { activity: 2, ..it.ends[0].clone() });
    is_bad(&but(other), "nobody has ended k2");
}

#[test]
fn an_end_is_in_the_window_like_a_line_or_its_failure_is_told() {
    let verdict = but(|it| {
        it.ends.clear();
        it.runs[0].story.ends = vec![(KILLED - SECOND / 20, 1, LIMIT)];
        it.runs[0].story.ended.clear();
    });
    assert!(verdict.is_good() && verdict.ends.in_window == 1, "{verdict}");
    let failed = |memory| {
        but(|it| {
            it.promise.memory = memory;
            it.ends.clear();
            it.runs[0].story.ended = vec![(KILLED, 1, Some("not sent".to_owned()))];
        })
    };
    let verdict = failed(None);
    assert!(verdict.unexplained() == 0 && !verdict.is_good(), "{verdict}");
    assert_eq!(verdict.ends.failed, 1);
    assert!(failed(Some(Duration::from_secs(60))).is_good());
}

#[test]
fn an_app_that_was_stopped_may_lose_ends_without_a_spool_only() {
    let stopped = |memory: Option<Duration>| {
        but(|it| {
            it.promise.memory = memory;
            it.runs[0].end = Ending::Stopped(KILLED);
            it.runs[0].story.ended.clear();
            it.ends.clear();
        })
    };
    assert!(stopped(Some(Duration::from_secs(60))).is_good());
    is_bad(&stopped(None), "the end of k1 is missing");
}
