//! Calls of a journal, which may be code of others: a panic in it is a failure, and ends no thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use super::{Journal, JournalError};

/// A panic in the journal counts as a failure, also if it happens before the journal returns a future.
pub(super) async fn guarded<T, F>(call: impl FnOnce() -> F) -> Result<T, JournalError>
where
    F: Future<Output = Result<T, JournalError>>,
{
    let call = catch_unwind(AssertUnwindSafe(call));
    let mut call = std::pin::pin!(call.map_err(|panic| panicked(&*panic))?);
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
    })
    .await
}

/// The journal's generation.
pub(super) fn generation_of(journal: &dyn Journal) -> Result<u64, JournalError> {
    catch_unwind(AssertUnwindSafe(|| journal.generation())).map_err(|panic| panicked(&*panic))
}

fn panicked(_what: &(dyn Any + Send)) -> JournalError {
    // The message of the panic may contain a secret.
    "the journal panicked".into()
}
