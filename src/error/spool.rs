//! The error of a spool.

use std::io;
use std::path::{Path, PathBuf};

/// Why a spool could not be opened or used. No message contains stored data.
///
/// ```
/// use tracing_bizproc::error::SpoolError;
///
/// fn advice(error: &SpoolError) -> String {
///     match error {
///         SpoolError::NoParent { path, .. } => format!("mount the volume for {} first", path.display()),
///         error => error.to_string(),
///     }
/// }
/// # drop(advice);
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The parent directory does not exist.
    #[error(
        "{} cannot be created, because its parent directory does not exist: create that first",
        .path.display()
    )]
    #[non_exhaustive]
    NoParent {
        /// The spool's directory.
        path: PathBuf,
    },
    /// The path is not a directory.
    #[error("{} is not a directory: choose another path for the spool", .path.display())]
    #[non_exhaustive]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Other users may use the directory. Files of a spool contain secrets.
    #[error(
        "other users have access to {} (mode {mode:o}), and a spool contains secrets: run `chmod 700` \
         on it, or use a subdirectory that does not exist yet: the spool creates it with mode 700",
        .path.display()
    )]
    #[non_exhaustive]
    OpenToOthers {
        /// The spool's directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The directory belongs to another user, who can read it.
    #[error(
        "{} belongs to another user: run as that user, or choose another directory for the spool",
        .path.display()
    )]
    #[non_exhaustive]
    OtherOwner {
        /// The spool's directory.
        path: PathBuf,
    },
    /// This process may not write there.
    #[error("no permission to write to {}: allow it for the user of this process", .path.display())]
    #[non_exhaustive]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file system is mounted read-only.
    #[error(
        "{} is on a read-only file system: choose another directory for the spool",
        .path.display()
    )]
    #[non_exhaustive]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The disk, or this user's quota, is full.
    #[error("no space is left for {}: free disk space, or set a smaller `max_bytes` of the spool", .path.display())]
    #[non_exhaustive]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file or directory was deleted while the spool used it.
    #[error("{} was deleted while the spool used it: check which program deletes files there", .path.display())]
    #[non_exhaustive]
    Vanished {
        /// The file or directory.
        path: PathBuf,
    },
    /// It was written by a newer version of this crate. It is not changed.
    #[error(
        "{} has format {version}, which this version of tracing-bizproc cannot read: it is not changed; \
         use a newer version to deliver it",
        .path.display()
    )]
    #[non_exhaustive]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        version: u16,
    },
    /// Another spool of this process, or another process, uses the same run's directory.
    #[error("{} is in use by another run: call `build` again, which chooses a new name", .path.display())]
    #[non_exhaustive]
    InUse {
        /// The run's directory.
        path: PathBuf,
    },
    /// An option is out of its bounds.
    #[error("the spool's {option} {problem}")]
    #[non_exhaustive]
    Option {
        /// The option's name on [`Spool`](crate::spool::Spool).
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The batch is larger than one file may be.
    #[error("{bytes} bytes are too many for one batch: append at most 32 MiB at once")]
    #[non_exhaustive]
    TooLarge {
        /// The size of the batch.
        bytes: usize,
    },
    /// Another error of the system.
    #[error("{doing} {} failed", .path.display())]
    #[non_exhaustive]
    Io {
        /// What failed.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    /// Converts an error of the system.
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => SpoolError::Denied { path, source },
            io::ErrorKind::ReadOnlyFilesystem => SpoolError::ReadOnly { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                SpoolError::NoSpace { path, source }
            }
            io::ErrorKind::NotFound => SpoolError::Vanished { path },
            _ => SpoolError::Io { doing, path, source },
        }
    }
}
