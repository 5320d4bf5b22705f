//! The part of the file system that the spool needs. Tests use one that fails on demand.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs4::FileExt;

#[cfg(any(fuzzing, test))]
#[cfg_attr(not(test), expect(dead_code, reason = "fuzzing does not fail it"))]
pub(super) mod fake;

/// The file operations that the spool needs.
pub(super) trait Disk: Send + Sync {
    /// Creates a directory that only its owner can use.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// The names of the entries in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    fn status(&self, path: &Path) -> io::Result<Status>;
    /// Creates a file for writing that only its owner can use. It must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The first bytes of a file, `most` at the most.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Makes the written data of a file survive a loss of power.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes created, renamed and removed entries of a directory survive a loss of power.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Locks a file until the lock is dropped. If `create` is true, creates the file first. `None`: another
    /// process has locked it, or it is no longer the file with this name.
    fn lock(&self, path: &Path, create: bool) -> io::Result<Option<Box<dyn Lock>>>;
}

/// A file that is open for writing.
pub(super) trait DiskFile: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes the written data survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the end off.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Whether the file still has a name.
    fn is_linked(&self) -> io::Result<bool>;
}

/// A file that is locked as long as this lives.
pub(super) trait Lock: Send {}

/// The kind of a file or directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) is_dir: bool,
    pub(super) bytes: u64,
    pub(super) changed: SystemTime,
    /// Permissions and the owner, if the system has them.
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<u32>,
}

/// The real file system.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "it has a mode on Unix only"))]
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        let metadata = fs::metadata(path)?;
        #[cfg(unix)]
        let (mode, owner) = {
            use std::os::unix::fs::MetadataExt;
            (Some(metadata.mode() & 0o7777), Some(metadata.uid()))
        };
        #[cfg(not(unix))]
        let (mode, owner) = (None, None);
        let changed = metadata.modified()?;
        Ok(Status { is_dir: metadata.is_dir(), bytes: metadata.len(), changed, mode, owner })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(owners_alone().write(true).create_new(true).open(path)?)))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        let most = most.min(file.metadata()?.len());
        let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or(0));
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match cfg!(unix) {
            true => fs::File::open(path)?.sync_all(),
            // On Windows, directories cannot be opened, and the journal of the file system keeps their changes.
            false => Ok(()),
        }
    }

    fn lock(&self, path: &Path, create: bool) -> io::Result<Option<Box<dyn Lock>>> {
        let file = owners_alone().read(true).write(true).create(create).open(path)?;
        match FileExt::try_lock(&file) {
            Ok(()) => (),
            Err(fs4::TryLockError::WouldBlock) => return Ok(None),
            Err(fs4::TryLockError::Error(error)) => return Err(error),
        }
        // The process that had locked it may have removed it, and another process may have created a new one.
        Ok(is_at(&file, path)?.then(|| Box::new(RealLock { _file: file }) as Box<dyn Lock>))
    }
}

fn owners_alone() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "it has a mode on Unix only"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Whether the open file is the one with this name.
#[cfg(unix)]
fn is_at(file: &fs::File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &fs::File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(|_| ())
    }

    fn is_linked(&self) -> io::Result<bool> {
        #[cfg(unix)]
        return Ok(std::os::unix::fs::MetadataExt::nlink(&self.0.metadata()?) > 0);
        #[cfg(not(unix))]
        return Ok(true);
    }
}

/// Writes all bytes.
pub(super) fn write_all(file: &mut dyn DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A path under which something is found.
pub(super) fn child(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
