//! Time, randomness and tasks, given to everything above instead of taken.
//!
//! The binary implements [`Env`] with tokio and the machine's clocks; tests
//! use `TestEnv`; a simulation has its own. Invariant: no other module of
//! the store or the broker reads a clock, draws a random number or starts a
//! task by itself.

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::pin::Pin;

use millrace_types::Timestamp;

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
}
