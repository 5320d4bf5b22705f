//! What the portals saw: activities and who opened them, and the requests that came.

use std::collections::HashMap;
use std::sync::Arc;

use bizproc_portal::{Activity, CommandOutcome, CommandRecord, Hit as PortalHit, Portal, Workflow};

use crate::record::{Moment, moment};

/// All activities of a campaign, by their number.
#[derive(Default)]
pub struct Activities(Vec<Opened>);

/// An activity.
pub struct Opened {
    /// The number of its portal.
    pub portal: usize,
    /// The id of its workflow.
    pub workflow: String,
    /// The activity itself.
    pub activity: Activity,
    /// The value that its end has to bring.
    returns: (String, String),
}

impl Activities {
    /// Opens an activity of this name. Its end has to bring this value. Names must differ within a workflow.
    pub fn open(
        &mut self,
        portal: usize,
        workflow: &Workflow,
        name: &str,
        returns: (&str, String),
    ) -> u32 {
        let activity = workflow.open_activity(name);
        let returns = (returns.0.to_owned(), returns.1);
        self.0.push(Opened { portal, workflow: workflow.id().to_owned(), activity, returns });
        self.count() - 1
    }

    /// How many there are. The next one gets this number.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// The activity with this number.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn at(&self, number: u32) -> &Opened {
        &self.0[number as usize]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Opened> {
        self.0.iter()
    }

    /// The number of an activity by workflow and name.
    fn places(&self) -> HashMap<(String, String), u32> {
        let place = |it: &Opened| (it.workflow.clone(), it.activity.name().to_owned());
        self.0.iter().map(place).zip(0..).collect()
    }

    /// Whether an activity was ended with the value that it was meant to get.
    pub(crate) fn is_ended_right(&self, number: u32) -> bool {
        let Opened { activity, returns, .. } = self.at(number);
        let completion = activity.completion();
        completion.is_some_and(|it| it.return_values == std::slice::from_ref(returns))
    }
}

/// A request that came to a portal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// The number of the portal in the campaign.
    pub portal: usize,
    /// Which run has sent it. `None`: this could not be seen.
    pub run: Option<u32>,
    /// Counted by the portal.
    pub number: u64,
    /// When it came.
    pub arrived: Moment,
    /// When it was answered.
    pub answered: Option<Moment>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The error that refused it as a whole.
    pub error: Option<String>,
    /// The planned fault that it met.
    pub fault: Option<String>,
    /// What it asked for, in order.
    pub commands: Vec<Command>,
}

/// A command of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The activity that its event token names. `None`: none of the campaign.
    pub activity: Option<u32>,
    /// The method of the REST API.
    pub method: String,
    /// The message, if it had one.
    pub message: Option<Arc<str>>,
    /// What became of it.
    pub fate: Fate,
    /// The same in the words of the portal.
    pub outcome: String,
}

/// What a portal has done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An entry was written.
    Written,
    /// The activity was ended.
    Completed,
    /// It answered true, and did nothing.
    ThrownAway,
    /// It answered with an error.
    Refused,
}

impl Hit {
    /// Whether the portal refused it because it was over the limit, and not by a planned fault.
    pub fn is_over_limit(&self) -> bool {
        self.error.as_deref() == Some(OVER_LIMIT) && self.fault.is_none()
    }
}

/// All requests that came to this portal, in the order of their arrival. `sender` says which run has sent one.
pub(crate) fn hits(
    number: usize,
    portal: &Portal,
    activities: &Activities,
    sender: impl Fn(&PortalHit) -> Option<u32>,
) -> Vec<Hit> {
    let places = activities.places();
    let command = |record: &CommandRecord| {
        let place = record.workflow.clone().zip(record.activity.clone());
        Command {
            activity: place.and_then(|place| places.get(&place).copied()),
            method: record.method.clone(),
            message: record.message.clone(),
            fate: fate(&record.outcome),
            outcome: format!("{:?}", record.outcome),
        }
    };
    let hit = |hit: PortalHit| Hit {
        portal: number,
        run: sender(&hit),
        number: hit.number,
        arrived: moment(hit.arrived.to_system_time()),
        answered: hit.answered.map(|at| moment(at.to_system_time())),
        status: hit.status,
        commands: hit.commands.iter().map(command).collect(),
        error: hit.error,
        fault: hit.fault,
    };
    portal.journal().into_iter().map(hit).collect()
}

fn fate(outcome: &CommandOutcome) -> Fate {
    match outcome {
        CommandOutcome::Written => Fate::Written,
        CommandOutcome::Completed => Fate::Completed,
        CommandOutcome::Refused(_) => Fate::Refused,
        _ => Fate::ThrownAway,
    }
}

const OVER_LIMIT: &str = "QUERY_LIMIT_EXCEEDED";
