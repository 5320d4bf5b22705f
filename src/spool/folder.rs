//! The spool's directory, and the folders of runs in it.
//!
//! The name of a folder is the number of its run. It has a file `lock`, which the run keeps locked while it lives.
//! The folder gets its name after the file is locked, so nobody finds the folder of a living run unlocked. A
//! process that removes a folder holds its lock, and removes the lock's file last.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::disk::{Disk, Lock, child};
use crate::error::SpoolError;

const LOCK: &str = "lock";

/// Creates the directory if it does not exist, and checks that only its owner may use it.
pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<(), SpoolError> {
    match disk.make_dir(dir) {
        Ok(()) => {
            // The parent is synced, because otherwise the new directory may be lost if power is lost.
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                let synced = disk.sync_dir(parent);
                synced.map_err(|error| SpoolError::new("syncing", parent, error))?;
            }
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(SpoolError::NoParent { path: dir.to_owned() });
        }
        // The parent is a file.
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(SpoolError::NoParent { path: dir.to_owned() });
        }
        // A read-only file system may return this error although the directory exists.
        Err(error) if disk.status(dir).is_err() => {
            return Err(SpoolError::new("making", dir, error));
        }
        Err(_) => (),
    }
    let status = disk.status(dir).map_err(|error| SpoolError::new("looking at", dir, error))?;
    let path = || dir.to_owned();
    match status.mode {
        _ if !status.is_dir => Err(SpoolError::NotADirectory { path: path() }),
        Some(mode) if mode & 0o077 != 0 => Err(SpoolError::OpenToOthers { path: path(), mode }),
        _ => Ok(()),
    }
}

/// Makes the folder of a new run. Returns it and its lock.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &Path,
    publisher: u128,
) -> Result<(PathBuf, Box<dyn Lock>), SpoolError> {
    let path = child(dir, &run_name(publisher));
    if disk.status(&path).is_ok() {
        return Err(SpoolError::InUse { path });
    }
    let mut tried = 0;
    loop {
        tried += 1;
        let new = child(dir, &format!(".{}.{tried}.new", run_name(publisher)));
        match finish(disk, dir, &new, &path) {
            Ok(lock) => return Ok((path, lock)),
            // Another run that is starting now has taken this folder for an unfinished one.
            Err(Unfinished::TakenAway) if tried < MOST_TRIES => (),
            Err(Unfinished::TakenAway) => return Err(SpoolError::InUse { path }),
            Err(Unfinished::Failed(error)) => {
                // The next process that opens the directory removes the rest.
                let _ = remove(disk, &new);
                return Err(error);
            }
        }
    }
}

/// Creates the folder `new`, locks it, and gives it its name after that.
fn finish(
    disk: &dyn Disk,
    dir: &Path,
    new: &Path,
    path: &Path,
) -> Result<Box<dyn Lock>, Unfinished> {
    let making = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound if disk.status(dir).is_ok() => Unfinished::TakenAway,
        _ => Unfinished::Failed(SpoolError::new("making", path, error)),
    };
    match disk.make_dir(new) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
        made => made.map_err(making)?,
    }
    let lock = disk.lock(&child(new, LOCK), true).map_err(making)?.ok_or(Unfinished::TakenAway)?;
    let owner = |path| disk.status(path).map(|status| status.owner).map_err(making);
    if owner(new)? != owner(dir)? {
        return Err(Unfinished::Failed(SpoolError::OtherOwner { path: dir.to_owned() }));
    }
    disk.rename(new, path).map_err(making)?;
    disk.sync_dir(dir).map_err(making)?;
    Ok(lock)
}

/// Why a folder was not made.
enum Unfinished {
    /// Another process has locked or removed it first.
    TakenAway,
    Failed(SpoolError),
}

/// How many times a run tries to create its folder if others take it away. Each time this needs another run that
/// starts at the same moment.
const MOST_TRIES: u32 = 1_000;

/// The folders of other runs, oldest first. Some of them may be in use.
pub(super) fn runs(disk: &dyn Disk, dir: &Path) -> Result<Vec<(PathBuf, u128)>, SpoolError> {
    let names = disk.list(dir).map_err(|error| SpoolError::new("listing", dir, error))?;
    let mut runs: Vec<(SystemTime, PathBuf, u128)> = Vec::new();
    for name in names {
        let path = child(dir, &name);
        if let Some(publisher) = publisher(&name) {
            let begun = disk.status(&child(&path, LOCK)).or_else(|_| disk.status(&path));
            // It was removed meanwhile.
            let Ok(begun) = begun else { continue };
            runs.push((begun.changed, path, publisher));
        } else if name.starts_with('.') && name.ends_with(".new") {
            remove_unfinished(disk, &path);
        }
    }
    runs.sort();
    Ok(runs.into_iter().map(|(_, path, publisher)| (path, publisher)).collect())
}

/// Locks the folder of a run that has ended. `None`: the run has not ended, or another process has the folder.
pub(super) fn take(disk: &dyn Disk, path: &Path) -> Result<Option<Box<dyn Lock>>, SpoolError> {
    match disk.lock(&child(path, LOCK), false) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::NotFound => match disk.list(path) {
            // Somebody has deleted only the lock's file.
            Ok(names) if !names.is_empty() => disk
                .lock(&child(path, LOCK), true)
                .map_err(|error| SpoolError::new("locking", path, error)),
            // The rest of a folder that was removed.
            Ok(_) => {
                let _ = disk.remove_dir(path);
                Ok(None)
            }
            Err(_) => Ok(None),
        },
        Err(error) => Err(SpoolError::new("locking", path, error)),
    }
}

/// Bytes of all files of a run.
pub(super) fn bytes(disk: &dyn Disk, path: &Path) -> u64 {
    let names = disk.list(path).unwrap_or_default();
    let size = |name: &String| disk.status(&child(path, name)).map_or(0, |status| status.bytes);
    names.iter().map(size).sum()
}

/// Removes a folder that contains only its lock, which the caller holds.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    match disk.remove_file(&child(path, LOCK)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => disk.remove_dir(path),
    }
}

/// Removes an unfinished folder, unless a process is creating it now.
fn remove_unfinished(disk: &dyn Disk, path: &Path) {
    if let Ok(Some(_lock)) = disk.lock(&child(path, LOCK), false) {
        // If this fails, the next process that opens the directory tries again.
        let _ = remove(disk, path);
    }
}

fn run_name(publisher: u128) -> String {
    format!("{publisher:032x}")
}

fn publisher(name: &str) -> Option<u128> {
    let digits = name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u128::from_str_radix(name, 16).ok())?
}
