//! Three replicas of an app log to the same workflows, two relays deliver, and one of each is killed.
//!
//! `cargo run -p tracing-bizproc-relay --example fleet` starts a PostgreSQL server of its own in a temporary
//! folder, a stand-in portal with the limits of a standard plan, and the replicas and relays as processes of their
//! own. In the end, the records of the replicas are compared with the logs of the portal. The last line says what
//! became of the lines.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "processes are killed in real time")]

use std::error::Error;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bizproc_campaign::{Ending, Folder, Kind, Story};
use bizproc_portal::{Portal, Tariff};
use bizproc_test_postgres::{Postgres, StartError};

use self::parts::fleet::{Fleet, Member, Role, Start};
use self::parts::ownership::{Watcher, migrate};
use self::parts::verdict::judge;

#[expect(dead_code, reason = "the campaign needs more of it")]
#[path = "../fleet_parts/mod.rs"]
mod parts;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, directory, run] = &arguments[..] {
        let main = match role {
            role if role == Role::Replica.argument() => parts::replica::run,
            _ => parts::relay::run,
        };
        main(&Folder::at(directory), run.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(StartError::Missing(why)) => {
            println!("{why}");
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    Show::new(&postgres)?.play()
}

/// The whole example, and its start time.
struct Show {
    relays: Vec<Member>,
    replicas: Vec<Member>,
    fleet: Fleet,
    watcher: Watcher,
    database: String,
    start: Instant,
}

impl Show {
    fn new(postgres: &Postgres) -> Result<Show, Box<dyn Error>> {
        let start = Instant::now();
        let database = postgres.socket("postgres");
        migrate(&database)?;
        let portal = Portal::builder().tariff(Tariff::Standard).start()?;
        let mut fleet = Fleet::new(vec![portal])?;
        fleet.open_shared(ACTIVITIES, BRANCHES);
        let watcher = Watcher::start(database.clone())?;
        Ok(Show { relays: Vec::new(), replicas: Vec::new(), fleet, watcher, database, start })
    }

    fn say(&self, what: &str) {
        println!("{:5.1} s  {what}", self.start.elapsed().as_secs_f64());
    }

    fn play(mut self) -> Result<ExitCode, Box<dyn Error>> {
        self.say(&format!("the portal's page: {}", self.fleet.portals[0].page_url()));
        for _ in 0..2 {
            self.add(Role::Relay)?;
        }
        for _ in 0..3 {
            self.add(Role::Replica)?;
        }
        self.say("2 relays and 3 replicas have started; the replicas log to the same 2 workflows");
        sleep(WORK);

        let owner = self.wait_for_owner(None)?;
        let place = self.relays.iter().position(|relay| relay.run == owner);
        let killed = self.relays.remove(place.ok_or("the owner is not there")?);
        self.say(&format!(
            "the relay that owns the portal is killed: process {}",
            killed.process.id()
        ));
        self.fleet.kill(killed)?;
        let next = self.wait_for_owner(Some(owner))?;
        self.say(&format!("the other relay has taken the portal: run {next}"));
        self.add(Role::Relay)?;
        self.say("a new relay has started");

        let killed = self.replicas.remove(0);
        self.say(&format!("a replica is killed: process {}", killed.process.id()));
        self.fleet.kill(killed)?;
        self.add(Role::Replica)?;
        self.say("a new replica has started");
        sleep(WORK);

        self.finish()?;
        self.show_log();
        self.judge()
    }

    fn add(&mut self, role: Role) -> Result<(), Box<dyn Error>> {
        let member = self.fleet.start(&Start {
            role,
            database: self.database.clone(),
            rate: 8.0,
            max_hold: Duration::from_secs(5),
            is_unfenced: false,
        })?;
        match role {
            Role::Relay => self.relays.push(member),
            Role::Replica => self.replicas.push(member),
        }
        Ok(())
    }

    /// The run of the relay that owns the portal: another one than `before`.
    fn wait_for_owner(&self, before: Option<u32>) -> Result<u32, Box<dyn Error>> {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            let shard = self.fleet.shard_of(0);
            let history = self.watcher.history()?;
            let owner = history.iter().rfind(|taken| taken.shard == shard);
            let member = owner.and_then(|taken| taken.member);
            for relay in &self.relays {
                let story = Story::read(&self.fleet.folder().records(relay.run))?;
                if member.is_some() && story.member == member && Some(relay.run) != before {
                    return Ok(relay.run);
                }
            }
            sleep(TICK);
        }
        Err("no relay has taken the portal".into())
    }

    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        for replica in &mut self.replicas {
            replica.process.tell("finish\n")?;
        }
        self.say("the replicas log nothing more, and end when all is delivered");
        for mut member in std::mem::take(&mut self.replicas) {
            self.end(&mut member)?;
        }
        let limit = Instant::now() + PATIENCE;
        // The killed replica does not wait for its ends any more.
        while self.watcher.left()? > 0 && Instant::now() < limit {
            sleep(TICK);
        }
        for mut member in std::mem::take(&mut self.relays) {
            self.fleet.ask_to_stop(&member)?;
            self.end(&mut member)?;
        }
        self.say("all is delivered, and the relays have stopped");
        Ok(())
    }

    fn end(&mut self, member: &mut Member) -> Result<(), Box<dyn Error>> {
        match member.process.ends_before(Instant::now() + PATIENCE)? {
            Some(Ok(())) => self.fleet.ended(member.run, Ending::Finished)?,
            Some(Err(how)) => self.fleet.failed(member, &how)?,
            None => self.fleet.failed(member, "it did not end in time")?,
        }
        Ok(())
    }

    fn show_log(&self) {
        let workflows = self.fleet.portals[0].workflows();
        let Some(workflow) = workflows.first() else { return };
        let lines = workflow.lines();
        println!("\nthe log of the first workflow, the first of {} lines:", lines.len());
        for line in lines.iter().take(SHOWN) {
            println!("    {line}");
        }
        println!();
    }

    fn judge(&self) -> Result<ExitCode, Box<dyn Error>> {
        let evidence = self.fleet.evidence(WINDOW);
        let ownership = self.fleet.ownership(&self.watcher)?;
        let verdict = judge(&evidence, &ownership);
        let common = &verdict.common;
        for finding in &common.findings {
            println!("{}: {}", finding.word(), finding.sentence);
        }
        println!(
            "out of order: {}; without a mark, but not for the first time: {}",
            common.count(Kind::OutOfOrder),
            common.count(Kind::UnmarkedRepeat)
        );
        println!(
            "lines that the killed replica had not handed over yet, inside of its stated window: {}",
            common.in_window
        );
        if let Some(path) = self.fleet.keep_findings(&evidence, &ownership, &verdict)? {
            println!("all that is known of what is wrong: {}", path.display());
        }
        println!(
            "logged={} delivered={} repeated={} lost={} unexplained={} refused={}",
            common.sent,
            common.delivered,
            common.repeated,
            common.lost(),
            common.unexplained(),
            common.refused
        );
        if !verdict.is_good() {
            println!("files: {}", self.fleet.folder().path().display());
            return Ok(ExitCode::FAILURE);
        }
        self.fleet.remove_files()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// In two workflows.
const ACTIVITIES: usize = 6;
const BRANCHES: usize = 3;
/// How long the fleet works before the first event.
const WORK: Duration = Duration::from_secs(6);
const TICK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
/// The stated window of a replica, with much time for a slow machine.
const WINDOW: Duration = Duration::from_secs(1);
const SHOWN: usize = 15;
