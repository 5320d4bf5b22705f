//! A process that publishes: lines, ends and flushes, with a journal that works or fails. By the paused clock.

use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::kept::{self, Answers, Portal, Run, number, pass, settled};
use super::options;
use crate::builder::{Builder, builder};
use crate::completion::Completion;
use crate::error::{CallError, CompleteError, WorkerError};
use crate::format::{Language, LineTime};
use crate::journal::memory::{Disk, Faults};
use crate::journal::{Chunk, Content, Outcome};
use crate::line::LogLine;
use crate::protocol::call;
use crate::queue::{Call, Caller, Complete, Control, Expect, Flush, Overflow, Scope};
use crate::stats::{DropReason, FlushReport};
use crate::transport::auth::Webhook;

mod hung;

struct Replica {
    disk: Disk,
    portal: Portal,
    run: Run,
}

impl Replica {
    fn new() -> Replica {
        Replica::with(|options| options)
    }

    fn with(set: impl FnOnce(Builder) -> Builder) -> Replica {
        let (disk, portal) = (Disk::new(), Portal::default());
        let run = Run::with(&portal, set(options()).publish_to(disk.open()));
        Replica { disk, portal, run }
    }

    fn away(&self) {
        self.disk.fail(Faults { full: true, unreadable: true, ..Faults::default() });
    }

    fn back(&self) {
        self.disk.fail(Faults::default());
    }

    fn stored(&self) -> Vec<u32> {
        self.disk.stored().iter().map(|text| number(text)).collect()
    }

    async fn flush_delivered(&self, scope: Scope, seconds: u64) -> FlushReport {
        let (reply, answer) = oneshot::channel();
        let deadline = (Instant::now() + Duration::from_secs(seconds)).into_std();
        let flush = Flush { scope, deadline, reply };
        assert!(self.run.producer.control(Control::FlushDelivered(flush)).is_ok());
        answer.await.unwrap()
    }

    /// Asks for many ends, with ten minutes for each.
    async fn ask_ends(
        &self,
        count: u32,
    ) -> Vec<oneshot::Receiver<Result<FlushReport, CompleteError>>> {
        let mut answers = Vec::new();
        for n in 0..count {
            answers.push(self.run.ask_end(n, 600));
            if n % 100 == 0 {
                // The queue has room for some of them.
                pass(0.01).await;
            }
        }
        answers
    }

    /// What each chunk is, in order.
    fn kinds(&self) -> Vec<&'static str> {
        let kind = |chunk: Chunk| match chunk.content {
            Content::Lines(_) => "lines",
            Content::Missed(_) => "missed",
            Content::End(_) => "end",
            Content::Seal(_) => "seal",
        };
        self.disk.chunks().into_iter().map(kind).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn lines_are_handed_over_in_order_when_the_journal_has_them() {
    let replica = Replica::new();
    for n in 0..500 {
        replica.run.log(n % 7, &format!("#{n}#"));
    }
    pass(0.2).await;
    let stats = replica.run.stats();
    assert_eq!((stats.handed_over(), stats.pending(), stats.acknowledged()), (500, 0, 0));
    for token in 0..7 {
        let of_token: Vec<u32> = replica.stored().into_iter().filter(|n| n % 7 == token).collect();
        assert!(of_token.is_sorted(), "{of_token:?}");
    }
    assert_eq!(replica.stored().len(), 500);
    assert!(replica.kinds().len() < 20, "lines that come together share chunks");
    assert!(replica.portal.lines().is_empty(), "nothing is sent from here");
    replica.run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_flush_returns_when_the_journal_has_the_lines() {
    let replica = Replica::new();
    replica.disk.fail(Faults { takes: Duration::from_millis(700), ..Faults::default() });
    replica.run.log(1, "#1#");
    let began = Instant::now();
    let report = replica.run.flush(5).await;
    assert_eq!((report.handed_over(), report.pending()), (1, 0), "{report}");
    assert!(report.is_complete());
    assert!(began.elapsed() < Duration::from_millis(760), "{:?}", began.elapsed());
    replica.away();
    replica.run.log(1, "#2#");
    let report = replica.run.flush_token(1, 2).await;
    assert_eq!((report.handed_over(), report.pending(), report.stored()), (0, 1, 0), "{report}");
}

/// While a batch was with the journal, a later line went into the chunk of an earlier one. So the earlier line
/// was counted for a later flush, and the flush that meant it waited until its time was over.
#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_lines_that_come_later() {
    let replica = Replica::new();
    replica.disk.fail(Faults { takes: Duration::from_millis(700), ..Faults::default() });
    replica.run.log(1, "#1#");
    pass(0.2).await;
    replica.run.log(1, "#2#");
    let (first, second) = tokio::join!(replica.run.flush(5), async {
        replica.run.log(1, "#3#");
        replica.run.flush(5).await
    });
    assert_eq!((first.handed_over(), first.pending()), (2, 0), "{first}");
    assert_eq!((second.handed_over(), second.pending()), (3, 0), "{second}");
    assert_eq!(replica.stored(), [1, 2, 3]);
}

/// The journal says no although it has stored the batch: it is appended again under the same number.
#[tokio::test(start_paused = true)]
async fn lines_wait_for_a_journal_that_is_away_and_are_appended_once() {
    let replica = Replica::new();
    for round in 0..6 {
        match round % 3 {
            0 => replica.away(),
            1 => replica.disk.fail(Faults { lies: true, ..Faults::default() }),
            _ => replica.back(),
        }
        for n in 0..100 {
            replica.run.log(n % 5, &format!("#{}#", round * 100 + n));
        }
        pass(20.0).await;
    }
    settled(&replica.run, 20).await;
    let stats = replica.run.stats();
    assert_eq!((stats.handed_over(), stats.pending(), stats.lost()), (600, 0, 0), "{stats}");
    let mut stored = replica.stored();
    stored.sort_unstable();
    assert_eq!(stored, (0..600).collect::<Vec<u32>>(), "each once");
    replica.run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn lines_without_room_are_refused_at_the_door_and_the_log_mentions_them() {
    let replica = Replica::with(|options| options.pending_lines(100).token_share(1.0));
    replica.away();
    for n in 0..300 {
        replica.run.try_log(1, &format!("#{n}#"));
        pass(0.1).await;
    }
    let stats = replica.run.stats();
    assert_eq!((stats.accepted(), stats.pending()), (100, 100), "{stats}");
    assert_eq!(stats.by_reason(DropReason::BudgetSpent), 200);
    replica.back();
    settled(&replica.run, 20).await;
    replica.run.log(1, "#300#");
    pass(1.0).await;
    let missed = replica.disk.chunks().into_iter().find_map(|chunk| match chunk.content {
        Content::Missed(gap) => Some((gap.lines, gap.reason)),
        _ => None,
    });
    assert_eq!(missed, Some((200, DropReason::BudgetSpent)));
    replica.run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn the_oldest_lines_make_room_if_the_app_wants_that() {
    let replica =
        Replica::with(|options| options.pending_lines(100).overflow(Overflow::DropOldest));
    replica.away();
    for n in 0..300 {
        assert!(replica.run.try_log(n % 3, &format!("#{n}#")), "{n}");
        pass(1.1).await;
    }
    replica.back();
    settled(&replica.run, 20).await;
    let (stats, stored) = (replica.run.stats(), replica.stored());
    assert_eq!(stats.by_reason(DropReason::Evicted) + stats.handed_over(), 300, "{stats}");
    assert!(stored.len() >= 95 && stored.contains(&299), "{}", stored.len());
    let missed: u64 = replica.disk.chunks().iter().filter_map(missed_lines).sum();
    assert_eq!(missed, stats.by_reason(DropReason::Evicted), "the log mentions each");
    replica.run.adds_up();
}

fn missed_lines(chunk: &Chunk) -> Option<u64> {
    match &chunk.content {
        Content::Missed(gap) => Some(gap.lines),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_wait_longer_than_max_age_are_lost_as_expired() {
    let replica = Replica::with(|options| options.max_age(Duration::from_secs(3_600)));
    replica.away();
    for n in 0..10 {
        replica.run.log(1, &format!("#{n}#"));
        pass(360.0).await;
    }
    replica.run.log(2, "#10#");
    pass(30.0).await;
    let stats = replica.run.stats();
    assert!(stats.by_reason(DropReason::Expired) >= 1, "{stats}");
    let expired = stats.by_reason(DropReason::Expired);
    replica.back();
    settled(&replica.run, 20).await;
    let stats = replica.run.stats();
    assert_eq!(stats.handed_over() + expired, 11, "{stats}");
    let missed: u64 = replica.disk.chunks().iter().filter_map(missed_lines).sum();
    assert_eq!(missed, expired);
    replica.run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_journal_and_counts_what_it_does_not_have() {
    let replica = Replica::new();
    for n in 0..50 {
        replica.run.log(1, &format!("#{n}#"));
    }
    let (report, stats) = replica.run.close(5).await;
    assert_eq!((report.handed_over(), report.pending()), (50, 0), "{report}");
    assert_eq!(stats.handed_over(), 50);

    let replica = Replica::new();
    replica.away();
    for n in 0..50 {
        replica.run.log(1, &format!("#{n}#"));
    }
    let began = Instant::now();
    let (report, stats) = replica.run.close(5).await;
    assert!(began.elapsed() < Duration::from_secs(6));
    assert_eq!((report.handed_over(), report.pending() + report.lost()), (0, 50), "{report}");
    assert_eq!(stats.by_reason(DropReason::ShutdownDeadline), 50, "{stats}");
    assert_eq!(stats.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_behind_its_lines_and_has_the_answer_of_the_relay() {
    let replica = Replica::new();
    replica.run.log(1, "#1#");
    let mut answer = replica.run.ask_end(1, 10);
    pass(1.0).await;
    assert_eq!(replica.kinds(), ["lines", "end"]);
    assert!(answer.try_recv().is_err(), "no relay has answered");
    replica.disk.answer_ends(&Outcome::Accepted);
    pass(0.6).await;
    let report = answer.try_recv().unwrap().unwrap();
    assert_eq!((report.handed_over(), report.pending()), (1, 0), "{report}");
    replica.run.log(1, "#2#");
    pass(1.0).await;
    assert_eq!(replica.run.stats().late(), 1);
    let again = replica.run.ask_end(1, 10).await.unwrap();
    assert_eq!(again, Err(CompleteError::AlreadyCompleted));

    let answer = replica.run.ask_end(2, 10);
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::Refused("ACCESS_DENIED".to_owned()));
    let refused = answer.await.unwrap().unwrap_err();
    assert_eq!(refused, CompleteError::Refused { code: "ACCESS_DENIED".to_owned() });
    assert_eq!(replica.portal.ends(), 0, "nothing is sent from here");
    replica.run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn an_end_that_no_relay_answers_is_sent_from_here_ten_seconds_after_its_deadline() {
    let replica = Replica::new();
    replica.run.log(1, "#1#");
    let began = Instant::now();
    let answer = replica.run.ask_end(1, 10);
    let report = answer.await.unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((20.0..21.0).contains(&took), "{took}");
    assert_eq!((report.handed_over(), replica.portal.ends()), (1, 1), "{report}");
    pass(1.0).await;
    assert_eq!(replica.disk.unsettled_ends(), 0, "no relay has to send it");
    assert_eq!(replica.disk.unsettled(), 1, "its lines are the relay's");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_journal_does_not_take_is_sent_from_here_at_its_deadline() {
    let replica = Replica::new();
    replica.away();
    // One batch is with the journal, and its fate is not known.
    replica.run.log(1, "#1#");
    pass(1.0).await;
    replica.run.log(1, "#2#");
    let began = Instant::now();
    let report = replica.run.ask_end(1, 10).await.unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((10.0..11.0).contains(&took), "{took}");
    assert_eq!((replica.portal.ends(), report.late(), report.pending()), (1, 1, 1), "{report}");
    replica.back();
    settled(&replica.run, 20).await;
    assert_eq!(replica.kinds(), ["lines"], "the end does not follow");
    replica.run.adds_up();
}

/// Regression: only the answers to the oldest 10,000 ends were asked for. While a portal was away, an end of another
/// portal had its answer in the journal, and its caller waited until ten seconds after its deadline.
#[tokio::test(start_paused = true)]
async fn an_end_behind_ten_thousand_others_has_its_answer_as_soon() {
    let replica = Replica::new();
    let mut others = replica.ask_ends(20_500).await;
    pass(5.0).await;
    let answer = replica.run.ask_end(99_999, 600);
    pass(1.0).await;
    replica.disk.answer_newest_end(&Outcome::Accepted);
    let began = Instant::now();
    assert!(answer.await.unwrap().is_ok());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(others.iter_mut().all(|other| other.try_recv().is_err()), "the others wait");
    replica.disk.answer_ends(&Outcome::Accepted);
    pass(2.0).await;
    assert!(others.iter_mut().all(|other| matches!(other.try_recv(), Ok(Ok(_)))));
    assert_eq!(replica.portal.ends(), 0, "nothing is sent from here");
}

/// Ends that wait for a relay use the budget of bytes. What does not fit is refused at once, and nothing grows.
#[tokio::test(start_paused = true)]
async fn ends_that_no_relay_answers_are_bounded_by_the_budget() {
    let replica = Replica::with(|options| options.pending_bytes(1 << 20));
    let mut asked = replica.ask_ends(10_000).await;
    pass(5.0).await;
    let mut refused = 0;
    asked.retain_mut(|answer| match answer.try_recv() {
        Ok(told) => {
            assert_eq!(told, Err(CompleteError::Worker(WorkerError::Busy)));
            refused += 1;
            false
        }
        Err(_) => true,
    });
    assert!((500..5_000).contains(&asked.len()), "{} wait, {refused} are refused", asked.len());
    assert_eq!(replica.disk.unsettled_ends(), asked.len());
    replica.disk.answer_ends(&Outcome::Accepted);
    pass(2.0).await;
    assert!(asked.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Ok(_)))));
    // There is room again.
    let answer = replica.run.ask_end(10_001, 600);
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::Accepted);
    assert!(answer.await.unwrap().is_ok());
}

/// The relay has credentials for portals that this process cannot reach. If the relay does not send the end, either, the
/// caller gets the answer at once, and not two minutes later.
#[tokio::test(start_paused = true)]
async fn an_end_for_a_portal_of_the_relay_alone_is_not_tried_from_here() {
    let webhook = Webhook::new("https://b24.example/rest/1/code/").unwrap();
    let replica = Replica::with(|_| builder(webhook));
    let ask = |token: u32| {
        let (reply, answer) = oneshot::channel();
        let complete = Complete {
            event_token: super::tag(token).event_token.clone(),
            portal: Some("of the relay".into()),
            completion: Completion::new(),
            deadline: (Instant::now() + Duration::from_secs(10)).into_std(),
            reply,
        };
        replica.run.producer.control(Control::Complete(complete)).ok().unwrap();
        answer
    };
    let answer = ask(1);
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::Accepted);
    assert!(answer.await.unwrap().is_ok());
    let of_relay = replica.disk.unsettled_ends();
    let (answer, began) = (ask(2), Instant::now());
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::NotSent);
    assert_eq!(answer.await.unwrap(), Err(CompleteError::NoCredentials));
    let (answer, _) = (ask(3), pass(1.0).await);
    assert_eq!(answer.await.unwrap(), Err(CompleteError::NoCredentials));
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    pass(1.0).await;
    assert_eq!((replica.portal.ends(), replica.disk.unsettled_ends()), (0, of_relay));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_relay_could_not_send_is_sent_from_here_at_once() {
    let replica = Replica::new();
    let answer = replica.run.ask_end(1, 10);
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::NotSent);
    let began = Instant::now();
    answer.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(replica.portal.ends(), 1);
    replica.portal.answers(Answers::Away);
    let answer = replica.run.ask_end(2, 10);
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::NotSent);
    assert_eq!(answer.await.unwrap(), Err(CompleteError::NotSent));
    pass(1.0).await;
    assert_eq!(replica.disk.unsettled_ends(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_a_shutdown_ends_in_the_journal_are_the_relays_and_others_are_sent_from_here() {
    let replica = Replica::new();
    let appended = replica.run.ask_end(1, 60);
    pass(1.0).await;
    replica.away();
    let not_appended = replica.run.ask_end(2, 60);
    pass(1.0).await;
    let portal = replica.portal.clone();
    let began = Instant::now();
    let (report, _) = replica.run.close(8).await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(appended.await.unwrap(), Err(CompleteError::HandedOver));
    assert!(not_appended.await.unwrap().is_ok());
    assert_eq!(portal.ends(), 1);
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_flush_can_wait_until_a_relay_has_delivered_the_lines() {
    let replica = Replica::new();
    replica.run.log(1, "#1#");
    replica.run.log(2, "#2#");
    let report = replica.flush_delivered(Scope::All, 3).await;
    assert_eq!((report.handed_over(), report.pending(), report.stored()), (2, 2, 2), "{report}");
    assert_eq!(replica.kinds(), ["lines", "lines", "seal", "seal"], "a relay hurries");
    let disk = replica.disk.clone();
    tokio::spawn(async move {
        pass(4.0).await;
        disk.settle_all();
    });
    let began = Instant::now();
    let scope = Scope::Token(replica.run.tag(1).event_token.clone());
    let report = replica.flush_delivered(scope, 30).await;
    let took = began.elapsed().as_secs_f64();
    assert!(report.is_complete() && (4.0..5.1).contains(&took), "{report} after {took}");
    assert_eq!(replica.kinds().len(), 4, "nothing was logged since");
}

/// Regression: the journal was asked once in a second for a year, and every other flush waited for its turn.
#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_a_flush_that_nobody_waits_for_any_more() {
    let replica = Replica::new();
    replica.run.log(1, "#1#");
    let for_ever = 365 * 86_400;
    let limit = Duration::from_secs(10);
    let flush = replica.flush_delivered(Scope::All, for_ever);
    assert!(tokio::time::timeout(limit, flush).await.is_err());
    pass(2.0).await;
    let asked = replica.disk.asked();
    assert!(asked > 5, "{asked}");
    pass(60.0).await;
    assert_eq!(replica.disk.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_span_that_closes_seals_its_lines_once() {
    let replica = Replica::new();
    replica.run.log(1, "#1#");
    for _ in 0..2 {
        replica.run.producer.span_closed(replica.run.tag(1));
        pass(1.0).await;
    }
    assert_eq!(replica.kinds(), ["lines", "seal"]);
    replica.run.log(1, "#2#");
    replica.run.producer.span_closed(replica.run.tag(1));
    pass(1.0).await;
    assert_eq!(replica.kinds(), ["lines", "seal", "lines", "seal"]);
}

#[tokio::test(start_paused = true)]
async fn chunks_say_how_another_process_writes_them() {
    let replica = Replica::with(|options| {
        options.wording(Language::Russian).line_time(LineTime::Utc).line_prefix("shop: ")
    });
    let tag = replica.run.tag(1);
    let waits_until = (Instant::now() + Duration::from_secs(60)).into_std();
    let (event_token, portal) = (tag.event_token.clone(), tag.portal.clone());
    let expect = Expect { event_token, portal, waits_until };
    assert!(replica.run.producer.control(Control::Expect(expect)).is_ok());
    replica.run.log(1, "#1#");
    replica.run.log(2, "#2#");
    pass(1.0).await;
    let abouts: Vec<_> =
        replica.disk.chunks().into_iter().filter_map(|chunk| chunk.about).collect();
    assert_eq!(abouts.len(), 2);
    for about in &abouts {
        assert_eq!((about.language, about.line_time), (Language::Russian, LineTime::Utc));
        assert_eq!(about.line_prefix, "shop: ");
    }
    let left = abouts[0].waits_until.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(61), "{left:?}");
    assert_eq!(abouts[1].waits_until, None);
    let body = &replica.disk.stored()[0];
    assert_eq!(body, "#1#", "time, prefix and mark are not part of it");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_app_is_refused() {
    let replica = Replica::new();
    let (method, body) = call::request("crm.deal.list", "{}").unwrap();
    let (reply, answer) = oneshot::channel();
    let deadline = (Instant::now() + Duration::from_secs(5)).into_std();
    let call = Call { by: Caller::App, portal: None, method, body, deadline, reply };
    assert!(replica.run.producer.control(Control::Call(call)).is_ok());
    assert_eq!(answer.await.unwrap().unwrap_err(), CallError::Publishes);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_longer_than_it_was_charged_for_is_counted() {
    let replica = Replica::new();
    let mut line = LogLine::saying(&replica.run.tag(1), &"#1# ".repeat(2_000));
    line.at = SystemTime::now();
    assert!(replica.run.producer.offer(line).is_ok());
    pass(1.0).await;
    assert_eq!(replica.run.stats().handed_over(), 1);
    assert_eq!(replica.run.producer.pending(), 0);
    replica.run.adds_up();
}

/// A journal of this machine, and one that relays read.
struct ByWay {
    near: Disk,
    far: Disk,
    portal: Portal,
}

impl ByWay {
    fn new() -> ByWay {
        ByWay { near: Disk::new(), far: Disk::new(), portal: Portal::default() }
    }

    fn run(&self) -> Run {
        self.run_with(options())
    }

    fn run_with(&self, options: Builder) -> Run {
        let kept = kept::keeping(&self.near);
        Run::with(&self.portal, options.keeping(kept).publish_to(self.far.open()))
    }

    /// The far journal is away, and the spool gives up two of four lines.
    async fn run_with_evictions(&self) -> Run {
        self.far_is_away();
        let run = self.run();
        for n in 0..4 {
            run.log(n, &format!("#{n}#"));
            pass(1.0).await;
        }
        self.near.evict();
        self.near.evict();
        run
    }

    fn far_is_away(&self) {
        self.far.fail(Faults {
            full: true,
            unreadable: true,
            unmarkable: true,
            ..Faults::default()
        });
    }

    fn far_is_back(&self) {
        self.far.fail(Faults::default());
    }

    /// The lines in the far journal, and which of them may be there twice.
    fn far(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut all, mut tried) = (Vec::new(), Vec::new());
        for chunk in self.far.chunks() {
            let Content::Lines(lines) = &chunk.content else { continue };
            all.extend(lines.iter().map(|line| number(&line.body)));
            let doubtful = lines.iter().filter(|line| line.tried);
            tried.extend(doubtful.map(|line| number(&line.body)));
        }
        (all, tried)
    }
}

#[tokio::test(start_paused = true)]
async fn by_way_of_a_spool_lines_are_handed_over_in_order_and_leave_it() {
    let by_way = ByWay::new();
    let run = by_way.run();
    for n in 0..500 {
        run.log(n % 7, &format!("#{n}#"));
        if n % 100 == 0 {
            pass(0.1).await;
        }
    }
    let report = run.flush(5).await;
    assert!(report.handed_over() > 0 && report.is_complete(), "{report}");
    let (far, tried) = by_way.far();
    assert_eq!((far.len(), tried.len(), by_way.near.unsettled()), (500, 0, 0));
    for token in 0..7 {
        let of_token: Vec<u32> = far.iter().copied().filter(|n| n % 7 == token).collect();
        assert!(of_token.is_sorted(), "{of_token:?}");
    }
    assert_eq!(run.stats().handed_over(), 500);
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn by_way_of_a_spool_lines_leave_memory_while_the_relays_journal_is_away() {
    let by_way = ByWay::new();
    by_way.far_is_away();
    let run = by_way.run_with(options().pending_lines(100));
    for n in 0..1_000 {
        run.log(n % 3, &format!("#{n}#"));
        if n % 50 == 0 {
            pass(0.2).await;
        }
    }
    pass(1.0).await;
    let stats = run.stats();
    assert_eq!(
        (stats.accepted(), stats.pending(), stats.handed_over()),
        (1_000, 1_000, 0),
        "{stats}"
    );
    let report = run.flush(1).await;
    assert_eq!((report.pending(), report.stored()), (1_000, 1_000), "{report}");
    by_way.far_is_back();
    settled(&run, 20).await;
    assert_eq!((run.stats().handed_over(), by_way.near.unsettled()), (1_000, 0));
    let (far, tried) = by_way.far();
    assert_eq!((far.len(), tried.len()), (1_000, 0));
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_run_had_in_its_spool_is_published_by_the_next() {
    let by_way = ByWay::new();
    by_way.far_is_away();
    let run = by_way.run();
    run.log(1, "#1#");
    pass(1.0).await;
    // The batch with the first line is on its way, as far as anybody knows.
    for n in 2..50 {
        run.log(n % 3, &format!("#{n}#"));
    }
    run.complete(1, 3_600);
    pass(1.0).await;
    run.kill().await;
    by_way.far_is_back();
    let run = by_way.run();
    pass(5.0).await;
    let stats = run.stats();
    assert_eq!((stats.recovered(), stats.handed_over(), stats.pending()), (49, 49, 0), "{stats}");
    let (mut far, tried) = by_way.far();
    far.sort_unstable();
    assert_eq!(far, (1..50).collect::<Vec<u32>>());
    assert_eq!(tried, [1], "only this one may be there already");
    assert_eq!((by_way.near.unsettled(), by_way.near.unsettled_ends()), (0, 0));
    assert_eq!(by_way.far.unsettled_ends(), 1);
    assert!(by_way.far.chunks().iter().all(|chunk| chunk.about.is_some()));
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_fails_does_not_stop_publishing() {
    let by_way = ByWay::new();
    let run = by_way.run();
    run.log(1, "#1#");
    pass(1.0).await;
    // What it stores, it says not to have stored: that must not be published twice.
    by_way.near.fail(Faults { lies: true, ..Faults::default() });
    for n in 2..5 {
        run.log(1, &format!("#{n}#"));
        pass(1.0).await;
    }
    settled(&run, 20).await;
    assert_eq!(by_way.far().0, (1..5).collect::<Vec<u32>>());
    by_way.near.fail(Faults {
        full: true,
        unmarkable: true,
        unreadable: true,
        ..Faults::default()
    });
    for n in 5..20 {
        run.log(1, &format!("#{n}#"));
        pass(1.0).await;
    }
    settled(&run, 20).await;
    assert_eq!(by_way.far().0, (1..20).collect::<Vec<u32>>());
    by_way.near.fail(Faults::default());
    run.log(1, "#20#");
    settled(&run, 20).await;
    assert_eq!(by_way.far().0, (1..21).collect::<Vec<u32>>());
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_lines_in_the_spool_that_the_relays_journal_did_not_take() {
    let by_way = ByWay::new();
    by_way.far_is_away();
    let run = by_way.run();
    for n in 0..50 {
        run.log(1, &format!("#{n}#"));
    }
    let (report, stats) = run.close(3).await;
    assert_eq!((report.pending(), report.stored(), report.lost()), (50, 50, 0), "{report}");
    assert_eq!((stats.pending(), stats.lost()), (50, 0), "{stats}");
    by_way.far_is_back();
    let run = by_way.run();
    let (_, stats) = run.close(5).await;
    assert_eq!((stats.recovered(), stats.handed_over()), (50, 50), "{stats}");
    assert_eq!(by_way.far().0.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_an_end_in_the_spool_that_could_not_be_sent() {
    let by_way = ByWay::new();
    by_way.far_is_away();
    by_way.portal.answers(Answers::Away);
    let run = by_way.run();
    let answer = run.ask_end(1, 3_600);
    pass(1.0).await;
    let (report, _) = run.close(4).await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(answer.await.unwrap(), Err(CompleteError::OnDisk));
    assert_eq!(by_way.near.unsettled_ends(), 1);
    by_way.far_is_back();
    let run = by_way.run();
    pass(1.0).await;
    assert_eq!((by_way.near.unsettled_ends(), by_way.far.unsettled_ends()), (0, 1));
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn lines_that_the_spool_has_given_up_are_counted_and_mentioned() {
    let by_way = ByWay::new();
    let run = by_way.run_with_evictions().await;
    run.log(9, "#9#");
    pass(1.0).await;
    by_way.far_is_back();
    settled(&run, 20).await;
    let stats = run.stats();
    let lost = stats.by_reason(DropReason::SpoolFull);
    assert_eq!((lost + stats.handed_over(), stats.pending()), (5, 0), "{stats}");
    // The first one was on its way, and has arrived.
    assert_eq!((lost, by_way.far().0.len()), (1, 4), "{:?}", by_way.far());
    let missed: u64 = by_way.far.chunks().iter().filter_map(missed_lines).sum();
    assert_eq!(missed, 1);
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn by_way_of_a_spool_an_end_is_answered_or_sent_from_here() {
    let by_way = ByWay::new();
    let run = by_way.run();
    run.log(1, "#1#");
    let answer = run.ask_end(1, 10);
    pass(1.0).await;
    by_way.far.answer_ends(&Outcome::Accepted);
    assert_eq!(answer.await.unwrap().unwrap().handed_over(), 1);
    by_way.far_is_away();
    run.log(2, "#2#");
    let began = Instant::now();
    let report = run.ask_end(2, 10).await.unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((10.0..11.0).contains(&took), "{took}");
    assert_eq!((by_way.portal.ends(), report.pending()), (1, 1), "{report}");
    pass(1.0).await;
    by_way.far_is_back();
    settled(&run, 20).await;
    pass(1.0).await;
    assert_eq!(
        (by_way.near.unsettled_ends(), by_way.far.unsettled_ends()),
        (0, 1),
        "only the first"
    );
    run.adds_up();
}

#[tokio::test(start_paused = true)]
async fn lines_that_vanish_from_the_spool_are_counted_and_no_flush_waits_for_them() {
    let by_way = ByWay::new();
    by_way.far_is_away();
    let run = by_way.run();
    for n in 1..6 {
        run.log(1, &format!("#{n}#"));
        pass(1.0).await;
    }
    let flush = run.flush(60);
    let lose = async {
        pass(1.0).await;
        by_way.near.settle_all();
        by_way.far_is_back();
    };
    let began = Instant::now();
    let (report, ()) = tokio::join!(flush, lose);
    assert!(began.elapsed() < Duration::from_secs(10), "{report}");
    let damaged = run.stats().by_reason(DropReason::SpoolDamaged);
    assert_eq!((damaged, run.stats().handed_over(), run.stats().pending()), (4, 1, 0));
    run.log(1, "#6#");
    assert_eq!(run.flush(5).await.handed_over(), 1);
    run.adds_up();
}

/// Regression: each end that was appended put the next question off, so that none was asked as long as ends came one
/// after the other.
#[tokio::test(start_paused = true)]
async fn callers_get_their_answers_while_further_ends_are_appended() {
    let replica = Replica::new();
    let mut slowest = 0.0_f64;
    let mut waiting = Vec::new();
    for n in 0..1_000 {
        waiting.push((Instant::now(), replica.run.ask_end(n, 60)));
        pass(0.02).await;
        replica.disk.answer_ends(&Outcome::Accepted);
        waiting.retain_mut(|(asked, answer)| {
            let is_open = answer.try_recv().is_err();
            slowest = slowest.max(asked.elapsed().as_secs_f64());
            is_open
        });
    }
    assert!(slowest < 1.0, "{slowest} s, {} open", waiting.len());
}

/// Regression: the caller was told that nobody would send the end, and it was taken out of the journal.
#[tokio::test(start_paused = true)]
async fn at_a_shutdown_an_end_in_the_journal_is_the_relays_also_if_this_process_has_tried_it() {
    let replica = Replica::new();
    replica.portal.answers(Answers::Away);
    let answer = replica.run.ask_end(1, 5);
    // Five seconds until its deadline, and ten for a relay.
    pass(20.0).await;
    assert_eq!(replica.disk.unsettled_ends(), 1);
    let disk = replica.disk.clone();
    replica.run.close(3).await;
    pass(1.0).await;
    assert_eq!(answer.await.unwrap(), Err(CompleteError::HandedOver));
    assert_eq!(disk.unsettled_ends(), 1);

    // Where a relay has tried it in vain, nobody sends it.
    let replica = Replica::new();
    replica.portal.answers(Answers::Away);
    let answer = replica.run.ask_end(1, 5);
    pass(1.0).await;
    replica.disk.answer_ends(&Outcome::NotSent);
    pass(1.0).await;
    replica.run.close(3).await;
    assert_eq!(answer.await.unwrap(), Err(CompleteError::NotSent));
}
/// Regression: where the journal did not answer, lines that were appended before the flush counted as delivered.
#[tokio::test(start_paused = true)]
async fn a_flush_that_is_not_answered_does_not_say_that_all_is_delivered() {
    let replica = Replica::new();
    replica.run.log(1, "#1#");
    replica.run.log(2, "#2#");
    assert_eq!(replica.run.flush(5).await.handed_over(), 2);
    replica.disk.fail(Faults { hangs: true, ..Faults::default() });
    let report = replica.flush_delivered(Scope::All, 3).await;
    assert_eq!((report.pending(), report.stored()), (2, 2), "{report}");
    let scope = Scope::Token(replica.run.tag(1).event_token.clone());
    let report = replica.flush_delivered(scope, 3).await;
    assert_eq!((report.pending(), report.stored()), (1, 1), "{report}");
    // What was settled before is not counted again.
    replica.back();
    replica.disk.settle_all();
    assert!(replica.flush_delivered(Scope::All, 5).await.is_complete());
    replica.run.log(3, "#3#");
    assert_eq!(replica.run.flush(5).await.handed_over(), 1);
    replica.disk.fail(Faults { hangs: true, ..Faults::default() });
    let report = replica.flush_delivered(Scope::All, 3).await;
    assert_eq!((report.pending(), report.stored()), (1, 1), "{report}");
}
