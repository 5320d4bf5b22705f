//! The options of the command line.

use std::fmt;
use std::time::Duration;

use bizproc_campaign::{Course, Usage, Values, read_options};

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) course: Course,
    pub(crate) relays: usize,
    pub(crate) replicas: usize,
    pub(crate) portals: usize,
    /// Activities on each portal to which all replicas log.
    pub(crate) activities: usize,
    /// Lines per second, of all replicas together.
    pub(crate) rate: f64,
    /// Activities per second that begin and end.
    pub(crate) orders: f64,
    /// The stated window of a replica.
    pub(crate) window: Duration,
    /// Relays send even if the database forbids it.
    pub(crate) is_unfenced: bool,
    /// Instead of a campaign: this number of replicas on one portal, with and without a relay.
    pub(crate) compare: Option<usize>,
    /// Instead of a campaign: this number of ends, with and without a relay.
    pub(crate) ends: Option<usize>,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, Usage> {
        let mut options = Options {
            course: Course::new(Duration::from_secs(120)),
            relays: 3,
            replicas: 10,
            portals: 100,
            activities: 10,
            rate: 300.0,
            orders: 1.0,
            window: Duration::from_secs(1),
            is_unfenced: false,
            compare: None,
            ends: None,
        };
        read_options(arguments, USAGE, |name, values| options.take(name, values))?;
        Ok(options)
    }

    fn take(&mut self, name: &str, values: &mut Values<'_>) -> Result<bool, String> {
        match name {
            "--relays" => self.relays = values.count()?.max(1),
            "--replicas" => self.replicas = values.count()?.max(1),
            "--portals" => self.portals = values.count()?.max(1),
            "--activities" => self.activities = values.count()?.max(1),
            "--rate" => self.rate = values.number()?.max(0.1),
            "--orders" => self.orders = values.number()?.max(0.01),
            "--window" => self.window = values.seconds(0.001)?,
            "--no-fencing" => self.is_unfenced = true,
            "--compare" => self.compare = Some(values.count()?.max(1)),
            "--ends" => self.ends = Some(values.count()?.max(1)),
            _ => return self.course.take(name, values),
        }
        Ok(true)
    }
}

/// The mode, for the first line of a report.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { course, relays, replicas, portals, activities, rate, .. } = self;
        let Course { seed, length, .. } = course;
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
        assert_eq!((options.course.seed, options.course.length), (7, Duration::from_secs(30)));
        assert_eq!((options.window, options.is_unfenced), (Duration::from_millis(50), true));
        assert_eq!(options.compare, Some(20));
    }
}
