//! The app's own file: what it is about to do, written before it does it.
//!
//! The verdict rests on this file and on the portals' journals, and not on counters of the crate. Each
//! record is one line of text and one write, so a kill can only cut off the last one. A kill keeps the
//! page cache, so nothing has to be synced.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::clock::TrueTime;

/// A line of an activity's log, by the number of the activity and its own number there, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) activity: u32,
    pub(crate) number: u32,
}

/// Nanoseconds since the Unix epoch.
pub(crate) type Moment = u64;

pub(crate) fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The file, open for writing.
pub(crate) struct Record {
    file: File,
    time: TrueTime,
}

impl Record {
    pub(crate) fn create(path: &Path, time: TrueTime) -> io::Result<Record> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Record { file, time })
    }

    /// The app logs this line next.
    pub(crate) fn line(&self, line: Line) -> io::Result<()> {
        self.write("line", format_args!("{} {}", line.activity, line.number))
    }

    /// The app ends this activity next.
    pub(crate) fn end(&self, activity: u32) -> io::Result<()> {
        self.write("end", activity)
    }

    /// What the crate has answered to that.
    pub(crate) fn ended(&self, activity: u32, error: Option<&str>) -> io::Result<()> {
        let outcome = error.unwrap_or(OK).replace('\n', " ");
        self.write("ended", format_args!("{activity} {outcome}"))
    }

    /// The process is running.
    pub(crate) fn beat(&self) -> io::Result<()> {
        self.write("beat", "")
    }

    /// Lines that the crate says it has lost in the end, for this reason.
    pub(crate) fn lost(&self, reason: &str, lines: u64) -> io::Result<()> {
        self.write("lost", format_args!("{lines} {reason}"))
    }

    /// Anything that a reader of the file may want to know.
    pub(crate) fn note(&self, text: impl Display) -> io::Result<()> {
        self.write("note", text)
    }

    fn write(&self, what: &str, rest: impl Display) -> io::Result<()> {
        let at = moment(self.time.now());
        (&self.file).write_all(format!("{at} {what} {rest}\n").as_bytes())
    }
}

/// All records of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) lines: Vec<(Moment, Line)>,
    pub(crate) ends: Vec<(Moment, u32)>,
    /// What the crate has answered to ends: nothing, or its error.
    pub(crate) ended: Vec<(u32, Option<String>)>,
    pub(crate) beats: Vec<Moment>,
    pub(crate) lost: Vec<(String, u64)>,
    pub(crate) notes: Vec<String>,
}

impl Story {
    pub(crate) fn read(path: &Path) -> io::Result<Story> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Story::parse(&text)),
            // It was killed before it came to that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Story::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads whole records. One that was cut off by a kill was not followed by its deed.
    fn parse(text: &str) -> Story {
        let mut story = Story::default();
        for record in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            // A record that makes no sense leaves its deed without one, which the verdict tells.
            story.take(record);
        }
        story
    }

    fn take(&mut self, record: &str) -> Option<()> {
        let (at, rest) = record.split_once(' ')?;
        let (what, rest) = rest.split_once(' ')?;
        let at: Moment = at.parse().ok()?;
        match what {
            "line" => {
                let (activity, number) = rest.split_once(' ')?;
                let line = Line { activity: activity.parse().ok()?, number: number.parse().ok()? };
                self.lines.push((at, line));
            }
            "end" => self.ends.push((at, rest.parse().ok()?)),
            "ended" => {
                let (activity, outcome) = rest.split_once(' ')?;
                let error = (outcome != OK).then(|| outcome.to_owned());
                self.ended.push((activity.parse().ok()?, error));
            }
            "beat" => self.beats.push(at),
            "lost" => {
                let (lines, reason) = rest.split_once(' ')?;
                self.lost.push((reason.to_owned(), lines.parse().ok()?));
            }
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
            "5 line 3 1\n6 beat \n7 end 3\n8 ended 3 ok\n9 ended 4 not sent: why\n\
             9 lost 2 app shut down\n9 note pid 7\n10 line 3 17",
        );
        let line = Line { activity: 3, number: 1 };
        assert_eq!(story.lines, [(5, line)]);
        assert_eq!(story.beats, [6]);
        assert_eq!(story.ends, [(7, 3)]);
        assert_eq!(story.ended, [(3, None), (4, Some("not sent: why".to_owned()))]);
        assert_eq!(story.lost, [("app shut down".to_owned(), 2)]);
        assert_eq!(story.notes, ["pid 7"]);
    }
}
