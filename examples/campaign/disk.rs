//! The disk of the spool: a small file system of its own where that is possible, so that it can be full.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the spool is.
pub(crate) struct Disk {
    path: PathBuf,
    is_tmpfs: bool,
}

impl Disk {
    /// Mounts a disk in memory there, if that is wanted: only root may. Otherwise the spool makes the
    /// directory itself.
    pub(crate) fn new(path: &Path, in_memory: bool) -> io::Result<Disk> {
        let mut is_tmpfs = false;
        if in_memory {
            fs::create_dir(path)?;
            is_tmpfs = mount(path);
            if !is_tmpfs {
                fs::remove_dir(path)?;
            }
        }
        Ok(Disk { path: path.to_owned(), is_tmpfs })
    }

    pub(crate) fn can_be_filled(&self) -> bool {
        self.is_tmpfs
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut filler = File::create(self.path.join(FILLER))?;
        for size in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0; size];
            while filler.write_all(&zeros).is_ok() {}
        }
        Ok(())
    }

    pub(crate) fn free(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(FILLER))
    }

    pub(crate) fn remove(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_tmpfs) {
            Command::new("umount").arg(&self.path).status()?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.remove());
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_tmpfs {
            true => f.write_str("disk: a tmpfs of 64 MiB"),
            false => f.write_str("disk: the machine's own, which is not filled"),
        }
    }
}

fn mount(path: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs"]).arg(path);
    mount.stdout(Stdio::null()).stderr(Stdio::null());
    mount.status().is_ok_and(|status| status.success())
}

const FILLER: &str = "filler";
