//! A campaign: portals, a database, a network, processes, and the events of the plan.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use bizproc_campaign::{Ending, Incident, Moment, TroubleKind, now};
use bizproc_test_postgres::Postgres;
use tracing_bizproc::simulation::Random;

use crate::deeds::Deeds;
use crate::network::{Condition, Link, Network};
use crate::options::Options;
use crate::parts::fleet::{Fleet, Member, Role, Start};
use crate::parts::ownership::{Watcher, migrate};
use crate::parts::relay;
use crate::parts::verdict::{FleetVerdict, judge};
use crate::plan::{Crowd, Deed, Plan, Who};
use crate::portals;

/// Runs a campaign, and checks its results.
pub(crate) fn run(options: &Options) -> Result<FleetVerdict, Box<dyn Error>> {
    println!("{options}");
    let mut campaign = Campaign::new(options.clone())?;
    campaign.play()?;
    let evidence = campaign.fleet.evidence(options.window);
    let ownership = campaign.fleet.ownership(&campaign.watcher)?;
    let verdict = judge(&evidence, &ownership);
    println!("{}", campaign.told());
    if verdict.is_good() && !options.course.keep {
        campaign.fleet.remove_files()?;
    } else {
        println!("files: {}", campaign.fleet.folder().path().display());
    }
    if let Some(path) = campaign.fleet.keep_findings(&evidence, &ownership, &verdict)? {
        println!("all that is known of what is wrong: {}", path.display());
    }
    Ok(verdict)
}

struct Campaign {
    options: Options,
    // Processes are dropped before the servers that they are connected to.
    slots: HashMap<Who, Slot>,
    fleet: Fleet,
    network: Network,
    watcher: Watcher,
    postgres: Postgres,
    /// Things to do, with their times.
    due: Vec<(Instant, Later)>,
    crashed: Option<Moment>,
    random: Random,
    next_order: Instant,
    deeds: Deeds,
}

/// A place in the fleet, and the process that has it.
struct Slot {
    link: Link,
    member: Member,
    /// Since when its link is bad.
    cut_off: Option<Moment>,
}

/// Something to do later.
#[derive(Clone, Copy, Debug)]
enum Later {
    Start(Who),
    GoOn(Who, u32),
    Mend(Who, u32),
    Resume,
}

impl Campaign {
    fn new(options: Options) -> Result<Campaign, Box<dyn Error>> {
        let postgres = Postgres::start()?;
        migrate(&postgres.socket("postgres"))?;
        let watcher = Watcher::start(postgres.socket("postgres"))?;
        let mut fleet = Fleet::new(portals::start(&options)?)?;
        fleet.open_shared(options.activities, BRANCHES);
        Ok(Campaign {
            network: Network::new(postgres.port())?,
            slots: HashMap::new(),
            watcher,
            postgres,
            due: Vec::new(),
            crashed: None,
            random: Random::new(options.course.seed, 2),
            next_order: Instant::now(),
            deeds: Deeds::default(),
            fleet,
            options,
        })
    }

    fn play(&mut self) -> Result<(), Box<dyn Error>> {
        let crowd = Crowd { relays: self.options.relays, replicas: self.options.replicas };
        for who in self.everybody() {
            self.start(who)?;
        }
        let end = Instant::now() + self.options.course.length;
        let mut plan = Plan::new(self.options.course.seed, self.options.course.pace, crowd);
        if self.options.is_unfenced {
            plan = plan.pauses_only();
        }
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

    fn everybody(&self) -> Vec<Who> {
        let relays = (0..self.options.relays).map(Who::Relay);
        relays.chain((0..self.options.replicas).map(Who::Replica)).collect()
    }

    fn carry_out(&mut self, deed: Deed) -> Result<(), Box<dyn Error>> {
        // This helps to find the cause of an error.
        let incident = Incident::now(format!("the plan says {deed:?}"));
        let run = deed.who().and_then(|who| Some(self.slots.get(&who)?.member.run));
        self.fleet.incidents.note(match run {
            Some(run) => incident.of_run(run),
            None => incident,
        });
        match deed {
            Deed::Kill(who, pause) => self.kill(who, pause)?,
            Deed::Pause(who, time) => self.pause(who, time)?,
            Deed::CutOff(who, time) => {
                self.deeds.cuts += u64::from(self.spoil(who, Condition::Down, time));
            }
            Deed::Silence(who, time) => {
                self.deeds.silences += u64::from(self.spoil(who, Condition::Silent, time));
            }
            Deed::Slow(who, delay, time) => {
                self.deeds.slow_links += u64::from(self.spoil(who, Condition::Slow(delay), time));
            }
            Deed::Crash(time) => {
                if self.crashed.is_none() {
                    self.deeds.crashes += 1;
                    self.crashed = Some(now());
                    self.postgres.crash();
                    self.later(time, Later::Resume);
                }
            }
            Deed::Roll => self.roll()?,
            Deed::Restart(replica) => {
                self.deeds.restarts += 1;
                self.restart(Who::Replica(replica))?;
            }
        }
        Ok(())
    }

    fn later(&mut self, wait: Duration, what: Later) {
        self.due.push((Instant::now() + wait, what));
    }

    /// Lets the fleet work until this time.
    fn live(&mut self, until: Instant) -> Result<(), Box<dyn Error>> {
        loop {
            let now = Instant::now();
            let (due, later) = self.due.iter().partition(|(at, _)| *at <= now);
            self.due = later;
            let due: Vec<(Instant, Later)> = due;
            for (_, what) in due {
                self.do_now(what)?;
            }
            if now >= self.next_order {
                self.order()?;
            }
            self.look_after()?;
            if now >= until {
                return Ok(());
            }
            std::thread::sleep(TICK.min(until.saturating_duration_since(now)));
        }
    }

    fn do_now(&mut self, what: Later) -> Result<(), Box<dyn Error>> {
        match what {
            Later::Start(who) => self.start(who)?,
            Later::GoOn(who, run) => {
                if let Some(slot) = self.slots.get_mut(&who).filter(|it| it.member.run == run) {
                    self.fleet.go_on(&mut slot.member)?;
                }
            }
            Later::Mend(who, run) => {
                if let Some(slot) = self.slots.get_mut(&who).filter(|it| it.member.run == run) {
                    slot.link.set(Condition::Good);
                    // The trouble includes the pause until the next try to connect.
                    slot.note_trouble(&mut self.fleet);
                }
            }
            Later::Resume => {
                self.postgres.resume()?;
                if let Some(from) = self.crashed.take() {
                    self.fleet.outage(from, RECOVERY);
                }
            }
        }
        Ok(())
    }

    fn order(&mut self) -> io::Result<()> {
        let mean = 1.0 / self.options.orders;
        let pause = Duration::from_secs_f64(self.random.within(0.0, 2.0 * mean));
        self.next_order = (self.next_order + pause).max(Instant::now() - Duration::from_secs(1));
        let portal = self.random.below(self.fleet.portals.len());
        let who = Who::Replica(self.random.below(self.options.replicas));
        let lines = 2 + self.random.below(8);
        match self.slots.get_mut(&who) {
            // A paused replica reads its orders later.
            Some(slot) => self.fleet.order(&mut slot.member, portal, lines),
            None => Ok(()),
        }
    }

    fn start(&mut self, who: Who) -> Result<(), Box<dyn Error>> {
        if self.slots.contains_key(&who) {
            return Ok(());
        }
        let link = self.network.link()?;
        let own = format!(":{}/", self.postgres.port());
        let database =
            self.postgres.tcp("postgres").replacen(&own, &format!(":{}/", link.port()), 1);
        let role = match who {
            Who::Relay(_) => Role::Relay,
            Who::Replica(_) => Role::Replica,
        };
        let member = self.fleet.start(&Start {
            role,
            database,
            rate: self.options.rate / self.options.replicas as f64,
            max_hold: self.options.course.max_hold,
            is_unfenced: self.options.is_unfenced && role == Role::Relay,
        })?;
        self.slots.insert(who, Slot { link, member, cut_off: None });
        Ok(())
    }

    fn look_after(&mut self) -> Result<(), Box<dyn Error>> {
        let mut gone = Vec::new();
        for (who, slot) in &mut self.slots {
            if let Some(ended) = slot.member.process.ended()? {
                gone.push((*who, ended));
            }
        }
        for (who, ended) in gone {
            if let Some(slot) = self.slots.remove(&who) {
                let how = ended.err().unwrap_or_else(|| "by itself".to_owned());
                self.fleet.failed(&slot.member, &how)?;
            }
            let unseen = self.fleet.all_unseen();
            if unseen.len() >= MOST_UNSEEN {
                return Err(unseen.join("\n").into());
            }
            self.start(who)?;
        }
        Ok(())
    }

    fn kill(&mut self, who: Who, pause: Duration) -> io::Result<()> {
        let Some(mut slot) = self.slots.remove(&who) else { return Ok(()) };
        match who {
            Who::Relay(_) => self.deeds.relay_kills += 1,
            Who::Replica(_) => self.deeds.replica_kills += 1,
        }
        slot.note_trouble(&mut self.fleet);
        self.fleet.kill(slot.member)?;
        self.later(pause, Later::Start(who));
        Ok(())
    }

    fn pause(&mut self, who: Who, time: Duration) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(&who) else { return Ok(()) };
        if slot.member.paused.is_some() {
            return Ok(());
        }
        match who {
            Who::Relay(_) => self.deeds.relay_pauses += 1,
            Who::Replica(_) => self.deeds.replica_pauses += 1,
        }
        self.fleet.pause(&mut slot.member)?;
        let run = slot.member.run;
        self.later(time, Later::GoOn(who, run));
        Ok(())
    }

    /// Makes a link bad for some time. Returns whether it did so.
    fn spoil(&mut self, who: Who, condition: Condition, time: Duration) -> bool {
        let Some(slot) = self.slots.get_mut(&who) else { return false };
        if slot.cut_off.is_some() {
            return false;
        }
        slot.cut_off = Some(now());
        slot.link.set(condition);
        let run = slot.member.run;
        self.later(time, Later::Mend(who, run));
        true
    }

    /// All relays, one after the other, as a new version of them is installed.
    fn roll(&mut self) -> Result<(), Box<dyn Error>> {
        self.deeds.rolls += 1;
        for relay in 0..self.options.relays {
            self.restart(Who::Relay(relay))?;
            self.live(Instant::now() + SETTLES)?;
        }
        Ok(())
    }

    fn restart(&mut self, who: Who) -> Result<(), Box<dyn Error>> {
        // A paused process does not see the signal, and a process that was killed does not exist.
        let paused = |slot: &&mut Slot| slot.member.paused.is_some();
        let Some(slot) = self.slots.get_mut(&who).filter(|slot| !paused(slot)) else {
            return Ok(());
        };
        let run = slot.member.run;
        let asked = self.fleet.ask_to_stop(&slot.member)?;
        // From here on, nothing else handles this process.
        let Some(mut slot) = self.slots.remove(&who) else { return Ok(()) };
        let limit = Instant::now() + relay::STOP + Duration::from_secs(20);
        loop {
            match slot.member.process.ended()? {
                Some(Ok(())) => break self.fleet.ended(run, Ending::Stopped(asked))?,
                Some(Err(how)) => break self.fleet.failed(&slot.member, &how)?,
                None if Instant::now() < limit => {}
                None => {
                    slot.member.process.kill()?;
                    break self.fleet.failed(&slot.member, "killed, since it did not stop")?;
                }
            }
            self.live(Instant::now() + TICK)?;
        }
        slot.note_trouble(&mut self.fleet);
        self.start(who)
    }

    /// Ends all troubles, and waits until everything is delivered.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        for (_, what) in std::mem::take(&mut self.due) {
            self.do_now(what)?;
        }
        self.fleet.portals.iter().for_each(|portal| portal.faults().clear());
        for (who, mut slot) in self.take_slots(|who| matches!(who, Who::Replica(_)), "finish\n")? {
            let limit = Instant::now() + PATIENCE;
            let ended = slot.member.process.ends_before(limit)?;
            match ended {
                Some(Ok(())) => self.fleet.ended(slot.member.run, Ending::Finished)?,
                Some(Err(how)) => self.fleet.failed(&slot.member, &how)?,
                None => {
                    slot.member.process.kill()?;
                    let how = format!("killed in the end, {who:?} did not finish");
                    self.fleet.failed(&slot.member, &how)?;
                }
            }
        }
        let limit = Instant::now() + PATIENCE;
        while self.watcher.left()? > 0 && Instant::now() < limit {
            std::thread::sleep(TICK);
        }
        let left = self.watcher.left()?;
        if left > 0 {
            self.fleet.unseen(format!("{left} chunks are not settled in the end"));
        }
        for (_, slot) in self.take_slots(|who| matches!(who, Who::Relay(_)), "")? {
            self.fleet.ask_to_stop(&slot.member)?;
            let mut slot = slot;
            let limit = Instant::now() + relay::STOP + Duration::from_secs(20);
            match slot.member.process.ends_before(limit)? {
                Some(Ok(())) => self.fleet.ended(slot.member.run, Ending::Finished)?,
                Some(Err(how)) => self.fleet.failed(&slot.member, &how)?,
                None => self.fleet.failed(&slot.member, "it did not stop in the end")?,
            }
        }
        Ok(())
    }

    fn take_slots(
        &mut self,
        chosen: impl Fn(&Who) -> bool,
        word: &str,
    ) -> io::Result<Vec<(Who, Slot)>> {
        let all = std::mem::take(&mut self.slots);
        let (mut taken, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(who, _)| chosen(who));
        self.slots = left.into_iter().collect();
        for (_, slot) in &mut taken {
            slot.member.process.tell(word)?;
        }
        Ok(taken)
    }

    /// A summary of the campaign, in a few lines.
    fn told(&self) -> String {
        let (runs, activities, hits) =
            (self.fleet.runs(), self.fleet.activities(), self.fleet.hits());
        format!("{}\nruns={runs} activities={activities} requests={hits}", self.deeds)
    }
}

impl Slot {
    /// A bad link works again from now on, or its process has ended.
    fn note_trouble(&mut self, fleet: &mut Fleet) {
        if let Some(from) = self.cut_off.take() {
            fleet.trouble(self.member.run, from, TroubleKind::CutOff);
        }
    }
}

/// How often the campaign checks its processes.
const TICK: Duration = Duration::from_millis(10);
/// How long the last delivery may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// If processes end by themselves more often than this, the campaign is stopped.
const MOST_UNSEEN: usize = 5;
/// Activities that share a workflow.
const BRANCHES: usize = 3;
/// How long a process needs to connect again after the database is back.
const RECOVERY: Duration = Duration::from_secs(5);
/// The time from the restart of one relay to the restart of the next.
const SETTLES: Duration = Duration::from_secs(4);
