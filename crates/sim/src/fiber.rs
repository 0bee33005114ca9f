//! Blocking code that can be suspended: the server's threads, run as
//! coroutines on the simulation's only thread.
//!
//! [`rest`] suspends whatever fiber runs, however deep in the server's code it
//! is called, so that the code itself knows nothing of it.
//!
//! The one module with `unsafe`: a thread-local names the yielder of the fiber
//! that runs. Invariant: it is set only while that fiber runs.
#![expect(unsafe_code, reason = "the yielder of the running fiber is found through a pointer")]

use std::{cell::Cell, ptr::NonNull};

use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};

/// Why a fiber rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Others go first.
    Yield,
    /// Until this time, in microseconds.
    Until(u64),
}

thread_local! {
    static RUNNING: Cell<Option<NonNull<Yielder<(), Rest>>>> = const { Cell::new(None) };
}

/// Stack of a fiber, in bytes; only pages that are touched take memory.
const STACK_BYTES: usize = 1 << 20;

/// Blocking work that is under way.
pub(crate) struct Fiber(Coroutine<(), Rest, (), DefaultStack>);

impl Fiber {
    /// `work` on this stack, or on a new one.
    ///
    /// # Panics
    /// If there is no memory for a stack.
    pub(crate) fn new(stack: Option<DefaultStack>, work: Box<dyn FnOnce() + Send>) -> Self {
        let stack = stack.unwrap_or_else(|| match DefaultStack::new(STACK_BYTES) {
            Ok(stack) => stack,
            Err(error) => panic!("no stack for a fiber: {error}"),
        });
        Self(Coroutine::with_stack(stack, move |yielder, ()| {
            RUNNING.set(Some(NonNull::from(yielder)));
            let running = Running;
            work();
            drop(running);
        }))
    }

    /// Goes on until it rests or is done (`None`).
    pub(crate) fn resume(&mut self) -> Option<Rest> {
        match self.0.resume(()) {
            CoroutineResult::Yield(rest) => Some(rest),
            CoroutineResult::Return(()) => None,
        }
    }

    /// The stack of a fiber that is done.
    pub(crate) fn into_stack(self) -> DefaultStack {
        self.0.into_stack()
    }
}

/// Clears the pointer when the fiber's work ends, by a panic too.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

/// Suspends the fiber that runs. False outside of one.
pub(crate) fn rest(rest: Rest) -> bool {
    let Some(yielder) = RUNNING.take() else { return false };
    // SAFETY: the pointer is that of the running fiber's yielder, which lives
    // on that fiber's stack as long as its work does: it is set when the work
    // begins, taken out here before anything else can run, and cleared when
    // the work ends.
    unsafe { yielder.as_ref() }.suspend(rest);
    RUNNING.set(Some(yielder));
    true
}

/// Whether the caller is in a fiber.
pub(crate) fn is_running() -> bool {
    let running = RUNNING.get();
    running.is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn fibers_rest_where_they_are_and_go_on() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let fiber = |name: &'static str| {
            let log = Arc::clone(&log);
            let work = move || {
                for round in 0..2 {
                    log.lock().push((name, round));
                    assert!(rest(Rest::Yield));
                }
            };
            Fiber::new(None, Box::new(work))
        };
        let (mut a, mut b) = (fiber("a"), fiber("b"));
        for _ in 0..2 {
            assert_eq!(a.resume(), Some(Rest::Yield));
            assert!(!is_running());
            assert_eq!(b.resume(), Some(Rest::Yield));
        }
        assert_eq!((a.resume(), b.resume()), (None, None));
        assert_eq!(*log.lock(), [("a", 0), ("b", 0), ("a", 1), ("b", 1)]);
        assert!(!rest(Rest::Yield));
    }

    #[test]
    fn a_fiber_that_is_dropped_drops_what_it_held() {
        let held = Arc::new(());
        let inner = Arc::clone(&held);
        let work = move || {
            rest(Rest::Until(7));
            drop(inner);
        };
        let mut fiber = Fiber::new(None, Box::new(work));
        assert_eq!(fiber.resume(), Some(Rest::Until(7)));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(fiber);
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(!is_running());
    }
}
