//! Forgetting what memory has no room for: index entries of sealed files, and
//! the producers that were heard of longest ago.

use std::sync::{Arc, atomic::Ordering};

use millrace_types::{ProducerId, Timestamp};

use super::{Engine, Partition, release::Usage};

/// A pair with a batch younger than this is in use.
const IDLE_MS: i64 = 60_000;

impl Engine {
    /// Drops index entries of sealed files until three quarters of the budget
    /// are left; each partition gives in proportion to what it has.
    pub(super) fn evict_entries(&self, usage: &Usage) {
        let budget = self.options.index_entries_max;
        if usage.loaded <= budget {
            return;
        }
        for partition in self.partitions_by_id() {
            let mut core = partition.lock();
            let loaded = core.index.loaded_entries();
            let share = loaded as u128 * (budget as u128 * 3 / 4) / usage.loaded as u128;
            core.index.evict(usize::try_from(share).unwrap_or(loaded));
        }
    }

    /// Counts entries that readers brought back; enough of them are worth a
    /// look at the budget.
    pub(super) fn count_loaded(&self, entries: usize) {
        let loaded = self.entries_loaded.fetch_add(entries, Ordering::Relaxed) + entries;
        if loaded > self.options.index_entries_max / 8 {
            self.entries_loaded.store(0, Ordering::Relaxed);
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Makes room for new producers before there is none: pairs without a
    /// batch for a minute leave, those first that were silent longest.
    pub(super) fn forget_old_producers(&self) {
        let most = self.options.producers_max;
        let count = self.producers.load(Ordering::Relaxed);
        if count < most - most / 20 {
            return;
        }
        let idle_since = self.env.wall().plus_ms(-IDLE_MS);
        let mut idle: Vec<(Timestamp, ProducerId, Arc<Partition>)> = Vec::new();
        for partition in self.partitions_by_id() {
            let producers = partition.producers();
            let old = producers.iter().filter(|producer| producer.append_time < idle_since);
            idle.extend(old.map(|p| (p.append_time, p.id, Arc::clone(&partition))));
        }
        idle.sort_by_key(|(heard, id, partition)| (*heard, *id, partition.id()));
        let mut forgotten = 0;
        for (_, id, partition) in idle.into_iter().take(count - most * 9 / 10) {
            let mut core = partition.lock();
            if !core.deleted && core.state.forget_producer(id) {
                forgotten += 1;
            }
        }
        self.producers.fetch_sub(forgotten, Ordering::Relaxed);
        self.stats.producers_evicted.fetch_add(forgotten as u64, Ordering::Relaxed);
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                "producers_max is met: the oldest idle producers were forgotten"
            );
        }
    }
}
