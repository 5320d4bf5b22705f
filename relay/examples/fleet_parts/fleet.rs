//! Portals, and the processes that log to them and deliver.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bizproc_campaign::{
    About, Activities, Ending, Evidence, Folder, Incident, Incidents, Moment, Opened, Process,
    Promise, Run, Story, Trouble, TroubleKind, keep_findings, now,
};
use bizproc_portal::{Hit, Portal, Workflow};
use tracing_bizproc::PortalId;
use tracing_bizproc_relay::Shard;

use super::owners::Ownership;
use super::ownership::Watcher;
use super::settings::Told;
use super::verdict::FleetVerdict;

/// All portals and processes, with their data.
pub(crate) struct Fleet {
    folder: Folder,
    pub(crate) incidents: Incidents,
    pub(crate) portals: Vec<Portal>,
    activities: Activities,
    /// How many of the activities, from the first one, are shared by all replicas.
    shared: u32,
    runs: Vec<Run>,
    /// When there was no database.
    outages: Vec<Trouble>,
    /// What must not stand in a file that is kept.
    secrets: Vec<String>,
    unseen: Vec<(About, String)>,
}

/// The kind of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Replica,
    Relay,
}

impl Role {
    /// The first argument of such a process.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Role::Replica => "--replica",
            Role::Relay => "--relay",
        }
    }
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
        let folder = Folder::create("relay-fleet")?;
        Ok(Fleet {
            incidents: Incidents::create(&folder)?,
            folder,
            portals,
            activities: Activities::default(),
            shared: 0,
            runs: Vec::new(),
            outages: Vec::new(),
            secrets: Vec::new(),
            unseen: Vec::new(),
        })
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
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
                let workflow = workflow.clone();
                self.open(portal, &workflow);
            }
        }
        self.shared = self.activities.count();
    }

    fn open(&mut self, portal: usize, workflow: &Workflow) -> u32 {
        let number = self.activities.count();
        let returns = ("number", number.to_string());
        let opened = self.activities.open(portal, workflow, &format!("Step {number}"), returns);
        self.secrets.push(self.activities.at(opened).activity.event_token());
        opened
    }

    /// How many requests there were.
    pub(crate) fn hits(&self) -> u64 {
        self.portals.iter().map(|portal| portal.counters().hits).sum()
    }

    pub(crate) fn activities(&self) -> u32 {
        self.activities.count()
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
            let code = webhook.trim_end_matches('/').rsplit('/').next();
            self.secrets.extend(code.map(str::to_owned));
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
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(start.role.argument()).arg(self.folder.path()).arg(run.to_string());
        let process = Process::start(&mut command, &self.folder.reports(run), &told.start())?;
        let what = format!("the {:?} starts: process {}", start.role, process.id());
        self.incidents.note(Incident::now(what).of_run(run));
        Ok(Member { run, process, paused: None })
    }

    /// Opens an activity for this replica alone. The replica logs this number of lines and ends it.
    pub(crate) fn order(
        &mut self,
        member: &mut Member,
        portal: usize,
        lines: usize,
    ) -> io::Result<()> {
        let name = format!("Order {}", self.activities.count());
        let workflow = self.portals[portal].start_workflow(&name);
        let number = self.open(portal, &workflow);
        let told = format!("order {} {lines}\n", self.described(number));
        member.process.tell(&told)
    }

    /// Number, portal and token of an activity, in the form for the settings of a process.
    fn described(&self, number: u32) -> String {
        let Opened { portal, activity, .. } = self.activities.at(number);
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
        known.story = Story::read(&self.folder.records(run))?;
        Ok(())
    }

    /// If a process ended without being asked to, this test or the crate has an error.
    pub(crate) fn failed(&mut self, member: &Member, how: &str) -> io::Result<()> {
        let words = self.folder.last_reports(member.run, LAST_WORDS);
        let sentence = format!("run {} ended: {how}\n{words}", member.run);
        self.unseen.push((About::run(member.run, now()), sentence));
        self.ended(member.run, Ending::Finished)
    }

    /// The number of a portal's shard in the database.
    pub(crate) fn shard_of(&self, portal: usize) -> i16 {
        let shard = Shard::of(Some(&PortalId::from(self.portals[portal].member_id())));
        let place = Shard::all().position(|other| other == shard);
        place.and_then(|place| i16::try_from(place).ok()).unwrap_or(-1)
    }

    /// Something that the judge cannot see.
    pub(crate) fn unseen(&mut self, sentence: String) {
        self.unseen.push((About::default(), sentence));
    }

    /// What the judge cannot see, so far.
    pub(crate) fn all_unseen(&self) -> Vec<&str> {
        self.unseen.iter().map(|(_, sentence)| sentence.as_str()).collect()
    }

    /// All data for the verdict.
    pub(crate) fn evidence(&self, window: Duration) -> Evidence {
        let promise = Promise {
            bound: window,
            memory: None,
            // A relay may get back a portal, and sends again what was not settled.
            repeats_at_once: false,
            keeps_limits: true,
        };
        let mut evidence = Evidence { promise, runs: self.runs.clone(), ..Evidence::default() };
        for run in &mut evidence.runs {
            run.troubles.extend(&self.outages);
        }
        for (about, sentence) in &self.unseen {
            evidence.unseen(about.clone(), sentence);
        }
        evidence.read_journals(&self.portals, &self.activities, sender);
        evidence
    }

    /// Who owned which portal.
    pub(crate) fn ownership(&self, watcher: &Watcher) -> Result<Ownership, Box<dyn Error>> {
        let shards = (0..self.portals.len()).map(|portal| self.shard_of(portal)).collect();
        Ok(Ownership { shards, history: watcher.history()? })
    }

    /// Keeps all that is known of what is wrong, and returns the file.
    pub(crate) fn keep_findings(
        &self,
        evidence: &Evidence,
        ownership: &Ownership,
        verdict: &FleetVerdict,
    ) -> io::Result<Option<PathBuf>> {
        let mut incidents = self.incidents.all()?;
        incidents.extend(ownership.incidents(evidence));
        keep_findings(&self.folder, evidence, &verdict.common, &incidents, &self.secrets)
    }

    pub(crate) fn remove_files(&self) -> io::Result<()> {
        self.folder.remove()
    }
}

/// The user in the webhooks of a run. So each portal knows who calls, although all runs have one address.
fn user_of(run: u32) -> u64 {
    u64::from(run) + FIRST_USER
}

/// The run that has sent a request: its user stands in "/rest/7/.../batch".
fn sender(hit: &Hit) -> Option<u32> {
    run_at(&hit.path)
}

fn run_at(path: &str) -> Option<u32> {
    let user: u64 = path.strip_prefix("/rest/")?.split('/').next()?.parse().ok()?;
    u32::try_from(user.checked_sub(FIRST_USER)?).ok()
}

/// Users 0 and 1 are nobody and the administrator.
const FIRST_USER: u64 = 2;
/// Lines of a process that has failed.
const LAST_WORDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_run_has_called() {
        for run in [0, 1, 999] {
            assert_eq!(run_at(&format!("/rest/{}/.../batch", user_of(run))), Some(run));
        }
        assert_eq!(run_at("/rest/1/.../batch"), None);
        assert_eq!(run_at("/rest/batch"), None);
    }
}
