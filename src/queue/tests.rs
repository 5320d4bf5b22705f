#![expect(clippy::disallowed_methods, reason = "deadlines of real waits")]

use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::*;

const ROOMY: Limits = Limits {
    queue: 1_000,
    lines: 1_000,
    bytes: 1 << 20,
    overflow: Overflow::DropNewest,
    token_share: 1.0,
};

fn tag(producer: &Producer) -> Arc<Tag> {
    producer.tag(EventToken::parse("5e.1|A|1.ff").unwrap(), None, 0)
}

fn offer(producer: &Producer, tag: &Arc<Tag>) -> Result<(), DropReason> {
    producer.offer(LogLine::saying(tag, "x"))
}

fn take_all(consumer: &mut Consumer) -> (u64, u64, u64) {
    let (mut lines, mut closes, mut controls) = (0, 0, 0);
    while let Some(message) = consumer.try_take() {
        match message {
            Message::Line(_) | Message::Scarce(_) => lines += 1,
            Message::SpanClosed(_) => closes += 1,
            Message::Control(_) => controls += 1,
        }
    }
    (lines, closes, controls)
}

/// Whether the worker was woken since the last check.
fn is_rung(consumer: &Consumer) -> bool {
    pin!(consumer.bell()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

fn flush() -> Control {
    let (reply, _) = oneshot::channel();
    Control::Flush(Flush { scope: Scope::All, deadline: Instant::now(), reply })
}

/// Regression: a flush that was sent while the worker wrote its last reports waited for its whole timeout.
/// Cause: messages stay in a channel without a receiver as long as there are senders.
#[test]
fn callers_that_wait_get_an_error_at_once_when_the_worker_ends() {
    let (producer, consumer) = queue(ROOMY);
    let (reply, mut answer) = oneshot::channel();
    let deadline = Instant::now();
    producer
        .control(Control::Flush(Flush { scope: Scope::All, deadline, reply }))
        .unwrap_or_else(|_| panic!("there is room"));
    drop(consumer);
    assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[test]
fn a_full_queue_refuses_exactly_what_does_not_fit() {
    let (producer, mut consumer) = queue(Limits { queue: 10, ..ROOMY });
    let tag = tag(&producer);
    let accepted = (0..25).filter(|_| offer(&producer, &tag).is_ok()).count();
    assert_eq!((accepted, producer.accepted()), (10, 10));
    assert_eq!(producer.refused(DropReason::QueueFull), 15);
    assert_eq!(tag.take_refused().map(|missed| missed.lines), Some(15));
    assert!(!producer.admits(&tag), "no line is packed in vain");
    assert_eq!(producer.refused(DropReason::QueueFull), 16);
    assert_eq!(take_all(&mut consumer), (10, 0, 0));
    assert!(producer.admits(&tag));
    assert_eq!(offer(&producer, &tag), Ok(()));
    assert_eq!(producer.pending(), 11);
}

#[test]
fn the_budget_is_charged_until_a_line_is_settled() {
    let (producer, mut consumer) = queue(Limits { lines: 3, ..ROOMY });
    let tag = tag(&producer);
    for _ in 0..3 {
        offer(&producer, &tag).unwrap();
    }
    take_all(&mut consumer);
    assert_eq!(offer(&producer, &tag), Err(DropReason::BudgetSpent), "taken is not settled");
    consumer.release(2, 2 * LogLine::saying(&tag, "x").bytes() as u64);
    assert_eq!(offer(&producer, &tag), Ok(()));
    assert_eq!(producer.pending(), 2);
    assert_eq!(producer.refused(DropReason::BudgetSpent), 1);
}

#[test]
fn bytes_are_budgeted_like_lines() {
    let line = LogLine::saying(&Tag::detached("t", None), "x").bytes();
    let (producer, consumer) = queue(Limits { bytes: 3 * line, ..ROOMY });
    let tag = tag(&producer);
    let accepted = (0..5).filter(|_| offer(&producer, &tag).is_ok()).count();
    assert_eq!(accepted, 3);
    assert_eq!(producer.refused(DropReason::BudgetSpent), 2);
    consumer.release(1, line as u64);
    assert_eq!(offer(&producer, &tag), Ok(()));
}

#[test]
fn drop_oldest_accepts_lines_above_the_budget_up_to_the_queue() {
    let limits = Limits { queue: 8, lines: 3, overflow: Overflow::DropOldest, ..ROOMY };
    let (producer, mut consumer) = queue(limits);
    let tag = tag(&producer);
    for _ in 0..8 {
        offer(&producer, &tag).unwrap();
    }
    assert_eq!(offer(&producer, &tag), Err(DropReason::QueueFull));
    take_all(&mut consumer);
    consumer.release(5, 0);
    assert_eq!(producer.pending(), 3);
}

#[test]
fn blocking_ends_when_room_is_made() {
    let patient = Overflow::Block(Duration::from_secs(60));
    let (producer, mut consumer) = queue(Limits { queue: 1, overflow: patient, ..ROOMY });
    let tag = tag(&producer);
    offer(&producer, &tag).unwrap();
    let caller = {
        let (producer, tag) = (producer.clone(), tag.clone());
        thread::spawn(move || offer(&producer, &tag))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut taken = 0;
    while taken < 2 && Instant::now() < deadline {
        taken += take_all(&mut consumer).0;
        thread::yield_now();
    }
    assert_eq!(caller.join().unwrap(), Ok(()));
    assert_eq!(taken, 2);
    assert_eq!(producer.refused(DropReason::QueueFull), 0);
}

#[test]
fn blocking_ends_at_its_deadline_and_when_the_worker_goes() {
    let limits = |patience| Limits { queue: 1, overflow: Overflow::Block(patience), ..ROOMY };
    let (producer, _consumer) = queue(limits(Duration::from_millis(1)));
    let tag1 = tag(&producer);
    offer(&producer, &tag1).unwrap();
    assert_eq!(offer(&producer, &tag1), Err(DropReason::QueueFull));

    let (producer, consumer) = queue(limits(Duration::from_secs(60)));
    let tag2 = tag(&producer);
    offer(&producer, &tag2).unwrap();
    let caller = thread::spawn(move || offer(&producer, &tag2));
    drop(consumer);
    assert_eq!(caller.join().unwrap(), Err(DropReason::Closed));
}

#[test]
fn on_the_workers_own_thread_overflow_block_does_not_wait() {
    let patient = Overflow::Block(Duration::from_secs(60));
    let (producer, _consumer) = queue(Limits { queue: 0, overflow: patient, ..ROOMY });
    let worker = thread::spawn(move || {
        mark_worker_thread();
        offer(&producer, &tag(&producer))
    });
    assert_eq!(worker.join().unwrap(), Err(DropReason::QueueFull));
}

#[test]
fn a_closed_or_abandoned_queue_refuses_and_never_hangs() {
    let (producer, mut consumer) = queue(ROOMY);
    let tag = tag(&producer);
    offer(&producer, &tag).unwrap();
    consumer.close();
    assert_eq!(offer(&producer, &tag), Err(DropReason::Closed));
    assert!(!consumer.is_drained());
    assert_eq!(take_all(&mut consumer), (1, 0, 0));
    assert!(consumer.is_drained());
    drop(consumer);
    assert!(producer.is_closed());
    assert_eq!(offer(&producer, &tag), Err(DropReason::Closed));
    producer.span_closed(tag.clone());
    assert!(producer.control(flush()).is_err());
    assert_eq!((producer.accepted(), producer.refused(DropReason::Closed)), (1, 2));
}

#[test]
fn a_flush_finds_room_in_a_full_queue_and_rings() {
    let (producer, mut consumer) = queue(Limits { queue: 4, ..ROOMY });
    let tag = tag(&producer);
    while offer(&producer, &tag).is_ok() {}
    assert!(is_rung(&consumer));
    producer.span_closed(tag.clone());
    for _ in 0..1_000 {
        assert!(producer.control(flush()).is_ok());
    }
    assert!(is_rung(&consumer));
    assert_eq!(take_all(&mut consumer), (4, 1, 1_000));
}

#[test]
fn the_bell_rings_once_at_half_full_and_again_after_it_was_heard() {
    let (producer, mut consumer) = queue(Limits { queue: 10, ..ROOMY });
    let tag = tag(&producer);
    for _ in 0..4 {
        offer(&producer, &tag).unwrap();
    }
    assert!(!is_rung(&consumer), "a push wakes nobody");
    offer(&producer, &tag).unwrap();
    offer(&producer, &tag).unwrap();
    assert!(is_rung(&consumer));
    assert!(!is_rung(&consumer));
    take_all(&mut consumer);
    for _ in 0..5 {
        offer(&producer, &tag).unwrap();
    }
    assert!(is_rung(&consumer));
}

#[test]
fn only_spans_that_logged_send_their_close_to_the_worker() {
    let (producer, mut consumer) = queue(ROOMY);
    let (silent, loud) = (tag(&producer), tag(&producer));
    offer(&producer, &loud).unwrap();
    producer.span_closed(silent);
    producer.span_closed(loud);
    assert_eq!(take_all(&mut consumer), (1, 1, 0));
}

#[test]
fn the_worker_parks_only_while_nothing_is_alive_and_the_first_tag_wakes_it() {
    let (producer, consumer) = queue(ROOMY);
    let first = tag(&producer);
    assert!(consumer.park().is_none());
    assert!(!is_rung(&consumer));
    drop(first);
    assert!(!consumer.lines_may_come());
    let parked = consumer.park().unwrap();
    let second = tag(&producer);
    assert!(is_rung(&consumer));
    drop(parked);
    let _third = tag(&producer);
    assert!(!is_rung(&consumer), "an awake worker is not woken");
    drop(second);
}

#[test]
fn parking_and_the_first_tag_never_miss_each_other() {
    for _ in 0..2_000 {
        let (producer, consumer) = queue(ROOMY);
        let start = Barrier::new(2);
        let _tag = thread::scope(|scope| {
            let caller = scope.spawn(|| {
                start.wait();
                tag(&producer)
            });
            start.wait();
            let parked = consumer.park();
            let tag = caller.join().unwrap();
            assert!(parked.is_none() || is_rung(&consumer));
            tag
        });
    }
}

#[test]
fn many_threads_at_once_never_exceed_the_limits() {
    const CALLERS: usize = 24;
    const EACH: usize = 1_000;
    let line = LogLine::saying(&Tag::detached("t", None), "x").bytes();
    // Far above what is charged between two checks, so that most lines are accepted without one.
    for limits in [
        Limits { queue: 5_000, lines: 20_000, bytes: 1 << 30, ..ROOMY },
        Limits { queue: 20_000, lines: 5_000, bytes: 1 << 30, ..ROOMY },
        Limits { queue: 20_000, lines: 20_000, bytes: 5_000 * line, ..ROOMY },
    ] {
        let (producer, mut consumer) = queue(limits);
        let start = Barrier::new(CALLERS);
        let accepted: usize = thread::scope(|scope| {
            let call = || {
                let tag = tag(&producer);
                start.wait();
                (0..EACH).filter(|_| offer(&producer, &tag).is_ok()).count()
            };
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        // A line that is being refused counts for a moment, so others may be refused, too.
        assert!((5_000 - CALLERS..=5_000).contains(&accepted), "{accepted} of {limits:?}");
        assert!(producer.0.signals.tight.load(Relaxed));
        assert_eq!(take_all(&mut consumer).0, accepted as u64);
        consumer.release(accepted as u64, (accepted * line) as u64);
        assert!(!producer.0.signals.tight.load(Relaxed), "the worker made room");
    }
}

#[test]
fn lines_are_conserved_while_callers_race_with_a_close() {
    const CALLERS: usize = 4;
    const EACH: usize = 2_000;
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let limits = Limits { queue: 64, lines: 96, overflow, ..ROOMY };
        let (producer, mut consumer) = queue(limits);
        let start = Barrier::new(CALLERS + 1);
        let (accepted, taken) = thread::scope(|scope| {
            let call = || {
                let tag = tag(&producer);
                start.wait();
                (0..EACH).filter(|_| offer(&producer, &tag).is_ok()).count() as u64
            };
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
            start.wait();
            let mut taken = 0;
            while taken < 500 && callers.iter().any(|caller| !caller.is_finished()) {
                if let Some(Message::Line(line)) = consumer.try_take() {
                    taken += 1;
                    consumer.release(1, line.bytes() as u64);
                }
            }
            consumer.close();
            while !consumer.is_drained() {
                let lines = take_all(&mut consumer).0;
                taken += lines;
                consumer.release(lines, 0);
            }
            let accepted: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
            (accepted, taken)
        });
        let refused: u64 = DropReason::ALL.iter().map(|reason| producer.refused(*reason)).sum();
        assert_eq!((accepted, producer.accepted(), producer.pending()), (taken, taken, 0));
        assert_eq!(accepted + refused, (CALLERS * EACH) as u64);
    }
}

#[test]
fn unusable_tokens_are_counted_by_reason_and_ring_once_each() {
    let (producer, consumer) = queue(ROOMY);
    producer.note_unusable(InvalidEventToken::Empty);
    assert!(is_rung(&consumer));
    producer.note_unusable(InvalidEventToken::Empty);
    assert!(!is_rung(&consumer));
    producer.note_unusable(InvalidEventToken::Redacted);
    assert!(is_rung(&consumer));
    let counts: Vec<_> = consumer.unusable_tokens().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [(InvalidEventToken::Empty, 2), (InvalidEventToken::Redacted, 1)]);
    assert_eq!(producer.unusable_tokens(), 3);
}

/// Otherwise its log would not mention the refused lines.
#[test]
fn a_close_without_room_is_kept_outside_of_the_channel_if_lines_were_lost() {
    let (producer, mut consumer) = queue(Limits { queue: 4, ..ROOMY });
    let first = tag(&producer);
    while offer(&producer, &first).is_ok() {}
    let spans: Vec<_> = (0..2_000).map(|_| tag(&producer)).collect();
    let silent: Vec<_> = (0..10).map(|_| tag(&producer)).collect();
    for tag in &spans {
        assert!(offer(&producer, tag).is_err());
    }
    for tag in silent.into_iter().chain(spans) {
        producer.span_closed(tag);
    }
    let (mut lines, mut told) = (0, 0);
    while let Some(message) = consumer.try_take() {
        match message {
            Message::SpanClosed(tag) => told += tag.take_refused().map_or(0, |missed| missed.lines),
            _ => lines += 1,
        }
    }
    assert_eq!((lines, told), (4, 2_000));
    assert!(consumer.try_take().is_none());
}

/// Regression: while a loop logged, others lost three quarters of their lines.
#[test]
fn a_token_that_logs_much_leaves_room_for_others() {
    let line = LogLine::saying(&Tag::detached("t", None), "x").bytes();
    let enough = Limits { queue: 100_000, lines: 100_000, bytes: 1 << 30, ..ROOMY };
    for limits in [
        Limits { queue: 8_000, ..enough },
        Limits { lines: 8_000, ..enough },
        Limits { bytes: 8_000 * line, ..enough },
        Limits { queue: 8_000, overflow: Overflow::DropOldest, ..enough },
        Limits { lines: 8_000, overflow: Overflow::Block(Duration::ZERO), ..enough },
    ] {
        let (producer, mut consumer) = queue(Limits { token_share: 0.75, ..limits });
        let shares = consumer.shares();
        let named =
            |n: u32| producer.tag(EventToken::parse(&format!("5e.{n}|A|1.ff")).unwrap(), None, 0);
        let (loud, quiet): (_, Vec<_>) = (named(0), (1..=50).map(named).collect());
        let mut held = Vec::new();
        for round in 0..10 {
            for _ in 0..4_000 {
                let _refused = offer(&producer, &loud);
            }
            for tag in &quiet {
                assert_eq!(offer(&producer, tag), Ok(()), "round {round} of {limits:?}");
            }
            if round % 3 == 2 {
                // The worker receives them and keeps them: nothing is settled.
                while let Some(Message::Line(line)) = consumer.try_take() {
                    shares.hold(line.tag.fingerprint(), 1, line.bytes() as u64);
                    held.push(line);
                }
            }
        }
        assert!(producer.refused(DropReason::TokenShare) > 0);
        assert_eq!(producer.refused(DropReason::QueueFull), 0);
        assert_eq!(producer.refused(DropReason::BudgetSpent), 0);
        let of_loud = producer.accepted() - 500;
        assert!(of_loud >= 5_500, "a loud token that is alone has its share: {of_loud}");

        // Everything is settled, and the token that logs much may go on.
        while let Some(Message::Line(line)) = consumer.try_take() {
            shares.hold(line.tag.fingerprint(), 1, line.bytes() as u64);
            held.push(line);
        }
        for line in held {
            shares.settle(line.tag.fingerprint(), 1, line.bytes() as u64);
            consumer.release(1, line.bytes() as u64);
        }
        assert_eq!(offer(&producer, &loud), Ok(()));
        assert!(!producer.0.signals.tight.load(Relaxed));
    }
}

/// Regression: a flush after the worker's last check waited for its whole timeout.
#[test]
fn requests_during_the_end_of_the_worker_get_an_error() {
    for _ in 0..2_000 {
        let (producer, consumer) = queue(ROOMY);
        let both = Arc::new(Barrier::new(2));
        let go = both.clone();
        let worker = thread::spawn(move || {
            go.wait();
            drop(consumer);
        });
        let (reply, mut answer) = oneshot::channel();
        let flush = Flush { scope: Scope::All, deadline: Instant::now(), reply };
        both.wait();
        drop(producer.control(Control::Flush(flush)));
        worker.join().unwrap();
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}

#[test]
fn counts_per_token_return_to_zero_after_a_race() {
    const CALLERS: u32 = 4;
    let limits = Limits { queue: 1_500, lines: 3_000, token_share: 0.5, ..ROOMY };
    let (producer, mut consumer) = queue(limits);
    let shares = consumer.shares();
    let tags: Vec<_> = (0..CALLERS)
        .map(|n| producer.tag(EventToken::parse(&format!("5e.{n}|A|1.ff")).unwrap(), None, 0))
        .collect();
    let mut held = std::collections::VecDeque::new();
    let start = Barrier::new(CALLERS as usize + 1);
    thread::scope(|scope| {
        let call = |tag| {
            let (producer, start) = (&producer, &start);
            move || {
                start.wait();
                (0..20_000).filter(|_| offer(producer, tag).is_ok()).count()
            }
        };
        let callers: Vec<_> = tags.iter().map(|tag| scope.spawn(call(tag))).collect();
        start.wait();
        while callers.iter().any(|caller| !caller.is_finished()) || consumer.len() > 0 {
            if let Some(Message::Line(line)) = consumer.try_take() {
                shares.hold(line.tag.fingerprint(), 1, line.bytes() as u64);
                held.push_back(line);
            }
            if held.len() > 2_000 {
                let line: LogLine = held.pop_front().unwrap();
                shares.settle(line.tag.fingerprint(), 1, line.bytes() as u64);
                consumer.release(1, line.bytes() as u64);
            }
        }
    });
    for line in held {
        shares.settle(line.tag.fingerprint(), 1, line.bytes() as u64);
        consumer.release(1, line.bytes() as u64);
    }
    for tag in &tags {
        assert_eq!(shares.held(tag.fingerprint()), Load::default());
        assert_eq!(shares.queued(tag.fingerprint()), Load::default());
    }
    assert_eq!(producer.pending(), 0);
}
