//! Files that are damaged, and disks that fail: a typed error or a clean recovery, and each loss counted.

use std::io::ErrorKind;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::journal::StoredGap;
use crate::stats::DropReason;

fn segment(publisher: u128, number: u32) -> PathBuf {
    Path::new(DIR).join(format!("{publisher:032x}/{number:08x}.seg"))
}

/// A dead run with 30 lines of three tokens, in one segment or in several.
fn dead(segment_bytes: u64) -> FakeDisk {
    let disk = FakeDisk::new();
    let process = disk.process();
    let limits = Limits { segment_bytes, ..limits(false) };
    let files = Files::open(Arc::new(process.clone()), limits, Publisher(1)).unwrap();
    for no in 1..=30 {
        append(&files, &batch(1, no, vec![chunk(no as usize % 3 + 1, &[no])]));
    }
    process.kill();
    std::mem::forget(files);
    disk
}

/// Takes over the rest. Returns how many lines are there, and how many are lost.
fn take_over(disk: &FakeDisk) -> (usize, u64) {
    let process = disk.process();
    let run = 100 + process.list(Path::new(DIR)).unwrap().len();
    let files = open(&process, run as u128);
    assert!(adopt_all(&files).left.is_empty());
    let there = count(&read_all(&files, None, 1 << 20));
    let lost = evicted(&files);
    assert!(lost.iter().all(|lost| lost.reason == DropReason::SpoolDamaged));
    process.kill();
    (there, lost.iter().map(|lost| lost.lines).sum())
}

#[test]
fn a_changed_bit_costs_a_few_lines_and_each_is_counted() {
    let length = dead(1 << 20).process().read(&segment(1, 1), u64::MAX).unwrap().len();
    for bit in (0..length * 8).step_by(7) {
        let disk = dead(1 << 20);
        disk.change(&segment(1, 1), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (there, lost) = take_over(&disk);
        assert_eq!(there as u64 + lost, 30, "bit {bit}");
        // The first record of a token has its name.
        assert!(lost <= 10, "bit {bit}: {lost}");
    }
}

#[test]
fn a_segment_that_was_cut_off_is_counted_if_another_follows() {
    let disk = dead(600);
    let length = disk.process().read(&segment(1, 1), u64::MAX).unwrap().len();
    for kept in (0..length).step_by(13) {
        let disk = dead(600);
        disk.change(&segment(1, 1), |bytes| bytes.truncate(kept));
        let (there, lost) = take_over(&disk);
        // Without its header, nobody knows whether it was written again, with fewer lines.
        if kept >= 48 {
            assert_eq!(there as u64 + lost, 30, "{kept} bytes");
        }
        assert!(there >= 10, "those of the other segments are there");
    }
}

#[test]
fn a_write_that_a_kill_interrupted_is_counted_by_its_head() {
    let disk = dead(1 << 20);
    disk.change(&segment(1, 1), |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(take_over(&disk), (29, 1));
    // It is told once.
    assert_eq!(take_over(&disk), (29, 0));
}

#[test]
fn a_bit_that_changes_while_it_runs_is_found_by_reading() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    append(&files, &batch(1, 1, vec![chunk(1, &[1, 2])]));
    append(&files, &batch(1, 2, vec![chunk(1, &[3])]));
    disk.change(&segment(1, 1), |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    assert_eq!(count(&read_all(&files, None, 1)), 2);
    assert_eq!(evicted(&files)[0].lines, 1);
    assert!(evicted(&files).is_empty());
}

#[test]
fn a_newer_format_is_left_alone_and_reported() {
    let disk = dead(1 << 20);
    let before = {
        disk.change(&segment(1, 1), |bytes| {
            bytes[8] = 2;
            let sum = crc32fast::hash(&bytes[..44]);
            bytes[44..48].copy_from_slice(&sum.to_le_bytes());
        });
        disk.bytes()
    };
    let files = open(&disk.process(), 2);
    for _ in 0..2 {
        let adopted = adopt_all(&files);
        assert!(adopted.held.is_empty());
        assert!(adopted.left[0].to_string().contains("format 2"), "{}", adopted.left[0]);
    }
    assert_eq!(disk.bytes(), before, "nothing was touched");
}

#[test]
fn a_full_disk_is_a_typed_error_and_half_a_record_is_cut_off() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    append(&files, &batch(1, 1, vec![chunk(1, &[1])]));
    let before = disk.bytes();
    disk.set_capacity(Some(before + 10));
    let more = batch(1, 2, vec![chunk(1, &[2])]);
    let error = now(files.append(&more)).unwrap_err();
    let error = error.downcast::<SpoolError>().unwrap();
    assert!(matches!(*error, SpoolError::NoSpace { .. }), "{error}");
    assert_eq!(disk.bytes(), before);
    assert_eq!(count(&read_all(&files, None, 1)), 1, "what is there is still read");
    disk.set_capacity(None);
    append(&files, &more);
    assert_eq!(count(&read_all(&files, None, 1)), 2);
}

/// On a full disk, no mark can be written. Settled lines have to make room nevertheless.
#[test]
fn a_full_disk_gets_room_by_what_is_settled() {
    let disk = FakeDisk::new();
    let limits = Limits { segment_bytes: 500, ..limits(false) };
    let files = Files::open(Arc::new(disk.clone()), limits, Publisher(1)).unwrap();
    for no in 1..=20 {
        append(&files, &batch(1, no, vec![chunk(1, &[no])]));
    }
    disk.set_capacity(Some(disk.bytes()));
    let before = disk.bytes();
    let settled = mark(1, 1, (1, 15), MarkKind::Settled);
    assert!(now(files.mark(std::slice::from_ref(&settled))).is_err());
    assert!(disk.bytes() < before);
    now(files.mark(&[settled])).unwrap();
    disk.kill();
    std::mem::forget(files);
    let files = open(&disk.process(), 2);
    adopt_all(&files);
    assert_eq!(count(&read_all(&files, None, 1)), 5);
}

#[test]
fn a_disk_that_cannot_be_read_is_given_up_in_the_end() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    append(&files, &batch(1, 1, vec![chunk(1, &[1, 2])]));
    disk.fail(&[("read", ErrorKind::Other)]);
    let read = || now(files.read(Query { portal: None, after: None, most_bytes: 1 }));
    assert!(read().is_err());
    assert!(read().is_err());
    assert!(read().unwrap().chunks.is_empty());
    assert_eq!(evicted(&files)[0].lines, 2);
}

#[test]
fn a_directory_that_vanishes_is_created_again_and_its_lines_are_counted() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    append(&files, &batch(1, 1, vec![chunk(1, &[1, 2])]));
    let process = disk.process();
    let folder = Path::new(DIR).join(format!("{:032x}", 1));
    for name in process.list(&folder).unwrap() {
        process.remove_file(&folder.join(name)).unwrap();
    }
    process.remove_dir(&folder).unwrap();
    append(&files, &batch(1, 2, vec![chunk(1, &[3])]));
    let lost = evicted(&files);
    assert_eq!((lost[0].lines, lost[0].reason), (2, DropReason::SpoolDamaged));
    assert_eq!(lines(&read_all(&files, None, 1)).into_values().next().unwrap(), [(3, false)]);
}

#[test]
fn a_disk_that_is_read_only_says_so() {
    let disk = FakeDisk::new();
    disk.fail(&[("make_dir", ErrorKind::ReadOnlyFilesystem)]);
    let opened = Files::open(Arc::new(disk.clone()), limits(false), Publisher(1));
    assert!(matches!(opened.err(), Some(SpoolError::ReadOnly { .. })));
    disk.fail(&[]);
    let files = open(&disk, 1);
    let kinds = [
        (ErrorKind::ReadOnlyFilesystem, "read-only"),
        (ErrorKind::PermissionDenied, "no permission"),
        (ErrorKind::QuotaExceeded, "no space"),
    ];
    for (kind, said) in kinds {
        disk.fail(&[("create", kind), ("write", kind)]);
        let error = now(files.append(&batch(1, 1, vec![chunk(1, &[1])]))).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes that often have a meaning in the format.
    #[test]
    fn whatever_is_found_is_read_to_its_end_and_settled(
        data in prop::collection::vec(prop_oneof![4 => 0..8_u8, 1 => Just(0xff), 1 => any::<u8>()], 2..200)
    ) {
        crate::spool::fuzz::replay(&data);
    }
}

/// Regression: a notice about missing lines counted as the end of an activity.
#[test]
fn a_notice_in_a_deleted_file_is_no_end() {
    let disk = FakeDisk::new();
    let files = open(&disk, 1);
    let gap = StoredGap { no: 2, lines: 3, since: at(1), reason: DropReason::QueueFull };
    let gap = Chunk { content: Content::Missed(gap), ..chunk(1, &[]) };
    append(&files, &batch(1, 1, vec![chunk(1, &[1]), gap]));
    disk.remove_file(&segment(1, 1)).unwrap();
    // It may come back, so the first failures are errors.
    let query = Query { portal: None, after: None, most_bytes: 1 << 20 };
    while now(files.read(query)).is_err() {}
    let lost = evicted(&files);
    assert_eq!(lost.iter().map(|lost| lost.lines).sum::<u64>(), 1);
    assert_eq!(lost.iter().map(|lost| lost.ends).sum::<u64>(), 0);
    assert!(read_all(&files, None, 1).is_empty());
}
