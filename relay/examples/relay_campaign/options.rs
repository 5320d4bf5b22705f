//! The options of the command line.

use std::fmt;
use std::time::Duration;

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    pub(crate) relays: usize,
    pub(crate) replicas: usize,
    pub(crate) portals: usize,
    /// Activities on each portal to which all replicas log.
    pub(crate) activities: usize,
    /// Lines per second, of all replicas together.
    pub(crate) rate: f64,
    /// Activities per second that begin and end.
    pub(crate) orders: f64,
    /// The average time from one event of the plan to the next.
    pub(crate) pace: Duration,
    /// The longest time that a line waits for the schedule of entries.
    pub(crate) max_hold: Duration,
    /// The stated window of a replica.
    pub(crate) window: Duration,
    /// Relays send even if the database forbids it.
    pub(crate) is_unfenced: bool,
    /// Instead of a campaign: this number of replicas on one portal, with and without a relay.
    pub(crate) compare: Option<usize>,
    /// Instead of a campaign: this number of ends, with and without a relay.
    pub(crate) ends: Option<usize>,
    /// Whether the files are kept when the campaign succeeds.
    pub(crate) keep: bool,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, Usage> {
        let mut options = Options {
            seed: 1,
            length: Duration::from_secs(120),
            relays: 3,
            replicas: 10,
            portals: 100,
            activities: 10,
            rate: 300.0,
            orders: 1.0,
            pace: Duration::from_secs(6),
            max_hold: Duration::from_secs(10),
            window: Duration::from_secs(1),
            is_unfenced: false,
            compare: None,
            ends: None,
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
                "--relays" => options.relays = (number()? as usize).max(1),
                "--replicas" => options.replicas = (number()? as usize).max(1),
                "--portals" => options.portals = (number()? as usize).max(1),
                "--activities" => options.activities = (number()? as usize).max(1),
                "--rate" => options.rate = number()?.max(0.1),
                "--orders" => options.orders = number()?.max(0.01),
                "--pace" => options.pace = seconds(number()?.max(0.1))?,
                "--max-hold" => options.max_hold = seconds(number()?)?,
                "--window" => options.window = seconds(number()? / 1000.0)?,
                "--no-fencing" => options.is_unfenced = true,
                "--compare" => options.compare = Some((number()? as usize).max(1)),
                "--ends" => options.ends = Some((number()? as usize).max(1)),
                "--keep" => options.keep = true,
                _ => return Err(Usage(format!("{name} is unknown"))),
            }
        }
        Ok(options)
    }
}

/// The mode, for the first line of a report.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, length, relays, replicas, portals, activities, rate, .. } = self;
        write!(
            f,
            "seed={seed} minutes={:.1} relays={relays} replicas={replicas} portals={portals} \
             shared activities={} lines/s={rate} fencing={} stated window={:?}",
            length.as_secs_f64() / 60.0,
            portals * activities,
            if self.is_unfenced { "off" } else { "on" },
            self.window
        )
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
relay_campaign [OPTIONS]
  --seed N          from which all that happens follows (1)
  --minutes M       how long (2)
  --relays N        (3)
  --replicas N      (10)
  --portals N       (100)
  --activities N    on each portal, to which all replicas log (10)
  --rate N          lines in a second, of all replicas (300)
  --orders N        activities that begin and end in a second (1)
  --pace S          seconds from one deed to the next, on average (6)
  --max-hold S      seconds that a line waits for the schedule at most (10)
  --window MS       the stated window of a replica (1000)
  --no-fencing      relays send whatever the database says: has to fail
  --compare N       instead: N replicas on one portal, with and without a relay
  --ends N          instead: how long N ends take, with and without a relay
  --keep            leave the files of the run where they are";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Usage> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let options =
            parse("--seed 7 --minutes 0.5 --no-fencing --window 50 --compare 20").unwrap();
        assert_eq!((options.seed, options.length), (7, Duration::from_secs(30)));
        assert_eq!((options.window, options.is_unfenced), (Duration::from_millis(50), true));
        assert_eq!(options.compare, Some(20));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in ["--seed", "--seed x", "--seed -1", "--what"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
