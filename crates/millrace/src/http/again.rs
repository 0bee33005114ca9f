//! A task that wakes itself is polled again, at once.
//!
//! hyper passes bodies between two parts of a connection's one task, and so
//! wakes the task that is running: for pieces of a body, and at the end of
//! each request. tokio takes that for a task that wants to let others go first:
//! it queues it, and wakes a thread that sleeps to share the work. Where little
//! goes on that thread is most of what a request costs.
//!
//! Invariant: no wake is lost. One that comes while the task is polled leads to
//! another poll; any other goes to the runtime. After some polls the runtime
//! has its way: others go first.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls in a row.
const POLLS_MAX: usize = 16;

/// Runs `future` as part of this task.
pub(super) async fn polled_again<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let wakes = Arc::new(Wakes::default());
    let own = Waker::from(Arc::clone(&wakes));
    poll_fn(move |context| {
        wakes.task.register(context.waker());
        for _ in 0..POLLS_MAX {
            wakes.state.swap(POLLED, Ordering::AcqRel);
            let done = future.as_mut().poll(&mut Context::from_waker(&own));
            let came = wakes.state.swap(0, Ordering::AcqRel) & WOKEN != 0;
            if done.is_ready() || !came {
                return done;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// The task is being polled.
const POLLED: u8 = 1;
/// It was woken since that began.
const WOKEN: u8 = 2;

/// What is woken in place of the task.
#[derive(Debug, Default)]
struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & POLLED == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often the runtime is asked to poll again.
    #[derive(Default)]
    struct Asked(AtomicUsize);

    impl Wake for Asked {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a future is polled, and the runtime asked, when it wakes itself
    /// the first `times`.
    fn polls(times: usize) -> (usize, usize) {
        let mut polls = 0;
        let asked = Arc::new(Asked::default());
        let waker = Waker::from(Arc::clone(&asked));
        let future = poll_fn(|context| {
            polls += 1;
            if polls > times {
                return Poll::<()>::Pending;
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let pending = pin!(polled_again(future)).poll(&mut Context::from_waker(&waker));
        assert!(pending.is_pending());
        (polls, asked.0.load(Ordering::Relaxed))
    }

    #[test]
    fn who_wakes_itself_is_polled_again_until_others_go_first() {
        assert_eq!(polls(0), (1, 0));
        assert_eq!(polls(3), (4, 0));
        assert_eq!(polls(usize::MAX), (POLLS_MAX, 1));
    }

    #[tokio::test]
    async fn who_is_woken_later_is_polled_by_the_runtime() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(polled_again(receive));
        tokio::task::yield_now().await;
        send.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        runtime.unwrap().block_on(async {
            let (send, mut receive) = tokio::sync::mpsc::channel(1);
            let sums = tokio::spawn(polled_again(async move {
                let mut sum = 0;
                while let Some(n) = receive.recv().await {
                    sum += n;
                }
                sum
            }));
            for n in 0..10_000u64 {
                send.send(n).await.unwrap();
            }
            drop(send);
            assert_eq!(sums.await.unwrap(), 9_999 * 5_000);
        });
    }
}
