//! The runtime that the worker's thread runs on.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime that may be dropped anywhere.
///
/// A plain one panics where it is dropped inside of another runtime. That happens when the worker's
/// thread cannot be made: what was meant for it is then dropped by the caller of `build`.
pub(crate) struct WorkerRuntime(Option<Runtime>);

impl WorkerRuntime {
    /// # Errors
    /// When the system has nothing left for it: file descriptors, mostly.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(WorkerRuntime(Some(runtime)))
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("it is taken out only by the drop").block_on(future)
    }
}

impl Drop for WorkerRuntime {
    /// Does not wait for requests that were out at the deadline, or for resolver threads.
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
    fn it_may_be_dropped_inside_of_another_runtime() {
        let outer = Builder::new_current_thread().build().unwrap();
        outer.block_on(async { drop(WorkerRuntime::new().unwrap()) });
    }
}
