//! Bounds of bytes and of age, and files that are made smaller.

use super::*;
use crate::journal::StoredGap;
use crate::stats::DropReason;

fn small(disk: &FakeDisk, max_bytes: u64) -> Files {
    let limits = Limits { max_bytes, segment_bytes: max_bytes / 8, ..limits(false) };
    Files::open(Arc::new(disk.clone()), limits, Publisher(1)).unwrap()
}

fn end(n: usize, no: Number) -> Chunk {
    let end = StoredEnd {
        no,
        values: r#"{"Sum":"7"}"#.to_owned(),
        message: None,
        failed: false,
        deadline: at(no),
        waits_until: None,
    };
    Chunk { content: Content::End(end), ..chunk(n, &[]) }
}

#[test]
fn a_full_spool_gives_up_its_oldest_lines_and_says_whose() {
    let disk = FakeDisk::new();
    let files = small(&disk, 16 << 10);
    let mut told = BTreeMap::<EventTokenText, u64>::new();
    for no in 1..=2_000 {
        append(&files, &batch(1, no, vec![chunk(no as usize % 7, &[no])]));
        assert!(disk.bytes() <= (16 << 10) + 300, "{}", disk.bytes());
        for lost in evicted(&files) {
            assert_eq!(lost.reason, DropReason::SpoolFull);
            let (publisher, portal, event_token) = lost.of.unwrap();
            let n = (0..7).find(|n| token(*n) == event_token).unwrap();
            assert_eq!((publisher, portal), (Publisher(1), super::portal(n)));
            let (from, up_to) = lost.numbers.unwrap();
            assert_eq!(lost.since, at(from));
            assert_eq!(lost.lines, (up_to - from) / 7 + 1, "each seventh number");
            *told.entry(event_token.expose().to_owned()).or_default() += lost.lines;
        }
    }
    let read = read_all(&files, None, 1 << 20);
    let told: u64 = told.values().sum();
    assert!(told > 1_000);
    assert_eq!(told + count(&read) as u64, 2_000, "each is there or told");
    // The newest are kept.
    let kept = lines(&read);
    assert!(kept.values().flatten().all(|(no, _)| *no > told));
}

#[test]
fn lines_that_are_given_up_are_told_for_each_chunk_as_it_was_appended() {
    let disk = FakeDisk::new();
    let files = small(&disk, 16 << 10);
    append(&files, &batch(1, 1, vec![chunk(1, &[1, 2, 4]), chunk(2, &[3]), chunk(1, &[5, 6])]));
    append(&files, &batch(1, 2, vec![chunk(1, &[7, 8])]));
    now(files.mark(&[mark(1, 1, (5, 5), MarkKind::Settled)])).unwrap();
    for no in 10..=1_000 {
        append(&files, &batch(1, no, vec![chunk(3, &[no])]));
    }
    let lost = evicted(&files);
    let of_token: Vec<_> = lost
        .iter()
        .filter(|lost| lost.of.as_ref().is_some_and(|(_, _, of)| *of == token(1)))
        .map(|lost| (lost.numbers.unwrap(), lost.lines))
        .collect();
    assert_eq!(of_token, [((1, 4), 3), ((6, 6), 1), ((7, 8), 2)]);
}

#[test]
fn ends_outlast_the_lines_of_a_full_spool() {
    let disk = FakeDisk::new();
    let files = small(&disk, 16 << 10);
    append(&files, &batch(1, 1, vec![chunk(1, &[1]), end(1, 2)]));
    for no in 3..=1_000 {
        append(&files, &batch(1, no, vec![chunk(2, &[no])]));
    }
    let read = read_all(&files, None, 1 << 20);
    assert_eq!(read[0], (1, end(1, 2)));
    assert!(evicted(&files).iter().all(|lost| lost.ends == 0));
    now(files.mark(&[mark(1, 1, (2, 2), MarkKind::Settled)])).unwrap();
    assert!(read_all(&files, Some(&portal(1)), 1).is_empty());

    // Ends are given up only when there is nothing else.
    for no in 1_001..=2_000 {
        append(&files, &batch(1, no, vec![end(no as usize, no)]));
    }
    let ends: u64 = evicted(&files).iter().map(|lost| lost.ends).sum();
    assert_eq!(ends + read_all(&files, None, 1 << 20).len() as u64, 1_000);
}

#[test]
fn lines_that_are_too_old_are_given_up() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    let hour = Duration::from_secs(3600);
    append(&files, &batch(1, 1, vec![chunk(1, &[1, 2]), end(1, 3)]));
    assert!(now(files.evicted(at(0) + 2 * hour)).unwrap().is_empty());
    let mut late = chunk(1, &[4]);
    let Content::Lines(lines) = &mut late.content else { unreachable!() };
    lines[0].at += 2 * hour;
    append(&files, &batch(1, 2, vec![late.clone()]));
    assert!(now(files.evicted(at(0) + 24 * hour)).unwrap().is_empty());
    let lost = now(files.evicted(at(4) + 24 * hour)).unwrap();
    assert_eq!(lost.len(), 2);
    assert_eq!((lost[0].reason, lost[0].lines, lost[0].ends), (DropReason::Expired, 2, 0));
    assert_eq!((lost[1].reason, lost[1].lines, lost[1].ends), (DropReason::Expired, 0, 1));
    assert_eq!((lost[0].numbers, lost[1].numbers), (Some((1, 2)), Some((3, 3))));
    assert_eq!(read_all(&files, None, 1), [(1, late)], "a later segment");
}

/// Regression: a blocked portal kept the lines of all other portals of that time on disk.
#[test]
fn a_blocked_portal_keeps_its_own_lines_on_disk_only() {
    let disk = FakeDisk::new();
    let files = small(&disk, 64 << 10);
    let mut blocked = Vec::new();
    for no in 1..=6_000 {
        let is_blocked = no % 100 == 1;
        let n = if is_blocked { 1 } else { 2 + no as usize % 5 };
        append(&files, &batch(1, no, vec![chunk(n, &[no])]));
        match is_blocked {
            true => {
                now(files.mark(&[mark(1, n, (no, no), MarkKind::Tried)])).unwrap();
                blocked.push((no, true));
            }
            false => now(files.mark(&[mark(1, n, (no, no), MarkKind::Settled)])).unwrap(),
        }
        assert!(disk.bytes() <= (64 << 10) + 300, "{}", disk.bytes());
    }
    assert!(evicted(&files).is_empty(), "nothing had to be given up");
    let read = read_all(&files, None, 100);
    assert_eq!(lines(&read).into_values().collect::<Vec<_>>(), [blocked.clone()]);

    // The next run reads rewritten files like the others.
    disk.kill();
    std::mem::forget(files);
    let process = disk.process();
    let limits = Limits { max_bytes: 64 << 10, ..limits(false) };
    let files = Files::open(Arc::new(process), limits, Publisher(2)).unwrap();
    assert_eq!(adopt_all(&files).held[0].lines, blocked.len() as u64);
    assert!(evicted(&files).is_empty());
    let read = read_all(&files, None, 100);
    assert_eq!(lines(&read).into_values().collect::<Vec<_>>(), [blocked]);
}

/// Data of other runs must not push out other lines when it is taken over.
#[test]
fn folders_that_do_not_fit_are_left_for_later() {
    let disk = FakeDisk::new();
    for publisher in 1..=4 {
        let process = disk.process();
        let files = open(&process, publisher);
        for no in 1..=100 {
            append(&files, &batch(publisher, no, vec![chunk(1, &[no])]));
        }
        process.kill();
        std::mem::forget(files);
    }
    let limits = Limits { max_bytes: disk.bytes() as u64 * 3 / 4, ..limits(false) };
    let files = Files::open(Arc::new(disk.process()), limits, Publisher(9)).unwrap();
    let mut delivered = 0;
    for _ in 0..4 {
        let held = adopt_all(&files).held;
        delivered += held.iter().map(|held| held.lines).sum::<u64>();
        let read = read_all(&files, None, 1 << 20);
        for publisher in 1..=4 {
            now(files.mark(&[mark(publisher, 1, (1, 100), MarkKind::Settled)])).unwrap();
        }
        assert!(evicted(&files).is_empty());
        assert!(count(&read) <= 100, "one at a time");
    }
    assert_eq!(delivered, 400);
}

/// A token has ten lines here, of 100 bytes each.
#[test]
fn a_line_takes_little_more_than_its_text() {
    let disk = FakeDisk::new();
    let files = small(&disk, 4 << 20);
    let body = "x".repeat(100);
    for no in 1..=20_000 {
        let mut chunk = chunk(no as usize / 10, &[no]);
        let Content::Lines(lines) = &mut chunk.content else { unreachable!() };
        lines[0].body.clone_from(&body);
        append(&files, &batch(1, no, vec![chunk]));
    }
    let size = disk.bytes() as u64;
    // This includes each token's name once in a segment, and 48 bytes for each batch.
    assert!(size / 20_000 < 175, "{} bytes a line", size / 20_000);
    assert_eq!(count(&read_all(&files, None, 1 << 20)), 20_000);
}

fn gap(n: usize, no: Number, age: Duration) -> Chunk {
    let gap = StoredGap { no, lines: 3, since: at(0) - age, reason: DropReason::Expired };
    Chunk { content: Content::Missed(gap), ..chunk(n, &[]) }
}

/// Regression: a notice about lines that were too old was as old as they were, and was given up at once. Nobody counts
/// it, and its log never told of the lines after a restart.
#[test]
fn a_notice_about_old_lines_is_kept() {
    let disk = FakeDisk::new();
    let files = small(&disk, 64 << 10);
    let old = gap(1, 1, Duration::from_secs(25 * 3_600));
    append(&files, &batch(1, 1, vec![old.clone()]));
    assert!(evicted(&files).is_empty());
    assert_eq!(read_all(&files, None, 1), [(1, old.clone())]);
    disk.kill();
    let files = Files::open(Arc::new(disk.process()), limits(false), Publisher(2)).unwrap();
    adopt_all(&files);
    assert!(evicted(&files).is_empty());
    assert_eq!(read_all(&files, None, 1), [(1, old)]);
}

/// Regression: a notice was given up with the lines beside it, and not counted.
#[test]
fn notices_outlast_the_lines_of_a_full_spool() {
    let disk = FakeDisk::new();
    let files = small(&disk, 16 << 10);
    let told = gap(1, 2, Duration::ZERO);
    append(&files, &batch(1, 1, vec![chunk(1, &[1]), told.clone()]));
    for no in 3..=1_000 {
        append(&files, &batch(1, no, vec![chunk(2, &[no])]));
    }
    assert_eq!(read_all(&files, None, 1 << 20)[0], (1, told));
}
