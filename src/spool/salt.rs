//! Checksums of one segment.

use crc32fast::Hasher;

/// What the checksums of one segment begin with: it follows from the number of its run, which no log line
/// knows, and its own number. So the rest can be checked if the file's header is damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) const fn of(publisher: u128, segment: u32) -> Salt {
        // Mixed by hand, since this is a constant in tests: multiply and fold.
        let low = (publisher as u64) ^ (segment as u64).wrapping_mul(SPREADS);
        let high = ((publisher >> 64) as u64).wrapping_add(SPREADS);
        let mixed = (low ^ high.rotate_left(29)).wrapping_mul(SPREADS);
        Salt((mixed >> 32) as u32 ^ mixed as u32)
    }

    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        // The length again, so that zeros in a hole of a file are no record.
        hasher.update(&(bytes.len() as u32).to_le_bytes());
        hasher.finalize()
    }
}

/// An odd number near 2^64 divided by the golden ratio.
const SPREADS: u64 = 0x9E37_79B9_7F4A_7C15;
