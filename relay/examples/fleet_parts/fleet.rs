//! Portals, and the processes that log to them and deliver.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bizproc_portal::{Activity, Portal};
use tracing_bizproc::PortalId;
use tracing_bizproc_relay::Shard;

use super::evidence::{Place, read_journal, user_of};
use super::ownership::Watcher;
use super::process::{Process, Role, last_words};
use super::record::{Moment, Story, now};
use super::settings::Told;
use super::verdict::{Ending, Evidence, Run, Trouble, TroubleKind};

/// All portals and processes, with their data.
pub(crate) struct Fleet {
    directory: PathBuf,
    pub(crate) portals: Vec<Portal>,
    activities: Vec<Opened>,
    /// How many of the activities, from the first one, are shared by all replicas.
    shared: usize,
    runs: Vec<Run>,
    /// When there was no database.
    outages: Vec<Trouble>,
    pub(crate) unseen: Vec<String>,
}

struct Opened {
    portal: usize,
    workflow: String,
    activity: Activity,
}

/// A running process.
pub(crate) struct Member {
    pub(crate) run: u32,
    pub(crate) process: Process,
    /// Since when it is paused with SIGSTOP.
    pub(crate) paused: Option<Moment>,
}

/// How a process is started.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) role: Role,
    pub(crate) database: String,
    /// Lines per second of one replica.
    pub(crate) rate: f64,
    /// How long a line waits for the schedule of entries at a relay.
    pub(crate) max_hold: Duration,
    pub(crate) is_unfenced: bool,
}

impl Fleet {
    pub(crate) fn new(portals: Vec<Portal>) -> io::Result<Fleet> {
        let directory = std::env::temp_dir().join(format!("relay-fleet-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Fleet {
            directory,
            portals,
            activities: Vec::new(),
            shared: 0,
            runs: Vec::new(),
            outages: Vec::new(),
            unseen: Vec::new(),
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens activities to which all replicas log: this number on each portal, with `in_workflow` of them in one
    /// workflow, as parallel branches.
    pub(crate) fn open_shared(&mut self, on_portal: usize, in_workflow: usize) {
        for portal in 0..self.portals.len() {
            let mut workflow = None;
            for n in 0..on_portal {
                let start = || self.portals[portal].start_workflow(&format!("Order {n}"));
                let workflow = match n % in_workflow {
                    0 => workflow.insert(start()),
                    _ => workflow.get_or_insert_with(start),
                };
                let activity = workflow.open_activity(&format!("Step {}", self.activities.len()));
                let workflow = workflow.id().to_owned();
                self.activities.push(Opened { portal, workflow, activity });
            }
        }
        self.shared = self.activities.len();
    }

    /// How many requests there were.
    pub(crate) fn hits(&self) -> u64 {
        self.portals.iter().map(|portal| portal.counters().hits).sum()
    }

    pub(crate) fn activities(&self) -> usize {
        self.activities.len()
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Starts a process with a webhook of its own for each portal.
    pub(crate) fn start(&mut self, start: &Start) -> io::Result<Member> {
        let run = self.runs.len() as u32;
        let mut told = Told::default().line(format!("database {}", start.database));
        for portal in &self.portals {
            let webhook = portal.create_webhook_of(user_of(run), &["bizproc"]);
            told = told.line(format!("portal {} {webhook}", portal.member_id()));
        }
        if start.role == Role::Replica {
            told = told.line(format!("rate {}", start.rate));
            for number in 0..self.shared {
                told = told.line(format!("activity {}", self.described(number)));
            }
        } else {
            told = told.line(format!("max_hold {}", start.max_hold.as_secs_f64()));
        }
        if start.is_unfenced {
            told = told.line("unfenced");
        }
        self.runs.push(Run::default());
        let process = Process::start(&self.directory, run, start.role, &told.start())?;
        Ok(Member { run, process, paused: None })
    }

    /// Opens an activity for this replica alone. The replica logs this number of lines and ends it.
    pub(crate) fn order(
        &mut self,
        member: &mut Member,
        portal: usize,
        lines: usize,
    ) -> io::Result<()> {
        let number = self.activities.len();
        let workflow = self.portals[portal].start_workflow(&format!("Order {number}"));
        let activity = workflow.open_activity("Step");
        let workflow = workflow.id().to_owned();
        self.activities.push(Opened { portal, workflow, activity });
        let told = format!("order {} {lines}\n", self.described(number));
        member.process.tell(&told)
    }

    /// Number, portal and token of an activity, in the form for the settings of a process.
    fn described(&self, number: usize) -> String {
        let Opened { portal, activity, .. } = &self.activities[number];
        format!("{number} {} {}", self.portals[*portal].member_id(), activity.event_token())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, mut member: Member) -> io::Result<()> {
        self.go_on_noted(&mut member);
        let at = now();
        member.process.kill()?;
        self.ended(member.run, Ending::Killed(at))
    }

    /// SIGSTOP.
    pub(crate) fn pause(&mut self, member: &mut Member) -> io::Result<()> {
        member.process.signal("-STOP")?;
        member.paused = Some(now());
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn go_on(&mut self, member: &mut Member) -> io::Result<()> {
        self.go_on_noted(member);
        member.process.signal("-CONT")
    }

    fn go_on_noted(&mut self, member: &mut Member) {
        if let Some(from) = member.paused.take() {
            self.trouble(member.run, from, TroubleKind::Paused);
        }
    }

    /// SIGTERM. Returns the time of the signal.
    pub(crate) fn ask_to_stop(&mut self, member: &Member) -> io::Result<Moment> {
        member.process.signal("-TERM")?;
        Ok(now())
    }

    /// Records a trouble of a run that ends now.
    pub(crate) fn trouble(&mut self, run: u32, from: Moment, kind: TroubleKind) {
        self.runs[run as usize].troubles.push(Trouble { from, until: now(), kind });
    }

    /// Records that the database was away from then until a moment after now.
    pub(crate) fn outage(&mut self, from: Moment, recovery: Duration) {
        let until = now() + u64::try_from(recovery.as_nanos()).unwrap_or(0);
        self.outages.push(Trouble { from, until, kind: TroubleKind::NoDatabase });
    }

    /// A process has ended. Reads its records.
    pub(crate) fn ended(&mut self, run: u32, end: Ending) -> io::Result<()> {
        let known = &mut self.runs[run as usize];
        known.end = end;
        known.story = Story::read(&self.directory, run)?;
        Ok(())
    }

    /// If a process ended without being asked to, this test or the crate has an error.
    pub(crate) fn failed(&mut self, member: &Member, how: &str) -> io::Result<()> {
        let words = last_words(&self.directory, member.run);
        self.unseen.push(format!("run {} ended: {how}\n{words}", member.run));
        self.ended(member.run, Ending::Finished)
    }

    /// The number of a portal's shard in the database.
    pub(crate) fn shard_of(&self, portal: usize) -> i16 {
        let shard = Shard::of(Some(&PortalId::from(self.portals[portal].member_id())));
        let place = Shard::all().position(|other| other == shard);
        place.and_then(|place| i16::try_from(place).ok()).unwrap_or(-1)
    }

    /// All data for the verdict.
    pub(crate) fn evidence(
        &self,
        window: Duration,
        watcher: &Watcher,
    ) -> Result<Evidence, Box<dyn Error>> {
        let mut evidence = Evidence {
            window,
            runs: self.runs.clone(),
            shards: (0..self.portals.len()).map(|portal| self.shard_of(portal)).collect(),
            history: watcher.history()?,
            unseen: self.unseen.clone(),
            ..Evidence::default()
        };
        for run in &mut evidence.runs {
            run.troubles.extend(&self.outages);
        }
        let place = |it: &Opened| (it.workflow.clone(), it.activity.name().to_owned());
        let places: HashMap<Place, u32> = self.activities.iter().map(place).zip(0..).collect();
        for (number, portal) in self.portals.iter().enumerate() {
            read_journal(&mut evidence, number, portal, &places);
        }
        for end in &mut evidence.ends {
            let completion = self.activities[end.activity as usize].activity.completion();
            let expected = ("number".to_owned(), end.activity.to_string());
            end.is_right &= completion.is_some_and(|it| it.return_values == [expected]);
        }
        Ok(evidence)
    }

    pub(crate) fn remove_files(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }
}
