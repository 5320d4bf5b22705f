//! The portal's clock: the only place that reads the clock of the machine.
//!
//! Everything else takes `now` as an argument. So a test advances the clock, and does not sleep, until a limit
//! ends or a timeout passes.

use std::fmt;
use std::ops::Add;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A moment in the portal's time, as the time passed since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The moment that is `since_epoch` after 1970-01-01T00:00:00Z.
    pub const fn new(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// The time passed since the epoch.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// The time passed since `earlier`; zero if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Year, month and day.
    pub(crate) fn day(self) -> (u64, u64, u64) {
        civil_date(self.as_secs() / 86_400)
    }

    /// Hour, minute and second of the day.
    pub(crate) fn time_of_day(self) -> (u64, u64, u64) {
        let seconds = self.as_secs();
        (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
    }

    /// Reads ISO 8601: a date, or a date and a time, with `Z`, an offset, or neither.
    pub(crate) fn read_iso(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
        let mut numbers = date.split('-').map(|part| part.parse::<u64>().ok());
        let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if !(1970..=9999).contains(&year) || numbers.next().is_some() {
            return None;
        }
        // The offset begins at the first sign behind the time.
        let (clock, offset) = match time.find(['+', '-', 'Z']) {
            Some(at) => time.split_at(at),
            None => (time, ""),
        };
        let minutes_of = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            Some(hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?)
        };
        let offset = match offset {
            "" | "Z" => 0,
            _ => {
                let minutes = minutes_of(&offset[1..])?;
                if offset.starts_with('-') { -minutes } else { minutes }
            }
        };
        let (clock, seconds) = match clock.rsplit_once(':') {
            Some((rest, seconds)) if rest.contains(':') => (rest, seconds.parse::<f64>().ok()?),
            _ => (clock, 0.0),
        };
        let days = (0..=366).map(|day| civil_days(year) + day);
        let days = days.into_iter().find(|days| civil_date(*days) == (year, month, day))?;
        let seconds_of_day = (minutes_of(clock)? - offset) * 60 + seconds as i64;
        let seconds = i64::try_from(days).ok()? * 86_400 + seconds_of_day;
        Some(Self(Duration::from_secs(u64::try_from(seconds).ok()?)))
    }

    /// The same moment for the standard library.
    pub fn to_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// ISO 8601 with whole seconds in UTC, such as `2026-11-21T20:58:32+00:00`.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((year, month, day), (hour, minute, second)) = (self.day(), self.time_of_day());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
    }
}

/// The day of the first of January of a year from 1970 on, counted from 1970-01-01.
fn civil_days(year: u64) -> u64 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400 - 719_162
}

/// The proleptic Gregorian date of a day counted from 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that a leap day is the last of its year; an era is 400
    // years, and 719,468 days lie between 0000-03-01 and the epoch.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The time at a portal: the time of the machine, or a time that does not move until a test advances it. Clones
/// show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<Reading>>);

#[derive(Debug)]
struct Reading {
    base: UnixTime,
    /// The moment at which the clock showed `base`; `None` for a clock that does not run.
    running_since: Option<Instant>,
}

impl Clock {
    /// A clock that runs, from the machine's time on. It can be advanced, too.
    pub fn running() -> Self {
        let base = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::with(UnixTime(base), Some(Instant::now()))
    }

    /// A clock that shows `time` and only moves when it is advanced.
    pub fn stopped_at(time: UnixTime) -> Self {
        Self::with(time, None)
    }

    fn with(base: UnixTime, running_since: Option<Instant>) -> Self {
        Self(Arc::new(Mutex::new(Reading { base, running_since })))
    }

    /// The time that the clock shows.
    pub fn now(&self) -> UnixTime {
        let reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reading.running_since {
            Some(since) => reading.base + since.elapsed(),
            None => reading.base,
        }
    }

    /// Moves the clock forward by `step`.
    pub fn advance(&self, step: Duration) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.base = reading.base + step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_400, "2000-02-29T00:00:00+00:00"),
            (1_700_000_000, "2023-11-14T22:13:20+00:00"),
            (4_107_542_399, "2100-02-28T23:59:59+00:00"),
            (4_107_542_400, "2100-03-01T00:00:00+00:00"),
        ] {
            let time = UnixTime::new(Duration::from_secs(seconds));
            assert_eq!(time.to_string(), text);
            assert_eq!(UnixTime::read_iso(text), Some(time));
        }
        for text in ["", "2026", "2026-13-01", "2026-02-29", "2026-01-01T", "2026-01-01T1:2:3:4"] {
            assert_eq!(UnixTime::read_iso(text), None, "{text}");
        }
    }

    #[test]
    fn a_stopped_clock_moves_only_when_it_is_advanced() {
        let clock = Clock::stopped_at(UnixTime::new(Duration::from_secs(100)));
        clock.clone().advance(Duration::from_secs(5));
        assert_eq!(clock.now(), UnixTime::new(Duration::from_secs(105)));
    }
}
