//! Replicas that publish, and relays that deliver for them.

use std::ops::RangeInclusive;
use std::time::Duration;

use bizproc_portal::{Activity, Portal, Workflow};
use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::Retention;
use tracing_bizproc::journal::Journal;
use tracing_bizproc::{Completion, EventToken, WorkerGuard};
use tracing_bizproc_relay::{PgJournal, Relay, RunningRelay};
use tracing_subscriber::prelude::*;

use crate::database::{Database, wait};
use crate::journal::server_time;

const PATIENCE: Duration = Duration::from_secs(30);

/// A database with a journal, and a portal with an activity to which replicas log.
struct Stage {
    database: Database,
    journal: PgJournal,
    portal: Portal,
    workflow: Workflow,
    activity: Activity,
    event_token: EventToken,
}

impl Stage {
    /// `None`: PostgreSQL is not installed, and a message was printed.
    fn new() -> Option<Self> {
        let database = Database::new()?;
        let journal = database.journal();
        let portal = Portal::builder().start().unwrap();
        let workflow = portal.start_workflow("Order");
        let activity = workflow.activity("Check").returns(["status"]).open();
        let event_token = EventToken::parse(&activity.event_token()).unwrap();
        Some(Stage { database, journal, portal, workflow, activity, event_token })
    }

    fn webhook(&self) -> Webhook {
        Webhook::new(self.portal.webhook_url()).unwrap()
    }

    fn replica(&self) -> Replica {
        let journal = PgJournal::new(self.database.config()).unwrap();
        let (layer, guard) =
            tracing_bizproc::builder(self.webhook()).publish_to(journal).build().unwrap();
        let subscriber = Dispatch::new(tracing_subscriber::registry().with(layer));
        Replica { subscriber, guard, event_token: self.event_token.clone() }
    }

    fn relay(&self) -> RunningRelay {
        let builder = tracing_bizproc::builder(self.webhook())
            .linger(Duration::from_millis(20))
            .retention(Retention::SelfHosted);
        Relay::new(self.database.config()).start(builder).unwrap()
    }

    /// The numbers of a replica's lines in the log, in order.
    fn numbers(&self, replica: &str) -> Vec<u64> {
        let lines = self.workflow.lines();
        let of = lines.iter().filter_map(|line| line.split_once(&format!("{replica} says ")));
        of.map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// How many chunks are in the journal.
    fn chunks(&self) -> i64 {
        self.database.number("SELECT count(*) FROM bizproc.chunks")
    }
}

struct Replica {
    subscriber: Dispatch,
    guard: WorkerGuard,
    event_token: EventToken,
}

impl Replica {
    /// Logs lines with these numbers. The span closes after them.
    fn log(&self, name: &str, numbers: RangeInclusive<u64>) {
        dispatcher::with_default(&self.subscriber, || {
            let span = info_span!("activity", event_token = self.event_token.as_field());
            span.in_scope(|| numbers.for_each(|number| info!("{name} says {number} now")));
        });
    }

    /// Waits until all lines are in a log.
    fn delivers(&self) {
        let report = wait(self.guard.handle().flush_delivered(PATIENCE)).unwrap();
        assert_eq!(report.pending(), 0, "{report}");
    }

    /// Waits until all lines are in the journal.
    fn publishes(&self) {
        wait(self.guard.handle().flush(PATIENCE)).unwrap();
    }
}

/// Waits until this is so.
#[track_caller]
fn wait_until(is_so: impl AsyncFn() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = wait(async { tokio::time::timeout(PATIENCE, looks).await });
    found.expect("it does not happen in time");
}

#[test]
fn lines_of_replicas_arrive_in_order_while_relays_come_and_go() {
    let Some(stage) = Stage::new() else { return };
    let replicas = [stage.replica(), stage.replica()];
    let mut running = stage.relay();
    let mut said = 0;
    for _ in 0..4 {
        for (name, replica) in ["0", "1"].into_iter().zip(&replicas) {
            replica.log(name, said + 1..=said + 10);
        }
        said += 10;
        // The next relay starts before this one stops.
        let next = stage.relay();
        wait(running.stop(PATIENCE));
        running = next;
    }
    for replica in &replicas {
        replica.delivers();
    }
    let expected: Vec<u64> = (1..=said).collect();
    assert_eq!(stage.numbers("0"), expected);
    assert_eq!(stage.numbers("1"), expected);
    let stats = replicas[0].guard.handle().stats();
    assert_eq!((stats.handed_over(), stats.lost()), (said, 0), "{stats}");
    assert_eq!(running.handle().stats().lost(), 0);
    wait(running.stop(PATIENCE));
    assert_eq!(stage.chunks(), 0);
}

#[test]
fn an_end_arrives_after_its_lines_and_its_answer_comes_back() {
    let Some(stage) = Stage::new() else { return };
    let replica = stage.replica();
    let running = stage.relay();
    replica.log("0", 1..=5);
    let completion = Completion::new().value("status", "shipped").message("Done");
    // Without the answer of the relay, this would take longer.
    let ended = wait(async {
        let complete = replica.guard.handle();
        let complete = complete.complete(&stage.event_token, completion);
        tokio::time::timeout(Duration::from_secs(25), complete).await
    });
    ended.unwrap().unwrap();
    assert!(!stage.activity.is_open());
    assert_eq!(stage.numbers("0"), [1, 2, 3, 4, 5]);
    assert_eq!(running.handle().stats().late(), 0);
    wait(running.stop(PATIENCE));
}

/// The first relay is dropped: it leaves without waiting for anything.
#[test]
fn the_next_relay_delivers_the_lines_that_a_relay_has_left() {
    let Some(stage) = Stage::new() else { return };
    let replica = stage.replica();
    let running = stage.relay();
    replica.log("0", 1..=1);
    replica.delivers();
    replica.log("0", 2..=30);
    drop(running);
    let next = stage.relay();
    replica.delivers();
    let mut found = stage.numbers("0");
    found.dedup();
    assert_eq!(found, (1..=30).collect::<Vec<_>>());
    wait(next.stop(PATIENCE));
}

/// Relays have to be updated before replicas. An old relay leaves the portal's lines in the database.
#[test]
fn a_portal_with_lines_of_a_newer_version_waits_and_is_counted() {
    let Some(stage) = Stage::new() else { return };
    let replica = stage.replica();
    replica.log("0", 1..=3);
    replica.publishes();
    stage.database.sql("UPDATE bizproc.chunks SET payload = set_byte(payload, 0, 200)");
    let running = stage.relay();
    wait_until(async || running.status().unreadable_portals > 0);
    wait(running.stop(PATIENCE));
    assert!(stage.workflow.lines().is_empty());
    assert!(stage.chunks() > 0);
}

/// Regression: the relay took lines that were put back for some that it had had before, since it had had later
/// ones. They stayed in the journal.
#[test]
fn a_relay_that_has_delivered_later_lines_delivers_those_that_were_put_back() {
    let Some(stage) = Stage::new() else { return };
    let replica = stage.replica();
    replica.log("0", 1..=3);
    replica.publishes();
    stage.database.sql("UPDATE bizproc.chunks SET appended_at = now() - interval '2 days'");
    assert!(!wait(stage.journal.evicted(server_time())).unwrap().is_empty());
    let running = stage.relay();
    replica.log("0", 4..=4);
    replica.delivers();
    assert_eq!(stage.numbers("0"), [4]);

    assert_eq!(wait(stage.journal.requeue(None, None)).unwrap().1, 3);
    wait_until(async || stage.journal.left_of(None).await.unwrap().0 == 0);
    assert_eq!(stage.numbers("0"), [4, 1, 2, 3]);
    wait(running.stop(PATIENCE));
}

/// Regression: the counts of a large table were made on the connection of delivery, which had to wait for them.
#[test]
fn delivery_does_not_wait_for_whoever_looks_at_the_backlog() {
    let Some(stage) = Stage::new() else { return };
    let replica = stage.replica();
    let running = stage.relay();
    for n in 1..=2 {
        replica.log("0", n..=n);
        replica.delivers();
    }
    // The count takes very long.
    stage.database.sql("BEGIN; LOCK TABLE bizproc.dead");
    let delivered = std::thread::scope(|scope| {
        let looking = scope.spawn(|| wait(running.journal().backlog()));
        let looks = "SELECT count(*) FROM pg_locks \
                     WHERE NOT granted AND relation = 'bizproc.dead'::regclass";
        while stage.database.number(looks) == 0 && !looking.is_finished() {
            std::thread::yield_now();
        }
        replica.log("0", 3..=3);
        while stage.numbers("0").len() < 3 && !looking.is_finished() {
            std::thread::yield_now();
        }
        let delivered = stage.numbers("0");
        stage.database.sql("COMMIT");
        // It may have been too late for it.
        drop(looking.join().unwrap());
        delivered
    });
    assert_eq!(delivered, [1, 2, 3]);
    wait(running.stop(PATIENCE));
}
