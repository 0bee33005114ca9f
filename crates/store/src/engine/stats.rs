//! What the engine counts and holds, for whoever shows it. Recording is one
//! relaxed addition; nothing is decided by these numbers but
//! [`EngineStats::space_exhausted`].

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets of a latency, in microseconds: from 100 us to
/// 10 s.
pub const LATENCY_BOUNDS: &[u64; 15] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// Figures that only grow. All count from the incarnation's start.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each is named as its metric is")]
pub struct EngineStats {
    pub commits: AtomicU64,
    pub bytes_written: AtomicU64,
    pub payload_bytes: AtomicU64,
    pub corrupt_skipped: AtomicU64,
    pub cold_reads: AtomicU64,
    pub files_deleted: AtomicU64,
    pub files_rewritten: AtomicU64,
    pub bytes_rewritten: AtomicU64,
    pub checkpoints: AtomicU64,
    pub checkpoints_failed: AtomicU64,
    pub producers_evicted: AtomicU64,
    pub producers_refused: AtomicU64,
    /// Producers are refused until space is free.
    pub space_exhausted: AtomicBool,
    /// Flushes by how long they took: one bucket a bound of
    /// [`LATENCY_BOUNDS`], and the last for what is above all.
    pub flush_buckets: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    pub flush_micros: AtomicU64,
}

impl EngineStats {
    /// A flush returned after `took`.
    pub(super) fn flushed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.flush_buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.flush_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// What the engine holds at a moment. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named as its metric is")]
pub struct Figures {
    pub files: usize,
    /// Of log files, space allocated ahead included.
    pub disk_bytes: u64,
    /// Of batches that can still be read.
    pub live_bytes: u64,
    /// Of appends that wait for the disk.
    pub pending_bytes: u64,
    pub pending_bytes_max: u64,
    pub cache_bytes: u64,
    pub cache_bytes_max: u64,
}
