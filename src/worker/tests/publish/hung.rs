//! A process that publishes by way of a spool that hangs.

use super::*;
use crate::simulation::Random;

impl ByWay {
    fn near_hangs(&self, hangs: bool) {
        self.near.fail(Faults { hangs, ..Faults::default() });
    }
}

/// Regression: one thread called both journals. So nothing was published, and no end was answered, while the spool
/// hung.
#[tokio::test(start_paused = true)]
async fn a_spool_that_hangs_does_not_stop_publishing() {
    let by_way = ByWay::new();
    let run = by_way.run();
    run.log(1, "#1#");
    pass(1.0).await;
    by_way.near_hangs(true);
    run.log(1, "#2#");
    pass(6.0).await;
    assert_eq!(by_way.far().0, [1, 2], "{}", run.stats());
    // The spool has had its five seconds.
    for n in 3..20 {
        run.log(1, &format!("#{n}#"));
        pass(1.0).await;
    }
    assert_eq!(by_way.far().0, (1..20).collect::<Vec<u32>>(), "{}", run.stats());
    let answer = run.ask_end(1, 60);
    pass(1.0).await;
    by_way.far.answer_ends(&Outcome::Accepted);
    let began = Instant::now();
    assert!(answer.await.unwrap().is_ok());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // The batch with the second line is stored now. It must not be published again.
    by_way.near_hangs(false);
    pass(2.0).await;
    run.log(2, "#20#");
    settled(&run, 20).await;
    pass(5.0).await;
    assert_eq!(by_way.far(), ((1..21).collect::<Vec<u32>>(), Vec::new()));
    assert_eq!((by_way.near.unsettled(), by_way.near.unsettled_ends()), (0, 0));
    assert_eq!(run.stats().handed_over(), 20);
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_starts_with_a_spool_that_hangs_publishes_from_memory() {
    let by_way = ByWay::new();
    by_way.near_hangs(true);
    let run = by_way.run();
    run.log(1, "#1#");
    pass(7.0).await;
    assert_eq!(by_way.far().0, [1], "{}", run.stats());
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_spool_that_hangs() {
    for hung_for in [0.0, 2.0, 10.0, 100.0] {
        let by_way = ByWay::new();
        let run = by_way.run();
        run.log(1, "#1#");
        pass(1.0).await;
        by_way.near_hangs(true);
        run.log(1, "#2#");
        pass(hung_for).await;
        for n in 3..10 {
            run.log(n, &format!("#{n}#"));
        }
        let began = Instant::now();
        let (report, stats) = run.close(6).await;
        let took = began.elapsed();
        assert!(took < Duration::from_millis(6_200), "{took:?}");
        assert_eq!((report.pending(), stats.pending(), stats.handed_over()), (0, 0, 9), "{stats}");
        assert_eq!(by_way.far().0.len(), 9);
        if hung_for > 5.0 {
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_line_is_published_once_by_way_of_a_spool_that_hangs_now_and_then() {
    for seed in 0..10 {
        let mut random = Random::new(seed, 0);
        let by_way = ByWay::new();
        let run = by_way.run();
        for n in 0..300 {
            if n % 10 == 0 {
                by_way.near.fail(Faults {
                    hangs: random.chance(0.5),
                    lies: random.chance(0.2),
                    full: random.chance(0.2),
                    unreadable: random.chance(0.2),
                    unmarkable: random.chance(0.2),
                    ..Faults::default()
                });
                by_way.far.fail(Faults { full: random.chance(0.2), ..Faults::default() });
            }
            run.log(n % 5, &format!("#{n}#"));
            pass(random.within(0.0, 1.5)).await;
        }
        by_way.near_hangs(false);
        by_way.far_is_back();
        settled(&run, 60).await;
        pass(5.0).await;
        let (mut far, tried) = by_way.far();
        far.sort_unstable();
        assert_eq!(far, (0..300).collect::<Vec<u32>>(), "seed {seed}");
        assert!(tried.is_empty());
        let stats = run.stats();
        assert_eq!((stats.handed_over(), stats.lost(), stats.pending()), (300, 0, 0), "{stats}");
        run.adds_up();
    }
}

/// Lines that the spool gives up while it hangs are counted once, when it has said so.
#[tokio::test(start_paused = true)]
async fn what_a_spool_gave_up_is_counted_when_it_answers_late() {
    let by_way = ByWay::new();
    let run = by_way.run_with_evictions().await;
    by_way.near_hangs(true);
    run.log(8, "#8#");
    pass(10.0).await;
    by_way.near_hangs(false);
    pass(2.0).await;
    run.log(9, "#9#");
    pass(1.0).await;
    by_way.far_is_back();
    settled(&run, 20).await;
    let stats = run.stats();
    let lost = stats.by_reason(DropReason::SpoolFull);
    // The first one was on its way, and has arrived.
    assert_eq!((lost, stats.handed_over(), stats.pending()), (1, 5, 0), "{stats}");
    assert_eq!(by_way.far().0.len(), 5, "{:?}", by_way.far());
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_answers_after_three_seconds_keeps_the_order() {
    let by_way = ByWay::new();
    let run = by_way.run();
    for round in 0..10 {
        by_way.near_hangs(round % 2 == 0);
        for n in 0..20 {
            run.log(n % 3, &format!("#{}#", round * 20 + n));
            pass(0.15).await;
        }
    }
    by_way.near_hangs(false);
    settled(&run, 20).await;
    let (far, tried) = by_way.far();
    assert_eq!((far.len(), tried.len(), run.stats().handed_over()), (200, 0, 200));
    for token in 0..3 {
        let of_token: Vec<u32> = far.iter().copied().filter(|n| n % 20 % 3 == token).collect();
        assert!(of_token.is_sorted(), "{of_token:?}");
    }
    run.adds_up();
}
