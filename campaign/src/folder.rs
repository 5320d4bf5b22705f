//! The folder of a campaign: the files of its processes, the faults, and what is kept of a bad verdict.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a folder of this process among the temporary files.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(name: &str) -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    /// The folder that another process has created.
    pub fn at(path: impl Into<PathBuf>) -> Folder {
        Folder(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The records of a run.
    pub fn records(&self, run: u32) -> PathBuf {
        self.0.join(format!("run-{run}.txt"))
    }

    /// What a run has written to its standard error.
    pub fn reports(&self, run: u32) -> PathBuf {
        self.0.join(format!("run-{run}.err"))
    }

    /// The end of what a run has written to its standard error: no more than so many lines.
    pub fn last_reports(&self, run: u32, most: usize) -> String {
        let bytes = fs::read(self.reports(run)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }

    /// Removes the folder and all that is in it.
    ///
    /// # Errors
    ///
    /// If something cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.0)
    }
}
