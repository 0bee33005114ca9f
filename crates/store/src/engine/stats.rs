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
    /// Batches of each commit.
    pub commit_batches: SizeCounts,
    /// Appends that waited for room, and for how long in all.
    pub room_waits: AtomicU64,
    pub room_wait_micros: AtomicU64,
    /// The rewriting that is under way.
    pub rewriting: RewritingNow,
    /// Of the file system, when it was last looked at.
    pub disk_bytes: AtomicU64,
    pub disk_free_bytes: AtomicU64,
}

/// Upper bounds of the buckets of a number of things.
pub const SIZE_BOUNDS: &[u64; 12] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];

/// How often something had how many parts.
#[derive(Debug, Default)]
pub struct SizeCounts {
    /// One a bound of [`SIZE_BOUNDS`], and the last for what is above all.
    pub buckets: [AtomicU64; SIZE_BOUNDS.len() + 1],
    /// Parts in all.
    pub sum: AtomicU64,
}

impl SizeCounts {
    pub(super) fn count(&self, parts: usize) {
        let parts = parts as u64;
        let bucket = SIZE_BOUNDS.partition_point(|bound| *bound < parts);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(parts, Ordering::Relaxed);
    }
}

/// How far a rewriting is; both 0 while there is none.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each is named as its metric is")]
pub struct RewritingNow {
    pub bytes: AtomicU64,
    pub bytes_done: AtomicU64,
}

impl RewritingNow {
    pub(super) fn begin(&self, bytes: u64) {
        self.bytes_done.store(0, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn did(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.begin(0);
    }
}

impl EngineStats {
    /// An append waited for room.
    pub(super) fn waited_for_room(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.room_waits.fetch_add(1, Ordering::Relaxed);
        self.room_wait_micros.fetch_add(micros, Ordering::Relaxed);
    }

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
    /// Of batches that can still be read.
    pub live_bytes: u64,
    /// Of batches that expired or were deleted.
    pub dead_bytes: u64,
    /// Of tables, footers and what fills blocks.
    pub padding_bytes: u64,
    /// Allocated ahead to log files.
    pub reserved_bytes: u64,
    /// Of appends that wait for the disk.
    pub pending_bytes: u64,
    pub pending_bytes_max: u64,
    pub cache_bytes: u64,
    pub cache_bytes_max: u64,
}
