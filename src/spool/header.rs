//! The first bytes of a segment's file.

use super::salt::Salt;

/// Bytes of a header.
pub(super) const LENGTH: usize = 48;

/// The format that this version writes and reads. There is no other format so far.
pub(super) const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"BIZSPOOL";

/// The contents of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) publisher: u128,
    pub(super) segment: u32,
    /// How many lines the segment before this one had when this one was started. Further lines there are not
    /// valid, and missing lines are a loss.
    pub(super) before: u32,
    /// How many lines the file has, if it was written at once when the segment was compacted.
    pub(super) rewritten: Option<u32>,
}

impl Header {
    pub(super) fn write(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.rewritten.is_some()).to_le_bytes());
        bytes[12..28].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.segment.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.before.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.rewritten.unwrap_or(0).to_le_bytes());
        let sum = crc32fast::hash(&bytes[..LENGTH - 4]);
        bytes[LENGTH - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Header, Unfit> {
        let header = bytes.first_chunk::<LENGTH>().ok_or(Unfit::Damaged)?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if &header[..8] != MAGIC || crc32fast::hash(&header[..LENGTH - 4]) != word(LENGTH - 4) {
            return Err(Unfit::Damaged);
        }
        // In every version, the version number is here, and the checksum covers the same number of bytes.
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version > VERSION {
            return Err(Unfit::Newer(version));
        }
        let publisher = header[12..28].iter().rev().fold(0, |sum, &b| sum << 8 | u128::from(b));
        let rewritten = (header[10] & 1 != 0).then(|| word(36));
        Ok(Header { publisher, segment: word(28), before: word(32), rewritten })
    }

    pub(super) fn salt(&self) -> Salt {
        Salt::of(self.publisher, self.segment)
    }
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Damaged,
    Newer(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { publisher: 1 << 100 | 5, segment: 7, before: 300, rewritten: Some(12) };

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for rewritten in [None, Some(0), Some(12)] {
            let header = Header { rewritten, ..HEADER };
            assert_eq!(Header::read(&header.write()), Ok(header));
        }
    }

    #[test]
    fn a_header_with_a_changed_bit_is_none() {
        for bit in 0..LENGTH * 8 {
            let mut bytes = HEADER.write();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&bytes), Err(Unfit::Damaged), "bit {bit}");
        }
        for length in 0..LENGTH {
            assert_eq!(Header::read(&HEADER.write()[..length]), Err(Unfit::Damaged));
        }
    }

    #[test]
    fn a_newer_format_differs_from_damage() {
        let mut bytes = HEADER.write();
        bytes[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
        let sum = crc32fast::hash(&bytes[..LENGTH - 4]);
        bytes[LENGTH - 4..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::read(&bytes), Err(Unfit::Newer(VERSION + 1)));
    }
}
