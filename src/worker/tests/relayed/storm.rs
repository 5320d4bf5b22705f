//! Relays that take portals from each other, are killed and are cut off, by seed. Whatever happens, no line is lost,
//! none is out of order, and none comes again without its mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::*;
use crate::journal::Number;
use crate::protocol::{Cause, Method, Reply, Request};
use crate::simulation::Random;
use crate::transport::Transport;
use crate::worker::tests::kept::{commands, entries, numbers};
use crate::worker::tests::{all_well, seeds};

/// What portals have written, and how they behave.
#[derive(Clone)]
struct World(Arc<Mutex<Inside>>);

struct Inside {
    random: Random,
    mood: Mood,
    /// The numbers of the lines of each entry, and whether it bears the mark of a repeat.
    written: Vec<(bool, Vec<u32>)>,
    ends: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Away,
    Silent,
    Any,
}

impl Transport for World {
    /// What is written is written at once: it was permitted in the same moment.
    async fn call(&self, _portal: Option<&PortalId>, request: Request) -> Reply {
        let (mood, takes) = {
            let mut inside = self.0.lock().unwrap();
            let mood = match inside.mood {
                Mood::Any => [Mood::Well, Mood::Away, Mood::Silent][inside.random.below(3)],
                mood => mood,
            };
            if mood != Mood::Away {
                if request.method == Method::EventSend {
                    inside.ends += 1;
                } else {
                    for entry in entries(&request) {
                        let marked = entry.contains("possible repeat");
                        inside.written.push((marked, numbers(&entry)));
                    }
                }
                if request.method == Method::Batch {
                    inside.ends += commands(&request, "bizproc.event.send").len();
                }
            }
            (mood, inside.random.below(800))
        };
        tokio::time::sleep(Duration::from_millis(takes as u64)).await;
        match mood {
            Mood::Away => Reply::NotSent(Cause("refused".to_owned())),
            Mood::Silent => Reply::Unanswered(Cause("reset".to_owned())),
            _ => all_well(request.commands),
        }
    }
}

/// The relays, and who owns what.
struct Fleet {
    disk: Disk,
    world: World,
    relays: BTreeMap<Member, Relay>,
    owners: BTreeMap<Option<PortalId>, Option<Member>>,
    /// Members that have lost a portal and do not know it.
    unaware: BTreeSet<(Option<PortalId>, Member)>,
    members: Member,
}

impl Fleet {
    fn start_one(&mut self) {
        self.members += 1;
        let options = options().pending_lines(120).quota(crate::config::Quota::Unlimited);
        let relay = Relay::start(&self.disk, &self.world, self.members, options);
        self.relays.insert(self.members, relay);
    }

    fn any(&self, random: &mut Random) -> Member {
        let members: Vec<Member> = self.relays.keys().copied().collect();
        members[random.below(members.len())]
    }

    fn give(&mut self, portal: &Option<PortalId>, to: Option<Member>) {
        self.disk.give(portal, to);
        let before = self.owners.insert(portal.clone(), to).flatten();
        if let Some(before) = before.filter(|_| before != to) {
            self.unaware.insert((portal.clone(), before));
        }
    }

    /// Its owner does not know. The new one takes nothing that it has lost without letting it go.
    async fn take_away(&mut self, portal: &Option<PortalId>, to: Member) {
        if self.unaware.remove(&(portal.clone(), to)) {
            let gone = portal.clone();
            let is_done = self.relays[&to].let_go(move |portal| portal != gone.as_ref());
            let in_time = tokio::time::timeout(Duration::from_secs(10), is_done).await;
            if in_time.is_err() {
                self.unaware.insert((portal.clone(), to));
                return;
            }
        }
        self.give(portal, Some(to));
    }

    /// As a rolling restart does it.
    async fn hand_over(&mut self, portal: &Option<PortalId>, to: Member) {
        let owner = self.owners[portal].and_then(|owner| self.relays.get(&owner));
        let mut knows = None;
        if let Some(owner) = owner {
            self.disk.hide(portal);
            let gone = portal.clone();
            let is_done = owner.let_go(move |portal| portal != gone.as_ref());
            // The lease may run out before.
            let in_time = tokio::time::timeout(Duration::from_secs(3), is_done).await;
            knows = self.owners[portal].filter(|_| in_time.is_ok());
            if in_time.is_err() && self.owners[portal] == Some(to) {
                return;
            }
        }
        self.take_away(portal, to).await;
        if let Some(before) = knows {
            self.unaware.remove(&(portal.clone(), before));
        }
    }

    async fn kill(&mut self, member: Member) {
        if let Some(relay) = self.relays.remove(&member) {
            relay.kill().await;
        }
        let lost: Vec<_> =
            self.owners.iter().filter(|(_, owner)| **owner == Some(member)).collect();
        let lost: Vec<_> = lost.into_iter().map(|(portal, _)| portal.clone()).collect();
        for portal in lost {
            self.give(&portal, None);
        }
    }
}

/// Lines that came again without a mark. Panics where one is lost or out of order.
async fn storm(seed: u64, is_fenced: bool) -> BTreeSet<u32> {
    let mut random = Random::new(seed, 0);
    let disk = Disk::new();
    let inside =
        Inside { random: Random::new(seed, 1), mood: Mood::Well, written: Vec::new(), ends: 0 };
    let world = World(Arc::new(Mutex::new(inside)));
    let portals: Vec<Option<PortalId>> = vec![None, Some("a".into()), Some("b".into())];
    let owners = portals.iter().map(|portal| (portal.clone(), None)).collect();
    let (relays, unaware, members) = (BTreeMap::new(), BTreeSet::new(), 0);
    let (on, to) = (disk.clone(), world.clone());
    let mut fleet = Fleet { disk: on, world: to, relays, owners, unaware, members };
    if !is_fenced {
        disk.permit_everything();
    }
    for _ in 0..3 {
        fleet.start_one();
    }
    let mut writers: Vec<Writer> = (0..3).map(|_| Writer::new(&disk)).collect();
    // Whose each line is: its writer and its token.
    let mut whose: Vec<(usize, u32)> = Vec::new();
    let mut asked: Vec<(Publisher, Number)> = Vec::new();
    for _ in 0..300 {
        pass(random.below(1_500) as f64 / 1_000.0).await;
        let portal = portals[random.below(3)].clone();
        match random.below(20) {
            0..=8 => {
                for _ in 0..random.below(12) {
                    let (n, token) = (random.below(3), random.below(30) as u32);
                    let text = format!("#{}#", whose.len());
                    whose.push((n, token));
                    let portal = portals[token as usize % 3].as_ref().map(PortalId::as_str);
                    writers[n].lines(portal, token, &[&text]);
                }
            }
            9 => {
                let n = random.below(3);
                let token = 1_000 + asked.len() as u32;
                let portal = portals[token as usize % 3].as_ref().map(PortalId::as_str);
                let no = writers[n].end(portal, token, random.below(20) as u64);
                asked.push((writers[n].publisher, no));
            }
            10..=11 => {
                // Its owner does not know.
                let to = fleet.any(&mut random);
                fleet.take_away(&portal, to).await;
            }
            12..=13 => {
                let to = fleet.any(&mut random);
                fleet.hand_over(&portal, to).await;
            }
            14 => {
                let member = fleet.any(&mut random);
                fleet.kill(member).await;
                fleet.start_one();
            }
            15 => {
                let member = fleet.any(&mut random);
                disk.cut(member, random.below(2) == 0);
            }
            16 => disk.renew(fleet.any(&mut random)),
            _ => {
                let moods = [Mood::Well, Mood::Well, Mood::Away, Mood::Silent, Mood::Any];
                world.0.lock().unwrap().mood = moods[random.below(5)];
            }
        }
    }
    world.0.lock().unwrap().mood = Mood::Well;
    for member in fleet.relays.keys() {
        disk.cut(*member, false);
    }
    for portal in &portals {
        let to = fleet.any(&mut random);
        fleet.hand_over(portal, to).await;
    }
    for _ in 0..10_000 {
        pass(2.0).await;
        if disk.unsettled() == 0 && disk.unsettled_ends() == 0 {
            break;
        }
    }
    pass(5.0).await;
    assert_eq!((disk.unsettled(), disk.unsettled_ends()), (0, 0), "seed {seed}");
    for relay in fleet.relays.values() {
        relay.adds_up();
        assert_eq!(relay.stats().pending(), 0, "seed {seed}: {}", relay.stats());
    }
    for (publisher, no) in asked {
        let is_answer =
            |answer: &crate::journal::Answer| (answer.publisher, answer.no) == (publisher, no);
        assert!(disk.answered().iter().any(is_answer), "seed {seed}: no answer");
    }
    let written = std::mem::take(&mut world.0.lock().unwrap().written);
    judge(seed, is_fenced, &whose, &written)
}

fn judge(
    seed: u64,
    is_fenced: bool,
    whose: &[(usize, u32)],
    written: &[(bool, Vec<u32>)],
) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<(usize, u32), u32> = BTreeMap::new();
    let mut unmarked = BTreeSet::new();
    for (marked, lines) in written {
        for &n in lines {
            if !seen.insert(n) {
                if !marked {
                    unmarked.insert(n);
                }
                continue;
            }
            let newest = newest.entry(whose[n as usize]).or_default();
            assert!(!is_fenced || n >= *newest, "seed {seed}: {n} behind {newest}");
            *newest = n;
        }
    }
    let lost: Vec<_> = (0..whose.len() as u32).filter(|n| !seen.contains(n)).collect();
    assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
    unmarked
}

#[tokio::test(start_paused = true)]
async fn relays_lose_nothing_keep_the_order_and_mark_repeats() {
    let seconds = std::env::var("BIZPROC_SEED_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let start = std::time::Instant::now();
    let seeds = seeds(SEEDS);
    let mut seed = seeds.start;
    while seed < seeds.end || seconds.is_some_and(|seconds| start.elapsed() < seconds) {
        let unmarked = storm(seed, true).await;
        assert!(unmarked.is_empty(), "seed {seed}: unmarked {unmarked:?}");
        seed += 1;
    }
    println!("{seed} seeds");
}

/// Regression: a relay could not store its last marks for a portal that it let go, and tried again when it owned the
/// portal again. So what it knew of its own tries replaced the marks of the owner in between, and a line came twice
/// without a mark. This seed found it.
#[tokio::test(start_paused = true)]
async fn last_marks_that_are_stored_late_do_not_replace_newer_ones() {
    let unmarked = storm(25, true).await;
    assert!(unmarked.is_empty(), "unmarked {unmarked:?}");
}

/// Without the fence the same storm finds what it is to find.
#[tokio::test(start_paused = true)]
async fn without_the_fence_lines_are_repeated_without_a_mark() {
    for seed in 0..SEEDS {
        if !storm(seed, false).await.is_empty() {
            return;
        }
    }
    panic!("nothing was found");
}

const SEEDS: u64 = 4;
