//! What a spool keeps, reads and forgets.

use super::*;
use crate::journal::{Held, StoredGap, contract};
use crate::stats::DropReason;

#[test]
fn what_is_appended_is_read_in_order_until_it_is_settled() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    append(&files, &batch(1, 1, vec![chunk(1, &[1, 3]), chunk(2, &[2])]));
    append(&files, &batch(1, 2, vec![chunk(1, &[4, 5])]));
    let read = read_all(&files, None, 1);
    assert_eq!(read[0], (1, chunk(1, &[1, 3])));
    assert_eq!(count(&read), 5);

    now(files.mark(&[mark(1, 1, (3, 4), MarkKind::Tried)])).unwrap();
    let read = lines(&read_all(&files, Some(&portal(1)), 1 << 20));
    let of_one: Vec<_> = read.into_values().collect();
    assert_eq!(of_one, [[(1, false), (3, true), (4, true), (5, false)]]);

    now(files.mark(&[mark(1, 1, (4, 4), MarkKind::Returned)])).unwrap();
    now(files.mark(&[mark(1, 1, (1, 3), MarkKind::Settled)])).unwrap();
    let read = lines(&read_all(&files, Some(&portal(1)), 1 << 20));
    let of_one: Vec<_> = read.into_values().collect();
    assert_eq!(of_one, [[(4, false), (5, false)]]);
    assert_eq!(count(&read_all(&files, None, 1)), 3);
}

#[test]
fn a_batch_that_comes_again_adds_nothing() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    let first = batch(1, 1, vec![chunk(1, &[1])]);
    let end = append(&files, &first);
    assert_eq!(append(&files, &first), end);
    assert_eq!(count(&read_all(&files, None, 1)), 1);
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    let end = append(&files, &batch(1, 1, vec![chunk(1, &[1])]));
    append(&files, &batch(1, 2, vec![chunk(1, &[2])]));
    let query = Query { portal: None, after: Some(end), most_bytes: 100 };
    let read = now(files.read(query)).unwrap();
    assert_eq!(read.chunks, [(Publisher(1), chunk(1, &[2]))]);
    assert!(read.at_end);
    let query = Query { portal: None, after: Some(read.up_to), most_bytes: 100 };
    assert!(now(files.read(query)).unwrap().chunks.is_empty());
}

#[test]
fn an_end_is_kept_with_its_values_and_shows_none_of_them() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    let end = StoredEnd {
        no: 2,
        values: r#"{"sum":"s3cr3t"}"#.to_owned(),
        message: Some("done".to_owned()),
        failed: false,
        deadline: at(5),
        waits_until: None,
    };
    let end = Chunk { content: Content::End(end), ..chunk(1, &[]) };
    append(&files, &batch(1, 1, vec![chunk(1, &[1]), end.clone()]));
    disk.kill();
    let files = open(&disk.process(), 2);
    let adopted = adopt_all(&files);
    assert_eq!(adopted.held[0].lines, 1, "an end is no line");
    assert_eq!(read_all(&files, None, 1)[1], (1, end));
    now(files.mark(&[mark(1, 1, (1, 2), MarkKind::Settled)])).unwrap();
    assert!(read_all(&files, None, 1).is_empty());
}

/// Regression: a run with an end, and without lines, was taken over, and nobody looked for the end.
#[test]
fn an_end_or_a_notice_that_is_alone_in_its_run_is_held() {
    let end = StoredEnd {
        no: 2,
        values: "{}".to_owned(),
        message: None,
        failed: false,
        deadline: at(5),
        waits_until: None,
    };
    let gap = StoredGap { no: 2, lines: 3, since: at(1), reason: DropReason::QueueFull };
    for content in [Content::End(end), Content::Missed(gap)] {
        let disk = FakeDisk::new();
        let files = open(&disk, 1);
        let alone = Chunk { content, ..chunk(1, &[]) };
        append(&files, &batch(1, 1, vec![chunk(1, &[1]), chunk(2, &[3]), alone.clone()]));
        now(files.mark(&[mark(1, 1, (1, 1), MarkKind::Settled)])).unwrap();
        now(files.mark(&[mark(1, 2, (3, 3), MarkKind::Settled)])).unwrap();
        disk.kill();
        let files = open(&disk.process(), 2);
        let adopted = adopt_all(&files);
        assert_eq!(adopted.held, [Held { portal: portal(1), lines: 0 }]);
        assert_eq!(read_all(&files, None, 1), [(1, alone)]);
        now(files.mark(&[mark(1, 1, (2, 2), MarkKind::Settled)])).unwrap();
        disk.kill();
        assert!(adopt_all(&open(&disk.process(), 3)).held.is_empty());
    }
}

#[test]
fn a_run_that_was_killed_is_taken_over_once_and_removed_when_it_is_drained() {
    let disk = FakeDisk::new();
    let (one, two, three) = (disk.process(), disk.process(), disk.process());
    let dead = open(&one, 1);
    append(&dead, &batch(1, 1, vec![chunk(1, &[1, 2]), chunk(2, &[3])]));
    now(dead.mark(&[mark(1, 1, (1, 1), MarkKind::Settled), mark(1, 2, (3, 3), MarkKind::Tried)]))
        .unwrap();
    let files = open(&two, 2);
    assert!(adopt_all(&files).held.is_empty(), "it still lives");
    let before = files.generation();
    one.kill();
    let other = open(&three, 3);
    let held = adopt_all(&files).held;
    assert_eq!(held.iter().map(|held| held.lines).sum::<u64>(), 2);
    assert!(files.generation() > before, "all positions are void");
    assert!(adopt_all(&other).held.is_empty(), "another has it");

    // These come before new lines.
    append(&files, &batch(2, 1, vec![chunk(1, &[1])]));
    let read = read_all(&files, None, 1);
    let order: Vec<_> = read.iter().map(|(publisher, _)| *publisher).collect();
    assert_eq!(order, [1, 1, 2]);
    let read: Vec<_> = lines(&read).into_values().collect();
    assert_eq!(read, [vec![(2, false)], vec![(3, true)], vec![(1, false)]]);

    now(files.mark(&[mark(1, 1, (2, 2), MarkKind::Settled)])).unwrap();
    two.kill();
    // Marks are in the folder of the run that they are about.
    assert_eq!(adopt_all(&other).held.len(), 2, "one line of the first, one of the second");
    now(other.mark(&[mark(1, 2, (3, 3), MarkKind::Settled)])).unwrap();
    now(other.mark(&[mark(2, 1, (1, 1), MarkKind::Settled)])).unwrap();
    assert!(read_all(&other, None, 1).is_empty());
    let names = disk.process().list(Path::new(DIR)).unwrap();
    assert_eq!(names, [format!("{:032x}", 3)]);
}

#[test]
fn runs_are_taken_over_from_the_oldest() {
    let disk = FakeDisk::new();
    for publisher in [7, 3, 5] {
        let process = disk.process();
        let files = open(&process, publisher);
        append(&files, &batch(publisher, 1, vec![chunk(1, &[1])]));
        process.kill();
    }
    let files = open(&disk.process(), 9);
    adopt_all(&files);
    let order: Vec<_> = read_all(&files, None, 1).into_iter().map(|read| read.0).collect();
    assert_eq!(order, [7, 3, 5]);
}

/// The work of one call is bounded, so that a batch that is appended meanwhile does not wait.
#[test]
fn large_folders_are_taken_over_in_steps() {
    let disk = FakeDisk::new();
    let body = "x".repeat(1 << 20);
    for publisher in 1..=3 {
        let process = disk.process();
        let files = open(&process, publisher);
        for no in 1..=25 {
            let mut chunk = chunk(1, &[no]);
            let Content::Lines(lines) = &mut chunk.content else { unreachable!() };
            lines[0].body.clone_from(&body);
            append(&files, &batch(publisher, no, vec![chunk]));
        }
        process.kill();
        std::mem::forget(files);
    }
    let files = open(&disk.process(), 9);
    let mut steps = Vec::new();
    loop {
        let adopted = now(files.adopt()).unwrap();
        steps.push(adopted.held.iter().map(|held| held.lines).sum::<u64>());
        if !adopted.more {
            break;
        }
        append(&files, &batch(9, steps.len() as u64, vec![chunk(2, &[steps.len() as u64])]));
    }
    assert!(steps.len() > 1, "{steps:?}");
    assert_eq!(steps.iter().sum::<u64>(), 75, "{steps:?}");
}

/// A thousand short processes leave a thousand small folders. Each folder is listed, locked and synced. So they
/// are taken over a few at a time, because otherwise batches would wait for all of them.
#[test]
fn many_small_folders_are_taken_over_in_steps() {
    let disk = FakeDisk::new();
    for publisher in 1..=100 {
        let process = disk.process();
        let files = open(&process, publisher);
        append(&files, &batch(publisher, 1, vec![chunk(1, &[1])]));
        process.kill();
        std::mem::forget(files);
    }
    let files = open(&disk.process(), 999);
    let mut steps = Vec::new();
    loop {
        let adopted = now(files.adopt()).unwrap();
        steps.push(adopted.held.iter().map(|held| held.lines).sum::<u64>());
        if !adopted.more {
            break;
        }
    }
    assert!(steps.iter().all(|lines| *lines <= 10), "{steps:?}");
    assert_eq!(steps.iter().sum::<u64>(), 100, "{steps:?}");
}

#[test]
fn one_portal_is_read_without_the_others() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    for no in 1..=200 {
        let n = if no == 150 { 5 } else { 10 * no as usize };
        append(&files, &batch(1, no, vec![chunk(n, &[no])]));
    }
    let read = read_all(&files, Some(&portal(5)), 1 << 20);
    assert_eq!(read, [(1, chunk(5, &[150]))]);
    assert_eq!(count(&read_all(&files, Some(&None), 1)), 199);
    assert!(read_all(&files, Some(&portal(6)), 1).is_empty());
}

#[test]
fn nothing_of_a_line_or_a_token_is_shown() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    append(&files, &batch(1, 1, vec![chunk(1, &[1])]));
    let spool = Spool::new("/var/lib/app/bizproc");
    assert!(!format!("{spool:?} {:?}", chunk(1, &[1]).event_token).contains("s3cr3t"));
    disk.fail(&[("write", std::io::ErrorKind::Other)]);
    let error = now(files.append(&batch(1, 2, vec![chunk(1, &[2])]))).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cr3t"));
}

#[test]
fn it_does_what_every_journal_has_to_do() {
    for seed in 0..20 {
        let disk = FakeDisk::new();
        let limits = Limits { segment_bytes: 600, ..limits(seed % 2 == 0) };
        let files = Files::open(Arc::new(disk), limits, Publisher(1)).unwrap();
        let mut holds = Box::pin(contract::holds(&files, &[Publisher(1)], seed, 200));
        let done = holds.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(done.is_ready(), "it blocks instead");
    }
}
