//! Where a record begins and ends, and whether it is complete.
//!
//! A record is a head of 20 bytes and a payload. The head says how many lines the file has before the record, and
//! how many the record has. So the lines of a damaged part can be counted: with the head of the damaged record
//! itself, or with the head of the next undamaged record.
//!
//! Checksums start with a salt that nobody outside knows. So the text of a line cannot be taken for a record.

use super::salt::Salt;

/// Bytes of a head: length of the payload, lines before, lines in it, two checksums.
pub(super) const HEAD: usize = 20;

/// The largest payload of a record.
pub(super) const MAX_PAYLOAD: usize = 64 << 20;

/// Fills in the head of the record that begins at `start` and whose payload is the rest of `out`.
pub(super) fn close(out: &mut [u8], salt: Salt, before: u32, lines: u32) {
    let (head, payload) = out.split_at_mut(HEAD);
    head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&before.to_le_bytes());
    head[8..12].copy_from_slice(&lines.to_le_bytes());
    let sum = salt.checksum(&head[..12]);
    head[12..16].copy_from_slice(&sum.to_le_bytes());
    head[16..20].copy_from_slice(&salt.checksum(payload).to_le_bytes());
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A complete record.
    Record { before: u32, lines: u32, payload: &'a [u8] },
    /// A record whose head is valid, and whose payload is not.
    Damaged { before: u32, lines: u32 },
    /// Bytes that are not a record.
    Unknown,
}

/// All parts of a file after its header.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    salt: Salt,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8], salt: Salt) -> Self {
        Frames { bytes, salt }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let Some(head) =
            Head::read(self.bytes, self.salt).or_else(|| Head::mend(self.bytes, self.salt))
        else {
            let next = (1..self.bytes.len())
                .find(|&at| Head::read(&self.bytes[at..], self.salt).is_some())
                .unwrap_or(self.bytes.len());
            self.bytes = &self.bytes[next..];
            return Some(Found::Unknown);
        };
        let Head { length, before, lines, sum } = head;
        let rest = &self.bytes[HEAD..];
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            self.bytes = &[];
            return Some(Found::Damaged { before, lines });
        };
        self.bytes = rest;
        Some(match self.salt.checksum(payload) == sum {
            true => Found::Record { before, lines, payload },
            false => Found::Damaged { before, lines },
        })
    }
}

struct Head {
    length: usize,
    before: u32,
    lines: u32,
    /// The expected checksum of the payload.
    sum: u32,
}

impl Head {
    fn read(bytes: &[u8], salt: Salt) -> Option<Head> {
        let head = bytes.first_chunk::<HEAD>()?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(number(0)).ok().filter(|&length| length <= MAX_PAYLOAD)?;
        let whole = salt.checksum(&head[..12]) == number(12);
        whole.then(|| Head { length, before: number(4), lines: number(8), sum: number(16) })
    }

    /// Repairs a head in which one bit has changed. The checksum shows which bit. Without its head, the last
    /// record of a file would be lost without a count.
    fn mend(bytes: &[u8], salt: Salt) -> Option<Head> {
        let mut head = *bytes.first_chunk::<HEAD>()?;
        (0..16 * 8).find_map(|bit| {
            head[bit / 8] ^= 1 << (bit % 8);
            let mended = Head::read(&head, salt);
            head[bit / 8] ^= 1 << (bit % 8);
            mended
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt::of(7, 1);

    fn record(before: u32, lines: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        out.extend_from_slice(payload);
        close(&mut out, SALT, before, lines);
        out
    }

    fn found(bytes: &[u8]) -> Vec<Found<'_>> {
        Frames::new(bytes, SALT).collect()
    }

    fn three() -> Vec<u8> {
        [record(0, 2, b"first"), record(2, 1, b"second"), record(3, 5, b"")].concat()
    }

    #[test]
    fn records_are_found_as_they_were_written() {
        assert_eq!(
            found(&three()),
            [
                Found::Record { before: 0, lines: 2, payload: b"first" },
                Found::Record { before: 2, lines: 1, payload: b"second" },
                Found::Record { before: 3, lines: 5, payload: b"" },
            ]
        );
    }

    /// If any single bit changes, the lines of each record are still counted.
    #[test]
    fn a_changed_bit_costs_its_record_at_most_and_never_the_count() {
        let whole = three();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let counts: Vec<_> = found(&bytes)
                .into_iter()
                .map(|found| match found {
                    Found::Record { before, lines, .. } | Found::Damaged { before, lines } => {
                        (before, lines)
                    }
                    Found::Unknown => panic!("bit {bit}"),
                })
                .collect();
            assert_eq!(counts, [(0, 2), (2, 1), (3, 5)], "bit {bit}");
        }
    }

    #[test]
    fn a_torn_record_is_counted_by_its_head() {
        let whole = three();
        let last = record(3, 5, b"").len();
        for length in 0..whole.len() {
            let found = found(&whole[..length]);
            if length == whole.len() - last - 1 {
                assert_eq!(found[1], Found::Damaged { before: 2, lines: 1 });
            }
            assert!(found.len() <= 3);
        }
    }

    #[test]
    fn reading_continues_after_bytes_that_are_not_a_record() {
        let bytes = [&three()[..3], b"junk in the middle of a file", &three()].concat();
        let found = found(&bytes);
        assert_eq!(found[0], Found::Unknown);
        assert_eq!(found[1], Found::Record { before: 0, lines: 2, payload: b"first" });
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_text_that_looks_like_a_record_is_not_taken_for_one() {
        let mut posing = vec![0; HEAD];
        posing.extend_from_slice(b"posing");
        close(&mut posing, Salt::of(8, 1), 0, 1);
        let bytes = [b"x".as_slice(), &posing].concat();
        assert_eq!(found(&bytes), [Found::Unknown]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(found(&bytes).len() <= bytes.len());
        }
    }
}
