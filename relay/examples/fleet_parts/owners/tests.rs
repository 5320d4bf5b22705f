use bizproc_campaign::Story;

use super::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 100 * SECOND;

/// Relays 1 and 2 deliver for portal 0, which is in shard 9, and replica 0 publishes. Relay 1 has the portal.
fn evidence() -> (Evidence, Ownership) {
    let relay = |member| Run {
        story: Story { member: Some(member), ..Story::default() },
        ..Run::default()
    };
    let runs = vec![Run::default(), relay(71), relay(72)];
    let ownership = Ownership { shards: vec![9], history: vec![taken(Some(71), 0)] };
    (Evidence { runs, ..Evidence::default() }, ownership)
}

fn taken(member: Option<u128>, seconds: u64) -> Taken {
    Taken { shard: 9, member, at: START + seconds * SECOND }
}

fn hit(run: u32, tenths: u64) -> Hit {
    Hit { run: Some(run), arrived: START + tenths * SECOND / 10, ..Hit::default() }
}

fn judged(change: impl FnOnce(&mut Evidence, &mut Ownership)) -> (Verdict, Figures) {
    let (mut evidence, mut ownership) = evidence();
    change(&mut evidence, &mut ownership);
    let mut verdict = Verdict::default();
    let figures = judge(&evidence, &ownership, &mut verdict);
    (verdict, figures)
}

#[test]
fn a_request_behind_the_next_owners_is_seen_unless_its_relay_had_just_been_paused() {
    let sent = |is_paused| {
        judged(|it, ownership| {
            ownership.history.push(taken(Some(72), 4));
            it.hits = vec![hit(1, 10), hit(2, 45), hit(1, 50)];
            if is_paused {
                let (from, until) = (START + SECOND, START + 49 * SECOND / 10);
                it.runs[1].troubles.push(Trouble { from, until, kind: TroubleKind::Paused });
            }
        })
    };
    let (verdict, _) = sent(false);
    assert_eq!(verdict.count(Kind::TwoOwners), 1, "{verdict}");
    let about = &verdict.findings[0].about;
    assert_eq!((about.portal, &about.runs[..]), (Some(0), &[1, 2][..]));
    let (verdict, figures) = sent(true);
    assert!(verdict.findings.is_empty() && figures.after_pause == 1, "{verdict}");
}

#[test]
fn an_owner_that_comes_back_and_the_last_request_of_one_that_goes_are_good() {
    let (verdict, _) = judged(|it, ownership| {
        ownership.history.extend([taken(None, 2), taken(Some(72), 3), taken(Some(71), 6)]);
        // The second one was under way when the shard was taken: nothing was sent by the next owner.
        it.hits = vec![hit(1, 10), hit(1, 31), hit(2, 40), hit(1, 61)];
    });
    assert!(verdict.findings.is_empty(), "{verdict}");
}

#[test]
fn a_relay_that_never_owned_a_portal_must_not_send_to_it_and_a_replica_may() {
    let (verdict, _) = judged(|it, _| it.hits = vec![hit(0, 10), hit(2, 20)]);
    assert_eq!(verdict.findings.len(), 1, "{verdict}");
    assert_eq!(verdict.findings[0].sentence, "run 2 sent to portal 0, and never owned it");
}

#[test]
fn takeovers_are_counted_from_a_kill_or_a_long_pause_to_the_next_owners_first_request() {
    let (_, figures) = judged(|it, ownership| {
        ownership.history.extend([taken(Some(72), 14), taken(Some(71), 34)]);
        it.runs[1].end = Ending::Stopped(START + 50 * SECOND);
        let paused = |from: u64, until: u64| Trouble {
            from: START + from * SECOND,
            until: START + until * SECOND,
            kind: TroubleKind::Paused,
        };
        it.runs[1].troubles = vec![paused(5, 6), paused(10, 30)];
        it.runs[2].end = Ending::Killed(START + 32 * SECOND);
        it.hits = vec![hit(1, 50), hit(2, 155), hit(2, 310), hit(1, 350)];
    });
    let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
    assert_eq!(seconds(&figures.takeovers), [3.0, 5.5]);
    assert!(figures.handovers.is_empty());
}

#[test]
fn changes_of_owners_are_told_for_their_portals() {
    let (evidence, mut ownership) = evidence();
    ownership.shards = vec![4, 9, 9];
    ownership.history.extend([taken(None, 2), taken(Some(5), 3)]);
    let told: Vec<String> =
        ownership.incidents(&evidence).iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 6);
    assert_eq!(told[0], "run 1 is the owner from now on, portal 1");
    assert_eq!(told[3], "nobody is the owner from now on, portal 2");
    assert_eq!(told[4], "an unknown member is the owner from now on, portal 1");
}
