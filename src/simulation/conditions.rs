//! The properties of a simulated portal. The worker does not know them.

use std::time::Duration;

use super::Random;

/// How a portal behaves in a run.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Requests per second that leak from the bucket; infinite for no limit.
    pub rate: f64,
    /// Requests that the bucket holds.
    pub burst: f64,
    /// Requests per second of other programs in the same bucket.
    pub neighbour: f64,
    /// Seconds of work per ten minutes, or no limit.
    pub operating_limit: Option<f64>,
    /// How a block for operating time ends.
    pub lift: Lift,
    /// What part of a batch's own time is counted for `batch` itself.
    pub outer_weight: f64,
    /// Seconds of work for a log command, least and most.
    pub command: (f64, f64),
    /// Seconds that a request spends on the way and in PHP before its first command.
    pub request: f64,
    /// How the portal ends activities.
    pub event_send: EventSend,
    /// Seconds of work for the end of an activity, least and most.
    pub end: (f64, f64),
    /// Entries of a workflow that are kept.
    pub kept: Option<usize>,
    /// The time without a connection, from the start of the run.
    pub outage: Option<(Duration, Duration)>,
    /// Faults and their probabilities.
    pub faults: Faults,
    /// Whether it is checked that the logs tell of lost lines. That takes memory for each line.
    pub checks_told: bool,
}

/// How a block for operating time ends. Documentation and code describe three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// When enough buckets have expired.
    Expiry,
    /// After ten minutes.
    TenMinutes,
    /// After 300 seconds, with all buckets cleared.
    FiveMinutes,
}

/// How `bizproc.event.send` is treated: by older servers, and by the newest (server behaviour).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSend {
    /// At once, with its errors. The workflow may continue inside of the request.
    AtOnce,
    /// The token is checked, the answer is `true`, and a job runs after the request; its errors are not
    /// reported. The next request may find the workflow locked.
    Background,
}

/// Probabilities of faults of a request or a command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// No connection.
    pub refused: f64,
    /// A gateway's HTML page instead of an answer, nothing executed.
    pub gateway: f64,
    /// The answer is lost; everything was executed.
    pub lost_answer: f64,
    /// The request stops in the middle: the first commands were executed.
    pub midway: f64,
    /// An error of the portal as a whole, nothing executed.
    pub server: f64,
    /// A command finds its workflow locked.
    pub locked: f64,
    /// A command is answered with an internal error.
    pub stumble: f64,
    /// The part of the workflows with a line that makes every request with it fail.
    pub poisoned: f64,
    /// Part of the workflows that are gone.
    pub gone: f64,
    /// Part of the workflows whose token is denied.
    pub denied: f64,
    /// Seconds during which a new workflow is not found yet, for some of them.
    pub early: f64,
}

impl Default for Conditions {
    /// The documented limits, fast answers, no faults.
    fn default() -> Self {
        Conditions {
            rate: 2.0,
            burst: 50.0,
            neighbour: 0.0,
            operating_limit: Some(480.0),
            lift: Lift::FiveMinutes,
            outer_weight: 0.0,
            command: (0.005, 0.005),
            request: 0.1,
            event_send: EventSend::AtOnce,
            end: (0.005, 0.005),
            kept: Some(50),
            outage: None,
            checks_told: false,
            faults: Faults::default(),
        }
    }
}

impl Conditions {
    /// No limits at all, as a self-hosted portal without them.
    pub fn unlimited() -> Self {
        Conditions {
            rate: f64::INFINITY,
            burst: f64::INFINITY,
            operating_limit: None,
            kept: None,
            ..Conditions::default()
        }
    }

    /// Hidden limits and costs drawn by seed, around and below what is documented.
    pub fn hidden(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let command = random.within(0.005, 0.08);
        Conditions {
            operating_limit: Some(random.within(150.0, 600.0)),
            lift: [Lift::Expiry, Lift::TenMinutes, Lift::FiveMinutes][random.below(3)],
            outer_weight: if random.chance(0.5) { 0.5 } else { 0.0 },
            command: (command * random.within(0.3, 1.0), command * random.within(1.0, 3.0)),
            request: random.within(0.03, 0.4),
            event_send: match random.chance(0.5) {
                true => EventSend::Background,
                false => EventSend::AtOnce,
            },
            end: (command * 0.2, command * random.within(0.2, 8.0)),
            ..Conditions::default()
        }
    }

    /// Faults of every kind drawn by seed, on top of hidden limits.
    pub fn faulty(seed: u64) -> Self {
        let mut random = Random::new(seed, 2);
        let mut some = |most: f64| if random.chance(0.5) { random.within(0.0, most) } else { 0.0 };
        let faults = Faults {
            refused: some(0.2),
            gateway: some(0.2),
            lost_answer: some(0.2),
            midway: some(0.2),
            server: some(0.2),
            locked: some(0.2),
            stumble: some(0.05),
            poisoned: some(0.1),
            gone: some(0.1),
            denied: some(0.1),
            early: some(10.0),
        };
        Conditions { faults, checks_told: true, ..Conditions::hidden(seed) }
    }
}
