//! Brings the metrics up to date with what an incarnation counts and holds.
//!
//! Invariant: counters go on over incarnations: only what is new since the
//! last look is added. Called before each scrape, and once by the supervisor
//! when an incarnation is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_store::engine::{EngineStats, LATENCY_BOUNDS, SIZE_BOUNDS};
use millrace_types::TopicId;
use parking_lot::Mutex;

use crate::{
    Broker, Topic,
    metrics::{Counter, Metrics, Pool},
};

/// The pool that appends wait for while the log is behind.
const PENDING: &str = "log_pending";
/// Buckets of the flush latency.
const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// What of an incarnation's counters the metrics have already.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    counters: [u64; 10],
    flush_buckets: [u64; BUCKETS],
    flush_micros: u64,
    commit_buckets: [u64; SIZE_BOUNDS.len() + 1],
    commit_batches: u64,
    room_waits: u64,
    room_wait_micros: u64,
}

impl Broker {
    /// Brings the metrics up to date.
    pub fn refresh_metrics(&self) {
        let metrics = &*self.metrics;
        self.shown.0.lock().follow(self.engine.stats(), metrics);
        self.show_log(metrics);
        let topics = self.topics.read().by_id.clone();
        self.show_topics(&topics, metrics);
        self.show_traffic(&topics, metrics);
        self.show_lag(&topics, metrics);
    }

    fn show_log(&self, metrics: &Metrics) {
        let figures = self.engine.figures();
        metrics.files.set(figures.files as u64);
        metrics.live_bytes.set(figures.live_bytes);
        metrics.dead_bytes.set(figures.dead_bytes);
        metrics.padding_bytes.set(figures.padding_bytes);
        metrics.reserved_bytes.set(figures.reserved_bytes);
        let stats = self.engine.stats();
        for (seen, gauge) in [
            (&stats.disk_bytes, &metrics.disk_bytes),
            (&stats.disk_free_bytes, &metrics.disk_free),
            (&stats.rewriting.bytes, &metrics.rewriting),
            (&stats.rewriting.bytes_done, &metrics.rewriting_done),
        ] {
            gauge.set(seen.load(Ordering::Relaxed));
        }
        let full = stats.space_exhausted.load(Ordering::Relaxed);
        metrics.storage_full.set(u64::from(full));
        let pending = self.engine.pending_io();
        metrics.io_pending.set(pending.map_or(Duration::ZERO, |(_, lasted)| lasted));
        for (pool, used, limit) in [
            (PENDING, figures.pending_bytes, figures.pending_bytes_max),
            ("log_cache", figures.cache_bytes, figures.cache_bytes_max),
        ] {
            metrics.memory_used.with(&Pool { pool }).set(used);
            metrics.memory_limit.with(&Pool { pool }).set(limit);
        }
    }

    fn show_topics(&self, topics: &BTreeMap<TopicId, Arc<Topic>>, metrics: &Metrics) {
        let (mut partitions, mut quarantined) = (0, 0);
        for topic in topics.values() {
            for partition in topic.partitions().iter() {
                partitions += 1;
                quarantined += partition.log.quarantined().len() as u64;
            }
        }
        metrics.topics.set(topics.len() as u64);
        metrics.partitions.set(partitions);
        metrics.quarantined.set(quarantined);
        metrics.producers.set(self.engine.producer_count() as u64);
        metrics.groups.set(self.groups.len() as u64);
    }
}

impl Broker {
    fn show_traffic(&self, topics: &BTreeMap<TopicId, Arc<Topic>>, metrics: &Metrics) {
        let topics_max = metrics.limits.topics_max;
        if topics_max == 0 {
            return;
        }
        let names = topics.iter().map(|(id, topic)| (*id, topic.name().clone())).collect();
        let figures = metrics.traffic.look(&names, topics_max, self.env.monotonic());
        let [bytes_in, records_in, bytes_out, records_out] = figures;
        metrics.topic_bytes_in.replace(bytes_in);
        metrics.topic_records_in.replace(records_in);
        metrics.topic_bytes_out.replace(bytes_out);
        metrics.topic_records_out.replace(records_out);
    }
}

impl Counted {
    fn follow(&mut self, stats: &EngineStats, metrics: &Metrics) {
        let pairs: [(&AtomicU64, &Counter); 10] = [
            (&stats.commits, &metrics.commits),
            (&stats.bytes_written, &metrics.commit_bytes),
            (&stats.payload_bytes, &metrics.commit_payload),
            (&stats.bytes_rewritten, &metrics.rewritten),
            (&stats.corrupt_skipped, &metrics.corrupt_skipped),
            (&stats.checkpoints, &metrics.checkpoints),
            (&stats.checkpoints_failed, &metrics.checkpoints_failed),
            (&stats.files_deleted, &metrics.files_deleted),
            (&stats.producers_evicted, &metrics.producers_evicted),
            (&stats.producers_refused, &metrics.producers_refused),
        ];
        for ((counted, counter), shown) in pairs.into_iter().zip(&mut self.counters) {
            counter.add(news(counted, shown));
        }
        let buckets = stats.flush_buckets.iter().zip(&mut self.flush_buckets);
        let buckets = buckets.map(|(counted, shown)| news(counted, shown)).enumerate();
        metrics.flush_latency.absorb(buckets, news(&stats.flush_micros, &mut self.flush_micros));
        let batches = &stats.commit_batches;
        let buckets = batches.buckets.iter().zip(&mut self.commit_buckets);
        let buckets = buckets.map(|(counted, shown)| news(counted, shown)).enumerate();
        metrics.commit_batches.absorb(buckets, news(&batches.sum, &mut self.commit_batches));
        let pool = Pool { pool: PENDING };
        let waits = news(&stats.room_waits, &mut self.room_waits);
        metrics.memory_waits.with(&pool).add(waits);
        let waited = news(&stats.room_wait_micros, &mut self.room_wait_micros);
        metrics.memory_wait_time.with(&pool).add_micros(waited);
    }
}

/// How far `counted` went on since it was `shown`.
fn news(counted: &AtomicU64, shown: &mut u64) -> u64 {
    let now = counted.load(Ordering::Relaxed);
    now.saturating_sub(std::mem::replace(shown, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_over_incarnations() {
        let metrics = Metrics::new();
        let first = (EngineStats::default(), &mut Counted::default());
        first.0.commits.store(5, Ordering::Relaxed);
        first.1.follow(&first.0, &metrics);
        first.0.commits.store(7, Ordering::Relaxed);
        first.0.flush_micros.store(300, Ordering::Relaxed);
        first.0.flush_buckets[2].store(1, Ordering::Relaxed);
        first.1.follow(&first.0, &metrics);
        first.1.follow(&first.0, &metrics);
        assert_eq!(metrics.commits.get(), 7);
        let second = (EngineStats::default(), &mut Counted::default());
        second.0.commits.store(2, Ordering::Relaxed);
        second.1.follow(&second.0, &metrics);
        assert_eq!(metrics.commits.get(), 9);
        assert_eq!(metrics.flush_latency.count(), 1);
        let text = metrics.registry().render();
        assert!(text.contains("millrace_log_flush_duration_seconds_bucket{le=\"0.0005\"} 1\n"));
        assert!(text.contains("millrace_log_flush_duration_seconds_sum 0.0003\n"), "{text}");
    }
}
