//! For how long lines are kept, and what ends that too early.

use super::*;
use crate::worker::retry::UnknownOutcome;

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

/// Regression: lines that had waited for ten minutes for another reason were lost when the credentials of their portal
/// were missing for a moment.
#[test]
fn lines_wait_ten_minutes_for_credentials_whatever_they_have_waited_for_before() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "kept");
    while let Some((call, _)) = stage.sent_within(900.0 - stage.elapsed()) {
        stage.settle(call, &Reply::NotSent(Cause("refused".to_owned())));
    }
    let (call, _) = stage.sent();
    stage.settle(call, &Reply::UnknownPortal(Cause("no tokens".to_owned())));
    stage.run(120.0);
    assert_eq!(stage.stats().acknowledged(), 1, "{}", stage.stats());
}

/// Regression: each try began with the shortest pause again.
#[test]
fn an_authorization_server_that_does_not_answer_is_asked_with_growing_pauses() {
    let mut stage = Stage::new(options());
    stage.log(&tag(1), "x");
    let mut asked = 0;
    while stage.elapsed() < 600.0 {
        match stage.step() {
            Some(Step::Send(call, _)) => stage.settle(call, &refusal(401, "expired_token")),
            Some(Step::Access(call, _)) => {
                asked += 1;
                let later = Refreshed::Later(Cause("no answer".to_owned()));
                stage.engine.accessed(call, later, stage.now);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((10..=40).contains(&asked), "{asked} in ten minutes");
}

/// Regression: the notice was forgotten with its token after a quarter of an hour.
#[test]
fn a_notice_that_waits_for_the_next_line_waits_as_long_as_a_line() {
    for idle in [600.0, 1_200.0, 3_000.0] {
        let mut stage = Stage::new(options().on_unknown_outcome(UnknownOutcome::GiveUp));
        let tag = tag(1);
        stage.lose_with_its_notice(&tag);
        assert!(stage.sent_within(idle).is_none());
        stage.log(&tag, "kept");
        let (_, request) = stage.sent();
        let told = says(&request, "(1 line may be missing since ");
        assert!(told, "after {idle} s: {:?}", messages(&request));
    }
}

fn close_in(stage: &mut Stage, seconds: f64) {
    let (reply, _answer) = oneshot::channel();
    let deadline = stage.now + secs(seconds);
    stage.engine.close(Close { deadline, reply }, stage.now);
}

/// Regression: during a shutdown, the first "workflow not found" was taken as final, and the pauses of a locked workflow
/// were as long as ever. So a process that logs and ends at once lost its lines, although there was time.
#[test]
fn a_shutdown_uses_its_time_for_a_workflow_that_is_locked_or_not_saved_yet() {
    for code in ["404", "423"] {
        let mut stage = Stage::new(options());
        stage.log(&tag(1), "x");
        let mut answer = complete(&mut stage, &tag(2));
        close_in(&mut stage, 5.0);
        let mut refused = 0;
        while let Some((call, request)) = stage.sent_within(4.9 - stage.elapsed()) {
            let reply = if stage.elapsed() < 3.0 {
                refused += 1;
                answers(&vec![Some(code); request.commands])
            } else {
                all_well(request.commands)
            };
            stage.settle(call, &reply);
        }
        assert!((3..30).contains(&refused), "{refused}");
        assert_eq!(stage.stats().acknowledged(), 1, "{code}: {}", stage.stats());
        assert_eq!(answer.try_recv().map(|told| told.is_ok()), Ok(true), "{code}");
    }
}
