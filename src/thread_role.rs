//! The role of this thread: a caller, the worker, a thread that the worker waits for, or a thread that
//! is already inside our layer.

use std::cell::Cell;

thread_local! {
    /// How many of our callbacks are on this thread's stack, or [`WORKER`]. No destructor and a
    /// constant start, so it can be read until the thread's very end.
    static DEPTH: Cell<u8> = const { Cell::new(0) };
    /// Whether delivery waits for what this thread does.
    static HELPS: Cell<bool> = const { Cell::new(false) };
}

/// The depth of the worker's thread: more than any caller's.
const WORKER: u8 = u8::MAX;

/// A `Debug` impl may log. If it logs its own value, it would recurse without end, so the depth is
/// limited.
const MAX_DEPTH: u8 = 8;

/// Makes our layers ignore what happens on this thread: the worker's own traffic must not be logged
/// to the portal that it goes to.
pub(crate) fn mark_worker_thread() {
    let _ = DEPTH.try_with(|depth| depth.set(WORKER));
}

/// Notes that delivery waits for what this thread does, as for a token store's work.
pub(crate) fn mark_helper_thread() {
    let _ = HELPS.try_with(|helps| helps.set(true));
}

/// Whether this thread does the delivery, or delivery waits for it. A wait for delivery on such a thread
/// would never end.
pub(crate) fn is_delivery_thread() -> bool {
    DEPTH.try_with(|depth| depth.get() == WORKER).unwrap_or(false)
        || HELPS.try_with(Cell::get).unwrap_or(false)
}

/// Enters one of our callbacks, until the value is dropped: also when user code unwinds through us.
/// `None` on the worker's thread, and too deep.
#[inline]
pub(crate) fn enter() -> Option<Inside> {
    let outside = DEPTH.try_with(Cell::get).unwrap_or(MAX_DEPTH);
    if outside >= MAX_DEPTH {
        return None;
    }
    let _ = DEPTH.try_with(|depth| depth.set(outside + 1));
    Some(Inside { outside })
}

/// One of our callbacks is on the stack of this thread.
#[derive(Debug, PartialEq)]
pub(crate) struct Inside {
    outside: u8,
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(self.outside));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_and_runaway_recursion_are_kept_out() {
        fn dive() -> u32 {
            let inside = enter();
            if inside.is_some() { 1 + dive() } else { 0 }
        }
        assert_eq!(dive(), u32::from(MAX_DEPTH));
        assert_eq!(dive(), u32::from(MAX_DEPTH), "the depth is restored");
        std::thread::spawn(|| {
            mark_worker_thread();
            assert!(is_delivery_thread());
            assert_eq!(enter(), None);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_that_helps_delivery_may_log_and_not_wait() {
        assert!(!is_delivery_thread());
        std::thread::spawn(|| {
            mark_helper_thread();
            assert!(is_delivery_thread());
            assert!(enter().is_some());
        })
        .join()
        .unwrap();
    }
}
