//! Catches panics in code that is not ours, in a library or in a hook of the app, and returns them as
//! values.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The future panicked. Its message went to the panic hook of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Awaits `future`. Returns an error if it panics.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    // A future that has panicked is not polled again, so its broken state is never used.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_at_the_first_poll_and_at_later_ones() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(caught(async { 7 }).await, Ok(7));
            assert_eq!(caught(async { panic!("on purpose") }).await, Err::<(), _>(Panicked));
            let later = async {
                tokio::task::yield_now().await;
                panic!("on purpose")
            };
            assert_eq!(caught(later).await, Err::<(), _>(Panicked));
        });
    }
}
