//! The delivery engine alone, in simulated time: what a log keeps, how many requests it needs, and how fast it is.
//!
//! `cargo bench --bench delivery` prints one line per figure. All figures except `throughput` are simulated, so
//! they are the same on every machine. `-- NAME` runs the figures whose name contains NAME; `-- --test` runs
//! everything once, small.
#![expect(clippy::print_stdout, reason = "figures are what a bench prints")]

use std::alloc::System;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tracing_bizproc::Builder;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::{Quota, Retention};
use tracing_bizproc::simulation::{Conditions, EventSend, Outcome, Random, Run, run, throughput};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let smoke = arguments.iter().any(|argument| argument == "--test");
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let benches: [(&str, Figures); 9] = [
        ("story", story),
        ("requests", requests),
        ("ends", ends),
        ("limits", limits),
        ("neighbour", neighbour),
        ("fairness", fairness),
        ("throughput", worker_throughput),
        ("memory", memory),
        ("faults", faults),
    ];
    let scale = Scale { seeds: if smoke { 5 } else { 200 }, smoke };
    for (name, bench) in benches {
        if wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
            bench(&scale);
        }
    }
}

/// Prints some figures.
type Figures = fn(&Scale);

struct Scale {
    seeds: u64,
    smoke: bool,
}

const HOUR: Duration = Duration::from_secs(3_600);

fn builder() -> Builder {
    let webhook = Webhook::new("https://b24.example/rest/1/code/").expect("a webhook's shape");
    tracing_bizproc::builder(webhook)
}

fn figure(name: &str, value: impl std::fmt::Display, target: &str) {
    println!("figure {name} = {value} (target {target})");
}

/// Lines of 100 bytes in bursts. The bursts are at random moments within the given time, evenly distributed, and
/// each has 1 to 2 times the mean size. The lines of a burst come at once. The span closes at the end.
async fn bursty(run: Run, seed: u64, workflow: u32, lines: usize, over: Duration, burst: usize) {
    let mut random = Random::new(seed, 11);
    let mut bursts: Vec<f64> =
        (0..lines / burst).map(|_| random.within(0.0, over.as_secs_f64())).collect();
    bursts.sort_by(f64::total_cmp);
    let mut logged = 0;
    for (n, at) in bursts.iter().enumerate() {
        run.until(Duration::from_secs_f64(*at)).await;
        let rest = lines - logged;
        let last = n + 1 == bursts.len();
        let many = if last { rest } else { (1 + random.below(2 * burst - 1)).min(rest) };
        for _ in 0..many {
            run.log(workflow, 60);
        }
        logged += many;
    }
    run.until(over).await;
    run.close(workflow);
}

/// How many lines the log of one workflow keeps.
fn story(scale: &Scale) {
    let worst_of =
        |outcomes: &[Outcome], of: fn(&Outcome) -> f64| outcomes.iter().map(of).fold(0.0, f64::max);
    let seeds = if scale.smoke { 1 } else { 20 };
    let tell =
        |name: &str, options: &dyn Fn() -> Builder, lines, over, burst, targets: [&str; 4]| {
            let outcomes: Vec<Outcome> = (0..seeds)
                .map(|seed| {
                    let outcome = run(seed, options(), Conditions::default(), HOUR, |run| {
                        bursty(run, seed, 1, lines, over, burst)
                    });
                    outcome.verify().expect("the laws hold");
                    outcome
                })
                .collect();
            let entries = worst_of(&outcomes, |outcome| outcome.portal.log(1).len() as f64);
            let mean = worst_of(&outcomes, |outcome| outcome.waits(1).mean);
            let worst = worst_of(&outcomes, |outcome| outcome.waits(1).worst);
            let gone = worst_of(&outcomes, |outcome| outcome.unreadable(1) as f64);
            figure(&format!("story {name}: entries"), entries, targets[0]);
            figure(&format!("story {name}: mean wait"), format!("{mean:.1} s"), targets[1]);
            figure(&format!("story {name}: worst wait"), format!("{worst:.1} s"), targets[2]);
            figure(&format!("story {name}: lines rolled off"), gone, targets[3]);
        };
    let minute = Duration::from_secs(60);
    tell("180 lines in a minute", &builder, 180, minute, 3, ["<= 15", "-", "<= 15 s", "<= 0"]);
    let targets = ["<= 45", "<= 120 s", "<= 600 s", "<= 0"];
    tell("10,000 lines in an hour", &builder, 10_000, HOUR, 20, targets);
    let day = 24 * HOUR;
    tell("24 hours, default", &builder, 10_000, day, 20, ["-"; 4]);
    let patient = || builder().max_hold(HOUR).max_age(3 * HOUR);
    tell("24 hours, max_hold of an hour", &patient, 10_000, day, 20, ["-"; 4]);
}

/// 1,000 workflows of 10 lines each, all at once.
fn requests(_: &Scale) {
    let outcome = run(1, builder(), Conditions::default(), HOUR, |run| async move {
        for _ in 0..10 {
            for workflow in 0..1_000 {
                run.log(workflow, 60);
            }
            run.until(run.now() + Duration::from_millis(20)).await;
        }
    });
    outcome.verify().expect("the laws hold");
    let lines = outcome.stats.accepted();
    figure("requests for 1,000 workflows of 10 lines", outcome.portal.hits, "<= 24");
    let per_request = lines as f64 / outcome.portal.hits as f64;
    figure("lines per request", format!("{per_request:.0}"), ">= 416");
    figure("lines per request, naive client", 1, "-");
    figure("lines per request, a batch of single lines", 50, "-");
}

/// Activities of three lines each that are completed all at once, on a portal with the documented
/// limits. The time is that of the last end.
fn ends(scale: &Scale) {
    for (activities, requests, seconds) in [(500, 21, 7.5), (2_000, 82, 29.0)] {
        let outcome = run(1, builder(), Conditions::default(), HOUR, |run| async move {
            for workflow in 0..activities {
                (0..3).for_each(|_| run.log(workflow, 60));
                run.complete(workflow, Duration::from_secs(60));
                if workflow % 400 == 399 {
                    // The queue to the worker holds about a thousand completions.
                    run.until(run.now() + Duration::from_millis(1)).await;
                }
            }
        });
        outcome.verify().expect("the laws hold");
        let answered = outcome.completions.values().map(|completed| completed.answered).max();
        let last = answered.unwrap_or_default().as_secs_f64();
        let name = format!("{activities} activities that end at once");
        figure(&format!("{name}: requests"), outcome.portal.hits, &format!("<= {requests}"));
        figure(&format!("{name}: the last"), format!("{last:.1} s"), &format!("<= {seconds} s"));
        figure(&format!("{name}: late lines"), outcome.stats.late(), "<= 0");
        let refused = outcome.completions.values().filter(|completed| completed.answer.is_err());
        figure(&format!("{name}: not ended"), refused.count(), "<= 0");
    }
    let unlimited =
        || builder().quota(Quota::Unlimited).operating_limit(Duration::from_secs(1_000_000));
    let rounds = if scale.smoke { 1 } else { 15 };
    let each = if scale.smoke { 100 } else { 5_000 };
    let (mut few, mut many, mut together) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..rounds {
        // They run in turns, and the best result of each counts, because the machine is shared.
        let per_end = |took: Duration, ends: u32| took.as_secs_f64() * 1e6 / f64::from(ends);
        few = few.min(per_end(throughput::ends_beside(&unlimited(), 100, each), each));
        many = many.min(per_end(throughput::ends_beside(&unlimited(), 10_000, each), each));
        together = together.min(per_end(throughput::ends(&unlimited(), 10_000), 10_000));
    }
    figure("us per end, 100 others waiting", format!("{few:.2}"), "-");
    figure("us per end, 10,000 others waiting", format!("{many:.2}"), "-");
    let ratio = format!("{:.2}", many / few);
    figure("cost of an end with 10,000 others waiting, to 100", ratio, "<= 1.5");
    figure("us per end, 10,000 that end at once", format!("{together:.2}"), "-");
}

/// An hour with more lines than the portal accepts, and no other program behind the address: 200 tokens log one line
/// every two seconds each. The rate limit allows 90 entries a second, and the operating limit far fewer.
async fn saturate(run: Run, over: Duration) {
    let mut second = Duration::ZERO;
    while second < over {
        for token in 0..200 {
            run.log(token, 60);
        }
        second += Duration::from_secs(2);
        run.until(second).await;
    }
}

fn limits(scale: &Scale) {
    let over = if scale.smoke { HOUR / 12 } else { HOUR };
    let (mut rate, mut operating, mut operating_most, mut lost) = (0, 0, 0, 0);
    for seed in 0..scale.seeds {
        let conditions = Conditions { kept: None, ..Conditions::hidden(seed) };
        let builder = saturating();
        let outcome = run(seed, builder, conditions, HOUR, |run| saturate(run, over));
        outcome.verify().expect("the laws hold");
        rate += outcome.portal.rate_limited;
        operating += outcome.portal.operating_limited;
        operating_most = operating_most.max(outcome.portal.operating_limited);
        lost += outcome.stats.lost();
    }
    let seeds = scale.seeds;
    figure(&format!("503 in {seeds} saturated hours, alone"), rate, "<= 0");
    figure("429 in the worst of these hours", operating_most, "<= 1");
    figure("429 in all of these hours", operating, &format!("<= {seeds}"));
    figure("lines lost in these hours", lost, "<= 0");
}

/// Options that send an entry after each linger. With the schedule for the cloud, no limit would be reached.
fn saturating() -> Builder {
    builder().retention(Retention::SelfHosted).pending_lines(10_000_000).pending_bytes(1 << 32)
}

/// The same with a neighbour: another program behind the address, which uses most of the rate limit.
fn neighbour(scale: &Scale) {
    let (mut accepted, mut acknowledged, mut refused) = (0, 0, 0);
    for seed in 0..scale.seeds / 10 + 1 {
        let conditions = Conditions {
            neighbour: 1.8,
            kept: None,
            operating_limit: None,
            ..Conditions::hidden(seed)
        };
        let outcome = run(seed, saturating(), conditions, HOUR, |run| saturate(run, HOUR / 6));
        outcome.verify().expect("the laws hold");
        accepted += outcome.stats.accepted();
        acknowledged += outcome.stats.acknowledged();
        refused += outcome.portal.rate_limited;
    }
    figure("lines not acknowledged beside a greedy neighbour", accepted - acknowledged, "<= 0");
    figure("503 beside a greedy neighbour", refused, "-");
}

/// One token logs 1,000 lines a second; 100 others log now and then.
fn fairness(scale: &Scale) {
    let over = if scale.smoke { 20 } else { 600 };
    let conditions = Conditions { kept: None, operating_limit: None, ..Conditions::default() };
    let slowest = conditions.request + 50.0 * conditions.command.1;
    let options = builder().retention(Retention::SelfHosted).pending_lines(1_000_000);
    let outcome = run(3, options, conditions, HOUR, |run| async move {
        let mut random = Random::new(3, 13);
        for tick in 0..over * 100 {
            run.until(Duration::from_millis(10 * tick)).await;
            for _ in 0..10 {
                run.log(0, 60);
            }
            if random.chance(0.1) {
                run.log(1 + random.below(100) as u32, 60);
            }
        }
    });
    outcome.verify().expect("the laws hold");
    let worst = (1..=100).map(|token| outcome.waits(token).worst).fold(0.0, f64::max);
    // One linger (1 s), the worker's tick (0.25 s), and three requests at the rate that we keep.
    let target = 1.0 + 0.25 + 3.0 * (slowest + 1.0 / 1.8);
    let worst = format!("{worst:.2} s");
    figure("worst wait of a quiet token beside a loud one", worst, &format!("<= {target:.2} s"));
}

/// The worker's own speed, in real time: from queue to finished request bodies.
fn worker_throughput(scale: &Scale) {
    let lines = if scale.smoke { 50_000 } else { 2_000_000 };
    let unlimited = || {
        builder()
            .quota(Quota::Unlimited)
            .retention(Retention::SelfHosted)
            .operating_limit(Duration::from_secs(1_000_000))
            .pending_lines(1 << 24)
            .pending_bytes(1 << 32)
    };
    let rounds = if scale.smoke { 1 } else { 5 };
    #[cfg(feature = "spool")]
    spool_throughput(lines, rounds, unlimited);
    // Tokens, and lines of an entry. With few lines in an entry, a single token needs one request for each entry.
    // With many lines, 10,000 tokens gather 140 MB. Typical use is between both.
    let cases = [(1, 100), (10_000, 100), (1, 20), (10_000, 20)];
    let mut per_line = [f64::MAX; 4];
    for _ in 0..rounds {
        // They run interleaved, and the best result of each counts, because the machine is shared.
        for (best, (tokens, per_entry)) in per_line.iter_mut().zip(cases) {
            let clock = &processor_time;
            let took = throughput::measure(&unlimited(), tokens, per_entry, lines, 100, clock);
            *best = best.min(took.as_nanos() as f64 / f64::from(lines));
        }
    }
    let [one, many, one_short, many_short] = per_line;
    figure("lines of 100 bytes per second and core", format!("{:.0}", 1e9 / one), ">= 1000000");
    for (lines, one, many) in [(100, one, many), (20, one_short, many_short)] {
        let entries = format!("entries of {lines} lines");
        figure(&format!("ns per line, one token, {entries}"), format!("{one:.0}"), "-");
        figure(&format!("ns per line, 10,000 tokens, {entries}"), format!("{many:.0}"), "-");
        let ratio = format!("{:.2}", many / one);
        figure(&format!("cost of a line, 10,000 tokens to one, {entries}"), ratio, "<= 1.5");
    }
}

/// The processor time of this thread. Time in which it waits for the disk is not included, because no core is busy
/// then.
fn processor_time() -> Duration {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
    #[cfg(not(unix))]
    elapsed()
}

/// The time by the clock on the wall.
#[cfg(any(feature = "spool", not(unix)))]
#[expect(clippy::disallowed_methods, reason = "it is a measurement")]
fn elapsed() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;

    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The same with a spool, whose work is done on the same thread.
#[cfg(feature = "spool")]
fn spool_throughput(lines: u32, rounds: u32, builder: impl Fn() -> Builder) {
    use tracing_bizproc::spool::{Durability, Spool};

    let dir = std::env::temp_dir().join(format!("bizproc-delivery-{}", std::process::id()));
    let spool = |durability| Spool::new(&dir).durability(durability).max_bytes(4 << 30);
    let ways = [None, Some(Durability::Buffered), Some(Durability::Fsync)];
    // Measured by processor time and by the clock, on one thread, which also waits for the disk.
    let clocks: [(&str, &dyn Fn() -> Duration); 2] =
        [("of a core's time", &processor_time), ("of one thread", &elapsed)];
    for (clock_name, clock) in clocks {
        let mut per_line = [f64::MAX; 3];
        for _ in 0..rounds {
            for (best, way) in per_line.iter_mut().zip(ways) {
                let builder = match way {
                    Some(durability) => builder().spool(spool(durability)),
                    None => builder(),
                };
                let took = throughput::measure(&builder, 100, 100, lines, 100, clock);
                *best = best.min(took.as_nanos() as f64 / f64::from(lines));
                drop(std::fs::remove_dir_all(&dir));
            }
        }
        let [without, buffered, fsync] = per_line.map(|ns| 1e9 / ns);
        let name = |way| format!("lines per second {clock_name}, 100 tokens, {way}");
        figure(&name("no spool"), format!("{without:.0}"), "-");
        for (way, rate) in [("spool, buffered", buffered), ("spool, fsync", fsync)] {
            let target = format!(">= 100000, >= {:.0} (half)", without / 2.0);
            figure(&name(way), format!("{rate:.0}"), &target);
        }
    }
}

/// Checks counts, order and marks under random faults.
fn faults(scale: &Scale) {
    let seeds = scale.seeds * 5;
    for (name, event_send) in
        [("at once", EventSend::AtOnce), ("in the background", EventSend::Background)]
    {
        faults_where_activities_end(name, event_send, seeds);
    }
}

fn faults_where_activities_end(name: &str, event_send: EventSend, seeds: u64) {
    let (mut accepted, mut lost, mut late, mut repeats) = (0, 0, 0, 0);
    let mut broken = 0;
    for seed in 0..seeds {
        let conditions = Conditions { event_send, ..Conditions::faulty(seed) };
        let outcome = run(seed, builder(), conditions, 3 * HOUR, |run| async move {
            let mut random = Random::new(seed, 17);
            for _ in 0..200 {
                let pause = Duration::from_secs_f64(random.within(0.0, 5.0));
                run.until(run.now() + pause).await;
                for _ in 0..random.below(20) {
                    run.log(random.below(50) as u32, random.below(120));
                }
                if random.chance(0.1) {
                    run.complete(random.below(50) as u32, Duration::from_secs(10));
                }
            }
        });
        if let Err(problem) = outcome.verify() {
            println!("{problem}");
            broken += 1;
        }
        accepted += outcome.stats.accepted();
        lost += outcome.stats.lost();
        late += outcome.stats.late();
        repeats += outcome.stats.repeats();
    }
    let name = format!("{seeds} seeds, ends {name}");
    figure(&format!("laws broken under faults, {name}"), broken, "<= 0");
    figure(&format!("lines accepted, {name}"), accepted, "-");
    figure(&format!("lines lost, counted and told, {name}"), lost, "-");
    figure(&format!("lines late, for a reason, {name}"), late, "-");
    figure(&format!("entries repeated, marked, {name}"), repeats, "-");
}

/// The memory of an idle token.
fn memory(scale: &Scale) {
    let tokens = if scale.smoke { 1_000 } else { 20_000 };
    let held = || {
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    };
    let (idle, forgotten) = throughput::idle_bytes(&builder(), tokens, &held);
    figure("bytes per idle token", idle, "<= 1024");
    figure("bytes per token once it is forgotten", forgotten, "<= 256");
}

/// Counts allocations, for the figures on memory.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
