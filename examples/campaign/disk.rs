//! The disk of the spool: a small one of its own where that is possible, so that it can be full.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;

/// Where the spool is.
pub(crate) struct Disk {
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The disk on which the other files are.
    Own,
    /// A file system in memory. A sync costs nothing there.
    Tmpfs,
    /// A file system with a journal, in a file in memory: other programs do not slow down a sync there.
    Ext4,
}

impl Disk {
    /// Mounts a disk there, if there is a spool: only root may. Otherwise the spool makes the directory
    /// itself.
    pub(crate) fn new(path: &Path, options: &Options) -> io::Result<Disk> {
        let mut disk = Disk { path: path.to_owned(), kind: Kind::Own };
        if options.spool {
            fs::create_dir(path)?;
            disk.kind = match options.fsync {
                false if mount(path, &["-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs"]) => {
                    Kind::Tmpfs
                }
                true if disk.make_ext4() => Kind::Ext4,
                _ => Kind::Own,
            };
            if disk.kind == Kind::Own {
                fs::remove_dir(path)?;
            }
        }
        Ok(disk)
    }

    fn make_ext4(&self) -> bool {
        let image = self.image();
        let made = File::create(&image).and_then(|file| file.set_len(64 << 20));
        let image = image.to_string_lossy().into_owned();
        let path = &self.path;
        made.is_ok()
            && succeeds(Command::new("mkfs.ext4").args(["-q", "-F", &image]))
            && mount(path, &["-o", "loop", &image])
            && succeeds(Command::new("chmod").arg("700").arg(path))
            // Not the spool's.
            && fs::remove_dir(path.join("lost+found")).is_ok()
    }

    fn image(&self) -> PathBuf {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("campaign-{}.img", std::process::id()))
    }

    pub(crate) fn can_be_filled(&self) -> bool {
        self.kind != Kind::Own
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
        let kind = std::mem::replace(&mut self.kind, Kind::Own);
        if kind != Kind::Own {
            Command::new("umount").arg(&self.path).status()?;
        }
        if kind == Kind::Ext4 {
            fs::remove_file(self.image())?;
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
        f.write_str(match self.kind {
            Kind::Own => "disk: the machine's own, which is not filled",
            Kind::Tmpfs => "disk: a tmpfs of 64 MiB",
            Kind::Ext4 => "disk: ext4 in a file of 64 MiB in memory",
        })
    }
}

fn mount(path: &Path, arguments: &[&str]) -> bool {
    succeeds(Command::new("mount").args(arguments).arg(path))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

const FILLER: &str = "filler";
