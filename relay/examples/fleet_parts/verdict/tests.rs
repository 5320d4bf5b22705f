use super::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 100 * SECOND;

fn line(run: u32, number: u32) -> Line {
    Line { activity: 3, run, number }
}

/// Replica 0 has logged five lines, one in a second; relays 1 and 2 deliver for portal 0, which is in shard 9.
fn evidence() -> Evidence {
    let mut replica = Run::default();
    replica.story.lines = (1..=5).map(|n| (START + u64::from(n) * SECOND, line(0, n))).collect();
    let relay = |member| Run {
        story: Story { member: Some(member), ..Story::default() },
        ..Run::default()
    };
    Evidence {
        window: Duration::from_secs(1),
        runs: vec![replica, relay(71), relay(72)],
        shards: vec![9],
        history: vec![taken(Some(71), 0)],
        ..Evidence::default()
    }
}

fn taken(member: Option<u128>, seconds: u64) -> Taken {
    Taken { shard: 9, member, at: START + seconds * SECOND }
}

fn entry(run: u32, is_marked: bool, numbers: &[u32]) -> Entry {
    let lines = numbers.iter().map(|number| line(0, *number)).collect();
    Entry { run, is_marked, lines, is_intact: true, fate: Fate::Written }
}

fn hit(run: u32, tenths: u64) -> Hit {
    Hit { portal: 0, run, arrived: START + tenths * SECOND / 10, is_refused: false }
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
    assert_eq!((verdict.logged, verdict.delivered, verdict.repeated), (5, 5, 0));
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
    assert!(!unmarked.is_good() && unmarked.unmarked_repeats == 2, "{unmarked}");
}

#[test]
fn a_copy_without_a_mark_behind_the_marked_one_is_told_apart() {
    let verdict = judged(|it| {
        it.entries = vec![entry(2, true, &[1, 2, 3, 4, 5]), entry(1, false, &[4, 5])];
    });
    assert_eq!((verdict.late_copies, verdict.unmarked_repeats, verdict.repeated), (2, 0, 2));
    assert!(verdict.is_good(), "{verdict}");
}

#[test]
fn a_line_that_is_missing_is_not_good_unless_something_says_why() {
    let missing = |change: &dyn Fn(&mut Evidence)| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 4, 5])];
            change(it);
        })
    };
    let verdict = missing(&|_| ());
    assert_eq!((verdict.lost(), verdict.unexplained.len()), (0, 1), "{verdict}");
    let verdict = missing(&|it| it.gaps = vec![(3, "queue full".to_owned(), 1)]);
    assert_eq!((verdict.lost(), verdict.unexplained.len()), (1, 0), "{verdict}");
    let verdict = missing(&|it| it.runs[0].story.lost = vec![("overflow".to_owned(), 1)]);
    assert_eq!((verdict.lost(), verdict.unexplained.len()), (1, 0), "{verdict}");
    assert!(!verdict.is_good());
}

#[test]
fn what_was_refused_or_thrown_away_was_not_delivered() {
    for fate in [Fate::Refused, Fate::ThrownAway] {
        let verdict = judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
            it.entries[0].fate = fate;
        });
        assert_eq!((verdict.delivered, verdict.unexplained.len()), (0, 5), "{fate:?}");
    }
}

#[test]
fn a_killed_replica_loses_only_what_is_inside_of_the_window_and_was_not_flushed() {
    let killed = |flushed, window| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4])];
            it.runs[0].end = Ending::Killed(START + 5 * SECOND + SECOND / 2);
            it.runs[0].story.flushed = flushed;
            it.window = Duration::from_millis(window);
        })
    };
    let verdict = killed(4, 600);
    assert!(verdict.is_good() && verdict.in_window == 1, "{verdict}");
    assert_eq!(verdict.oldest_in_window, Duration::from_millis(500));
    assert_eq!(verdict.in_trouble, 0);
    for verdict in [killed(4, 400), killed(5, 600)] {
        assert_eq!((verdict.in_window, verdict.unexplained.len()), (0, 1), "{verdict}");
    }
}

#[test]
fn the_time_of_troubles_does_not_count_for_the_window_and_counts_once() {
    let trouble = |from: u64, until: u64| Trouble {
        from: START + from * SECOND,
        until: START + until * SECOND,
        kind: TroubleKind::CutOff,
    };
    let run = Run {
        end: Ending::Killed(START + 20 * SECOND),
        troubles: vec![trouble(12, 16), trouble(1, 4), trouble(10, 15), trouble(13, 14)],
        ..Run::default()
    };
    let age = |seconds: u64| run.age_at_kill(START + seconds * SECOND);
    assert_eq!(age(18), Some(Duration::from_secs(2)));
    assert_eq!(age(11), Some(Duration::from_secs(4)));
    assert_eq!(age(3), Some(Duration::from_secs(10)));
    assert_eq!(Run::default().age_at_kill(START), None);
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
    assert_eq!((verdict.in_window, verdict.in_trouble), (1, 1));
}

#[test]
fn a_first_copy_behind_later_lines_is_out_of_order_and_a_repeat_is_not() {
    let verdict = judged(|it| {
        it.entries =
            vec![entry(1, false, &[1, 3]), entry(1, true, &[1]), entry(1, false, &[2, 4, 5])];
    });
    assert_eq!(verdict.out_of_order, 1, "{verdict}");
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
fn strangers_changed_texts_and_refused_hits_are_seen() {
    let all = vec![entry(1, false, &[1, 2, 3, 4, 5])];
    let verdict = judged(|it| {
        it.entries = all.clone();
        it.strangers = vec!["who?".to_owned()];
    });
    assert!(!verdict.is_good());
    let verdict = judged(|it| {
        it.entries = all.clone();
        it.entries[0].is_intact = false;
    });
    assert!(!verdict.is_good());
    let verdict = judged(|it| {
        it.entries = all.clone();
        it.hits = vec![Hit { is_refused: true, ..hit(1, 5) }];
    });
    assert!(!verdict.is_good() && verdict.refused == 1);
}

#[test]
fn a_request_behind_the_next_owners_is_seen_unless_its_relay_had_just_been_paused() {
    let sent = |is_paused| {
        judged(|it| {
            it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
            it.history.push(taken(Some(72), 4));
            it.hits = vec![hit(1, 10), hit(2, 45), hit(1, 50)];
            if is_paused {
                let (from, until) = (START + SECOND, START + 49 * SECOND / 10);
                it.runs[1].troubles.push(Trouble { from, until, kind: TroubleKind::Paused });
            }
        })
    };
    let verdict = sent(false);
    assert!(!verdict.is_good() && verdict.two_owners == 1, "{verdict}");
    let verdict = sent(true);
    assert!(verdict.is_good() && verdict.after_pause == 1, "{verdict}");
}

#[test]
fn an_owner_that_comes_back_and_the_last_request_of_one_that_goes_are_good() {
    let verdict = judged(|it| {
        it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
        it.history.extend([taken(None, 2), taken(Some(72), 3), taken(Some(71), 6)]);
        // The second one was under way when the shard was taken: nothing was sent by the next owner.
        it.hits = vec![hit(1, 10), hit(1, 31), hit(2, 40), hit(1, 61)];
    });
    assert!(verdict.is_good(), "{verdict}");
}

#[test]
fn takeovers_are_counted_from_a_kill_or_a_long_pause_to_the_next_owners_first_request() {
    let verdict = judged(|it| {
        it.entries = vec![entry(1, false, &[1, 2, 3, 4, 5])];
        it.history.extend([taken(Some(72), 14), taken(Some(71), 34)]);
        it.runs[1].end = Ending::Stopped(START + 50 * SECOND);
        let paused = |from: u64, until: u64| Trouble {
            from: START + from * SECOND,
            until: START + until * SECOND,
            kind: TroubleKind::Paused,
        };
        it.runs[1].troubles = vec![paused(5, 6), paused(10, 30)];
        it.runs[2].end = Ending::Killed(START + 32 * SECOND);
        it.hits = vec![hit(1, 50), hit(2, 155), hit(2, 310), hit(1, 350)];
    });
    let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
    assert_eq!(seconds(&verdict.takeovers), [3.0, 5.5]);
    assert!(verdict.handovers.is_empty());
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
    assert_eq!(verdict.ends.times, [Duration::from_secs(1)]);
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

#[test]
fn percentiles_are_values_that_were_seen() {
    let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
    assert_eq!(percentile::of(&times, 500), Duration::from_millis(100));
    assert_eq!(percentile::of(&times, 990), Duration::from_millis(198));
    assert_eq!(percentile::of(&times[..1], 990), Duration::from_millis(1));
    assert_eq!(percentile::of(&[], 500), Duration::ZERO);
}
