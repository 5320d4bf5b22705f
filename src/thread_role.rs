//! The role of this thread: a caller, the worker, a thread that the worker waits for, or a thread that
//! is already inside our layer.

use std::cell::Cell;

thread_local! {
    /// How many of our callbacks are on this thread's stack, or [`WORKER`]. It has no destructor and a constant
    /// initial value, so it can be read until the thread ends.
    static DEPTH: Cell<u8> = const { Cell::new(0) };
    /// Whether the worker waits for this thread.
    static HELPS: Cell<bool> = const { Cell::new(false) };
}

/// The depth of the worker's thread, larger than that of any caller.
const WORKER: u8 = u8::MAX;

/// A `Debug` impl may log. If it logs its own value, it would recurse without end, so the depth is
/// limited.
const MAX_DEPTH: u8 = 8;

/// Makes our layers ignore this thread: events about requests of the worker must not be sent to the portal.
pub(crate) fn mark_worker_thread() {
    let _ = DEPTH.try_with(|depth| depth.set(WORKER));
}

/// Notes that the worker waits for this thread, for example for the work of a token store.
pub(crate) fn mark_helper_thread() {
    let _ = HELPS.try_with(|helps| helps.set(true));
}

/// Whether this is the worker's thread, or one that the worker waits for. To wait for delivery on such a thread
/// would never end.
pub(crate) fn is_delivery_thread() -> bool {
    DEPTH.try_with(|depth| depth.get() == WORKER).unwrap_or(false)
        || HELPS.try_with(Cell::get).unwrap_or(false)
}

/// Enters one of our callbacks, until the value is dropped, also by a panic of code of the app. `None` on the
/// worker's thread, and if the depth is too large.
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
    fn the_worker_and_deep_recursion_cannot_enter() {
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
    fn a_helper_thread_may_log_but_not_wait() {
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
