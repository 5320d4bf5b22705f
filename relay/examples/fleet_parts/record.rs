//! The file of a process: each action is written to it before it is done.
//!
//! The verdict rests on these files and on the portals' journals, and not on counters of the crates. Each
//! record is one line of text and one write, so a kill can only cut off the last one. A kill keeps the page
//! cache, so nothing has to be synced.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::line::Line;

/// Nanoseconds since the Unix epoch.
pub(crate) type Moment = u64;

pub(crate) fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn now() -> Moment {
    moment(SystemTime::now())
}

/// The file of a run in the directory of all of them.
pub(crate) fn path(directory: &Path, run: u32) -> PathBuf {
    directory.join(format!("run-{run}.txt"))
}

/// The file, open for writing.
pub(crate) struct Record(File);

impl Record {
    pub(crate) fn create(directory: &Path, run: u32) -> io::Result<Record> {
        let options = OpenOptions::new().create(true).append(true).open(path(directory, run));
        options.map(Record)
    }

    /// The replica logs this line next.
    pub(crate) fn line(&self, line: Line) -> io::Result<()> {
        self.write("line", format_args!("{} {} {}", line.activity, line.run, line.number))
    }

    /// The crate reports that this number of lines is in the journal.
    pub(crate) fn flushed(&self, lines: usize) -> io::Result<()> {
        self.write("flushed", lines)
    }

    /// The replica ends this activity next. The end waits for its lines no longer than `limit`.
    pub(crate) fn end(&self, activity: u32, limit: Duration) -> io::Result<()> {
        self.write("end", format_args!("{activity} {}", limit.as_millis()))
    }

    /// The crate's answer to the end.
    pub(crate) fn ended(&self, activity: u32, error: Option<&str>) -> io::Result<()> {
        let outcome = error.unwrap_or(OK).replace('\n', " ");
        self.write("ended", format_args!("{activity} {outcome}"))
    }

    /// The relay is this member.
    pub(crate) fn member(&self, member: u128) -> io::Result<()> {
        self.write("member", member)
    }

    /// Lines that the crate says it has lost, for this reason.
    pub(crate) fn lost(&self, reason: &str, lines: u64) -> io::Result<()> {
        self.write("lost", format_args!("{lines} {reason}"))
    }

    /// A note for readers of the file.
    pub(crate) fn note(&self, text: impl Display) -> io::Result<()> {
        self.write("note", text)
    }

    fn write(&self, what: &str, rest: impl Display) -> io::Result<()> {
        (&self.0).write_all(format!("{} {what} {rest}\n", now()).as_bytes())
    }
}

/// All records of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) lines: Vec<(Moment, Line)>,
    /// How many of the lines are in the journal, as the crate reports.
    pub(crate) flushed: usize,
    /// Each end, and how long it waits for its lines.
    pub(crate) ends: Vec<(Moment, u32, Duration)>,
    /// The crate's answers to ends: success, or an error.
    pub(crate) ended: Vec<(Moment, u32, Option<String>)>,
    pub(crate) member: Option<u128>,
    pub(crate) lost: Vec<(String, u64)>,
    pub(crate) notes: Vec<String>,
}

impl Story {
    pub(crate) fn read(directory: &Path, run: u32) -> io::Result<Story> {
        match std::fs::read_to_string(path(directory, run)) {
            Ok(text) => Ok(Story::parse(&text)),
            // The process was killed before it wrote a record.
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
                let (run, number) = (run.parse().ok()?, number.parse().ok()?);
                self.lines.push((at, Line { activity: first.parse().ok()?, run, number }));
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
            "member" => self.member = Some(first.parse().ok()?),
            "lost" => self.lost.push((parts.next()?.to_owned(), first.parse().ok()?)),
            "note" => self.notes.push(rest.to_owned()),
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
            "5 line 3 2 1\n6 flushed 1\n7 end 3 45000\n8 ended 3 ok\n9 ended 4 not sent: why\n\
             9 member 77\n9 lost 2 app shut down\n9 note pid 7\n10 line 3 17",
        );
        assert_eq!(story.lines, [(5, Line { activity: 3, run: 2, number: 1 })]);
        assert_eq!(story.flushed, 1);
        assert_eq!(story.ends, [(7, 3, Duration::from_secs(45))]);
        assert_eq!(story.ended, [(8, 3, None), (9, 4, Some("not sent: why".to_owned()))]);
        assert_eq!((story.member, story.notes), (Some(77), vec!["pid 7".to_owned()]));
        assert_eq!(story.lost, [("app shut down".to_owned(), 2)]);
    }
}
