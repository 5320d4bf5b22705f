//! What happens after a refusal or a missing answer: one table, for requests of every kind.
//!
//! A row says what happens to the lane, to each entry, and to each end. All effects of a reply come from a
//! row of this table.

use super::Renewal;
use crate::protocol::reply::{Refusal, Sent};
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
    /// Pauses for the operating limit of the method, or of `batch`.
    Pauses(Within),
    /// Waits before it sends entries again, longer each time.
    BacksOff,
    /// Backs off, and sends half as much, to find the command that makes the portal fail.
    Halves,
    /// Requests new access. Nothing is sent in the meantime.
    Renews(Renewal),
    /// Sends entries only once a minute, until something is fixed.
    Blocks(DropReason),
}

/// Where a refusal for operating time was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Request,
    Command,
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfEntry {
    /// It goes back to the front of its token, as if it had not been sent.
    Returns,
    /// It goes back to the front of its token and is sent later. After too many tries it is given up.
    Waits(Patience),
    /// It goes back to the front of its token, and is marked as suspicious: it may make the portal fail.
    IsSuspected,
    /// It may have been written. It is repeated with a mark, or given up, as the option says.
    IsInDoubt,
    /// Given up for this reason.
    IsGivenUp(DropReason),
    /// It is given up, with all other lines of its token, also later ones.
    Finishes(DropReason),
}

/// What happens to an end. It may always be repeated: a closed activity ignores it (server behaviour).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfEnd {
    /// It is sent again when the lane sends ends again.
    Returns,
    /// It is sent again after its own pause, for a limited time.
    Waits(Patience),
    /// The caller gets the refusal.
    IsRefused,
}

/// For how long something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Another request has locked the workflow.
    Locked,
    /// The workflow may not have been saved yet.
    Early,
    /// The portal failed on this command.
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
        Refusal::Grant(_) => (Renews(Renewal::Refresh), Returns, EndReturns),
        Refusal::Credential(_) => (Blocks(DropReason::CredentialBlocked), Returns, IsRefused),
        Refusal::Portal(_) => (Blocks(DropReason::PortalBlocked), Returns, IsRefused),
        // This is never the answer to a command. If it were, a pause would be harmless.
        Refusal::RateLimit
        | Refusal::Unreachable(_)
        | Refusal::UnknownPortal(_)
        | Refusal::Moved(_)
        | Refusal::Redirected(_) => (SlowsDown, Returns, EndReturns),
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
        (Refusal::Grant(_), _) => (Renews(Renewal::Refresh), Returns, EndReturns),
        (Refusal::Moved(Some(host)), _) => {
            (Renews(Renewal::Relocate(host.clone())), Returns, EndReturns)
        }
        // The next answer may be another one, so ends are still sent.
        (Refusal::Moved(None) | Refusal::Redirected(_), _) => {
            (Blocks(DropReason::PortalBlocked), Returns, EndReturns)
        }
        (Refusal::Credential(_), _) => (Blocks(DropReason::CredentialBlocked), Returns, IsRefused),
        (Refusal::Portal(_), _) => (Blocks(DropReason::PortalBlocked), Returns, IsRefused),
        // The single command is too large. A repeat would be refused, too.
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

/// The request ran, but no command was executed: a portal answers like this if it cannot read the body
/// (server behaviour). An immediate repeat would give the same result again and again.
pub(super) fn of_nothing_executed() -> Reaction {
    Reaction { lane: OfLane::BacksOff, entry: OfEntry::Returns, end: OfEnd::Returns }
}

/// The portal did not execute this command (its key is in neither section of the answer).
pub(super) fn of_not_executed() -> Reaction {
    Reaction { lane: OfLane::GoesOn, entry: OfEntry::Returns, end: OfEnd::Returns }
}

/// How a refusal is reported, and with which detail. If new access is requested because of it, it is reported
/// only if that fails.
pub(super) fn trouble(refusal: &Refusal) -> Option<(Trouble, String)> {
    Some(match refusal {
        Refusal::RateLimit => (Trouble::RateLimited, String::new()),
        Refusal::OperatingLimit => (Trouble::OperatingLimited, String::new()),
        Refusal::Unreachable(trouble) => (Trouble::Unreachable, trouble.to_string()),
        Refusal::UnknownPortal(trouble) => (Trouble::UnknownPortal, trouble.to_string()),
        Refusal::Credential(code) => (Trouble::CredentialBlocked, code.to_string()),
        Refusal::Portal(code) | Refusal::Redirected(code) => {
            (Trouble::PortalBlocked, code.to_string())
        }
        Refusal::Moved(None) => (Trouble::PortalBlocked, "moved to an unknown address".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Reply;
    use crate::protocol::reply::{Outcome, Verdict, read};

    use OfLane::{Blocks, GoesOn, Halves, Pauses, Renews, SlowsDown};

    /// Where an error stands.
    #[derive(Clone, Copy, Debug)]
    enum Place {
        /// In the answer to a call of its own.
        Alone,
        /// In the answer to a batch, instead of a result.
        Whole,
        /// In a batch's `result_error`, beside a command that was done.
        Inside,
    }

    fn row(code: &str, description: &str, status: u16, place: Place) -> Reaction {
        let error = serde_json::json!({"error": code, "error_description": description});
        let (sent, status, body) = match place {
            Place::Alone => (Sent::Single, status, error),
            Place::Whole => (Sent::Batch(2), status, error),
            Place::Inside => {
                let sections =
                    serde_json::json!({"result": {"c1": true}, "result_error": {"c0": error}});
                (Sent::Batch(2), 200, serde_json::json!({"result": sections}))
            }
        };
        match read(&Reply::Http { status, body: body.to_string().into_bytes() }, sent) {
            Verdict::Ran { outcomes, .. } => match &outcomes[0] {
                Outcome::Refused(refusal) => of_command(refusal),
                Outcome::NotExecuted => of_not_executed(),
                Outcome::Done(_) => panic!("{code} is done"),
            },
            Verdict::Refused(refusal) => of_request(&refusal, sent),
            Verdict::Unknown(_) => of_silence(),
        }
    }

    fn is(lane: OfLane, entry: OfEntry, end: OfEnd) -> Reaction {
        Reaction { lane, entry, end }
    }

    /// A code, its description, the statuses and places where it is known, and what it makes of all.
    type Row<'a> = (&'a str, &'a str, &'a [u16], &'a [Place], &'a Reaction);

    /// Every code of the REST API's pages on errors, limits and authorization, and of the business
    /// process module, with each status under which it is known.
    #[test]
    fn every_refusal_has_its_row() {
        use Place::{Alone, Inside, Whole};
        let credential =
            is(Blocks(DropReason::CredentialBlocked), OfEntry::Returns, OfEnd::IsRefused);
        let portal = is(Blocks(DropReason::PortalBlocked), OfEntry::Returns, OfEnd::IsRefused);
        let rate = is(SlowsDown, OfEntry::Returns, OfEnd::Returns);
        let renews = is(Renews(Renewal::Refresh), OfEntry::Returns, OfEnd::Returns);
        let pauses = |within| is(Pauses(within), OfEntry::Returns, OfEnd::Returns);
        let refused = is(GoesOn, OfEntry::IsGivenUp(DropReason::EntryRefused), OfEnd::IsRefused);
        let denied = is(GoesOn, OfEntry::Finishes(DropReason::TokenDenied), OfEnd::IsRefused);
        let waits = |patience| is(GoesOn, OfEntry::Waits(patience), OfEnd::Waits(patience));
        let suspected = is(Halves, OfEntry::IsSuspected, OfEnd::Returns);
        let unknown = of_silence();
        let not_executed = of_not_executed();
        let everywhere = [Alone, Whole, Inside];
        let tops = [Alone, Whole];
        let mut rows: Vec<Row<'_>> = vec![
            ("QUERY_LIMIT_EXCEEDED", "Too many requests", &[503, 200], &everywhere, &rate),
            ("expired_token", "", &[401], &everywhere, &renews),
            ("invalid_token", "", &[401], &everywhere, &renews),
            ("PORTAL_DELETED", "", &[500, 403, 410], &everywhere, &portal),
            ("ERROR_METHOD_NOT_FOUND", "", &[404], &everywhere, &portal),
            (
                "ACCESS_DENIED",
                "REST API is available on commercial plans",
                &[403, 401],
                &everywhere,
                &credential,
            ),
            ("ACCESS_DENIED", "Access denied!", &[403, 400], &[Alone, Inside], &denied),
            ("ACCESS_DENIED", "Access denied!", &[403], &[Whole], &credential),
            ("ERROR_BATCH_LENGTH_EXCEEDED", "", &[400], &[Inside], &not_executed),
        ];
        for code in [
            "OVERLOAD_LIMIT",
            "NO_AUTH_FOUND",
            "INVALID_CREDENTIALS",
            "insufficient_scope",
            "user_access_error",
            "INVALID_REQUEST",
            "authorization_error",
            "APPLICATION_NOT_FOUND",
            "PAYMENT_REQUIRED",
            "METHOD_CONFIRM_WAITING",
            "WRONG_AUTH_TYPE",
            "METHOD_CONFIRM_DENIED",
        ] {
            rows.push((code, "", &[400, 401, 403, 503], &everywhere, &credential));
        }
        let (request, command) = (pauses(Within::Request), pauses(Within::Command));
        rows.push(("OPERATION_TIME_LIMIT", "blocked", &[429], &tops, &request));
        rows.push(("OPERATION_TIME_LIMIT", "blocked", &[429], &[Inside], &command));
        for code in ["INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"] {
            rows.push((code, "", &[500], &tops, &unknown));
        }
        let (locked, early, stumbled) =
            (waits(Patience::Locked), waits(Patience::Early), waits(Patience::Stumbled));
        for code in ["INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER", "CONNECTION_ERROR"] {
            rows.push((code, "", &[500], &[Inside], &stumbled));
        }
        rows.push(("CONNECTION_ERROR", "", &[401], &tops, &suspected));
        for code in
            ["ERROR_CORE", "ERROR_ARGUMENT", "ERROR_EMPTY_LOG_MESSAGE", "499", "0", "1048582"]
        {
            rows.push((code, "", &[400], &[Alone, Inside], &refused));
        }
        rows.push(("404", "", &[400], &[Alone, Inside], &early));
        rows.push(("423", "", &[400], &[Alone, Inside], &locked));
        // Never of a batch as a whole; but should it be, the portal is taken to have stumbled.
        for code in ["404", "423", "ERROR_CORE", "ERROR_ARGUMENT", "499"] {
            rows.push((code, "", &[400], &[Whole], &suspected));
        }
        for (code, description, statuses, places, expected) in rows {
            for (status, place) in
                statuses.iter().flat_map(|s| places.iter().map(move |p| (*s, *p)))
            {
                let row = row(code, description, status, place);
                assert_eq!(&row, expected, "{code} {description:?} {status} {place:?}");
            }
        }
    }

    /// Answers that do not come from the REST server.
    #[test]
    fn every_answer_of_a_web_server_has_its_row() {
        let page = |status: u16, sent| {
            let body = b"<html>".to_vec();
            match read(&Reply::Http { status, body }, sent) {
                Verdict::Refused(refusal) => of_request(&refusal, sent),
                Verdict::Unknown(_) => of_silence(),
                Verdict::Ran { outcomes, .. } => panic!("{outcomes:?}"),
            }
        };
        let both = [Sent::Single, Sent::Batch(3)];
        for sent in both {
            for status in [200, 500, 502, 503, 504] {
                assert_eq!(page(status, sent), of_silence(), "{status}");
            }
            assert_eq!(page(429, sent), is(SlowsDown, OfEntry::Returns, OfEnd::Returns));
        }
        let too_large = page(413, Sent::Single);
        let given_up = OfEntry::IsGivenUp(DropReason::EntryRefused);
        assert_eq!(too_large, is(GoesOn, given_up, OfEnd::IsRefused), "it always will be");
        assert_eq!(
            page(413, Sent::Batch(3)),
            is(Halves, OfEntry::IsSuspected, OfEnd::Returns),
            "one of them, or all together"
        );
    }
}
