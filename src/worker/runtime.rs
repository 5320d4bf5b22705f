//! The runtime that the worker's thread runs on.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime that may be dropped anywhere.
///
/// A runtime panics if it is dropped inside of another runtime. This happens when the worker's thread cannot be
/// started: then the caller of `build` drops it.
pub(crate) struct WorkerRuntime(Option<Runtime>);

impl WorkerRuntime {
    /// # Errors
    /// When the system has no resources for it, usually file descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(WorkerRuntime(Some(runtime)))
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("it is taken out only by the drop").block_on(future)
    }
}

impl Drop for WorkerRuntime {
    /// Does not wait for requests in flight at the deadline, or for threads that resolve hosts.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_can_be_dropped_inside_of_another_one() {
        let outer = Builder::new_current_thread().build().unwrap();
        outer.block_on(async { drop(WorkerRuntime::new().unwrap()) });
    }
}
