//! What the command line says.

use std::fmt;
use std::time::Duration;

use crate::spool;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    /// Whether lines go through the spool.
    pub(crate) spool: bool,
    /// Whether the spool syncs.
    pub(crate) fsync: bool,
    /// Lines are on disk before they are older than this.
    pub(crate) bound: Duration,
    /// Activities that begin in a second.
    pub(crate) rate: f64,
    /// From one deed of the plan to the next, on average.
    pub(crate) pace: Duration,
    /// How long a line waits for the schedule of entries at most.
    pub(crate) max_hold: Duration,
    /// Instead of a campaign: so many short-lived processes.
    pub(crate) short: Option<usize>,
    /// Whether the files stay when all is well.
    pub(crate) keep: bool,
}

/// The request timeout of the app: no answer takes longer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest pause of a lane whose requests fail.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

impl Options {
    /// How old a line may be in memory: held for the schedule, then tried, and once more behind the
    /// longest pause.
    pub(crate) fn memory(&self) -> Duration {
        self.max_hold + REQUEST_TIMEOUT + LONGEST_BACKOFF + REQUEST_TIMEOUT
    }

    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, Usage> {
        let mut options = Options {
            seed: 1,
            length: Duration::from_secs(60),
            spool: spool::IS_THERE,
            fsync: false,
            bound: Duration::from_millis(100),
            rate: 2.0,
            pace: Duration::from_secs(6),
            max_hold: Duration::from_secs(10),
            short: None,
            keep: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let mut number = || {
                let text =
                    arguments.next().ok_or_else(|| Usage(format!("{name} needs a value")))?;
                let number = text.parse::<f64>().ok().filter(|number| *number >= 0.0);
                number.ok_or_else(|| Usage(format!("{name} {text}: not a number")))
            };
            let seconds = |number: f64| {
                Duration::try_from_secs_f64(number).map_err(|error| Usage(error.to_string()))
            };
            match name.as_str() {
                "--seed" => options.seed = number()? as u64,
                "--minutes" => options.length = seconds(number()? * 60.0)?,
                "--no-spool" => options.spool = false,
                "--spool" if !spool::IS_THERE => {
                    return Err(Usage("--spool needs `--features spool`".to_owned()));
                }
                "--spool" => options.spool = true,
                "--fsync" => options.fsync = true,
                "--bound" => options.bound = seconds(number()? / 1000.0)?,
                "--rate" => options.rate = number()?.max(0.01),
                "--pace" => options.pace = seconds(number()?.max(0.1))?,
                "--max-hold" => options.max_hold = seconds(number()?)?,
                "--short" => options.short = Some(number()? as usize),
                "--keep" => options.keep = true,
                _ => return Err(Usage(format!("{name} is unknown"))),
            }
        }
        Ok(options)
    }

    /// The same as arguments, for a process of the app.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--seed".to_owned(),
            self.seed.to_string(),
            "--bound".to_owned(),
            (self.bound.as_secs_f64() * 1000.0).to_string(),
            "--max-hold".to_owned(),
            self.max_hold.as_secs_f64().to_string(),
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
        let Options { seed, length, bound, .. } = self;
        write!(f, "seed={seed} minutes={:.1} ", length.as_secs_f64() / 60.0)?;
        match (self.spool, self.fsync) {
            (true, false) => write!(f, "spool=buffered bound={bound:?}"),
            (true, true) => write!(f, "spool=fsync bound={bound:?}"),
            (false, _) => write!(f, "spool=off stated window={:?}", self.memory()),
        }
    }
}

/// The command line makes no sense.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{USAGE}", self.0)
    }
}

impl std::error::Error for Usage {}

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
        assert_eq!((options.seed, options.length), (7, Duration::from_secs(30)));
        let handed = parse(&options.arguments().join(" ")).unwrap();
        assert_eq!((handed.bound, handed.spool), (Duration::from_millis(50), false));
        assert_eq!(handed.memory(), options.memory());
        assert_eq!(options.memory(), Duration::from_secs(3 + 90));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in ["--seed", "--seed x", "--seed -1", "--what"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
