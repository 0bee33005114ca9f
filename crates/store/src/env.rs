//! Time, randomness and tasks, given to everything above instead of taken.
//!
//! The binary implements [`Env`] with tokio and the machine's clocks; tests
//! use `TestEnv`; a simulation has its own. Invariant: no other module of
//! the store or the broker reads a clock, draws a random number or starts a
//! task by itself.

mod bell;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::{pin::Pin, sync::Arc, time::Duration};

use millrace_types::Timestamp;
use parking_lot::{Mutex, MutexGuard};

pub use bell::{Bell, ThreadBell};

/// A future on the heap, as traits that are used as objects return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a broker may ask of the world besides its disk, catalog and network.
pub trait Env: Send + Sync + 'static {
    /// The wall clock. It may jump either way.
    fn wall(&self) -> Timestamp;

    /// Milliseconds since an arbitrary start. Never goes back.
    fn monotonic_ms(&self) -> u64;

    /// 64 random bits, unpredictable outside of tests.
    fn random_u64(&self) -> u64;

    /// Resolves once [`Env::monotonic_ms`] has reached `monotonic_ms`.
    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()>;

    /// Runs `task` beside the caller until it ends; `name` is for people.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);

    /// Runs `work` where it may block, at some later time.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);

    // What work that may block uses to wait. A world with threads of its own
    // needs no other than these; one that runs all such work on a single
    // thread replaces them.

    /// [`Env::monotonic_ms`] as finely as the clock goes.
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms())
    }

    /// Holds up the caller, who may block, for so long.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Something new to wait for.
    fn bell(&self) -> Arc<dyn Bell> {
        Arc::new(ThreadBell::default())
    }

    /// Lets other work that may block go on, where it would not while the
    /// caller waits for a lock. False where it goes on by itself.
    fn stand_aside(&self) -> bool {
        false
    }
}

/// Takes a lock that may be held over I/O.
pub(crate) fn lock_over_io<'a, T>(env: &dyn Env, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
    loop {
        if let Some(held) = mutex.try_lock() {
            return held;
        }
        if !env.stand_aside() {
            return mutex.lock();
        }
    }
}
