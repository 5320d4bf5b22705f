//! The same on a real disk.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

/// A directory that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("bizproc-spool-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open_real(spool: &Spool, publisher: u128) -> Result<impl Journal + use<>, SpoolError> {
    spool.open(Publisher(publisher))
}

fn error(spool: &Spool) -> SpoolError {
    open_real(spool, 1).err().unwrap()
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut paths = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => paths.extend(self::paths(&path)),
            false => paths.push(path),
        }
    }
    paths
}

#[test]
fn what_a_run_leaves_is_read_by_the_next_and_by_nobody_else() {
    let folder = Folder::new("next");
    for durability in [Durability::Buffered, Durability::Fsync] {
        let dir = folder.0.join(format!("{durability:?}"));
        let spool = Spool::new(&dir).durability(durability);
        let first = open_real(&spool, 1).unwrap();
        now(first.append(&batch(1, 1, vec![chunk(1, &[1, 2])]))).unwrap();
        now(first.mark(&[mark(1, 1, (1, 1), MarkKind::Tried)])).unwrap();
        let second = open_real(&spool, 2).unwrap();
        assert!(now(second.adopt()).unwrap().held.is_empty(), "the first still lives");
        for path in paths(&dir) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, wanted, "{}", path.display());
        }
        drop(first);
        assert_eq!(now(second.adopt()).unwrap().held[0].lines, 2);
        let query = Query { portal: None, after: None, most_bytes: 100 };
        let read = now(second.read(query)).unwrap();
        let Content::Lines(lines) = &read.chunks[0].1.content else { panic!("{read:?}") };
        assert!(lines[0].tried && !lines[1].tried);
        now(second.mark(&[mark(1, 1, (1, 2), MarkKind::Settled)])).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "its folder is gone");
    }
}

#[test]
fn the_error_for_an_unusable_directory_says_what_to_do() {
    let folder = Folder::new("refused");
    let no_parent = Spool::new(folder.0.join("missing/spool"));
    assert!(matches!(error(&no_parent), SpoolError::NoParent { .. }));
    let file = folder.0.join("file");
    fs::File::create(&file).unwrap().write_all(b"x").unwrap();
    assert!(matches!(error(&Spool::new(&file)), SpoolError::NotADirectory { .. }));
    assert!(matches!(error(&Spool::new(file.join("spool"))), SpoolError::NoParent { .. }));
    let open = folder.0.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let said = error(&Spool::new(&open));
    assert!(matches!(said, SpoolError::OpenToOthers { mode: 0o755, .. }));
    assert!(said.to_string().contains("chmod 700"), "{said}");
    assert!(open_real(&Spool::new(open.join("own")), 1).is_ok(), "a directory in it is fine");
    // The rights of the link's target count, and not those of the link.
    let link = folder.0.join("link");
    symlink(open.join("own"), &link).unwrap();
    assert!(open_real(&Spool::new(&link), 2).is_ok());
}

#[test]
fn senseless_options_are_refused() {
    let folder = Folder::new("options");
    let spool = Spool::new(folder.0.join("spool"));
    for (wrong, option) in [
        (spool.clone().max_bytes((1 << 20) - 1), "max_bytes"),
        (spool.clone().max_age(Duration::ZERO), "max_age"),
    ] {
        assert!(error(&wrong).to_string().contains(option));
    }
    assert!(!folder.0.join("spool").exists(), "nothing was made");
    assert!(open_real(&spool.max_bytes(1 << 20), 1).is_ok());
}

#[test]
fn two_runs_of_one_number_are_refused() {
    let folder = Folder::new("twice");
    let spool = Spool::new(folder.0.join("spool"));
    let _first = open_real(&spool, 1).unwrap();
    assert!(matches!(error(&spool), SpoolError::InUse { .. }));
}

/// If several runs start at the same time, exactly one of them gets each folder.
#[test]
fn a_dead_run_is_taken_over_by_one_of_many() {
    let folder = Folder::new("race");
    let spool = Spool::new(folder.0.join("spool"));
    for publisher in 1..=8 {
        let run = open_real(&spool, publisher).unwrap();
        now(run.append(&batch(publisher, 1, vec![chunk(1, &[1])]))).unwrap();
    }
    let start = std::sync::Barrier::new(8);
    let lines: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (11..=18)
            .map(|publisher| {
                let (spool, start) = (&spool, &start);
                scope.spawn(move || {
                    let run = open_real(spool, publisher).unwrap();
                    start.wait();
                    let lines = now(run.adopt()).unwrap().held.iter().map(|held| held.lines).sum();
                    // No run ends before all of them have looked.
                    start.wait();
                    let lines: u64 = lines;
                    lines
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(lines, 8);
}

/// A run that looks for folders of other runs must not take one that is just being created. Otherwise the app of
/// that folder would fail to start.
#[test]
fn runs_that_start_at_once_do_not_take_each_others_new_folders() {
    let folder = Folder::new("at-once");
    let spool = Spool::new(folder.0.join("spool"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let spool = &spool;
            scope.spawn(move || {
                for round in 1..50 {
                    let run = open_real(spool, thread * 1_000 + round).unwrap();
                    assert!(now(run.adopt()).unwrap().held.is_empty());
                }
            });
        }
    });
}
