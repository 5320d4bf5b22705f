//! A campaign: portals, a network, processes of the app, and what happens to them.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bizproc_portal::{Activity, EventSend, Fault, Portal, PortalBuilder, ServerTime, Tariff};
use tracing_bizproc::simulation::Random;

use crate::app;
use crate::clock::AppClock;
use crate::disk::Disk;
use crate::evidence::{Place, read_journal};
use crate::options::Options;
use crate::plan::{Deed, Plan, Spoils};
use crate::proxy::Network;
use crate::record::{Moment, Story, moment};
use crate::spool;
use crate::text;
use crate::verdict::{Evidence, Process, Promise, Verdict, judge};

/// Plays a campaign, and judges it.
pub(crate) fn run(options: &Options) -> Result<Verdict, Box<dyn Error>> {
    println!("{options}");
    let mut campaign = Campaign::new(options.clone())?;
    campaign.play()?;
    let verdict = judge(&campaign.evidence());
    println!("{}", campaign.told());
    if verdict.is_good() && !options.keep {
        campaign.remove_files()?;
    } else {
        println!("files: {}", campaign.directory.display());
    }
    Ok(verdict)
}

struct Campaign {
    options: Options,
    directory: PathBuf,
    disk: Disk,
    clock: AppClock,
    portals: Vec<Portal>,
    network: Network,
    jobs: Vec<Job>,
    processes: Vec<Process>,
    running: Option<Running>,
    random: Random,
    next_job: Instant,
    deeds: Deeds,
    unseen: Vec<String>,
}

/// An activity that the app works on, in one process after the other until it is ended.
struct Job {
    portal: usize,
    workflow: String,
    activity: Activity,
    event_token: String,
    /// The number of its next line.
    next: u32,
    last: u32,
    /// A process has asked for its end.
    is_ended: bool,
}

struct Running {
    child: Child,
    input: ChildStdin,
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
        let directory = std::env::temp_dir().join(format!("campaign-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let disk = Disk::new(&spool::in_directory(&directory), &options)?;
        let portals = portals(options.seed)?;
        let addresses: Result<Vec<SocketAddr>, _> =
            portals.iter().map(|portal| authority(&portal.webhook_url()).parse()).collect();
        Ok(Campaign {
            clock: AppClock::new(&directory)?,
            directory,
            disk,
            network: Network::new(options.seed, &addresses?)?,
            portals,
            jobs: Vec::new(),
            processes: Vec::new(),
            running: None,
            random: Random::new(options.seed, 2),
            next_job: Instant::now(),
            deeds: Deeds::default(),
            unseen: Vec::new(),
            options,
        })
    }

    fn play(&mut self) -> Result<(), Box<dyn Error>> {
        self.start()?;
        let end = Instant::now() + self.options.length;
        let spoils = Spoils {
            portals: self.portals.len(),
            disk: self.disk.can_be_filled(),
            clock: self.clock.can_jump(),
        };
        let plan = Plan::new(self.options.seed, self.options.pace, spoils);
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
        match deed {
            Deed::Kill => self.kill_and_start(),
            Deed::KillTwice(after) => {
                self.kill_and_start()?;
                self.live(Instant::now() + after)?;
                self.kill_and_start()
            }
            Deed::Pause(time) => {
                self.deeds.pauses += 1;
                self.signal("-STOP")?;
                self.live(Instant::now() + time)?;
                self.signal("-CONT")
            }
            Deed::PauseAndKill(time) => {
                self.deeds.pauses += 1;
                self.signal("-STOP")?;
                self.live(Instant::now() + time)?;
                self.kill_and_start()
            }
            Deed::Restart => self.restart(),
            Deed::Outage(portal, time) => {
                self.deeds.outages += 1;
                self.network.cut_off(portal, Instant::now() + time);
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
                if let Some(process) = self.processes.last_mut() {
                    process.disk_full.push((from, now() + 1_000_000_000));
                }
                self.live(Instant::now() + AFTER_FULL_DISK)
            }
        }
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
        let before = self.jobs.iter().rposition(|job| job.portal == portal);
        let workflow = match before {
            Some(_) if number % 5 == 0 => self.portals[portal].workflows().pop(),
            _ => None,
        };
        let workflow = workflow
            .unwrap_or_else(|| self.portals[portal].start_workflow(&format!("Order {number}")));
        let activity = workflow.open_activity(&format!("Step {number}"));
        let event_token = activity.event_token();
        let last = 2 + self.random.below(45) as u32;
        let workflow = workflow.id().to_owned();
        let (next, is_ended) = (1, false);
        self.jobs.push(Job { portal, workflow, activity, event_token, next, last, is_ended });
        self.hand_out(number);
        Ok(())
    }

    /// Tells the process of an activity. It may be gone by now: the next one is told again.
    fn hand_out(&mut self, number: usize) {
        let Some(running) = &mut self.running else { return };
        let Job { portal, event_token, next, last, .. } = &self.jobs[number];
        let member_id = self.portals[*portal].member_id();
        let order = format!("open {number} {member_id} {event_token} {next} {last}\n");
        drop(running.input.write_all(order.as_bytes()));
    }

    fn start(&mut self) -> Result<(), Box<dyn Error>> {
        let number = self.processes.len();
        let addresses = self.network.open(number)?;
        let errors = File::create(self.directory.join(format!("process-{number}.err")))?;
        let mut command = Command::new(std::env::current_exe()?);
        self.clock.give_to(&mut command);
        let mut child = command
            .arg(super::APP)
            .arg(&self.directory)
            .arg(number.to_string())
            .args(self.options.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()?;
        let mut input = child.stdin.take().ok_or("the process has no input")?;
        for (portal, address) in self.portals.iter().zip(addresses) {
            let url = portal.webhook_url();
            let url = url.replacen(authority(&url), &address.to_string(), 1);
            writeln!(input, "portal {} {url}", portal.member_id())?;
        }
        writeln!(input, "start")?;
        self.running = Some(Running { child, input });
        self.processes.push(Process::default());
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
        if let Some(status) = running.child.try_wait()? {
            let number = self.processes.len() - 1;
            self.unseen.push(format!("process {number} ended by itself: {status}"));
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
        let id = running.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status()?;
        sent.success().then_some(()).ok_or_else(|| format!("kill {signal} failed").into())
    }

    fn kill_and_start(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(mut running) = self.running.take() else { return self.start() };
        self.deeds.kills += 1;
        let killed = now();
        running.child.kill()?;
        running.child.wait()?;
        if let Some(process) = self.processes.last_mut() {
            process.killed = Some(killed);
        }
        self.take_story()?;
        self.rest_and_start()
    }

    fn restart(&mut self) -> Result<(), Box<dyn Error>> {
        self.deeds.restarts += 1;
        let asked = Instant::now();
        self.signal("-TERM")?;
        let limit = asked + app::SHUTDOWN + Duration::from_secs(10);
        if !self.ends_before(limit)? {
            self.unseen.push("a process did not stop in time".to_owned());
            return self.kill_and_start();
        }
        let took = asked.elapsed();
        self.deeds.slowest_shutdown = self.deeds.slowest_shutdown.max(took);
        self.take_story()?;
        self.rest_and_start()
    }

    /// Waits for the process; says whether it has ended.
    fn ends_before(&mut self, limit: Instant) -> Result<bool, Box<dyn Error>> {
        let Some(running) = &mut self.running else { return Ok(true) };
        while Instant::now() < limit {
            if let Some(status) = running.child.try_wait()? {
                self.running = None;
                if !status.success() {
                    self.unseen.push(format!("a process failed: {status}"));
                }
                if let Some(process) = self.processes.last_mut() {
                    process.stopped = true;
                }
                return Ok(true);
            }
            std::thread::sleep(TICK);
        }
        Ok(false)
    }

    fn rest_and_start(&mut self) -> Result<(), Box<dyn Error>> {
        let rest = Duration::from_secs_f64(self.random.within(0.0, 1.0).powi(3) * 2.0);
        self.live(Instant::now() + rest)?;
        self.start()
    }

    /// Reads what the process that has ended did, so that the next one goes on with it.
    fn take_story(&mut self) -> io::Result<()> {
        let number = self.processes.len() - 1;
        let story = Story::read(&app::record_of(&self.directory, number))?;
        for (_, line) in &story.lines {
            let job = &mut self.jobs[line.activity as usize];
            job.next = job.next.max(line.number + 1);
        }
        for (_, activity) in &story.ends {
            self.jobs[*activity as usize].is_ended = true;
        }
        self.processes[number].story = story;
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
            running.input.write_all(b"finish\n")?;
        }
        if !self.ends_before(Instant::now() + PATIENCE)? {
            self.unseen.push("the last process did not come to its end".to_owned());
            if let Some(mut running) = self.running.take() {
                running.child.kill()?;
                running.child.wait()?;
            }
        }
        self.take_story()?;
        Ok(())
    }

    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence {
            promise: Promise {
                bound: self.options.bound,
                memory: (!self.options.spool).then(|| self.options.memory()),
            },
            processes: self.processes.clone(),
            entries: Vec::new(),
            ends: Vec::new(),
            gaps: Vec::new(),
            strangers: Vec::new(),
            unseen: self.unseen.clone(),
        };
        let place = |job: &Job| (job.workflow.clone(), job.activity.name().to_owned());
        let places = self.jobs.iter().map(place);
        let places: HashMap<Place, u32> = places.zip(0..).collect();
        for portal in &self.portals {
            read_journal(&mut evidence, portal, &places);
        }
        for end in &mut evidence.ends {
            let completion = self.jobs[end.activity as usize].activity.completion();
            let expected = match end.activity % 3 {
                0 => ("number".to_owned(), end.activity.to_string()),
                _ => ("text".to_owned(), text::value(end.activity)),
            };
            end.right &= completion.is_some_and(|it| it.return_values == [expected]);
        }
        evidence
    }

    /// What has happened, in a few lines.
    fn told(&self) -> String {
        let Deeds { kills, pauses, restarts, outages, full_disks, clock_jumps, slowest_shutdown } =
            self.deeds;
        let hits: u64 = self.portals.iter().map(|portal| portal.counters().hits).sum();
        let processes = self.processes.len();
        let activities = self.jobs.len();
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
        fs::remove_dir_all(&self.directory)
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.child.kill());
            drop(running.child.wait());
        }
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

fn now() -> Moment {
    moment(SystemTime::now())
}

/// "127.0.0.1:40521" of a URL.
fn authority(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or_default()
}
