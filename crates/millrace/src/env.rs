//! The machine's clocks, randomness and tasks, as the broker is given them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_store::env::{BoxFuture, Env};
use millrace_types::Timestamp;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// [`Env`] by tokio. Its tasks run on the runtime that it was made in.
#[derive(Debug)]
pub(crate) struct TokioEnv {
    runtime: Handle,
    start: Instant,
}

impl TokioEnv {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn new() -> Self {
        Self { runtime: Handle::current(), start: Instant::now() }
    }
}

impl Env for TokioEnv {
    fn wall(&self) -> Timestamp {
        // Before 1970 is as good as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random_u64(&self) -> u64 {
        match getrandom::u64() {
            Ok(random) => random,
            // Ids that could be guessed or repeated are worse than no answer.
            Err(error) => panic!("the operating system gives no randomness: {error}"),
        }
    }

    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()> {
        let at = self.start.checked_add(Duration::from_millis(monotonic_ms));
        Box::pin(async move {
            match at {
                // The instants of a timer are rounded up: it never wakes early.
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        })
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let task = self.runtime.spawn(task);
        self.runtime.spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tracing::error!(task = name, %error, "a task failed");
            }
        });
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        drop(self.runtime.spawn_blocking(work));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_when_its_time_has_come() {
        let env = TokioEnv::new();
        let at = env.monotonic_ms() + 5;
        env.sleep_until(at).await;
        assert!(env.monotonic_ms() >= at);
    }

    #[tokio::test]
    async fn work_runs_beside_the_caller() {
        let env = TokioEnv::new();
        let (done, wait) = tokio::sync::oneshot::channel();
        env.spawn("test", Box::pin(async move { done.send(env_thread()).unwrap() }));
        wait.await.unwrap();
        let (done, wait) = tokio::sync::oneshot::channel();
        env.blocking(Box::new(move || done.send(env_thread()).unwrap()));
        assert_ne!(wait.await.unwrap(), env_thread());
        assert_ne!(env.random_u64(), env.random_u64());
    }

    fn env_thread() -> std::thread::ThreadId {
        std::thread::current().id()
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_beyond_reckoning_never_comes() {
        let env = TokioEnv::new();
        let never = env.sleep_until(u64::MAX);
        let long = Duration::from_secs(1_000_000);
        assert!(tokio::time::timeout(long, never).await.is_err());
    }
}
