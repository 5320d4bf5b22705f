//! A campaign: portals, a network, processes of the app, and what happens to them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bizproc_campaign::{
    About, Activities, Ending, Evidence, Folder, Incident, Incidents, Moment, Process, Promise,
    Run, Story, Trouble, TroubleKind, Verdict, judge, keep_findings, now,
};
use bizproc_portal::{EventSend, Fault, Portal, PortalBuilder, ServerTime, Tariff};
use tracing_bizproc::simulation::Random;

use crate::app;
use crate::clock::AppClock;
use crate::disk::Disk;
use crate::options::Options;
use crate::plan::{Deed, Plan, Spoils};
use crate::proxy::{Network, run_at};
use crate::spool;

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
    activities: Activities,
    /// How far each activity is.
    jobs: Vec<Job>,
    runs: Vec<Run>,
    random: Random,
    next_job: Instant,
    deeds: Deeds,
    unseen: Vec<(About, String)>,
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

const PORTALS: usize = 6;
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
        let portals = portals(options.course.seed)?;
        let addresses: Result<Vec<SocketAddr>, _> =
            portals.iter().map(|portal| authority(&portal.webhook_url()).parse()).collect();
        Ok(Campaign {
            clock: AppClock::new(folder.path())?,
            folder,
            disk,
            network: Network::new(options.course.seed, &addresses?, &incidents)?,
            incidents,
            portals,
            activities: Activities::default(),
            jobs: Vec::new(),
            runs: Vec::new(),
            running: None,
            random: Random::new(options.course.seed, 2),
            next_job: Instant::now(),
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
            if Instant::now() >= self.next_job {
                self.open_job()?;
            }
            self.look_after()?;
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn open_job(&mut self) -> io::Result<()> {
        let mean = 1.0 / self.options.rate;
        let pause = Duration::from_secs_f64(self.random.within(0.0, 2.0 * mean));
        self.next_job = (self.next_job + pause).max(Instant::now() - Duration::from_secs(1));
        let number = self.jobs.len();
        let portal = self.random.below(self.portals.len());
        // Every fifth is a parallel branch of the workflow before it on its portal.
        let is_known = self.activities.iter().any(|opened| opened.portal == portal);
        let workflow = match is_known {
            true if number % 5 == 0 => self.portals[portal].workflows().pop(),
            _ => None,
        };
        let workflow = workflow
            .unwrap_or_else(|| self.portals[portal].start_workflow(&format!("Order {number}")));
        let (name, returns) = (format!("Step {number}"), app::returned(number as u32));
        let opened = self.activities.open(portal, &workflow, &name, returns);
        let event_token = self.activities.at(opened).activity.event_token();
        let last = 2 + self.random.below(45) as u32;
        self.jobs.push(Job { event_token, next: 1, last, is_ended: false });
        self.hand_out(number);
        Ok(())
    }

    /// Tells the process of an activity. It may be gone by now: the next one is told again.
    fn hand_out(&mut self, number: usize) {
        let Some(running) = &mut self.running else { return };
        let Job { event_token, next, last, .. } = &self.jobs[number];
        let portal = self.activities.at(number as u32).portal;
        let member_id = self.portals[portal].member_id();
        let order = format!("open {number} {member_id} {event_token} {next} {last}\n");
        drop(running.tell(&order));
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
        for number in 0..self.jobs.len() {
            if !self.jobs[number].is_ended {
                self.hand_out(number);
            }
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
        for (_, line) in &story.lines {
            let job = &mut self.jobs[line.activity as usize];
            job.next = job.next.max(line.number + 1);
        }
        for (_, activity, _) in &story.ends {
            self.jobs[*activity as usize].is_ended = true;
        }
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
        evidence.read_journals(&self.portals, &self.activities, |hit| run_at(hit.source));
        evidence
    }

    /// What must not stand in a file that is kept: event tokens, and the codes of webhooks.
    fn secrets(&self) -> Vec<String> {
        let event_tokens = self.jobs.iter().map(|job| job.event_token.clone());
        let webhooks = self.portals.iter().map(Portal::webhook_url);
        event_tokens.chain(webhooks.map(|url| code(&url).to_owned())).collect()
    }

    /// What has happened, in a few lines.
    fn told(&self) -> String {
        let Deeds { kills, pauses, restarts, outages, full_disks, clock_jumps, slowest_shutdown } =
            self.deeds;
        let hits: u64 = self.portals.iter().map(|portal| portal.counters().hits).sum();
        let (processes, activities) = (self.runs.len(), self.activities.count());
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

/// Portals of several kinds, each with its own faults.
fn portals(seed: u64) -> io::Result<Vec<Portal>> {
    let kinds: [fn(PortalBuilder) -> PortalBuilder; PORTALS] = [
        |builder| builder,
        |builder| builder.event_send(EventSend::Background),
        |builder| builder.tariff(Tariff::Standard),
        |builder| builder.server_time(ServerTime::Spent(Duration::from_millis(10))),
        |builder| builder.tariff(Tariff::Enterprise).event_send(EventSend::Background),
        |builder| builder,
    ];
    let mut portals: Vec<Portal> = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let seed = seed.wrapping_mul(PORTALS as u64).wrapping_add(number as u64);
        let mut builder = kind(Portal::builder().seed(seed));
        if let Some(first) = portals.first() {
            builder = builder.beside(first);
        }
        let portal = builder.start()?;
        portal.faults().at_random(seed, 0.06, Fault::assorted());
        portals.push(portal);
    }
    Ok(portals)
}

/// "127.0.0.1:40521" of a URL.
fn authority(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or_default()
}

/// The code of a webhook: the last part of its URL.
fn code(url: &str) -> &str {
    url.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
