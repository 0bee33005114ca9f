//! What workers count while the run goes on, and the main thread reads.
//!
//! Invariant: counters only grow; a histogram is taken out and merged by the
//! main thread once in a while, so that no worker waits for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// The longest time that is told apart, in µs: an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// Times in µs, to three digits.
#[derive(Debug)]
pub(crate) struct Times(Mutex<Option<Histogram<u64>>>);

/// A histogram that is none yet; see [`histogram`].
pub(crate) fn histogram() -> Option<Histogram<u64>> {
    // The bounds are constants that the library accepts.
    Histogram::new_with_bounds(1, MICROS_MAX, 3).ok()
}

impl Times {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(histogram()))
    }

    /// Records many times with one lock.
    pub(crate) fn record(&self, micros: impl Iterator<Item = (u64, u64)>) {
        let mut times = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(times) = times.as_mut() {
            for (micros, count) in micros {
                times.saturating_record_n(micros, count);
            }
        }
    }

    /// Moves what was recorded into `total`, using it as the next empty one;
    /// returns what it was.
    pub(crate) fn take(&self, spare: Histogram<u64>) -> Option<Histogram<u64>> {
        let mut times = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        times.replace(spare)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a run.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        /// All counters at one moment.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Counted {
            $(pub(crate) $name: u64,)*
        }

        impl Counters {
            pub(crate) fn now(&self) -> Counted {
                Counted { $($name: self.$name.get(),)* }
            }
        }

        impl Counted {
            /// What was counted since `before`.
            pub(crate) fn since(&self, before: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(before.$name),)* }
            }
        }
    };
}

counters! {
    /// Records acknowledged.
    records_in,
    /// Bytes of their values.
    bytes_in,
    /// Batches acknowledged.
    batches,
    /// Bytes of those, as they were sent.
    wire_bytes_in,
    /// Produce requests answered.
    requests,
    /// Batches sent again.
    retries,
    /// ms for which servers asked to be left alone.
    throttled_ms,
    /// Connections that broke.
    disconnects,
    /// Records read.
    records_out,
    /// Bytes of their values.
    bytes_out,
    /// Bytes of fetch answers.
    wire_bytes_out,
    /// Fetch requests answered.
    fetches,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
