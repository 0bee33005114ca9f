//! The durable watermark: up to which log sequence number every frame is safe.
//!
//! Invariant: [`Durable::reached`] never goes back, and no waiter for a number
//! at or below it stays asleep. The log writer advances it; whoever
//! acknowledges something waits for it.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use millrace_types::Lsn;
use parking_lot::Mutex;

use super::Ended;

/// The watermark and those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Durable {
    reached: AtomicU64,
    ended: AtomicBool,
    waiters: Mutex<Vec<(Lsn, Waker)>>,
}

impl Durable {
    /// Starts with everything up to `reached` durable.
    pub(super) fn new(reached: Lsn) -> Self {
        Self { reached: AtomicU64::new(reached.get()), ..Self::default() }
    }

    /// Every frame up to this one is durable.
    pub(super) fn reached(&self) -> Lsn {
        Lsn(self.reached.load(Ordering::Acquire))
    }

    /// Makes `lsn` and all before it durable, and wakes who waited for them.
    pub(super) fn advance(&self, lsn: Lsn) {
        self.reached.store(lsn.get(), Ordering::Release);
        let mut ready = Vec::new();
        {
            let mut waiters = self.waiters.lock();
            let mut index = 0;
            while let Some((wanted, _)) = waiters.get(index) {
                if *wanted <= lsn {
                    ready.push(waiters.swap_remove(index).1);
                } else {
                    index += 1;
                }
            }
        }
        ready.into_iter().for_each(Waker::wake);
    }

    /// Nothing more becomes durable: every waiter learns that it ended.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Resolves once `lsn` is durable, or fails when the log has ended before.
    pub(super) fn wait(&self, lsn: Lsn) -> Wait<'_> {
        Wait { durable: self, lsn }
    }

    fn poll(&self, lsn: Lsn) -> Option<Result<(), Ended>> {
        if self.reached() >= lsn {
            Some(Ok(()))
        } else if self.ended.load(Ordering::Acquire) {
            Some(Err(Ended))
        } else {
            None
        }
    }
}

/// See [`Durable::wait`].
#[derive(Debug)]
pub(super) struct Wait<'a> {
    durable: &'a Durable,
    lsn: Lsn,
}

impl Future for Wait<'_> {
    type Output = Result<(), Ended>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(done) = self.durable.poll(self.lsn) {
            return Poll::Ready(done);
        }
        let mut waiters = self.durable.waiters.lock();
        // The watermark may have moved before the lock was taken; from here on
        // an advance finds this waiter.
        if let Some(done) = self.durable.poll(self.lsn) {
            return Poll::Ready(done);
        }
        let mine = waiters
            .iter_mut()
            .find(|(lsn, waker)| *lsn == self.lsn && waker.will_wake(context.waker()));
        if mine.is_none() {
            waiters.push((self.lsn, context.waker().clone()));
        }
        Poll::Pending
    }
}
