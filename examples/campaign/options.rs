//! What the command line says.

use std::fmt;
use std::time::Duration;

use bizproc_campaign::{Course, Usage, Values, read_options};

use crate::spool;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) course: Course,
    /// Whether lines go through the spool.
    pub(crate) spool: bool,
    /// Whether the spool syncs.
    pub(crate) fsync: bool,
    /// Lines are on disk before they are older than this.
    pub(crate) bound: Duration,
    /// Activities that begin in a second.
    pub(crate) rate: f64,
    /// Instead of a campaign: so many short-lived processes.
    pub(crate) short: Option<usize>,
}

/// The request timeout of the app: no answer takes longer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest pause of a lane whose requests fail.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

impl Options {
    /// How old a line may be in memory: held for the schedule, then tried, and once more behind the
    /// longest pause.
    pub(crate) fn memory(&self) -> Duration {
        self.course.max_hold + REQUEST_TIMEOUT + LONGEST_BACKOFF + REQUEST_TIMEOUT
    }

    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, Usage> {
        let mut options = Options {
            course: Course::new(Duration::from_secs(60)),
            spool: spool::IS_THERE,
            fsync: false,
            bound: Duration::from_millis(100),
            rate: 2.0,
            short: None,
        };
        read_options(arguments, USAGE, |name, values| options.take(name, values))?;
        Ok(options)
    }

    fn take(&mut self, name: &str, values: &mut Values<'_>) -> Result<bool, String> {
        match name {
            "--no-spool" => self.spool = false,
            "--spool" if !spool::IS_THERE => {
                return Err("--spool needs `--features spool`".to_owned());
            }
            "--spool" => self.spool = true,
            "--fsync" => self.fsync = true,
            "--bound" => self.bound = values.seconds(0.001)?,
            "--rate" => self.rate = values.number()?.max(0.01),
            "--short" => self.short = Some(values.count()?),
            _ => return self.course.take(name, values),
        }
        Ok(true)
    }

    /// The same as arguments, for a process of the app.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--seed".to_owned(),
            self.course.seed.to_string(),
            "--bound".to_owned(),
            (self.bound.as_secs_f64() * 1000.0).to_string(),
            "--max-hold".to_owned(),
            self.course.max_hold.as_secs_f64().to_string(),
        ];
        arguments.push(if self.spool { "--spool" } else { "--no-spool" }.to_owned());
        if self.fsync {
            arguments.push("--fsync".to_owned());
        }
        arguments
    }
}

/// The mode, as the first line of a report says it.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { course: Course { seed, length, .. }, bound, .. } = self;
        write!(f, "seed={seed} minutes={:.1} ", length.as_secs_f64() / 60.0)?;
        match (self.spool, self.fsync) {
            (true, false) => write!(f, "spool=buffered bound={bound:?}"),
            (true, true) => write!(f, "spool=fsync bound={bound:?}"),
            (false, _) => write!(f, "spool=off stated window={:?}", self.memory()),
        }
    }
}

const USAGE: &str = "\
campaign [OPTIONS]
  --seed N          from which all that happens follows (1)
  --minutes M       how long (1)
  --no-spool        what is in memory is lost with its process
  --fsync           the spool syncs before a line counts as kept
  --bound MS        the bound of the spool (100)
  --rate N          activities that begin in a second (2)
  --pace S          seconds from one deed to the next, on average (6)
  --max-hold S      seconds that a line waits for the schedule at most (10)
  --short N         instead of a campaign: N short-lived processes
  --keep            leave the files of the run where they are";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Usage> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_handed_on() {
        let options = parse("--seed 7 --minutes 0.5 --no-spool --bound 50 --max-hold 3").unwrap();
        assert_eq!((options.course.seed, options.course.length), (7, Duration::from_secs(30)));
        let handed = parse(&options.arguments().join(" ")).unwrap();
        assert_eq!((handed.bound, handed.spool), (Duration::from_millis(50), false));
        assert_eq!(handed.memory(), options.memory());
        assert_eq!(options.memory(), Duration::from_secs(3 + 90));
    }
}
