//! What happened that neither a record nor a journal tells: faults of all kinds, and changes of owners.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::folder::Folder;
use crate::record::{Moment, now};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When it began.
    pub from: Moment,
    /// When it was over: at once, if it has no length.
    pub until: Moment,
    /// To which run it happened. `None`: to all.
    pub run: Option<u32>,
    /// At which portal. `None`: at all.
    pub portal: Option<usize>,
    /// What it was.
    pub what: String,
}

impl Incident {
    /// Something that happened at this time.
    pub fn at(at: Moment, what: impl Into<String>) -> Incident {
        Incident { from: at, until: at, run: None, portal: None, what: what.into() }
    }

    /// Something that happens now.
    pub fn now(what: impl Into<String>) -> Incident {
        Incident::at(now(), what)
    }

    /// It was over at this time.
    pub fn until(self, until: Moment) -> Incident {
        Incident { until, ..self }
    }

    /// It happened to this run only.
    pub fn of_run(self, run: u32) -> Incident {
        Incident { run: Some(run), ..self }
    }

    /// It happened at this portal only.
    pub fn of_portal(self, portal: usize) -> Incident {
        Incident { portal: Some(portal), ..self }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(run) = self.run {
            write!(f, ", run {run}")?;
        }
        if let Some(portal) = self.portal {
            write!(f, ", portal {portal}")?;
        }
        if self.until > self.from {
            let length = std::time::Duration::from_nanos(self.until - self.from);
            write!(f, ", for {length:.3?}")?;
        }
        Ok(())
    }
}

/// All of them so far. Each is also written to a file at once, so that a campaign that fails leaves them, too.
#[derive(Clone, Debug)]
pub struct Incidents(Arc<Mutex<Noted>>);

#[derive(Debug)]
struct Noted {
    file: File,
    all: Vec<Incident>,
    /// The first error of the file.
    failed: Option<io::Error>,
}

impl Incidents {
    /// Creates the file `incidents.txt` in the folder.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(folder: &Folder) -> io::Result<Incidents> {
        let file = File::create(folder.path().join("incidents.txt"))?;
        Ok(Incidents(Arc::new(Mutex::new(Noted { file, all: Vec::new(), failed: None }))))
    }

    /// Adds one.
    pub fn note(&self, incident: Incident) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writeln!(noted.file, "{} {incident}", incident.from);
        noted.failed = noted.failed.take().or(written.err());
        noted.all.push(incident);
    }

    /// All that were added.
    ///
    /// # Errors
    ///
    /// If one of them could not be written to the file.
    pub fn all(&self) -> io::Result<Vec<Incident>> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match noted.failed.take() {
            Some(error) => Err(error),
            None => Ok(noted.all.clone()),
        }
    }
}
