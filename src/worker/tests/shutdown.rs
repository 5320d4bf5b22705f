//! The deadline of a shutdown with anything that can delay the worker. The whole worker runs, with a paused clock.

use std::future::pending;

use super::*;
use crate::line::PortalId;
use crate::protocol::Cause;
use crate::queue::Control;
use crate::transport::{Arrived, Transport};
use crate::worker::Worker;

/// What delays the worker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// The portal accepts the request, and never answers.
    Hung,
    /// No connection: the worker pauses for minutes between two tries.
    BackingOff,
    /// The access token has expired, and the authorization server does not answer.
    HungRefresh,
    /// Tokens have arrived, and the token store never returns.
    HungStore,
    /// The portal locks the workflow.
    Held,
    /// The portal says that the webhook is gone: it is asked once a minute.
    Blocked,
}

impl Transport for Trouble {
    async fn call(&self, _: Option<&PortalId>, request: Request) -> Reply {
        match self {
            Trouble::Hung => pending().await,
            Trouble::BackingOff => Reply::NotSent(Cause("connection refused".to_owned())),
            Trouble::HungRefresh | Trouble::HungStore => refusal(401, "expired_token"),
            Trouble::Held => answers(&vec![Some("423"); request.commands]),
            Trouble::Blocked => refusal(401, "INVALID_CREDENTIALS"),
        }
    }

    async fn refresh(&self, _: Option<&PortalId>) -> Refreshed {
        pending().await
    }

    async fn accept(&self, _: &PortalId, _: Arrived) -> Result<bool, Cause> {
        pending().await
    }
}

/// Fills the queue, waits for `before`, and closes with the timeout `patience`. Returns how long the close
/// took, and the counters after it.
fn close_in(trouble: Trouble, before: Duration, patience: Duration) -> (Duration, Snapshot) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let Parts { producer, consumer, engine, stats, tick, .. } =
            options().queue_lines(600).token_share(1.0).parts(1);
        let mut worker = Worker::new(consumer, engine, trouble, stats.clone(), tick);
        let tag = tag(1);
        if trouble == Trouble::HungStore {
            let tokens = crate::transport::auth::Tokens::new("a", "r", "https://b24.example/rest/");
            let tokens = tokens.unwrap();
            let portal = PortalId::from("m");
            let accept = crate::queue::Accept { portal, tokens: Arrived::Handed(tokens) };
            assert!(producer.control(Control::Accept(accept)).is_ok());
        }
        while producer.offer(LogLine::saying(&tag, "a line")).is_ok() {}
        let close = async {
            tokio::time::sleep(before).await;
            while producer.offer(LogLine::saying(&tag, "a line more")).is_ok() {}
            let asked = tokio::time::Instant::now();
            let (reply, answer) = oneshot::channel();
            let deadline = (asked + patience).into_std();
            assert!(producer.control(Control::Close(Close { deadline, reply })).is_ok());
            answer.await.unwrap();
            asked
        };
        let (asked, ()) = tokio::join!(close, worker.run());
        let stats = stats.snapshot(&AtDoor {
            accepted: producer.accepted(),
            pending: producer.pending(),
            is_forked: false,
            refused: Vec::new(),
            unusable_tokens: 0,
            unseen: 0,
        });
        (asked.elapsed(), stats)
    })
}

#[test]
fn a_shutdown_ends_at_its_deadline_whatever_holds_it_up() {
    use Trouble::{BackingOff, Blocked, Held, Hung, HungRefresh, HungStore};
    for trouble in [Hung, BackingOff, HungRefresh, HungStore, Held, Blocked] {
        for (before, patience) in [(0.0, 5.0), (590.0, 5.0), (300.0, 0.0), (3.0, 0.3)] {
            let (took, stats) = close_in(trouble, secs(before), secs(patience));
            let told = format!("{trouble:?}, {before} s before, {patience} s: {took:?}, {stats}");
            assert!(took <= secs(patience + 0.1), "{told}");
            assert_eq!(stats.pending(), 0, "{told}");
            assert_eq!(stats.accepted(), stats.lost(), "{told}");
            assert!(stats.by_reason(DropReason::ShutdownDeadline) >= 600, "{told}");
        }
    }
}
