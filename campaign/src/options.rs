//! Options of the command line.

use std::fmt;
use std::time::Duration;

/// The options that every campaign has.
#[derive(Clone, Debug)]
pub struct Course {
    /// All that happens follows from it.
    pub seed: u64,
    /// How long the campaign does harm.
    pub length: Duration,
    /// From one deed of the plan to the next, on average.
    pub pace: Duration,
    /// How long a line waits for the schedule of entries at most.
    pub max_hold: Duration,
    /// Whether the files stay when all is well.
    pub keep: bool,
}

impl Course {
    /// The defaults: seed 1, a deed in 6 s, lines wait for 10 s at most.
    pub fn new(length: Duration) -> Course {
        let (pace, max_hold) = (Duration::from_secs(6), Duration::from_secs(10));
        Course { seed: 1, length, pace, max_hold, keep: false }
    }

    /// Takes an option if it is one of these. Returns whether it is.
    ///
    /// # Errors
    ///
    /// If its value makes no sense.
    pub fn take(&mut self, name: &str, values: &mut Values<'_>) -> Result<bool, String> {
        match name {
            "--seed" => self.seed = values.count()? as u64,
            "--minutes" => self.length = values.seconds(60.0)?,
            "--pace" => self.pace = values.seconds(1.0)?.max(Duration::from_millis(100)),
            "--max-hold" => self.max_hold = values.seconds(1.0)?,
            "--keep" => self.keep = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads the options of a command line. `take` returns whether it knows the option with this name.
///
/// # Errors
///
/// If an option is unknown, or its value makes no sense.
pub fn read_options(
    arguments: impl IntoIterator<Item = String>,
    usage: &'static str,
    mut take: impl FnMut(&str, &mut Values<'_>) -> Result<bool, String>,
) -> Result<(), Usage> {
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let taken = take(&name, &mut Values { name: &name, arguments: &mut arguments });
        let what = match taken {
            Ok(true) => continue,
            Ok(false) => format!("{name} is unknown"),
            Err(what) => what,
        };
        return Err(Usage { what, usage });
    }
    Ok(())
}

/// The values of the option that is read.
pub struct Values<'a> {
    name: &'a str,
    arguments: &'a mut dyn Iterator<Item = String>,
}

impl Values<'_> {
    /// A number that is not negative.
    ///
    /// # Errors
    ///
    /// If there is no value, or another one.
    pub fn number(&mut self) -> Result<f64, String> {
        let name = self.name;
        let text = self.arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = text.parse::<f64>().ok().filter(|number| *number >= 0.0);
        number.ok_or_else(|| format!("{name} {text}: not a number"))
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// As [`number`](Self::number).
    pub fn count(&mut self) -> Result<usize, String> {
        Ok(self.number()? as usize)
    }

    /// A time in a unit of so many seconds.
    ///
    /// # Errors
    ///
    /// As [`number`](Self::number), and if the time is too long.
    pub fn seconds(&mut self, unit: f64) -> Result<Duration, String> {
        Duration::try_from_secs_f64(self.number()? * unit).map_err(|error| error.to_string())
    }
}

/// The command line makes no sense.
#[derive(Debug)]
pub struct Usage {
    what: String,
    usage: &'static str,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.what, self.usage)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Course, Usage> {
        let mut course = Course::new(Duration::from_secs(60));
        let arguments = line.split_whitespace().map(str::to_owned);
        read_options(arguments, "usage", |name, values| course.take(name, values))?;
        Ok(course)
    }

    #[test]
    fn options_are_read() {
        let course = parse("--seed 7 --minutes 0.5 --max-hold 3 --pace 0 --keep").unwrap();
        assert_eq!((course.seed, course.length), (7, Duration::from_secs(30)));
        assert_eq!(
            (course.max_hold, course.pace),
            (Duration::from_secs(3), Duration::from_millis(100))
        );
        assert!(course.keep && !parse("").unwrap().keep);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for line in ["--seed", "--seed x", "--seed -1", "--minutes 1e300", "--what"] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.ends_with("usage"), "{line}: {error}");
        }
    }
}
