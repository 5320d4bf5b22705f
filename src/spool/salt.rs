//! Checksums of one segment.

use crc32fast::Hasher;

/// The start value for the checksums of one segment. It is computed from the number of its run, which no log line
/// can know, and from its own number. So the rest of a file can be checked even if its header is damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) const fn of(publisher: u128, segment: u32) -> Salt {
        // Mixed here by multiplying and folding, because tests use this as a constant.
        let low = (publisher as u64) ^ (segment as u64).wrapping_mul(SPREADS);
        let high = ((publisher >> 64) as u64).wrapping_add(SPREADS);
        let mixed = (low ^ high.rotate_left(29)).wrapping_mul(SPREADS);
        Salt((mixed >> 32) as u32 ^ mixed as u32)
    }

    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        // The length is included, so that zeros in a hole of a file do not count as a record.
        hasher.update(&(bytes.len() as u32).to_le_bytes());
        hasher.finalize()
    }
}

/// An odd number near 2^64 divided by the golden ratio.
const SPREADS: u64 = 0x9E37_79B9_7F4A_7C15;
