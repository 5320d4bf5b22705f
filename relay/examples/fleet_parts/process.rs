//! Processes: this program again, as a replica or as a relay. They can be killed and stopped at any moment.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The kind of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Replica,
    Relay,
}

impl Role {
    /// The first argument of such a process.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Role::Replica => "--replica",
            Role::Relay => "--relay",
        }
    }
}

/// A running process.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
}

impl Process {
    /// Starts the program again, with this on its standard input. Its errors go to a file.
    pub(crate) fn start(directory: &Path, run: u32, role: Role, told: &str) -> io::Result<Process> {
        let errors = File::create(errors(directory, run))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role.argument())
            .arg(directory)
            .arg(run.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()?;
        let input = child.stdin.take().ok_or_else(|| io::Error::other("no input"))?;
        let mut process = Process { child, input };
        process.tell(told)?;
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub(crate) fn tell(&mut self, text: &str) -> io::Result<()> {
        self.input.write_all(text.as_bytes())
    }

    /// SIGKILL. Returns when it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends a signal, for example `-STOP`.
    pub(crate) fn signal(&self, signal: &str) -> io::Result<()> {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status()?;
        sent.success()
            .then_some(())
            .ok_or_else(|| io::Error::other(format!("kill {signal} failed")))
    }

    /// How the process has ended. `None`: it still runs.
    pub(crate) fn ended(&mut self) -> io::Result<Option<Result<(), String>>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| if status.success() { Ok(()) } else { Err(status.to_string()) }))
    }

    /// Waits for the end of the process until this time, and returns how it ended.
    pub(crate) fn ends_before(&mut self, limit: Instant) -> io::Result<Option<Result<(), String>>> {
        loop {
            match self.ended()? {
                None if Instant::now() < limit => std::thread::sleep(TICK),
                ended => return Ok(ended),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is no error if the process has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the standard error of a run goes.
fn errors(directory: &Path, run: u32) -> std::path::PathBuf {
    directory.join(format!("run-{run}.err"))
}

/// The end of what a run wrote to its standard error.
pub(crate) fn last_words(directory: &Path, run: u32) -> String {
    let text = fs::read_to_string(errors(directory, run)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

const TICK: Duration = Duration::from_millis(10);
