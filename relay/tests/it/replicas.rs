//! Replicas that publish, and relays that deliver for them.

use std::ops::RangeInclusive;
use std::time::Duration;

use bizproc_portal::{Portal, Workflow};
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

struct Replica {
    subscriber: Dispatch,
    guard: WorkerGuard,
}

impl Replica {
    fn new(database: &Database, portal: &Portal) -> Self {
        let journal = PgJournal::new(database.config()).unwrap();
        let webhook = Webhook::new(portal.webhook_url()).unwrap();
        let (layer, guard) = tracing_bizproc::builder(webhook).publish_to(journal).build().unwrap();
        Replica { subscriber: Dispatch::new(tracing_subscriber::registry().with(layer)), guard }
    }

    /// Logs lines with these numbers. The span closes after them.
    fn log(&self, event_token: &EventToken, name: &str, numbers: RangeInclusive<u64>) {
        dispatcher::with_default(&self.subscriber, || {
            let span = info_span!("activity", event_token = event_token.as_field());
            span.in_scope(|| numbers.for_each(|number| info!("{name} says {number} now")));
        });
    }
}

fn relay(database: &Database, portal: &Portal) -> RunningRelay {
    let webhook = Webhook::new(portal.webhook_url()).unwrap();
    let builder = tracing_bizproc::builder(webhook)
        .linger(Duration::from_millis(20))
        .retention(Retention::SelfHosted);
    Relay::new(database.config()).start(builder).unwrap()
}

fn token(activity: &bizproc_portal::Activity) -> EventToken {
    EventToken::parse(&activity.event_token()).unwrap()
}

/// The numbers of a replica's lines in the log, in order.
fn numbers(workflow: &Workflow, replica: &str) -> Vec<u64> {
    let lines = workflow.lines();
    let of = lines.iter().filter_map(|line| line.split_once(&format!("{replica} says ")));
    of.map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn lines_of_replicas_arrive_in_order_while_relays_come_and_go() {
    let Some(database) = Database::new() else { return };
    database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Check"));
    let replicas = [Replica::new(&database, &portal), Replica::new(&database, &portal)];
    let mut running = relay(&database, &portal);
    let mut said = 0;
    for _ in 0..4 {
        for (name, replica) in ["0", "1"].into_iter().zip(&replicas) {
            replica.log(&event_token, name, said + 1..=said + 10);
        }
        said += 10;
        // The next relay starts before this one stops.
        let next = relay(&database, &portal);
        wait(running.stop(PATIENCE));
        running = next;
    }
    for replica in &replicas {
        let report = wait(replica.guard.handle().flush_delivered(PATIENCE)).unwrap();
        assert_eq!(report.pending(), 0, "{report}");
    }
    let expected: Vec<u64> = (1..=said).collect();
    assert_eq!(numbers(&workflow, "0"), expected);
    assert_eq!(numbers(&workflow, "1"), expected);
    let stats = replicas[0].guard.handle().stats();
    assert_eq!((stats.handed_over(), stats.lost()), (said, 0), "{stats}");
    assert_eq!(running.handle().stats().lost(), 0);
    wait(running.stop(PATIENCE));
    assert_eq!(database.number("SELECT count(*) FROM bizproc.chunks"), 0);
}

#[test]
fn an_end_arrives_after_its_lines_and_its_answer_comes_back() {
    let Some(database) = Database::new() else { return };
    database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let activity = workflow.activity("Check").returns(["status"]).open();
    let event_token = token(&activity);
    let replica = Replica::new(&database, &portal);
    let running = relay(&database, &portal);
    replica.log(&event_token, "0", 1..=5);
    let completion = Completion::new().value("status", "shipped").message("Done");
    // Without the answer of the relay, this would take longer.
    let ended = wait(async {
        let complete = replica.guard.handle();
        let complete = complete.complete(&event_token, completion);
        tokio::time::timeout(Duration::from_secs(25), complete).await
    });
    ended.unwrap().unwrap();
    assert!(!activity.is_open());
    assert_eq!(numbers(&workflow, "0"), [1, 2, 3, 4, 5]);
    assert_eq!(running.handle().stats().late(), 0);
    wait(running.stop(PATIENCE));
}

/// The first relay is dropped: it leaves without waiting for anything.
#[test]
fn the_next_relay_delivers_the_lines_that_a_relay_has_left() {
    let Some(database) = Database::new() else { return };
    database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Check"));
    let replica = Replica::new(&database, &portal);
    let running = relay(&database, &portal);
    replica.log(&event_token, "0", 1..=1);
    wait(replica.guard.handle().flush_delivered(PATIENCE)).unwrap();
    replica.log(&event_token, "0", 2..=30);
    drop(running);
    let next = relay(&database, &portal);
    let report = wait(replica.guard.handle().flush_delivered(PATIENCE)).unwrap();
    assert_eq!(report.pending(), 0, "{report}");
    let mut found = numbers(&workflow, "0");
    found.dedup();
    assert_eq!(found, (1..=30).collect::<Vec<_>>());
    wait(next.stop(PATIENCE));
}

/// Relays have to be updated before replicas. An old relay leaves the portal's lines in the database.
#[test]
fn a_portal_with_lines_of_a_newer_version_waits_and_is_counted() {
    let Some(database) = Database::new() else { return };
    database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Check"));
    let replica = Replica::new(&database, &portal);
    replica.log(&event_token, "0", 1..=3);
    wait(replica.guard.handle().flush(PATIENCE)).unwrap();
    database.sql("UPDATE bizproc.chunks SET payload = set_byte(payload, 0, 200)");
    let running = relay(&database, &portal);
    let found = wait(async {
        let looks = async {
            while running.status().unreadable_portals == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looks).await
    });
    found.unwrap();
    wait(running.stop(PATIENCE));
    assert!(workflow.lines().is_empty());
    assert!(database.number("SELECT count(*) FROM bizproc.chunks") > 0);
}

/// Regression: the relay took lines that were put back for some that it had had before, since it had had later
/// ones. They stayed in the journal.
#[test]
fn a_relay_that_has_delivered_later_lines_delivers_those_that_were_put_back() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Check"));
    let replica = Replica::new(&database, &portal);
    replica.log(&event_token, "0", 1..=3);
    wait(replica.guard.handle().flush(PATIENCE)).unwrap();
    database.sql("UPDATE bizproc.chunks SET appended_at = now() - interval '2 days'");
    assert!(!wait(journal.evicted(server_time())).unwrap().is_empty());
    let running = relay(&database, &portal);
    replica.log(&event_token, "0", 4..=4);
    wait(replica.guard.handle().flush_delivered(PATIENCE)).unwrap();
    assert_eq!(numbers(&workflow, "0"), [4]);

    assert_eq!(wait(journal.requeue(None, None)).unwrap().1, 3);
    let settled = wait(async {
        let looks = async {
            while chunks(&journal).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looks).await
    });
    assert!(settled.is_ok(), "they are left in the journal");
    assert_eq!(numbers(&workflow, "0"), [4, 1, 2, 3]);
    wait(running.stop(PATIENCE));
}

/// Regression: the counts of a large table were made on the connection of delivery, which had to wait for them.
#[test]
fn delivery_does_not_wait_for_whoever_looks_at_the_backlog() {
    let Some(database) = Database::new() else { return };
    database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let event_token = token(&workflow.open_activity("Check"));
    let replica = Replica::new(&database, &portal);
    let running = relay(&database, &portal);
    for n in 1..=2 {
        replica.log(&event_token, "0", n..=n);
        wait(replica.guard.handle().flush_delivered(PATIENCE)).unwrap();
    }
    // The count takes very long.
    database.sql("BEGIN; LOCK TABLE bizproc.dead");
    let delivered = std::thread::scope(|scope| {
        let looking = scope.spawn(|| wait(running.journal().backlog()));
        let looks = "SELECT count(*) FROM pg_locks \
                     WHERE NOT granted AND relation = 'bizproc.dead'::regclass";
        while database.number(looks) == 0 && !looking.is_finished() {
            std::thread::yield_now();
        }
        replica.log(&event_token, "0", 3..=3);
        while numbers(&workflow, "0").len() < 3 && !looking.is_finished() {
            std::thread::yield_now();
        }
        let delivered = numbers(&workflow, "0");
        database.sql("COMMIT");
        // It may have been too late for it.
        drop(looking.join().unwrap());
        delivered
    });
    assert_eq!(delivered, [1, 2, 3]);
    wait(running.stop(PATIENCE));
}

/// How many chunks are in the journal.
async fn chunks(journal: &PgJournal) -> u64 {
    journal.left_of(None).await.unwrap().0
}
