//! Runs that are killed, journals that fail, and what the next run makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::kept::{Answers, Portal, Run, number, numbers, pass, settled};
use super::options;
use crate::journal::memory::{Disk, Faults};
use crate::simulation::Random;
use crate::stats::DropReason;

#[tokio::test(start_paused = true)]
async fn what_was_logged_before_a_kill_arrives_after_it_in_order_and_once() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    for n in 0..40 {
        run.log(n % 4, &format!("#{n}#"));
    }
    pass(0.2).await;
    assert_eq!(disk.unsettled(), 40);
    run.kill().await;

    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    // It waits behind those of the run before.
    run.log(0, "#100#");
    pass(60.0).await;
    run.adds_up();
    let stats = run.stats();
    assert_eq!((stats.recovered(), stats.acknowledged(), stats.pending()), (40, 41, 0), "{stats}");
    let lines = portal.lines();
    assert_eq!(lines.len(), 41);
    for token in 0..4 {
        let of: Vec<_> = lines.iter().filter(|n| *n % 4 == token).collect();
        assert!(of.is_sorted(), "{of:?}");
    }
    assert_eq!(stats.repeats(), 0);
    assert_eq!(disk.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_a_request_carried_at_the_kill_is_marked_as_a_possible_repeat() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Silent);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    run.log(1, "#2#");
    // The request is out, and written.
    pass(1.3).await;
    assert_eq!(portal.lines(), [1, 2]);
    run.log(1, "#3#");
    pass(0.05).await;
    run.kill().await;

    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    pass(30.0).await;
    assert_eq!(portal.entries()[..2], [(false, vec![1, 2]), (true, vec![1, 2])]);
    assert!(portal.entries()[2..].iter().all(|(marked, _)| !marked));
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn tried_and_untried_lines_share_no_entry() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Silent);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    pass(1.2).await;
    run.log(1, "#2#");
    pass(0.15).await;
    run.kill().await;
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#3#");
    pass(60.0).await;
    let entries = portal.entries();
    assert_eq!(entries[..2], [(false, vec![1]), (true, vec![1])]);
    assert!(entries[2..].iter().all(|(marked, _)| !marked));
    assert_eq!(portal.lines()[2..], [2, 3]);
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn what_the_portal_certainly_did_not_write_is_not_marked_after_a_kill() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    // Tried, and refused; the next try is later.
    pass(1.6).await;
    assert!(!disk.ever_tried().is_empty());
    run.kill().await;
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    pass(30.0).await;
    assert_eq!(portal.entries(), [(false, vec![1])]);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_outlives_the_run_and_goes_behind_its_tokens_lines() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    run.complete(1, 3_600);
    pass(0.2).await;
    assert_eq!(disk.unsettled_ends(), 1);
    run.kill().await;
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    pass(10.0).await;
    assert_eq!((portal.lines(), portal.ends()), (vec![1], 1));
    assert_eq!((disk.unsettled_ends(), disk.unsettled()), (0, 0));
    assert_eq!(run.stats().late(), 0);
    run.adds_up();
}

/// An app takes its work up again and ends an activity at once: before the journal has said which lines of
/// it the run before has left. They were late.
#[tokio::test(start_paused = true)]
async fn an_end_at_the_start_waits_for_lines_that_the_run_before_has_left() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    run.log(1, "#2#");
    pass(0.2).await;
    run.kill().await;
    portal.answers(Answers::Well);
    disk.fail(Faults { takes: Duration::from_millis(500), ..Faults::default() });
    let run = Run::start(&disk, &portal, options());
    run.complete(1, 3_600);
    // A token of which nothing was left waits no longer than until that is known.
    run.complete(2, 3_600);
    pass(0.4).await;
    assert_eq!(portal.ends(), 0);
    pass(30.0).await;
    assert_eq!((portal.lines(), portal.ends()), (vec![1, 2], 2));
    assert_eq!(run.stats().late(), 0);
    run.adds_up();
}

/// The end of an activity went ahead of its lines in the second half of a shutdown, so that they were late,
/// although both were on disk.
#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_an_end_on_disk_with_its_lines() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::EndsOnly);
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    run.complete(1, 3_600);
    pass(0.2).await;
    let (report, stats) = run.close(4).await;
    assert_eq!((report.stored(), stats.late(), stats.lost()), (1, 0, 0), "{report} {stats}");
    assert_eq!((disk.unsettled(), disk.unsettled_ends(), portal.ends()), (1, 1, 0));
    portal.answers(Answers::Well);
    let run = Run::start(&disk, &portal, options());
    pass(30.0).await;
    assert_eq!((portal.lines(), portal.ends()), (vec![1], 1));
    assert_eq!(run.stats().late(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_needs_memory_for_what_is_being_sent_only() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let options = || options().pending_lines(2_000);
    let run = Run::start(&disk, &portal, options());
    for n in 0..20_000_u32 {
        run.log(n % 50, &format!("#{n}#"));
        if n % 100 == 0 {
            pass(0.1).await;
            assert!(run.producer.pending() < 1_500, "{} in memory", run.producer.pending());
        }
    }
    run.adds_up();
    assert_eq!(run.stats().pending(), 20_000);
    assert_eq!(run.stats().unstored(), 0);
    portal.answers(Answers::Well);
    settled(&run, 3_600).await;
    run.adds_up();
    let stats = run.stats();
    assert_eq!((stats.acknowledged(), stats.pending()), (20_000, 0), "{stats}");
    let lines = portal.lines();
    for token in 0..50 {
        let of: Vec<_> = lines.iter().filter(|n| *n % 50 == token).collect();
        assert!(of.is_sorted() && of.len() == 400);
    }
    // It is direct again: nothing is read any more.
    let reads = disk.reads();
    run.log(0, "#20000#");
    settled(&run, 3_600).await;
    assert_eq!((disk.reads(), portal.lines().len()), (reads, 20_001));
}

#[tokio::test(start_paused = true)]
async fn a_flush_answers_when_acknowledged_and_leaves_the_rest_on_disk() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    let report = run.flush(60).await;
    assert!(report.is_complete() && report.acknowledged() == 1, "{report}");
    portal.answers(Answers::Away);
    run.log(1, "#2#");
    let report = run.flush(5).await;
    assert_eq!((report.pending(), report.stored()), (1, 1), "{report}");
    let (report, stats) = run.close(5).await;
    assert_eq!((report.pending(), report.stored(), report.lost()), (1, 1, 0), "{report}");
    assert_eq!((stats.pending(), stats.lost()), (1, 0), "{stats}");
    assert_eq!(disk.unsettled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_of_the_last_moment_is_stored_before_the_worker_ends() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    run.log(1, "#1#");
    let (report, stats) = run.close(0).await;
    assert_eq!((report.stored(), stats.lost()), (1, 0), "{report} {stats}");
    assert_eq!(disk.unsettled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_delivers_all_leaves_nothing_to_repeat() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    for n in 0..10 {
        run.log(n, &format!("#{n}#"));
    }
    run.complete(3, 10);
    let (report, _) = run.close(20).await;
    assert!(report.is_complete(), "{report}");
    // The lines are through; the end goes with the last of them, or right behind.
    pass(1.0).await;
    assert_eq!((disk.unsettled(), disk.unsettled_ends(), portal.ends()), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_delays_no_line_no_end_and_no_shutdown() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    disk.fail(Faults { hangs: true, ..Faults::default() });
    run.log(1, "#1#");
    let start = Instant::now();
    let report = run.flush(60).await;
    assert_eq!(report.acknowledged(), 1);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let start = Instant::now();
    run.complete(2, 10);
    pass(1.0).await;
    assert_eq!(portal.ends(), 1);
    portal.answers(Answers::Away);
    run.log(1, "#2#");
    let (report, stats) = run.close(5).await;
    assert!(start.elapsed() < Duration::from_millis(6_100), "{:?}", start.elapsed());
    assert_eq!((report.lost(), report.stored()), (1, 0), "{report}");
    assert_eq!(stats.by_reason(DropReason::ShutdownDeadline), 1);
}

/// Regression: a process that was stopped for longer than a disk may take stopped using its healthy disk.
#[tokio::test(start_paused = true)]
async fn time_in_which_the_process_is_stopped_does_not_count_as_a_hanging_disk() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    disk.fail(Faults { takes: Duration::from_millis(300), ..Faults::default() });
    for n in 0..20 {
        run.log(1, &format!("#{n}#"));
        pass(0.1).await;
        tokio::time::advance(Duration::from_secs(20)).await;
    }
    settled(&run, 600).await;
    assert_eq!((run.stats().unstored(), portal.lines().len()), (0, 20), "{}", run.stats());
}

/// Requests to a disk that hangs are bounded, and delivery does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_for_an_hour_delays_no_delivery() {
    let (disk, portal) = (Disk::new(), Portal::default());
    let options = options().quota(crate::config::Quota::Unlimited);
    let run = Run::start(&disk, &portal, options);
    pass(1.0).await;
    disk.fail(Faults { hangs: true, ..Faults::default() });
    for n in 0..3_600 {
        run.log(n % 10, &format!("#{n}#"));
        pass(1.0).await;
    }
    run.flush(60).await;
    assert_eq!(portal.lines().len(), 3_600);
    disk.fail(Faults::default());
    pass(10.0).await;
    run.adds_up();
    // The batches that were handed over are settled now, too.
    assert_eq!(disk.unsettled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_starts_on_a_disk_that_hangs_delivers_from_memory() {
    let (disk, portal) = (Disk::new(), Portal::default());
    disk.fail(Faults { hangs: true, ..Faults::default() });
    let run = Run::start(&disk, &portal, options());
    run.log(1, "#1#");
    pass(7.0).await;
    run.log(1, "#2#");
    pass(10.0).await;
    assert_eq!(portal.lines(), [2], "the first is with the driver");
    assert!(run.stats().unstored() >= 1);
    disk.fail(Faults::default());
    pass(60.0).await;
    assert_eq!(portal.lines(), [2, 1]);
    run.adds_up();
    assert_eq!(run.stats().pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_lines_are_delivered_from_memory() {
    for lies in [false, true] {
        let (disk, portal) = (Disk::new(), Portal::default());
        portal.answers(Answers::Away);
        let run = Run::start(&disk, &portal, options().pending_lines(2_000));
        for n in 0..900 {
            run.log(n % 10, &format!("#{n}#"));
        }
        pass(1.0).await;
        disk.fail(Faults { full: !lies, lies, ..Faults::default() });
        for n in 900..1_500 {
            run.log(n % 10, &format!("#{n}#"));
            pass(0.01).await;
        }
        run.adds_up();
        assert!(run.stats().unstored() >= 500, "{}", run.stats());
        portal.answers(Answers::Well);
        settled(&run, 1_000).await;
        disk.fail(Faults::default());
        run.log(0, "#1500#");
        settled(&run, 1_000).await;
        run.adds_up();
        assert_eq!(run.stats().acknowledged(), 1_501, "{}", run.stats());
        let lines = portal.lines();
        assert_eq!(lines.len(), 1_501);
        for token in 0..10 {
            let of: Vec<_> = lines.iter().filter(|n| *n % 10 == token).collect();
            assert!(of.is_sorted(), "{of:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_for_a_while_is_read_later() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options().pending_lines(200));
    for n in 0..1_000 {
        run.log(n % 10, &format!("#{n}#"));
        if n % 50 == 0 {
            pass(0.2).await;
        }
    }
    pass(1.0).await;
    disk.fail(Faults { unreadable: true, ..Faults::default() });
    portal.answers(Answers::Well);
    pass(60.0).await;
    run.log(1, "#1000#");
    pass(60.0).await;
    assert!(run.stats().pending() > 0);
    disk.fail(Faults::default());
    settled(&run, 1_000).await;
    run.adds_up();
    let lines: BTreeSet<_> = portal.lines().into_iter().collect();
    assert_eq!((lines.len(), portal.lines().len()), (1_001, 1_001));
    assert_eq!(run.stats().pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_where_it_is_also_while_lines_go_by_the_disk() {
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.answers(Answers::Away);
    let run = Run::start(&disk, &portal, options().pending_lines(100));
    pass(1.0).await;
    for n in 0..200 {
        run.try_log(1, &format!("#{n}#"));
    }
    let refused = run.stats().refused();
    assert!(refused > 0);
    pass(1.0).await;
    run.log(1, "#1000#");
    portal.answers(Answers::Well);
    settled(&run, 1_000).await;
    run.adds_up();
    assert!(portal.said(&format!("{refused} lines missing")));
    assert_eq!(portal.lines().len() as u64, 201 - refused);
}

/// Laws of a storm: nothing is lost that was stored before the kill; order within a token; no unmarked
/// repeat; marks only where a request was about to carry the line; ends arrive.
#[tokio::test(start_paused = true)]
async fn stored_lines_arrive_in_order_and_repeats_are_marked_with_any_faults() {
    for seed in 0..20 {
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let mut random = Random::new(seed, 0);
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.0.lock().unwrap().random = Some(Random::new(seed, 1));
    let (mut logged, mut owners) = (0, Vec::new());
    let (mut ends, mut may_be_late) = (0, u32::MAX);
    let mut must_arrive = BTreeSet::new();
    let tokens = 1 + random.below(6) as u32;
    for life in 0..5 {
        let first = logged;
        portal.answers(if random.below(3) == 0 { Answers::Away } else { Answers::Anyhow });
        let pending = [60, 1_000][random.below(2)];
        let builder = options()
            .pending_lines(pending)
            .quota(crate::config::Quota::Unlimited)
            .entry_bytes(2_000);
        let run = Run::start(&disk, &portal, builder);
        for _ in 0..random.below(40) {
            for _ in 0..random.below(20) {
                let token = random.below(tokens as usize) as u32;
                // Some go on in the next entries.
                let long = "x".repeat(random.below(10).saturating_sub(8) * 3_000);
                if run.try_log(token, &format!("#{logged}# {long}")) {
                    owners.push(token);
                    logged += 1;
                }
            }
            if random.below(30) == 0 {
                disk.fail(Faults { takes: Duration::from_millis(4), ..Faults::default() });
            }
            pass(random.below(800) as f64 / 1_000.0).await;
            run.adds_up_nearly();
        }
        // At the end of an activity its lines may be late, and so need not arrive.
        if life == 4 && run.try_log(tokens, &format!("#{logged}#")) {
            owners.push(tokens);
            may_be_late = logged;
            logged += 1;
            ends += 1;
            run.complete(tokens, 30);
            pass(0.5).await;
        }
        if random.below(2) == 0 {
            pass(0.5).await;
            must_arrive.extend(first..logged);
        }
        if random.below(3) == 0 {
            run.close(1).await;
            must_arrive.extend(first..logged);
        } else {
            run.kill().await;
        }
        let stored: BTreeSet<u32> = disk.stored().iter().map(|text| number(text)).collect();
        must_arrive.extend(stored);
    }
    portal.answers(Answers::Well);
    disk.fail(Faults::default());
    let run = Run::start(&disk, &portal, options());
    pass(1.0).await;
    settled(&run, 2_000).await;
    // An end may yet be on its way.
    pass(130.0).await;
    run.adds_up();
    assert_eq!(run.stats().pending(), 0, "seed {seed}: {}", run.stats());
    let mut tried: BTreeSet<u32> = disk.ever_tried().iter().map(|text| number(text)).collect();
    let carried = portal.0.lock().unwrap().carried.clone();
    let unmarked = carried.iter().filter(|entry| !entry.contains("possible repeat"));
    tried.extend(unmarked.flat_map(|entry| numbers(entry)));
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    let mut firsts = Vec::new();
    for (marked, lines) in portal.entries() {
        for line in lines {
            let times = seen.entry(line).or_default();
            *times += 1;
            if *times == 1 {
                firsts.push(line);
            }
            assert!(*times == 1 || marked, "seed {seed}: {line} is repeated without a mark");
            assert!(!marked || tried.contains(&line), "seed {seed}: {line} is marked for nothing");
        }
    }
    must_arrive.remove(&may_be_late);
    let missing: Vec<_> = must_arrive.iter().filter(|line| !seen.contains_key(line)).collect();
    assert!(missing.is_empty(), "seed {seed}: {missing:?} are lost {}", run.stats());
    for token in 0..tokens {
        let of_token = firsts.iter().filter(|line| owners[**line as usize] == token);
        assert!(of_token.is_sorted(), "seed {seed}: {token} is out of order");
    }
    assert_eq!(disk.unsettled(), 0, "seed {seed}");
    assert!(portal.ends() >= ends, "seed {seed}: ends");
}
