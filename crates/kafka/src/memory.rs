//! The pool that accounts for the memory of requests, over all connections.
//!
//! Invariant: no connection gives memory to a request before it holds a permit
//! for what the request may take at worst; who finds the pool empty waits, in
//! the order of asking. Called by the connection's receiver.

use std::sync::Arc;

use millrace_broker::metrics::{self, Counter, Gauge, Metrics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit: the semaphore counts in 32 bits.
const UNIT: usize = 1024;

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

/// A bounded amount of memory.
#[derive(Clone, Debug)]
pub struct Pool {
    free: Arc<Semaphore>,
    units: u32,
    gauge: Arc<Gauge>,
    waits: Arc<Counter>,
}

impl Pool {
    /// A pool of `bytes`, rounded to whole KiB.
    #[must_use]
    pub fn new(bytes: usize, metrics: &Metrics) -> Self {
        let units = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let free = Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(0)));
        let labels = metrics::Pool { pool: NAME };
        let gauge = metrics.memory_used.with(&labels);
        let waits = metrics.memory_waits.with(&labels);
        let pool = Self { free, units, gauge, waits };
        metrics.memory_limit.with(&labels).set(u64::try_from(pool.limit()).unwrap_or(u64::MAX));
        pool
    }

    /// Whether `bytes` could ever be given.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        units(bytes) <= self.units
    }

    /// Takes `bytes` if nobody else waits and as much is free.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<Permit> {
        let held = Arc::clone(&self.free).try_acquire_many_owned(units(bytes)).ok()?;
        Some(Permit::new(held, &self.gauge))
    }

    /// Waits for `bytes`. What does not [fit](Self::fits) is never given.
    pub async fn take(self, bytes: usize) -> Permit {
        self.waits.increment();
        match self.free.acquire_many_owned(units(bytes)).await {
            Ok(held) => Permit::new(held, &self.gauge),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        let units = usize::try_from(self.units).unwrap_or(usize::MAX);
        units.saturating_sub(self.free.available_permits()).saturating_mul(UNIT)
    }

    /// Bytes that there are.
    #[must_use]
    pub fn limit(&self) -> usize {
        usize::try_from(self.units).unwrap_or(usize::MAX).saturating_mul(UNIT)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_its_permit_is_dropped() {
        let pool = Pool::new(10 * UNIT, &Metrics::new());
        let most = pool.try_take(9 * UNIT + 1).unwrap();
        assert_eq!(pool.used(), 10 * UNIT);
        assert!(pool.try_take(1).is_none());
        drop(most);
        assert_eq!(pool.used(), 0);
        assert!(pool.fits(10 * UNIT) && !pool.fits(10 * UNIT + 1));
    }
}
