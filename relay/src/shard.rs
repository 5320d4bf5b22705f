//! The parts of the portals that relays own.

use tracing_bizproc::PortalId;

/// One of 256 parts of an app's portals. One relay owns it, and another one may take it over.
///
/// A portal is always in the same shard, in every version of this crate.
///
/// ```
/// use tracing_bizproc::PortalId;
/// use tracing_bizproc_relay::Shard;
///
/// let portal = PortalId::from("a223c6b3710f85df22e9377d6c4f7553");
/// assert!(Shard::all().any(|shard| shard == Shard::of(Some(&portal))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// How many shards there are.
    pub const COUNT: usize = 256;

    /// The shard of a portal (`None`: the app's default portal).
    pub fn of(portal: Option<&PortalId>) -> Shard {
        let name = portal.map_or("", PortalId::as_str);
        // FNV-1a puts many portals into few shards if its high bits are used as they are.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let [first, ..] = mix(hash).to_be_bytes();
        Shard(first)
    }

    /// All shards.
    pub fn all() -> impl Iterator<Item = Shard> {
        (0..=u8::MAX).map(Shard)
    }

    /// Its number in the database.
    pub(crate) fn number(self) -> i16 {
        i16::from(self.0)
    }

    pub(crate) fn from_number(number: i16) -> Option<Shard> {
        u8::try_from(number).ok().map(Shard)
    }
}

/// Makes each bit depend on all others (the last step of splitmix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With another hash, relays of two versions could own the same portal.
    #[test]
    fn a_portal_stays_in_its_shard() {
        let shard = |name: &str| Shard::of(Some(&PortalId::from(name))).0;
        assert_eq!(Shard::of(None), Shard::of(Some(&PortalId::from(""))));
        let found = [shard(""), shard("a223c6b3710f85df22e9377d6c4f7553"), shard("\u{436}")];
        assert_eq!(found, [245, 151, 132]);
    }

    #[test]
    fn portals_are_spread_evenly() {
        let mut portals = [0_u32; Shard::COUNT];
        for n in 0..25_600 {
            let portal = PortalId::from(format!("portal-{n}"));
            portals[usize::from(Shard::of(Some(&portal)).0)] += 1;
        }
        // 100 are expected, and ten more or less are one standard deviation.
        assert!(portals.iter().all(|count| (55..=150).contains(count)), "{portals:?}");
    }

    #[test]
    fn shards_convert_to_numbers_and_back() {
        for shard in Shard::all() {
            assert_eq!(Shard::from_number(shard.number()), Some(shard));
        }
        assert_eq!(Shard::all().count(), Shard::COUNT);
        assert_eq!((Shard::from_number(-1), Shard::from_number(256)), (None, None));
    }
}
