//! What a refusal, or no answer, leads to: one table, for requests of every kind.
//!
//! A row says what the lane does, what becomes of each entry, and of each end. Whatever a reply
//! changes, it changes through a row of this table.

use super::Access;
use crate::protocol::reply::{Code, Refusal, Sent};
use crate::stats::DropReason;
use crate::worker::report::Trouble;

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reaction {
    pub(super) lane: OfLane,
    pub(super) entry: OfEntry,
    pub(super) end: OfEnd,
}

/// What the lane does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OfLane {
    /// Nothing: it is about one command.
    GoesOn,
    /// Waits, and uses half of the rate that it used.
    SlowsDown,
    /// Keeps to the operating limit of the method, or of `batch`.
    Pauses(Within),
    /// Waits before it sends entries again, longer each time.
    BacksOff,
    /// The same, and sends half as much, to find out over which command the portal stumbles.
    Halves,
    /// Gets other access. Nothing goes meanwhile.
    Renews(Access),
    /// Sends entries once a minute only, until something is mended.
    Blocks(DropReason),
}

/// Where a refusal for operating time stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Request,
    Command,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfEntry {
    /// To the front of its token, as if it had not been sent.
    Returns,
    /// The same, and is held back; given up when patience is over.
    Waits(Patience),
    /// Returns, and is suspected of being what the portal stumbles over.
    IsSuspected,
    /// It may have been written: repeated with a mark, or given up, as the user chose.
    IsInDoubt,
    /// Given up for this reason.
    IsGivenUp(DropReason),
    /// Given up, and all that its token holds or will get.
    Finishes(DropReason),
}

/// What becomes of an end. It may be repeated freely: a closed activity ignores it (server behaviour).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfEnd {
    /// Goes again when the lane sends ends again.
    Returns,
    /// Goes again after a pause of its own, while patience lasts.
    Waits(Patience),
    /// Is answered with the refusal.
    IsRefused,
}

/// For how long something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Another hit holds the workflow.
    Locked,
    /// The workflow may not have been saved yet.
    Early,
    /// The portal stumbled over this command.
    Stumbled,
}

/// The portal refused one command of a request that ran.
pub(super) fn of_command(refusal: &Refusal) -> Reaction {
    use OfEnd::{IsRefused, Returns as EndReturns, Waits as EndWaits};
    use OfEntry::{Finishes, IsGivenUp, Returns, Waits};
    use OfLane::{Blocks, GoesOn, Pauses, Renews, SlowsDown};
    let (lane, entry, end) = match refusal {
        Refusal::OperatingLimit => (Pauses(Within::Command), Returns, EndReturns),
        Refusal::Locked(_) => (GoesOn, Waits(Patience::Locked), EndWaits(Patience::Locked)),
        Refusal::WorkflowGone(_) => (GoesOn, Waits(Patience::Early), EndWaits(Patience::Early)),
        Refusal::Server(_) => (GoesOn, Waits(Patience::Stumbled), EndWaits(Patience::Stumbled)),
        Refusal::TokenDenied(_) => (GoesOn, Finishes(DropReason::TokenDenied), IsRefused),
        Refusal::Command(_) | Refusal::TooLarge => {
            (GoesOn, IsGivenUp(DropReason::EntryRefused), IsRefused)
        }
        Refusal::Grant(_) => (Renews(Access::Refresh), Returns, EndReturns),
        Refusal::Credential(_) => (Blocks(DropReason::CredentialBlocked), Returns, IsRefused),
        Refusal::Portal(_) => (Blocks(DropReason::PortalBlocked), Returns, IsRefused),
        // Never of a command; but should it be, a pause does no harm.
        Refusal::RateLimit
        | Refusal::Unreachable(_)
        | Refusal::UnknownPortal(_)
        | Refusal::Moved(_) => (SlowsDown, Returns, EndReturns),
    };
    Reaction { lane, entry, end }
}

/// The request was refused as a whole: nothing of it was executed.
pub(super) fn of_request(refusal: &Refusal, sent: Sent) -> Reaction {
    use OfEnd::{IsRefused, Returns as EndReturns};
    use OfEntry::{IsGivenUp, IsSuspected, Returns};
    use OfLane::{BacksOff, Blocks, GoesOn, Halves, Pauses, Renews, SlowsDown};
    let (lane, entry, end) = match (refusal, sent) {
        (Refusal::RateLimit, _) => (SlowsDown, Returns, EndReturns),
        (Refusal::OperatingLimit, _) => (Pauses(Within::Request), Returns, EndReturns),
        (Refusal::Unreachable(_), _) => (BacksOff, Returns, EndReturns),
        (Refusal::UnknownPortal(_), _) => (Blocks(DropReason::UnknownPortal), Returns, EndReturns),
        (Refusal::Grant(_), _) => (Renews(Access::Refresh), Returns, EndReturns),
        (Refusal::Moved(Some(host)), _) => {
            (Renews(Access::Relocate(host.clone())), Returns, EndReturns)
        }
        (Refusal::Moved(None), _) => (Blocks(DropReason::PortalBlocked), Returns, EndReturns),
        (Refusal::Credential(_), _) => (Blocks(DropReason::CredentialBlocked), Returns, IsRefused),
        (Refusal::Portal(_), _) => (Blocks(DropReason::PortalBlocked), Returns, IsRefused),
        // It is the one command that is too large: it always will be.
        (Refusal::TooLarge, Sent::Single) => {
            (GoesOn, IsGivenUp(DropReason::EntryRefused), IsRefused)
        }
        (Refusal::TooLarge, Sent::Batch(_))
        | (
            Refusal::TokenDenied(_)
            | Refusal::WorkflowGone(_)
            | Refusal::Locked(_)
            | Refusal::Command(_)
            | Refusal::Server(_),
            _,
        ) => (Halves, IsSuspected, EndReturns),
    };
    Reaction { lane, entry, end }
}

/// No usable answer came: everything may have been executed, or nothing.
pub(super) fn of_silence() -> Reaction {
    Reaction { lane: OfLane::Halves, entry: OfEntry::IsInDoubt, end: OfEnd::Returns }
}

/// It ran, and came to none of the commands: as a portal answers to a body that it could not read
/// (server behaviour). Again at once would be so for ever.
pub(super) fn of_nothing_executed() -> Reaction {
    Reaction { lane: OfLane::BacksOff, entry: OfEntry::Returns, end: OfEnd::Returns }
}

/// The portal did not come to this command (its key is in neither section of the answer).
pub(super) fn of_not_executed() -> Reaction {
    Reaction { lane: OfLane::GoesOn, entry: OfEntry::Returns, end: OfEnd::Returns }
}

/// What the app's engineers are told of a refusal, and in which detail. What leads to other access is
/// told when that fails.
pub(super) fn trouble(refusal: &Refusal) -> Option<(Trouble, String)> {
    Some(match refusal {
        Refusal::RateLimit => (Trouble::RateLimited, String::new()),
        Refusal::OperatingLimit => (Trouble::OperatingLimited, String::new()),
        Refusal::Unreachable(trouble) => (Trouble::Unreachable, trouble.to_string()),
        Refusal::UnknownPortal(trouble) => (Trouble::UnknownPortal, trouble.to_string()),
        Refusal::Credential(code) => (Trouble::CredentialBlocked, code.to_string()),
        Refusal::Portal(code) => (Trouble::PortalBlocked, code.to_string()),
        Refusal::Moved(None) => (Trouble::PortalBlocked, "moved, nobody knows where".to_owned()),
        Refusal::Moved(Some(_))
        | Refusal::Grant(_)
        | Refusal::TooLarge
        | Refusal::TokenDenied(_)
        | Refusal::WorkflowGone(_)
        | Refusal::Locked(_)
        | Refusal::Command(_)
        | Refusal::Server(_) => return None,
    })
}

/// The code that a refusal is told with.
pub(super) fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::TokenDenied(code)
        | Refusal::WorkflowGone(code)
        | Refusal::Locked(code)
        | Refusal::Command(code)
        | Refusal::Server(code)
        | Refusal::Grant(code)
        | Refusal::Credential(code)
        | Refusal::Portal(code) => code.clone(),
        Refusal::Moved(Some(host)) => Code(host.clone()),
        Refusal::Moved(None) => Code("moved".to_owned()),
        Refusal::TooLarge => Code("too large".to_owned()),
        Refusal::RateLimit => Code("QUERY_LIMIT_EXCEEDED".to_owned()),
        Refusal::OperatingLimit => Code("OPERATION_TIME_LIMIT".to_owned()),
        Refusal::Unreachable(trouble) | Refusal::UnknownPortal(trouble) => {
            Code(trouble.to_string())
        }
    }
}
