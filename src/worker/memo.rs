//! Notes about a portal as bytes, for its next owner. That may be another version of this crate, so a note with an
//! unknown form is ignored.

use std::time::{Duration, Instant, SystemTime};

/// The time by two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

impl Clocks {
    /// In milliseconds since 1970.
    fn millis(&self, at: Instant) -> u64 {
        let wall = match at.checked_duration_since(self.now) {
            Some(later) => self.wall.checked_add(later),
            None => self.wall.checked_sub(self.now.saturating_duration_since(at)),
        };
        let since = wall.and_then(|wall| wall.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
    }

    /// At most a year from now, in both directions.
    fn instant(&self, millis: u64) -> Instant {
        let since = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = Duration::from_millis(millis);
        match at.checked_sub(since) {
            Some(later) => self.now + later.min(YEAR),
            None => {
                let earlier = (since - at).min(YEAR);
                self.now.checked_sub(earlier).unwrap_or(self.now)
            }
        }
    }
}

/// Writes a note.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    clocks: Clocks,
}

impl Writer {
    pub(crate) fn new(form: u8, clocks: Clocks) -> Self {
        Writer { bytes: vec![form], clocks }
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    pub(crate) fn seconds(&mut self, seconds: f64) {
        self.number(seconds.to_bits());
    }

    pub(crate) fn time(&mut self, at: Instant) {
        self.number(self.clocks.millis(at));
    }

    /// 0 stands for none.
    pub(crate) fn maybe_time(&mut self, at: Option<Instant>) {
        self.number(at.map_or(0, |at| self.clocks.millis(at)));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a note. `None`, where it ends too early or has no sense.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    clocks: Clocks,
}

impl<'a> Reader<'a> {
    /// `None`: it has another form.
    pub(crate) fn new(form: u8, bytes: &'a [u8], clocks: Clocks) -> Option<Self> {
        let (first, bytes) = bytes.split_first()?;
        (*first == form).then_some(Reader { bytes, clocks })
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u64::from_le_bytes(*number))
    }

    /// Not below zero.
    pub(crate) fn seconds(&mut self) -> Option<f64> {
        let seconds = f64::from_bits(self.number()?);
        (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
    }

    pub(crate) fn time(&mut self) -> Option<Instant> {
        let millis = self.number()?;
        Some(self.clocks.instant(millis))
    }

    pub(crate) fn maybe_time(&mut self) -> Option<Option<Instant>> {
        let millis = self.number()?;
        Some((millis > 0).then(|| self.clocks.instant(millis)))
    }
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);
