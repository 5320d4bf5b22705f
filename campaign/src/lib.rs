//! What the campaigns of faults have in common.
//!
//! A campaign runs an app and stand-in portals, and does harm: it kills, pauses, cuts off. Then it asks what became of
//! every line. There are two campaigns: `examples/campaign` is about one app with a spool, and
//! `relay/examples/relay_campaign` about a fleet of replicas and relays. Each of them has its own plan of faults, its
//! own network and its own processes. How it is judged is here.
//!
//! ```text
//! Record    each process writes what it is about to log ----+
//! Portal    the journal: all requests that came, by whom ---+-> Evidence -> judge -> Verdict
//! campaign  kills, stops, troubles of each run, promises ---+                           |
//! Incidents what happened to whom, and when -----------------> keep_findings <---------+
//! ```
//!
//! # What evidence is
//!
//! Evidence comes from three sources, and none of them is the crate that is tested:
//!
//! - *Records* ([`Record`], [`Story`]): each process writes to a file of its own what it does next, and only then does
//!   it. A kill can cut off the last record only, and then its action was not done.
//! - *Journals of the portals* ([`Hit`], [`Command`]): all that came, by which process it was sent, and what the portal
//!   did with it. Lines are recognized by their text ([`Line`]).
//! - *What the campaign did* ([`Run`], [`Trouble`], [`Ending`]): when a process was killed, asked to stop, or could not
//!   work.
//!
//! The counters of the crate are only used where the crate says by them that it has lost lines. Such a loss explains a
//! missing line, but it is still a loss.
//!
//! # What the judge gets
//!
//! [`judge`] gets the [`Evidence`], with the [`Promise`] in it, and nothing else. It does no I/O and reads no clock, so
//! its tests give it made-up evidence with one fault each. A campaign adds findings of its own to the [`Verdict`], for
//! example about the owners of portals.
//!
//! # What it promises
//!
//! - Every line that a record has is delivered; or in the window of a kill; or lost for a reason that was told; or it
//!   is a [`Finding`]. The same holds for every end of an activity.
//! - Every entry that a portal has written is checked: its text, its place in the order, and whether further copies are
//!   marked. What nobody has logged is a finding, too.
//! - What the judge could not see is a finding: a campaign without evidence is not good.
//! - A verdict is good if it has no finding at all, and something was delivered.
//! - For each finding, [`keep_findings`] writes all that is known about it into a file: the records, the commands that
//!   the portal got for that activity, the faults of that time, and what the processes reported. There is no secret in it.
#![expect(clippy::disallowed_methods, reason = "processes are killed in real time")]

mod evidence;
mod finding;
mod folder;
mod incidents;
mod journal;
mod judge;
mod kept;
mod line;
mod notices;
mod options;
mod percentiles;
mod process;
mod record;
mod run;
mod verdict;

pub use evidence::{End, Entry, Evidence, Gap, Promise};
pub use finding::{About, Finding, Kind};
pub use folder::Folder;
pub use incidents::{Incident, Incidents};
pub use journal::{Activities, Command, Fate, Hit, Opened};
pub use judge::judge;
pub use kept::keep_findings;
pub use line::{Line, Series, of_end};
pub use options::{Course, Usage, Values, read_options};
pub use percentiles::{Percentiles, percentile};
pub use process::Process;
pub use record::{Moment, Record, Story, moment, now};
pub use run::{Age, BEAT, Ending, Run, Trouble, TroubleKind};
pub use verdict::{Ends, Verdict};
