//! What is wrong, one sentence each, and what it is about.

use crate::record::Moment;

/// Something that makes a verdict bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind it is.
    pub kind: Kind,
    /// What it is about.
    pub about: About,
    /// For readers.
    pub sentence: String,
}

/// What a finding is about. This says what is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The number of the activity.
    pub activity: Option<u32>,
    /// The number of the portal, if it is about a portal and not about one activity.
    pub portal: Option<usize>,
    /// The runs that have to do with it.
    pub runs: Vec<u32>,
    /// When it was, if that is known.
    pub at: Option<Moment>,
}

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A line is missing, and nothing says why.
    Missing,
    /// A text was changed on its way.
    Changed,
    /// Nobody has logged this.
    Stranger,
    /// Something that the judge could not see, such as hits that a journal has forgotten, or a process that has failed.
    Unseen,
    /// A line came more than once without a mark.
    UnmarkedRepeat,
    /// A first copy arrived after later lines of its series.
    OutOfOrder,
    /// An entry was repeated after newer lines.
    RepeatedLater,
    /// An end is missing, is another one, or was not asked for.
    End,
    /// Two relays have sent to a portal at once.
    TwoOwners,
    /// A line was lost for a reason that was told.
    Lost,
    /// An end was lost, or could not be sent, and this was told.
    LostEnd,
    /// An end arrived after its deadline.
    LateEnd,
    /// A portal has refused a request that was over its limit.
    Refused,
}

impl Kind {
    /// Whether the reason is known. A finding like this makes a verdict bad, too.
    pub fn is_explained(self) -> bool {
        matches!(self, Kind::Lost | Kind::LostEnd | Kind::LateEnd | Kind::Refused)
    }
}

impl Finding {
    /// The first word of its line in a report.
    pub fn word(&self) -> &'static str {
        if self.kind.is_explained() { "wrong" } else { "unexplained" }
    }
}

impl About {
    /// An activity at that time, and a run that has to do with it.
    pub fn activity(activity: u32, run: u32, at: Moment) -> About {
        About { activity: Some(activity), portal: None, runs: vec![run], at: Some(at) }
    }

    /// A run at that time.
    pub fn run(run: u32, at: Moment) -> About {
        About { runs: vec![run], at: Some(at), ..About::default() }
    }

    /// A portal at that time.
    pub fn portal(portal: usize, at: Moment) -> About {
        About { portal: Some(portal), at: Some(at), ..About::default() }
    }
}
