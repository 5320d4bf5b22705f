//! What can go wrong with a spool.

use std::io;
use std::path::{Path, PathBuf};

/// Why a spool could not be opened or used. No message contains anything of what it holds.
///
/// ```
/// use tracing_bizproc::error::SpoolError;
///
/// fn advice(error: &SpoolError) -> String {
///     match error {
///         SpoolError::NoParent { path } => format!("mount the volume for {} first", path.display()),
///         error => error.to_string(),
///     }
/// }
/// # drop(advice);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The directory's parent does not exist.
    #[error(
        "{} cannot be made, since the directory above it does not exist: make that first",
        .path.display()
    )]
    #[non_exhaustive]
    NoParent {
        /// The spool's directory.
        path: PathBuf,
    },
    /// There is something else than a directory.
    #[error("{} is not a directory: name another one for the spool", .path.display())]
    #[non_exhaustive]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// Others than its owner may use the directory. Files of a spool hold secrets.
    #[error(
        "others may use {} (its mode is {mode:o}), and a spool holds secrets: `chmod 700` it, or name \
         a directory in it, which is then made with this mode",
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
        "{} belongs to another user: run as that user, or name another directory for the spool",
        .path.display()
    )]
    #[non_exhaustive]
    OtherOwner {
        /// The spool's directory.
        path: PathBuf,
    },
    /// This process may not write there.
    #[error("no permission to write to {}: give it to the user of this process", .path.display())]
    #[non_exhaustive]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file system is mounted read-only.
    #[error(
        "{} is on a file system that is read-only: name a directory elsewhere for the spool",
        .path.display()
    )]
    #[non_exhaustive]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk, or this user's quota, is full.
    #[error("no space left for {}: free some, or lower the spool's `max_bytes`", .path.display())]
    #[non_exhaustive]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file or directory was deleted while the spool used it.
    #[error("{} has vanished: who deletes files of a running app's spool?", .path.display())]
    #[non_exhaustive]
    Vanished {
        /// The file or directory.
        path: PathBuf,
    },
    /// It was written by a newer version of this crate, and is left as it is.
    #[error(
        "{} has format {version}, which is newer than this version of tracing-bizproc reads: it is \
         left alone until a newer version takes it over",
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
    #[error("{} is in use by another spool", .path.display())]
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
    /// More was to be stored at once than one file takes.
    #[error("{bytes} bytes are too many for one batch: append them in parts of 32 MiB")]
    #[non_exhaustive]
    TooLarge {
        /// How many they are.
        bytes: usize,
    },
    /// Anything else that the system said.
    #[error("{doing} {} failed", .path.display())]
    #[non_exhaustive]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    /// What an error of the system means here.
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
