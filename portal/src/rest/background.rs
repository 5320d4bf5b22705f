//! Background jobs: the ends of activities that a hit has queued (`EventSend::Background`).
//!
//! A job runs after its hit, and its errors are not reported (server behaviour).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::core::Core;
use crate::error::ErrorCode;
use crate::journal::CommandOutcome;
use crate::outgoing;
use crate::php;
use crate::state::{LostReason, Started};

/// An end that waits for the end of its hit.
pub(crate) struct Job {
    started: Started<'static>,
    /// The hit's number in the journal, and the place of the command in the hit.
    hit: u64,
    place: usize,
}

impl Job {
    pub(crate) fn new(started: Started<'static>, hit: u64, place: usize) -> Self {
        Self { started, hit, place }
    }
}

/// Begins the jobs, in their order; those that take time go on after the answer.
///
/// The first of them has locked its workflow before the answer leaves, so that a test of a hit
/// right behind does not depend on luck.
pub(crate) async fn begin(core: &Arc<Core>, jobs: Vec<Job>) {
    if jobs.is_empty() {
        return;
    }
    let mut running = Box::pin(run(core.clone(), jobs));
    let takes_time = poll_fn(|cx| Poll::Ready(pin!(&mut running).poll(cx).is_pending())).await;
    if takes_time {
        core.runtime.spawn(running);
    }
}

async fn run(core: Arc<Core>, jobs: Vec<Job>) {
    for Job { started, hit, place } in jobs {
        let outcome = match end(&core, &started).await {
            Ok(None) => CommandOutcome::Completed,
            Ok(Some(reason)) => CommandOutcome::Lost(reason),
            Err(error) => {
                let now = core.clock.now();
                CommandOutcome::Lost(core.world().processes.fail(&started, error, now))
            }
        };
        let message = php::lossy(&started.message);
        core.world().journal.settle(hit, place, outcome, &message);
        outgoing::advance(&core, &started.workflow);
        core.changed();
    }
}

/// What `bizproc.event.send` does at once on an older server.
async fn end(core: &Core, started: &Started<'_>) -> Result<Option<LostReason>, ErrorCode> {
    let spent = {
        let world = &mut *core.world();
        world.processes.begin(started)?;
        world.settings.server_time.spent()
    };
    if let Some(duration) = spent {
        tokio::time::sleep(duration).await;
    }
    let world = &mut *core.world();
    world.processes.finish(started, core.clock.now(), &world.settings)
}
