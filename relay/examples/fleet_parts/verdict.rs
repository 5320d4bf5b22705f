//! The verdict on a fleet: on its lines and ends, as for every campaign, and on the owners of portals.

use std::fmt;

use bizproc_campaign::{Evidence, Kind, Percentiles, Verdict};

use super::owners::{self, Figures, Ownership};

/// The results. The last line of its `Display` is a summary.
#[derive(Clone, Debug)]
pub(crate) struct FleetVerdict {
    pub(crate) common: Verdict,
    pub(crate) owners: Figures,
}

/// Judges.
pub(crate) fn judge(evidence: &Evidence, ownership: &Ownership) -> FleetVerdict {
    let mut common = bizproc_campaign::judge(evidence);
    let owners = owners::judge(evidence, ownership, &mut common);
    FleetVerdict { common, owners }
}

impl FleetVerdict {
    pub(crate) fn is_good(&self) -> bool {
        self.common.is_good()
    }

    /// The last line.
    pub(crate) fn in_one_line(&self) -> String {
        format!("{} refused={}", self.common.in_one_line("logged"), self.common.refused)
    }
}

impl fmt::Display for FleetVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FleetVerdict { common, owners } = self;
        let Figures { after_pause, takeovers, handovers } = owners;
        let takeovers = Percentiles(takeovers);
        writeln!(f, "takeovers after a kill, a pause or a cut: {takeovers}")?;
        writeln!(f, "handovers of relays that were stopped: {}", Percentiles(handovers))?;
        let two_owners = common.count(Kind::TwoOwners);
        writeln!(f, "two_owners={two_owners} after_pause={after_pause}")?;
        write!(f, "{common}{}", self.in_one_line())
    }
}
