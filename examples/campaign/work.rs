//! The work of the app: activities that begin all the time, and how far each of them is.

use std::time::{Duration, Instant};

use bizproc_campaign::{Activities, Story};
use bizproc_portal::Portal;
use tracing_bizproc::simulation::Random;

use crate::app;

/// All activities.
pub(crate) struct Work {
    pub(crate) activities: Activities,
    /// How far each of them is.
    jobs: Vec<Job>,
    random: Random,
    /// Activities that begin in a second.
    rate: f64,
    next: Instant,
}

/// The work on an activity, in one run after the other until it is ended.
struct Job {
    event_token: String,
    /// The number of its next line.
    next: u32,
    last: u32,
    /// A run has asked for its end.
    is_ended: bool,
}

impl Work {
    pub(crate) fn new(seed: u64, rate: f64) -> Work {
        Work {
            activities: Activities::default(),
            jobs: Vec::new(),
            random: Random::new(seed, 3),
            rate,
            next: Instant::now(),
        }
    }

    /// Opens the next activity, if it is time for it, and returns the order for the app.
    pub(crate) fn open_next(&mut self, portals: &[Portal]) -> Option<String> {
        if Instant::now() < self.next {
            return None;
        }
        let pause = Duration::from_secs_f64(self.random.within(0.0, 2.0 / self.rate));
        self.next = (self.next + pause).max(Instant::now() - Duration::from_secs(1));
        let number = self.activities.count();
        let portal = self.random.below(portals.len());
        // Every fifth is a parallel branch of the workflow before it on its portal.
        let is_known = self.activities.iter().any(|opened| opened.portal == portal);
        let workflow = match is_known {
            true if number % 5 == 0 => portals[portal].workflows().pop(),
            _ => None,
        };
        let workflow =
            workflow.unwrap_or_else(|| portals[portal].start_workflow(&format!("Order {number}")));
        let name = format!("Step {number}");
        self.activities.open(portal, &workflow, &name, app::returned(number));
        let event_token = self.activities.at(number).activity.event_token();
        let last = 2 + self.random.below(45) as u32;
        self.jobs.push(Job { event_token, next: 1, last, is_ended: false });
        Some(self.order(number, portals))
    }

    /// The orders for a run that starts: all that is not ended.
    pub(crate) fn orders(&self, portals: &[Portal]) -> Vec<String> {
        let open = (0..).zip(&self.jobs).filter(|(_, job)| !job.is_ended);
        open.map(|(number, _)| self.order(number, portals)).collect()
    }

    fn order(&self, number: u32, portals: &[Portal]) -> String {
        let Job { event_token, next, last, .. } = &self.jobs[number as usize];
        let member_id = portals[self.activities.at(number).portal].member_id();
        format!("open {number} {member_id} {event_token} {next} {last}\n")
    }

    /// Takes in what a run did, so that the next one goes on with it.
    pub(crate) fn take_in(&mut self, story: &Story) {
        for (_, line) in &story.lines {
            let job = &mut self.jobs[line.activity as usize];
            job.next = job.next.max(line.number + 1);
        }
        for (_, activity, _) in &story.ends {
            self.jobs[*activity as usize].is_ended = true;
        }
    }

    pub(crate) fn event_tokens(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.event_token.as_str())
    }
}
