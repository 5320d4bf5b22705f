//! Any memos of a portal, as the database returns them to the next owner.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::auth::Webhook;
use crate::builder::{Parts, builder};
use crate::journal::desk::Said;
use crate::journal::{Chunk, Content, Memo, Position, Publisher, Read, StoredLine};
use crate::line::EventToken;
use crate::protocol::Reply;
use crate::worker::budgets::memo_key;
use crate::worker::engine::Step;
use crate::worker::memo::{Clocks, Reader};
use crate::worker::outbox::Outbox;

/// See [`memos`](super::memos).
pub(super) fn adopt(data: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
    let now = Instant::now();
    // The times in the corpus are around this one.
    let wall = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let first = send_with(memos_in(data), Clocks { now, wall });
    let second = send_with(first.memos.clone(), first.clocks);
    let expected = first.entries().saturating_add(LINES).min(u32::MAX.into());
    assert_eq!(second.entries(), expected, "the next owner goes on with the budget");
}

/// Memos, one after the other: a byte for the key, two bytes for the length, and the contents.
fn memos_in(mut data: &[u8]) -> Vec<Memo> {
    let mut memos = Vec::new();
    while let [key, low, high, rest @ ..] = data {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (value, rest) = rest.split_at(length.min(rest.len()));
        let key = match key {
            1 => memo_key(WORKFLOW),
            other => u128::from(*other),
        };
        memos.push(Memo { key, value: value.to_vec() });
        data = rest;
    }
    memos
}

/// What an owner has left: its memos, and when it wrote them.
struct Left {
    memos: Vec<Memo>,
    clocks: Clocks,
    /// How long its first line has waited.
    #[cfg(test)]
    waited: Duration,
}

impl Left {
    /// How many entries of the workflow were sent so far.
    fn entries(&self) -> u64 {
        let memo = self.memos.iter().find(|memo| memo.key == memo_key(WORKFLOW));
        let memo = memo.expect("an entry was sent");
        let mut memo = Reader::new(1, &memo.value, self.clocks).expect("the form of this version");
        let (_first, _last) = (memo.time(), memo.time());
        memo.number().expect("the number of entries")
    }
}

/// Sends lines of a portal that has these memos. Each is an entry of its own.
fn send_with(memos: Vec<Memo>, Clocks { now: start, wall }: Clocks) -> Left {
    let webhook = Webhook::new("https://b24.example/rest/1/code/").expect("it is one");
    // The queue must not be closed.
    let Parts { mut engine, producer: _producer, consumer: _consumer, .. } =
        builder(webhook).parts(1);
    engine.keep(Outbox::new(Publisher(1), Duration::from_secs(1), 1 << 20), start);
    engine.deliver();
    engine.set_clock(start, wall);
    let mut memos = Some(memos);
    let (mut now, mut sent_at, mut left) = (start, Vec::new(), Vec::new());
    for no in 1..=LINES {
        let at = wall + (now - start);
        let read = Read { chunks: vec![a_line(no, at)], up_to: Position(no.into()), at_end: true };
        engine.told(Said::Tail { no, from: None, read, generation: 0 }, now);
        if let Some(memos) = memos.take() {
            engine.told(Said::Memos { portal: None, memos: Ok(memos) }, now);
        }
        let since = now;
        let call = loop {
            match engine.next(now) {
                Step::Send(call, _) => break call,
                Step::Wait(Some(at)) => {
                    // The journal gets marks here.
                    drop(engine.asks(true, now));
                    now = at.max(now + A_MOMENT);
                }
                step => panic!("the line waits for {step:?}"),
            }
            assert!(now - since < LONGEST, "the line waits for {:?}", now - since);
        };
        left = engine.intent(call, now).memos;
        sent_at.push(now - since);
        let done = Reply::Http { status: 200, body: br#"{"result":true}"#.to_vec() };
        engine.settle(call, &done, now);
        engine.answer(now);
    }
    Left {
        memos: left,
        clocks: Clocks { now, wall: wall + (now - start) },
        #[cfg(test)]
        waited: sent_at[0],
    }
}

fn a_line(no: u64, at: SystemTime) -> (Publisher, Chunk) {
    let (level, body) = (tracing_core::Level::INFO, "line".to_owned());
    let line = StoredLine { no, at, level, body, cut: 0, tried: false };
    let event_token = format!("{WORKFLOW}|A1|1.abcdef");
    let chunk = Chunk {
        portal: None,
        event_token: EventToken::parse(&event_token).expect("it is one"),
        content: Content::Lines(vec![line]),
        about: None,
    };
    (Publisher(2), chunk)
}

/// The least time between two steps.
const A_MOMENT: Duration = Duration::from_millis(1);
/// How many lines an owner sends.
const LINES: u64 = 3;
/// The workflow of the lines.
const WORKFLOW: &str = "5c1dc1c3f00001.78875596";
/// Longer than all pauses of a portal together: its rate, its operating time, a block, and the schedule.
const LONGEST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::worker::memo::Writer;

    fn memo(key: u8, numbers: &[u64]) -> Vec<u8> {
        let mut value = vec![1];
        value.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let [low, high] = u16::try_from(value.len()).unwrap().to_le_bytes();
        [vec![key, low, high], value].concat()
    }

    /// The times in memos are around this one, in milliseconds since 1970.
    const NOW: u64 = 1_795_000_000_000;

    fn clocks() -> Clocks {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to start from")]
        let now = Instant::now() + Duration::from_secs(1_000);
        Clocks { now, wall: UNIX_EPOCH + Duration::from_millis(NOW) }
    }

    /// Regression: the owner before had a wrong clock, so the first entry of a workflow was in the future. Each line of its
    /// log waited as long as a line may wait, ten minutes.
    #[test]
    fn a_first_entry_in_the_future_holds_nothing_up() {
        let later = NOW + 30 * 86_400_000;
        let memos = memos_in(&memo(1, &[later, later, 3, 0, 1, 1, 1]));
        let waited = send_with(memos, clocks()).waited;
        assert!(waited < Duration::from_secs(10), "{waited:?}");
    }

    /// Regression: the sum of lines that have rolled off overflowed.
    #[test]
    fn the_largest_numbers_are_numbers_like_others() {
        let most = u64::from(u32::MAX);
        adopt(&memo(1, &[vec![NOW, NOW, most, u64::MAX], vec![most; 60]].concat()));
        adopt(&memo(1, &[vec![NOW, NOW, 1, 0], vec![1; 1_000]].concat()));
        adopt(&memo(0, &[u64::MAX; 22]));
        adopt(&memo(0, &[f64::MAX.to_bits(); 24]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn memos_of_any_numbers_hold_nothing_up(
            keys in prop::collection::vec(0..3_u8, 1..4),
            numbers in prop::collection::vec(prop_oneof![
                any::<u64>(),
                0..5_u64,
                1_794_990_000_000..1_795_010_000_000_u64,
                any::<f64>().prop_map(f64::to_bits),
                (0.0..500.0).prop_map(f64::to_bits),
            ], 26),
        ) {
            let data: Vec<u8> = keys.iter().flat_map(|key| memo(*key, &numbers)).collect();
            adopt(&data);
        }
    }

    #[test]
    fn a_memo_is_read_as_it_was_written() {
        let clocks = clocks();
        let now = clocks.now;
        let mut writer = Writer::new(7, clocks);
        let earlier = now - Duration::from_secs(3);
        writer.number(u64::MAX);
        writer.seconds(0.25);
        writer.time(earlier);
        writer.maybe_time(None);
        writer.maybe_time(Some(now + Duration::from_secs(9)));
        let bytes = writer.finish();
        assert!(Reader::new(8, &bytes, clocks).is_none());
        let mut reader = Reader::new(7, &bytes, clocks).unwrap();
        assert_eq!((reader.number(), reader.seconds()), (Some(u64::MAX), Some(0.25)));
        assert_eq!((reader.time(), reader.maybe_time()), (Some(earlier), Some(None)));
        assert_eq!(reader.maybe_time(), Some(Some(now + Duration::from_secs(9))));
        assert_eq!(reader.number(), None);
    }
}
