//! For how long lines are kept, and what ends that too early.

use super::*;

fn bad_gateway() -> Reply {
    json(502, "<html>Bad Gateway</html>")
}

/// Regression: an entry was given up after thirty failures if its portal had nothing else to do. That is a quarter of an
/// hour of an outage, but lines are kept for an hour.
#[test]
fn an_outage_that_is_shorter_than_max_age_loses_no_line_of_a_single_workflow() {
    for (reply, seconds) in [(bad_gateway(), 3_500.0), (nobody_knows(), 3_500.0)] {
        let mut stage = Stage::new(options());
        stage.log(&tag(1), "kept");
        while stage.elapsed() < seconds {
            let limit = seconds - stage.elapsed();
            let Some((call, _)) = stage.sent_within(limit) else { break };
            stage.settle(call, &reply);
        }
        assert_eq!(stage.stats().lost(), 0, "{}", stage.stats());
        stage.run(120.0);
        assert_eq!(stage.stats().acknowledged(), 1, "{}", stage.stats());
    }
}

/// Regression: the lines of an entry were given up when its oldest line was too old.
#[test]
fn each_line_is_kept_for_max_age() {
    let mut stage = Stage::new(options());
    let mut asked = 0;
    for n in 0..70 {
        stage.log(&tag(1), &format!("#{n}#"));
        let until = stage.now + secs(60.0);
        while let Some((call, _)) = stage.sent_within((until - stage.now).as_secs_f64()) {
            asked += 1;
            stage.settle(call, &Reply::NotSent(Cause("refused".to_owned())));
        }
    }
    // The oldest lines are older than an hour, and most are not.
    assert!(asked > 60 && stage.stats().lost() <= 20, "{asked} {}", stage.stats());
    stage.run(120.0);
    assert!(stage.stats().acknowledged() >= 50, "{}", stage.stats());
}
