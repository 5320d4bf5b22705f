//! Numbers, texts and times as bytes.

use std::str;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Unreadable;

/// The number and the time before the next ones, which are stored as differences to these. Zero at the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Base {
    no: u64,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
}

impl Base {
    pub(super) fn put(&mut self, no: u64, at: SystemTime, out: &mut Vec<u8>) {
        let at = nanos(at);
        put_signed(no.wrapping_sub(self.no) as i64, out);
        put_signed(at.wrapping_sub(self.at), out);
        *self = Base { no, at };
    }

    pub(super) fn take(&mut self, bytes: &mut Bytes<'_>) -> Result<(u64, SystemTime), Unreadable> {
        self.no = self.no.wrapping_add(bytes.signed()? as u64);
        self.at = self.at.wrapping_add(bytes.signed()?);
        Ok((self.no, time(self.at)))
    }
}

/// Times that are centuries away are moved to what an `i64` holds.
pub(crate) fn nanos(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => {
            let seconds = i64::try_from(since.as_secs()).ok();
            let nanos = seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000));
            let nanos = nanos.and_then(|nanos| nanos.checked_add(since.subsec_nanos().into()));
            nanos.unwrap_or(i64::MAX)
        }
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

pub(crate) fn time(nanos: i64) -> SystemTime {
    let span = Duration::from_nanos(nanos.unsigned_abs());
    let at = if nanos < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    at.unwrap_or(UNIX_EPOCH)
}

pub(crate) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers are short, also negative ones.
pub(super) fn put_signed(number: i64, out: &mut Vec<u8>) {
    put_number(((number << 1) ^ (number >> 63)) as u64, out);
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The bytes that are left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable::Damaged)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Unreadable> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = usize::try_from(self.number()?).map_err(|_| Unreadable::Damaged)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, Unreadable> {
        str::from_utf8(self.bytes()?).map_err(|_| Unreadable::Damaged)
    }
}
