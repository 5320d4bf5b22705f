//! Processes that can be killed and paused at any moment.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: ChildStdin,
}

impl Process {
    /// Starts a process with this on its standard input. Its standard error goes to a file.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not read its input.
    pub fn start(command: &mut Command, errors: &Path, told: &str) -> io::Result<Process> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(errors)?)
            .spawn()?;
        let input = child.stdin.take().ok_or_else(|| io::Error::other("no input"))?;
        let mut process = Process { child, input };
        process.tell(told)?;
        Ok(process)
    }

    /// The number of the process in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    ///
    /// If it does not read it any more.
    pub fn tell(&mut self, text: &str) -> io::Result<()> {
        self.input.write_all(text.as_bytes())
    }

    /// SIGKILL. Returns when it is gone.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends a signal, for example `-STOP`.
    ///
    /// # Errors
    ///
    /// If the program `kill` fails.
    pub fn signal(&self, signal: &str) -> io::Result<()> {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status()?;
        sent.success()
            .then_some(())
            .ok_or_else(|| io::Error::other(format!("kill {signal} failed")))
    }

    /// How the process has ended. `None`: it still runs.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn ended(&mut self) -> io::Result<Option<Result<(), String>>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| if status.success() { Ok(()) } else { Err(status.to_string()) }))
    }

    /// Waits for the end of the process until this time, and returns how it ended.
    ///
    /// # Errors
    ///
    /// As [`ended`](Self::ended).
    pub fn ends_before(&mut self, limit: Instant) -> io::Result<Option<Result<(), String>>> {
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

const TICK: Duration = Duration::from_millis(10);
