//! The file of a process: each action is written to it before it is done.
//!
//! The verdict rests on these files and on the portals' journals, and not on counters of the crates. Each record is one
//! line of text and one write, so a kill can only cut off the last one. A kill keeps the page cache, so nothing has to be
//! synced.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::line::Line;

/// Nanoseconds since the Unix epoch.
pub type Moment = u64;

/// Converts a time. A time before the epoch becomes 0.
pub fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of the system.
pub fn now() -> Moment {
    moment(SystemTime::now())
}

/// The file, open for writing.
pub struct Record {
    file: File,
    clock: Box<dyn Fn() -> Moment + Send + Sync>,
}

impl Record {
    /// Opens or creates the file. `clock` has to tell the true time, also in a process whose wall clock jumps.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn create(
        path: &Path,
        clock: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> io::Result<Record> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Record { file, clock: Box::new(clock) })
    }

    /// The process logs this line next.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; so for all records.
    pub fn line(&self, line: Line) -> io::Result<()> {
        let Line { activity, run, number } = line;
        match run {
            Some(run) => self.write("line", format_args!("{activity} {run} {number}")),
            None => self.write("line", format_args!("{activity} - {number}")),
        }
    }

    /// The crate reports that so many of the lines are kept: what comes now, a kill cannot lose them.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn flushed(&self, lines: usize) -> io::Result<()> {
        self.write("flushed", lines)
    }

    /// The process ends this activity next. The end waits for its lines no longer than `limit`.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn end(&self, activity: u32, limit: Duration) -> io::Result<()> {
        self.write("end", format_args!("{activity} {}", limit.as_millis()))
    }

    /// The crate's answer to the end.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn ended(&self, activity: u32, error: Option<&str>) -> io::Result<()> {
        let outcome = error.unwrap_or(OK).replace('\n', " ");
        self.write("ended", format_args!("{activity} {outcome}"))
    }

    /// The process is running. Where it writes this all the time, time without a processor does not count for the window.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn beat(&self) -> io::Result<()> {
        self.write("beat", "")
    }

    /// The process is this member of a group of relays.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn member(&self, member: u128) -> io::Result<()> {
        self.write("member", member)
    }

    /// Lines that the crate says it has lost in the end, for this reason.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn lost(&self, reason: &str, lines: u64) -> io::Result<()> {
        self.write("lost", format_args!("{lines} {reason}"))
    }

    /// Anything that a reader of the file may want to know.
    ///
    /// # Errors
    ///
    /// See [`line`](Self::line).
    pub fn note(&self, text: impl Display) -> io::Result<()> {
        self.write("note", text.to_string().replace('\n', " "))
    }

    fn write(&self, what: &str, rest: impl Display) -> io::Result<()> {
        let at = (self.clock)();
        (&self.file).write_all(format!("{at} {what} {rest}\n").as_bytes())
    }
}

/// All records of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The lines, in the order in which they were logged.
    pub lines: Vec<(Moment, Line)>,
    /// How many of the lines are kept, as the crate reports.
    pub flushed: usize,
    /// Each end, and how long it waits for its lines.
    pub ends: Vec<(Moment, u32, Duration)>,
    /// The crate's answers to ends: success, or an error.
    pub ended: Vec<(Moment, u32, Option<String>)>,
    /// When it noted that it runs.
    pub beats: Vec<Moment>,
    /// Which relay it is.
    pub member: Option<u128>,
    /// Lost lines that the crate has counted, by reason.
    pub lost: Vec<(String, u64)>,
    /// Notes for readers.
    pub notes: Vec<(Moment, String)>,
}

impl Story {
    /// Reads a file. It is empty if there is none: the process was killed before it wrote a record.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Story> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Story::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Story::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads complete records. If a kill has cut off a record, its action was not done.
    fn parse(text: &str) -> Story {
        let mut story = Story::default();
        for record in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            // An invalid record is ignored. Then its action has no record, and the verdict reports that.
            story.take(record);
        }
        story
    }

    fn take(&mut self, record: &str) -> Option<()> {
        let mut words = record.splitn(3, ' ');
        let at: Moment = words.next()?.parse().ok()?;
        let (what, rest) = (words.next()?, words.next()?);
        let mut parts = rest.splitn(2, ' ');
        let first = parts.next()?;
        match what {
            "line" => {
                let (run, number) = parts.next()?.split_once(' ')?;
                let run = if run == "-" { None } else { Some(run.parse().ok()?) };
                let (activity, number) = (first.parse().ok()?, number.parse().ok()?);
                self.lines.push((at, Line { activity, run, number }));
            }
            "flushed" => self.flushed = self.flushed.max(first.parse().ok()?),
            "end" => {
                let limit = Duration::from_millis(parts.next()?.parse().ok()?);
                self.ends.push((at, first.parse().ok()?, limit));
            }
            "ended" => {
                let outcome = parts.next()?;
                let error = (outcome != OK).then(|| outcome.to_owned());
                self.ended.push((at, first.parse().ok()?, error));
            }
            "beat" => self.beats.push(at),
            "member" => self.member = Some(first.parse().ok()?),
            "lost" => self.lost.push((parts.next()?.to_owned(), first.parse().ok()?)),
            "note" => self.notes.push((at, rest.to_owned())),
            _ => {}
        }
        Some(())
    }
}

const OK: &str = "ok";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_are_read_and_one_that_was_cut_off_is_not() {
        let story = Story::parse(
            "5 line 3 2 1\n5 line 4 - 1\n6 flushed 1\n6 beat \n7 end 3 45000\n8 ended 3 ok\n\
             9 ended 4 not sent: why\n9 member 77\n9 lost 2 app shut down\n9 note pid 7\n10 line 3 - 17",
        );
        let line = |activity, run| (5, Line { activity, run, number: 1 });
        assert_eq!(story.lines, [line(3, Some(2)), line(4, None)]);
        assert_eq!((story.flushed, story.beats), (1, vec![6]));
        assert_eq!(story.ends, [(7, 3, Duration::from_secs(45))]);
        assert_eq!(story.ended, [(8, 3, None), (9, 4, Some("not sent: why".to_owned()))]);
        assert_eq!((story.member, story.notes), (Some(77), vec![(9, "pid 7".to_owned())]));
        assert_eq!(story.lost, [("app shut down".to_owned(), 2)]);
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let folder = crate::Folder::create("records").unwrap();
        let path = folder.records(4);
        let record = Record::create(&path, || 5).unwrap();
        let lines = [None, Some(4)].map(|run| Line { activity: 3, run, number: 1 });
        for line in lines {
            record.line(line).unwrap();
        }
        record.flushed(2).unwrap();
        record.end(3, Duration::from_secs(9)).unwrap();
        record.ended(3, Some("not\nsent")).unwrap();
        record.beat().unwrap();
        record.member(6).unwrap();
        record.lost("queue full", 7).unwrap();
        record.note("a\nb").unwrap();
        let expected = Story {
            lines: lines.map(|line| (5, line)).to_vec(),
            flushed: 2,
            ends: vec![(5, 3, Duration::from_secs(9))],
            ended: vec![(5, 3, Some("not sent".to_owned()))],
            beats: vec![5],
            member: Some(6),
            lost: vec![("queue full".to_owned(), 7)],
            notes: vec![(5, "a b".to_owned())],
        };
        assert_eq!(Story::read(&path).unwrap(), expected);
        assert_eq!(Story::read(&folder.records(5)).unwrap(), Story::default());
        folder.remove().unwrap();
    }
}
