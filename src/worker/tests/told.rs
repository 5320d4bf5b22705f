//! The log of each token tells of each lost line: the law of [`crate::simulation::told`], by seed, where lines and
//! notices are in a journal, and runs are killed.

use std::time::Duration;

use super::kept::{Answers, Portal, Run, pass, settled};
use super::{options, seeds, tag};
use crate::config::{Overflow, Quota, UnknownOutcome};
use crate::journal::memory::{Disk, Faults};
use crate::simulation::Random;
use crate::simulation::told::Seen;

#[tokio::test(start_paused = true)]
async fn with_a_journal_each_lost_line_is_told_also_after_a_kill() {
    let mut seen = Seen::default();
    let seeds = seeds(14);
    let few = seeds.end - seeds.start < 14;
    for seed in seeds {
        seen.add(storm(seed).await);
    }
    println!("{seen:?}");
    assert!(few || seen.lost > 500 && seen.told > 300 && seen.lost_before_end > 5, "{seen:?}");
}

/// The app of a storm.
struct App {
    random: Random,
    portal: Portal,
    disk: Disk,
    lines: u64,
    tokens: u32,
}

impl App {
    fn log(&mut self, run: &Run, token: u32) -> bool {
        let long = "x".repeat(self.random.below(10).saturating_sub(8) * 3_000);
        let text = tag(token).event_token.expose().to_owned();
        let number = self.lines;
        let is_accepted = run.try_log(token, &format!("#{number}# {long}"));
        self.portal.law(|law, now| match is_accepted {
            true => law.logged(&text, number, now),
            false => law.refused(&text, now),
        });
        self.lines += u64::from(is_accepted);
        is_accepted
    }

    fn end(&mut self, run: &Run) {
        // Nothing is logged to it afterwards.
        let token = self.tokens;
        for _ in 0..self.random.below(4) {
            self.log(run, token);
        }
        let seconds = [1, 30, 600][self.random.below(3)];
        run.complete(token, seconds);
        let text = tag(token).event_token.expose().to_owned();
        self.portal.law(|law, now| {
            law.end_asked(&text, now + Duration::from_secs(seconds), now);
        });
        self.tokens += 1;
    }

    fn portal_changes(&mut self) {
        let answers = [Answers::Anyhow, Answers::Anyhow, Answers::Away, Answers::Silent];
        self.portal.answers(answers[self.random.below(4)]);
    }

    fn disk_changes(&mut self) {
        let faults = Faults::default();
        self.disk.fail(match self.random.below(5) {
            0 => Faults { full: true, ..faults },
            1 => Faults { hangs: true, ..faults },
            2 => Faults { unmarkable: true, ..faults },
            3 => Faults { takes: Duration::from_millis(30), ..faults },
            _ => faults,
        });
    }
}

async fn storm(seed: u64) -> Seen {
    let random = Random::new(seed, 0);
    let (disk, portal) = (Disk::new(), Portal::default());
    portal.0.lock().unwrap().random = Some(Random::new(seed, 1));
    portal.listen();
    let mut app = App { random, portal, disk, lines: 0, tokens: 10 };
    let with = app.random.below(12);
    let options = || {
        let options = options().quota(Quota::Unlimited).entry_bytes(2_000);
        let options = options.pending_lines([60, 1_000][with % 2]);
        let options = match with % 3 {
            0 => options.on_unknown_outcome(UnknownOutcome::Repeat),
            _ => options.on_unknown_outcome(UnknownOutcome::GiveUp),
        };
        match with / 3 {
            0 => options.overflow(Overflow::DropOldest),
            _ => options,
        }
    };
    for _ in 0..5 {
        app.portal_changes();
        let run = Run::start(&app.disk, &app.portal, options());
        for _ in 0..app.random.below(40) {
            match app.random.below(12) {
                0 => app.end(&run),
                1 => app.portal_changes(),
                2 => app.disk_changes(),
                3 => app.disk.evict(),
                _ => {
                    for _ in 0..app.random.below(20) {
                        let token = app.random.below(6) as u32;
                        app.log(&run, token);
                    }
                }
            }
            pass(app.random.below(1_500) as f64 / 1_000.0).await;
            run.adds_up_nearly();
        }
        // What is owed now is stored before the kill, if the disk works.
        app.disk.fail(Faults::default());
        pass(1.0).await;
        let owed = app.portal.law(|law, now| law.untold(now)).unwrap();
        pass(1.0).await;
        if app.random.below(3) == 0 {
            let ends_by = Duration::from_millis(500);
            app.portal.law(|law, now| law.closes(now + ends_by));
            run.close(1).await;
            pass(1.0).await;
        } else {
            run.kill().await;
        }
        let stored = app.disk.untold_by_token();
        app.portal.law(|law, now| law.ended(&stored, &owed, now));
        check(&app.portal, seed);
    }
    app.portal.answers(Answers::Well);
    let run = Run::start(&app.disk, &app.portal, options());
    pass(1.0).await;
    // With little memory, each entry has few lines, and waits for its schedule.
    settled(&run, 40_000).await;
    // Notices of tokens that log no more go alone, and others with a line.
    for token in 0..6 {
        assert!(app.log(&run, token), "seed {seed}: there is room");
    }
    settled(&run, 4_000).await;
    pass(1_000.0).await;
    run.adds_up();
    assert_eq!(run.stats().pending(), 0, "seed {seed}: {}", run.stats());
    app.portal.law(|law, now| law.is_quiet(now));
    check(&app.portal, seed);
    assert_eq!(app.disk.untold(), 0, "seed {seed}: notices are left");
    app.portal.law(|law, _| law.seen).unwrap()
}

fn check(portal: &Portal, seed: u64) {
    if let Some(Err(problem)) = portal.law(|law, _| law.verdict()) {
        panic!("seed {seed}: {problem}");
    }
}
