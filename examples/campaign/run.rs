//! A campaign: portals, a network, processes of the app, and what happens to them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bizproc_campaign::{
    About, Ending, Evidence, Folder, Incident, Incidents, Moment, Process, Promise, Run, Story,
    Trouble, TroubleKind, Verdict, judge, keep_findings, now,
};
use bizproc_portal::Portal;
use tracing_bizproc::simulation::Random;

use crate::app;
use crate::clock::AppClock;
use crate::disk::Disk;
use crate::options::Options;
use crate::plan::{Deed, Plan, Spoils};
use crate::portals::{self, PORTALS, authority, code};
use crate::proxy::{Network, run_at};
use crate::spool;
use crate::work::Work;

/// Plays a campaign, and judges it.
pub(crate) fn run(options: &Options) -> Result<Verdict, Box<dyn Error>> {
    println!("{options}");
    let mut campaign = Campaign::new(options.clone())?;
    campaign.play()?;
    let evidence = campaign.evidence();
    let verdict = judge(&evidence);
    println!("{}", campaign.told());
    if verdict.is_good() && !options.course.keep {
        campaign.remove_files()?;
    } else {
        println!("files: {}", campaign.folder.path().display());
    }
    let (incidents, secrets) = (campaign.incidents.all()?, campaign.secrets());
    if let Some(path) = keep_findings(&campaign.folder, &evidence, &verdict, &incidents, &secrets)?
    {
        println!("all that is known of what is wrong: {}", path.display());
    }
    Ok(verdict)
}

struct Campaign {
    options: Options,
    // The process is dropped before its disk.
    running: Option<Process>,
    folder: Folder,
    incidents: Incidents,
    disk: Disk,
    clock: AppClock,
    portals: Vec<Portal>,
    network: Network,
    work: Work,
    runs: Vec<Run>,
    random: Random,
    deeds: Deeds,
    unseen: Vec<(About, String)>,
}

/// What has happened to processes.
#[derive(Clone, Copy, Debug, Default)]
struct Deeds {
    kills: u64,
    pauses: u64,
    restarts: u64,
    outages: u64,
    full_disks: u64,
    clock_jumps: u64,
    slowest_shutdown: Duration,
}

/// How often the campaign looks after its processes.
const TICK: Duration = Duration::from_millis(10);
/// How long the last process may take to deliver everything.
const PATIENCE: Duration = Duration::from_secs(240);
/// An app that ends by itself so often is not worth a campaign.
const MOST_UNSEEN: usize = 5;
/// No kill comes so soon after a disk was full: what is in memory only is delivered first.
const AFTER_FULL_DISK: Duration = Duration::from_secs(30);

impl Campaign {
    fn new(options: Options) -> Result<Campaign, Box<dyn Error>> {
        let folder = Folder::create("campaign")?;
        let incidents = Incidents::create(&folder)?;
        let disk = Disk::new(&spool::in_folder(&folder), &options)?;
        let portals = portals::start(options.course.seed)?;
        let addresses: Result<Vec<SocketAddr>, _> =
            portals.iter().map(|portal| authority(&portal.webhook_url()).parse()).collect();
        Ok(Campaign {
            clock: AppClock::new(folder.path())?,
            folder,
            disk,
            network: Network::new(options.course.seed, &addresses?, &incidents)?,
            incidents,
            portals,
            work: Work::new(options.course.seed, options.rate),
            runs: Vec::new(),
            running: None,
            random: Random::new(options.course.seed, 2),
            deeds: Deeds::default(),
            unseen: Vec::new(),
            options,
        })
    }

    fn play(&mut self) -> Result<(), Box<dyn Error>> {
        self.start()?;
        let end = Instant::now() + self.options.course.length;
        let spoils = Spoils {
            portals: self.portals.len(),
            disk: self.disk.can_be_filled(),
            clock: self.clock.can_jump(),
        };
        let plan = Plan::new(self.options.course.seed, self.options.course.pace, spoils);
        for (wait, deed) in plan {
            let due = Instant::now() + wait;
            self.live(due.min(end))?;
            if due >= end {
                break;
            }
            self.carry_out(deed)?;
        }
        self.finish()
    }

    fn carry_out(&mut self, deed: Deed) -> Result<(), Box<dyn Error>> {
        self.note(format!("the plan says {deed:?}"));
        match deed {
            Deed::Kill => self.kill_and_start(),
            Deed::KillTwice(after) => {
                self.kill_and_start()?;
                self.live(Instant::now() + after)?;
                self.kill_and_start()
            }
            Deed::Pause(time) => {
                self.deeds.pauses += 1;
                let from = now();
                self.signal("-STOP")?;
                self.live(Instant::now() + time)?;
                self.signal("-CONT")?;
                self.note_until_now(from, "SIGSTOP, then SIGCONT");
                Ok(())
            }
            Deed::PauseAndKill(time) => {
                self.deeds.pauses += 1;
                let from = now();
                self.signal("-STOP")?;
                self.live(Instant::now() + time)?;
                self.note_until_now(from, "SIGSTOP, then a kill");
                self.kill_and_start()
            }
            Deed::Restart => self.restart(),
            Deed::Outage(portal, time) => {
                self.deeds.outages += 1;
                self.network.cut_off(portal, Instant::now() + time);
                let until = now() + time.as_nanos() as u64;
                let outage = Incident::now("the portal cannot be reached").until(until);
                self.incidents.note(outage.of_portal(portal));
                Ok(())
            }
            Deed::ClockJump(seconds) => {
                self.deeds.clock_jumps += 1;
                Ok(self.clock.set(seconds)?)
            }
            Deed::DiskFull(time) => {
                self.deeds.full_disks += 1;
                let from = now();
                self.disk.fill()?;
                self.live(Instant::now() + time)?;
                self.disk.free()?;
                if let Some(run) = self.runs.last_mut() {
                    let (until, kind) = (now() + 1_000_000_000, TroubleKind::DiskFull);
                    run.troubles.push(Trouble { from, until, kind });
                }
                self.live(Instant::now() + AFTER_FULL_DISK)
            }
        }
    }

    /// Something happens to the run of now.
    fn note(&self, what: impl Into<String>) {
        let incident = Incident::now(what);
        self.incidents.note(match self.number() {
            Some(run) => incident.of_run(run),
            None => incident,
        });
    }

    /// Something has happened to the run of now, from then on.
    fn note_until_now(&self, from: Moment, what: &str) {
        let incident = Incident::at(from, what).until(now());
        self.incidents.note(match self.number() {
            Some(run) => incident.of_run(run),
            None => incident,
        });
    }

    /// The number of the newest run.
    fn number(&self) -> Option<u32> {
        (self.runs.len() as u32).checked_sub(1)
    }

    /// Something went wrong with the newest run, or with the campaign itself.
    fn unseen(&mut self, sentence: impl Into<String>) {
        let about = self.number().map_or(About::default(), |run| About::run(run, now()));
        self.unseen.push((about, sentence.into()));
    }

    /// Lets the app live until then, and gives it work.
    fn live(&mut self, until: Instant) -> Result<(), Box<dyn Error>> {
        while Instant::now() < until {
            if let Some(order) = self.work.open_next(&self.portals) {
                self.hand_out(&order);
            }
            self.look_after()?;
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Tells the process of an activity. It may be gone by now: the next one is told again.
    fn hand_out(&mut self, order: &str) {
        if let Some(running) = &mut self.running {
            drop(running.tell(order));
        }
    }

    fn start(&mut self) -> Result<(), Box<dyn Error>> {
        let run = self.runs.len() as u32;
        let addresses = self.network.open(run)?;
        let mut told = String::new();
        for (portal, address) in self.portals.iter().zip(addresses) {
            let url = portal.webhook_url();
            let url = url.replacen(authority(&url), &address.to_string(), 1);
            told += &format!("portal {} {url}\n", portal.member_id());
        }
        told += "start\n";
        let mut command = Command::new(std::env::current_exe()?);
        self.clock.give_to(&mut command);
        command.arg(super::APP).arg(self.folder.path()).arg(run.to_string());
        command.args(self.options.arguments());
        self.running = Some(Process::start(&mut command, &self.folder.reports(run), &told)?);
        self.runs.push(Run::default());
        self.note("the run starts");
        for order in self.work.orders(&self.portals) {
            self.hand_out(&order);
        }
        Ok(())
    }

    /// A process that ends when nobody has asked it to is a fault of ours, or of the crate's.
    fn look_after(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if let Some(ended) = running.ended()? {
            let how = ended.err().unwrap_or_else(|| "as if all were done".to_owned());
            let number = self.runs.len() - 1;
            self.unseen(format!("run {number} ended by itself: {how}"));
            self.take_story()?;
            if self.unseen.len() >= MOST_UNSEEN {
                return Err("the app does not stay alive: see its standard error".into());
            }
            self.start()?;
        }
        Ok(())
    }

    fn signal(&mut self, signal: &str) -> Result<(), Box<dyn Error>> {
        let Some(running) = &self.running else { return Ok(()) };
        Ok(running.signal(signal)?)
    }

    fn kill_and_start(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(mut running) = self.running.take() else { return self.start() };
        self.deeds.kills += 1;
        let killed = now();
        running.kill()?;
        self.clock.clean_up_after(running.id());
        if let Some(run) = self.runs.last_mut() {
            run.end = Ending::Killed(killed);
        }
        self.take_story()?;
        self.rest_and_start()
    }

    fn restart(&mut self) -> Result<(), Box<dyn Error>> {
        self.deeds.restarts += 1;
        let (asked, at) = (Instant::now(), now());
        self.signal("-TERM")?;
        let limit = asked + app::SHUTDOWN + Duration::from_secs(10);
        if !self.ends_before(limit, Ending::Stopped(at))? {
            self.unseen("a run did not stop in time");
            return self.kill_and_start();
        }
        let took = asked.elapsed();
        self.deeds.slowest_shutdown = self.deeds.slowest_shutdown.max(took);
        self.take_story()?;
        self.rest_and_start()
    }

    /// Waits for the process; says whether it has ended.
    fn ends_before(&mut self, limit: Instant, end: Ending) -> Result<bool, Box<dyn Error>> {
        let Some(running) = &mut self.running else { return Ok(true) };
        let Some(ended) = running.ends_before(limit)? else { return Ok(false) };
        self.running = None;
        if let Err(how) = ended {
            self.unseen(format!("a run failed: {how}"));
        }
        if let Some(run) = self.runs.last_mut() {
            run.end = end;
        }
        Ok(true)
    }

    fn rest_and_start(&mut self) -> Result<(), Box<dyn Error>> {
        let rest = Duration::from_secs_f64(self.random.within(0.0, 1.0).powi(3) * 2.0);
        self.live(Instant::now() + rest)?;
        self.start()
    }

    /// Reads what the process that has ended did, so that the next one goes on with it.
    fn take_story(&mut self) -> io::Result<()> {
        let number = self.runs.len() - 1;
        let story = Story::read(&self.folder.records(number as u32))?;
        self.work.take_in(&story);
        self.runs[number].story = story;
        Ok(())
    }

    /// Trouble ends, and the last process delivers everything.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        self.network.calm();
        self.portals.iter().for_each(|portal| portal.faults().clear());
        if self.running.is_none() {
            self.start()?;
        }
        if let Some(running) = &mut self.running {
            running.tell("finish\n")?;
        }
        if !self.ends_before(Instant::now() + PATIENCE, Ending::Finished)? {
            self.unseen("the last run did not come to its end");
            if let Some(mut running) = self.running.take() {
                running.kill()?;
                self.clock.clean_up_after(running.id());
            }
        }
        self.take_story()?;
        Ok(())
    }

    fn evidence(&self) -> Evidence {
        let promise = Promise {
            bound: self.options.bound,
            memory: (!self.options.spool).then(|| self.options.memory()),
            repeats_at_once: true,
            keeps_limits: false,
        };
        let mut evidence = Evidence { promise, runs: self.runs.clone(), ..Evidence::default() };
        for (about, sentence) in &self.unseen {
            evidence.unseen(about.clone(), sentence);
        }
        evidence.read_journals(&self.portals, &self.work.activities, |hit| run_at(hit.source));
        evidence
    }

    /// What must not stand in a file that is kept: event tokens, and the codes of webhooks.
    fn secrets(&self) -> Vec<String> {
        let event_tokens = self.work.event_tokens().map(str::to_owned);
        let webhooks = self.portals.iter().map(Portal::webhook_url);
        event_tokens.chain(webhooks.map(|url| code(&url).to_owned())).collect()
    }

    /// What has happened, in a few lines.
    fn told(&self) -> String {
        let Deeds { kills, pauses, restarts, outages, full_disks, clock_jumps, slowest_shutdown } =
            self.deeds;
        let hits: u64 = self.portals.iter().map(|portal| portal.counters().hits).sum();
        let (processes, activities) = (self.runs.len(), self.work.activities.count());
        format!(
            "processes={processes} kills={kills} pauses={pauses} restarts={restarts} \
             outages={outages} full_disks={full_disks} clock_jumps={clock_jumps}\n{}; {}\n\
             activities={activities} portals={PORTALS} hits={hits}; network: {}\n\
             the slowest shutdown took {slowest_shutdown:.2?} of {:?}",
            self.disk,
            self.clock,
            self.network.report(),
            app::SHUTDOWN,
        )
    }

    fn remove_files(&mut self) -> io::Result<()> {
        self.disk.remove()?;
        self.folder.remove()
    }
}
