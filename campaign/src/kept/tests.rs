use super::*;
use crate::evidence::Promise;
use crate::finding::About;
use crate::journal::{Command, Fate, Hit};
use crate::judge::judge;
use crate::line::Line;
use crate::record::Story;
use crate::run::{Ending, Run, Trouble, TroubleKind};

const SECOND: u64 = 1_000_000_000;
/// 01:00:00 of the first day.
const START: u64 = 3600 * SECOND;
const SECRET: &str = "wf|Check|1.00ff";

fn line(activity: u32, number: u32) -> Line {
    Line { activity, run: None, number }
}

fn hit(number: u64, run: u32, logged: Line, fault: Option<&str>) -> Hit {
    let command = Command {
        activity: Some(logged.activity),
        method: "bizproc.activity.log".to_owned(),
        message: Some(format!("• {}", logged.text()).into()),
        fate: Fate::Written,
        outcome: "Written".to_owned(),
    };
    let arrived = START + number * SECOND;
    Hit {
        portal: 1,
        run: Some(run),
        number,
        arrived,
        answered: Some(arrived + SECOND / 10),
        status: Some(200),
        fault: fault.map(str::to_owned),
        commands: vec![command],
        ..Hit::default()
    }
}

/// Two lines of activity 0 were logged, and the second one is missing. Nothing is wrong with activity 1.
fn evidence() -> Evidence {
    let story = Story {
        lines: vec![
            (START + SECOND, line(0, 1)),
            (START + 2 * SECOND, line(0, 2)),
            (START + 2 * SECOND, line(1, 1)),
        ],
        notes: vec![
            (START + SECOND, format!("started with {SECRET}")),
            (START + 6 * SECOND, "all is well".to_owned()),
        ],
        ..Story::default()
    };
    // It had begun long before the first line, and was over before the second one.
    let (from, until) = (START - 30 * SECOND, START + 3 * SECOND / 2);
    let killed = Run {
        story,
        end: Ending::Killed(START + 6 * SECOND),
        troubles: vec![Trouble { from, until, kind: TroubleKind::DiskFull }],
    };
    let mut evidence = Evidence {
        promise: Promise::default(),
        runs: vec![killed, Run::default(), Run::default()],
        portals: vec![1, 1],
        ..Evidence::default()
    };
    evidence.read_hits(vec![
        hit(1, 0, line(0, 1), None),
        hit(2, 0, line(1, 1), None),
        hit(3, 1, line(0, 1), Some("Truncate")),
        Hit { commands: Vec::new(), status: Some(503), ..hit(5, 0, line(0, 2), None) },
        Hit { commands: Vec::new(), portal: 0, ..hit(6, 0, line(0, 2), None) },
    ]);
    evidence.entries[2].is_marked = true;
    evidence
}

fn kept(evidence: &Evidence, verdict: &Verdict, incidents: &[Incident]) -> Option<String> {
    let folder = Folder::create(&format!("kept-{:?}", std::thread::current().id())).unwrap();
    fs::write(folder.reports(0), format!("WARN the token {SECRET} is odd\n")).unwrap();
    fs::write(folder.reports(2), "WARN from elsewhere\n").unwrap();
    let path = keep_findings(&folder, evidence, verdict, incidents, &[SECRET.to_owned()]).unwrap();
    let text = path.map(|path| fs::read_to_string(path).unwrap());
    folder.remove().unwrap();
    text
}

#[test]
fn of_a_missing_line_all_is_kept_that_is_known_of_its_activity_and_no_secret() {
    let evidence = evidence();
    let at = |seconds: u64| START + seconds * SECOND;
    let incidents = [
        Incident::at(at(2), "connection cut before the request").of_run(0).of_portal(1),
        Incident::at(at(3), "connection cut elsewhere").of_run(0).of_portal(0),
        Incident::at(at(3), "another run is paused").of_run(2),
        Incident::at(at(600), "much later"),
        Incident::at(at(0), "the database is away").until(at(2)),
    ];
    let text = kept(&evidence, &judge(&evidence), &incidents).unwrap();
    let mut rest = text.as_str();
    for part in [
        "=== k0 of portal 1\n",
        "unexplained (Missing): k0-2 is missing, logged by run 0 4s before its kill",
        "00:59:30.000000 run 0 has trouble for 31.500s: DiskFull",
        "01:00:00.000000 -- the database is away, for 2.000s",
        "01:00:01.000000 run 0 logs k0-1",
        "portal 1 gets hit 1 of run 0: bizproc.activity.log: Written, status 200 after 100.000ms",
        "| • k0-1 ",
        "run 0 notes: started with [secret]",
        "01:00:02.000000 run 0 logs k0-2",
        "-- connection cut before the request, run 0, portal 1",
        "01:00:02.000000 ** k0-2 is missing",
        "hit 3 of run 1: bizproc.activity.log: Written, status 200 after 100.000ms, planned fault: Truncate",
        "hit 5 of run 0: nothing was executed, status 503",
        "01:00:06.000000 run 0 is killed",
        "=== the last reports of run 0, by its own clock\nWARN the token [secret] is odd\n",
        "=== the last reports of run 1, by its own clock\n(none)\n",
    ] {
        let place = rest.find(part).unwrap_or_else(|| panic!("no {part:?} here:\n{rest}"));
        rest = &rest[place + part.len()..];
    }
    for absent in [
        SECRET,
        "hit 6 of",
        "k1-1",
        "cut elsewhere",
        "another run",
        "all is well",
        "much later",
        "from elsewhere",
    ] {
        assert!(!text.contains(absent), "{absent}:\n{text}");
    }
}

#[test]
fn of_a_portal_its_requests_of_that_time_are_kept_and_of_a_run_its_end() {
    let mut evidence = evidence();
    let late = Hit { arrived: START + 100 * SECOND, ..hit(4, 1, line(1, 1), None) };
    evidence.hits.push(late);
    let mut verdict = Verdict::default();
    verdict.find(crate::Kind::TwoOwners, About::portal(1, START + 2 * SECOND), "two owners");
    verdict.find(crate::Kind::Unseen, About::run(0, START + 6 * SECOND), "run 0 ended: why");
    let text = kept(&evidence, &verdict, &[]).unwrap();
    let (portal, run) = text.split_once("=== run 0").unwrap();
    assert!(portal.contains("hit 1 of") && portal.contains("hit 3 of"), "{portal}");
    assert!(!portal.contains("hit 4 of"), "{portal}");
    assert!(run.contains("run 0 is killed") && run.contains("run 0 ended: why"), "{run}");
}

#[test]
fn nothing_is_kept_of_a_good_verdict_and_not_all_of_a_very_bad_one() {
    let evidence = evidence();
    assert_eq!(kept(&evidence, &Verdict::default(), &[]), None);
    let mut verdict = Verdict::default();
    for activity in 0..=MOST_SUBJECTS as u32 {
        verdict.find(crate::Kind::Missing, About::activity(activity, 0, START), "missing");
    }
    let text = kept(&evidence, &verdict, &[]).unwrap();
    assert!(text.contains("=== k99") && !text.contains("=== k100"), "{text}");
    assert!(text.contains("=== and 1 more"), "{text}");
}
