//! The pool that accounts for the memory of requests, over all connections.
//!
//! Invariant: but for a small buffer, no connection gives memory to a request
//! before it holds a permit for what the request may take at worst, which it
//! holds as long as anything of the request is kept; who finds a part of the
//! pool empty waits, in the order of asking. Called by the connection's
//! receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use millrace_broker::metrics::{self, Counter, Gauge, Metrics, Time};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit: the semaphore counts in 32 bits.
const UNIT: usize = 1024;

/// Most that a small request takes: one of 4 KB, when it is decoded.
const SMALL_MAX: usize = 1024 * 1024;

/// The pool's name in the metrics.
const NAME: &str = "kafka_requests";

/// Memory that is given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    held: OwnedSemaphorePermit,
    gauge: Arc<Gauge>,
}

impl Permit {
    fn new(held: OwnedSemaphorePermit, gauge: &Arc<Gauge>) -> Self {
        let permit = Self { held, gauge: Arc::clone(gauge) };
        permit.gauge.add(permit.bytes());
        permit
    }

    fn bytes(&self) -> i64 {
        i64::try_from(self.held.num_permits().saturating_mul(UNIT)).unwrap_or(i64::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.add(-self.bytes());
    }
}

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Requests with records, and buffers to receive them: held for as long as
    /// the log takes to make room for them.
    Records,
    /// All other requests.
    Other,
}

/// A bounded amount of memory, of which a part is kept for small requests that
/// carry no records: they are what consumers and groups live by, and must not
/// wait behind large ones that a slow or hostile client announces, nor behind
/// records that the log does not take.
#[derive(Clone, Debug)]
pub struct Pool {
    large: Part,
    small: Part,
    gauge: Arc<Gauge>,
    waits: Arc<Counter>,
    wait_time: Arc<Time>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
struct Part {
    free: Arc<Semaphore>,
    units: u32,
}

impl Part {
    fn new(units: usize) -> Self {
        let units = u32::try_from(units.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(0))), units }
    }

    fn limit(&self) -> usize {
        usize::try_from(self.units).unwrap_or(usize::MAX).saturating_mul(UNIT)
    }

    fn used(&self) -> usize {
        self.limit().saturating_sub(self.free.available_permits().saturating_mul(UNIT))
    }
}

impl Pool {
    /// A pool of `bytes`, rounded to whole KiB; an eighth is for small requests.
    #[must_use]
    pub fn new(bytes: usize, metrics: &Metrics) -> Self {
        let small = bytes / 8 / UNIT;
        let (small, large) = (Part::new(small), Part::new((bytes / UNIT).saturating_sub(small)));
        let labels = metrics::Pool { pool: NAME };
        let gauge = metrics.memory_used.with(&labels);
        let waits = metrics.memory_waits.with(&labels);
        let wait_time = metrics.memory_wait_time.with(&labels);
        metrics.memory_limit.with(&labels).set(u64::try_from(bytes).unwrap_or(u64::MAX));
        Self { large, small, gauge, waits, wait_time, waiting: Arc::default() }
    }

    /// Whether `bytes` could ever be given.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        bytes <= self.limit()
    }

    /// Takes `bytes` if nobody else waits and as much is free.
    #[must_use]
    pub fn try_take(&self, bytes: usize, of: Use) -> Option<Permit> {
        let part = Arc::clone(&self.part(bytes, of).free);
        let held = part.try_acquire_many_owned(units(bytes)).ok()?;
        Some(Permit::new(held, &self.gauge))
    }

    /// Waits for `bytes`. What does not [fit](Self::fits) is never given.
    pub async fn take(self, bytes: usize, of: Use) -> Permit {
        self.waits.increment();
        let _waiting = Waiting::new(&self.waiting);
        let asked = Instant::now();
        let taken = Arc::clone(&self.part(bytes, of).free).acquire_many_owned(units(bytes)).await;
        self.wait_time.add(asked.elapsed());
        match taken {
            Ok(held) => Permit::new(held, &self.gauge),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether somebody waits: then nobody may hold memory without using it.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.large.used().saturating_add(self.small.used())
    }

    /// Bytes that one request may take.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.large.limit()
    }

    fn part(&self, bytes: usize, of: Use) -> &Part {
        let small = of == Use::Other && bytes <= SMALL_MAX.min(self.small.limit());
        if small { &self.small } else { &self.large }
    }
}

/// Counts one that waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn memory_comes_back_when_its_permit_is_dropped() {
        let pool = Pool::new(80 * UNIT, &Metrics::new());
        let most = pool.try_take(69 * UNIT + 1, Use::Other).unwrap();
        assert_eq!(pool.used(), 70 * UNIT);
        assert!(pool.try_take(11 * UNIT, Use::Other).is_none());
        drop(most);
        assert_eq!(pool.used(), 0);
        assert!(pool.fits(70 * UNIT) && !pool.fits(70 * UNIT + 1));
    }

    #[test]
    fn small_requests_have_a_part_of_their_own() {
        let pool = Pool::new(80 * UNIT, &Metrics::new());
        let _large = pool.try_take(70 * UNIT, Use::Other).unwrap();
        let _small = pool.try_take(10 * UNIT, Use::Other).unwrap();
        assert!(pool.try_take(UNIT, Use::Other).is_none());
    }

    #[test]
    fn records_leave_the_small_part_alone_however_few_they_are() {
        let pool = Pool::new(80 * UNIT, &Metrics::new());
        let records: Vec<_> = (0..70).map(|_| pool.try_take(UNIT, Use::Records).unwrap()).collect();
        assert!(pool.try_take(UNIT, Use::Records).is_none());
        let _small = pool.try_take(10 * UNIT, Use::Other).unwrap();
        drop(records);
    }

    #[tokio::test]
    async fn who_waits_is_noticed_until_it_gets_or_gives_up() {
        let pool = Pool::new(80 * UNIT, &Metrics::new());
        let most = pool.try_take(70 * UNIT, Use::Other).unwrap();
        let mut waiting = Box::pin(pool.clone().take(70 * UNIT, Use::Other));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(pool.is_contended());
        drop(most);
        drop(waiting.await);
        assert!(!pool.is_contended());
    }
}
