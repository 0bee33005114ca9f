//! Since when the log waits for the disk: so that a call that hangs is seen
//! while it hangs.
//!
//! Invariant: to look waits for nobody; to note costs two stores a call. The
//! writer's write and the sync (of which there is one at a time) are noted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A call that the log waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoCall {
    /// Writes frames or a footer.
    Write,
    /// Makes durable what was written.
    Flush,
}

/// Calls under way. Times are of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct PendingIo {
    /// Microseconds and one at which it began; 0 while there is none.
    write: AtomicU64,
    flush: AtomicU64,
}

impl PendingIo {
    /// Does `work`, which is a `call` that begins `now`.
    pub(super) fn during<T>(&self, call: IoCall, now: Duration, work: impl FnOnce() -> T) -> T {
        let began = self.of(call);
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        began.store(micros.saturating_add(1), Ordering::Relaxed);
        let done = work();
        began.store(0, Ordering::Relaxed);
        done
    }

    /// The call that is under way for the longest time, and for how long.
    pub(super) fn longest(&self, now: Duration) -> Option<(IoCall, Duration)> {
        let lasts = |call| {
            let began = self.of(call).load(Ordering::Relaxed).checked_sub(1)?;
            Some((call, now.saturating_sub(Duration::from_micros(began))))
        };
        let calls = [IoCall::Write, IoCall::Flush].into_iter().filter_map(lasts);
        calls.max_by_key(|(_, lasted)| *lasted)
    }

    fn of(&self, call: IoCall) -> &AtomicU64 {
        match call {
            IoCall::Write => &self.write,
            IoCall::Flush => &self.flush,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_call_is_seen_while_it_lasts() {
        let pending = PendingIo::default();
        let at = Duration::from_secs;
        assert_eq!(pending.longest(at(1)), None);
        pending.during(IoCall::Flush, at(0), || {
            pending.during(IoCall::Write, at(2), || {
                assert_eq!(pending.longest(at(9)), Some((IoCall::Flush, at(9))));
            });
        });
        assert_eq!(pending.longest(at(9)), None);
    }
}
