//! Deleting: moving log starts and dropping topics, by durable records of the
//! engine's own hidden partition.
//!
//! Invariant: nothing becomes unreadable before the record that says so is
//! durable. The bytes go later, file by file, in [`super::release`].

use std::sync::{Arc, atomic::Ordering};

use millrace_types::{FileId, Offset, TopicId, TopicPartition};

use super::{AppendError, Class, Engine, Partition, meta::MetaRecord};

impl Engine {
    /// Moves log starts up to the given offsets, which are at most the high
    /// watermarks. Resolves once that is durable; until then readers see the
    /// old ones.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn move_log_starts(
        &self,
        moves: &[(TopicPartition, Offset)],
    ) -> Result<(), AppendError> {
        let records: Vec<Vec<u8>> =
            moves.iter().map(|(id, offset)| MetaRecord::LogStart(*id, *offset).encode()).collect();
        let lsn = self.append_hidden(TopicId::META, &records, Class::Internal).await?;
        Ok(self.durable(lsn).await?)
    }

    /// Deletes the partitions of `topic`: they are marked at once, and their
    /// bytes go once the tombstone is durable, which is when this resolves.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn delete_topic(&self, topic: TopicId) -> Result<(), AppendError> {
        let record = MetaRecord::Tombstone(topic).encode();
        let lsn = self.append_hidden(TopicId::META, &[record], Class::Internal).await?;
        Ok(self.durable(lsn).await?)
    }

    /// Forgets tombstones of topics that the catalog doesn't list any more.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn forget_tombstones(&self, topics: &[TopicId]) -> Result<(), AppendError> {
        let records: Vec<Vec<u8>> =
            topics.iter().map(|topic| MetaRecord::Forgotten(*topic).encode()).collect();
        for chunk in records.chunks(1000) {
            self.append_hidden(TopicId::META, chunk, Class::Internal).await?;
        }
        Ok(())
    }

    /// Takes in one durable record of the engine's own.
    pub(super) fn apply_meta(&self, record: &[u8]) {
        match MetaRecord::decode(record) {
            Some(MetaRecord::LogStart(id, offset)) => {
                let partition = self.partitions.read().get(&id).cloned();
                if let Some(partition) = partition {
                    self.cut(&partition, offset);
                }
            }
            Some(MetaRecord::Tombstone(topic)) => {
                self.tombstones.lock().insert(topic, None);
                self.drop_topic(topic);
            }
            Some(MetaRecord::Forgotten(topic)) => {
                // Batches of the topic that were appended before it was marked
                // lie in frames up to this one.
                let last = self.gather.lock().gather.lsn();
                if let Some(forgotten) = self.tombstones.lock().get_mut(&topic) {
                    *forgotten = Some(last);
                }
            }
            Some(MetaRecord::Quarantined(id, range)) => {
                let partition = self.open_partition(id);
                let mut core = partition.lock();
                if range.end > core.state.log_start() {
                    core.add_quarantined(range);
                }
            }
            Some(MetaRecord::GivenUp(id, range, ends)) => {
                self.give_up_range(&self.open_partition(id), range, ends);
            }
            Some(MetaRecord::EndUnproven(id)) => {
                self.open_partition(id).lock().end_unproven = true;
            }
            None => tracing::warn!("skipping a record of the log that this version cannot read"),
        }
    }

    pub(super) fn cut(&self, partition: &Arc<Partition>, offset: Offset) {
        let mut core = partition.lock();
        core.state.move_log_start(offset);
        let start = core.state.log_start();
        let dead = core.index.trim(start);
        core.quarantined.retain(|range| range.end > start);
        core.given_up.retain(|(range, _)| range.end > start);
        core.notify();
        drop(core);
        self.count_dead(&dead);
    }

    fn drop_topic(&self, topic: TopicId) {
        let mut partitions = self.partitions.write();
        let mut dropped = Vec::new();
        partitions.retain(|id, partition| {
            let keep = id.topic != topic;
            if !keep {
                dropped.push(Arc::clone(partition));
            }
            keep
        });
        drop(partitions);
        for partition in dropped {
            let mut core = partition.lock();
            core.deleted = true;
            let dead: Vec<_> = std::mem::take(&mut core.index).live_bytes().collect();
            let producers = core.state.producer_count();
            core.notify();
            drop(core);
            self.producers.fetch_sub(producers, Ordering::Relaxed);
            self.count_dead(&dead);
        }
    }

    fn count_dead(&self, dead: &[(FileId, u64)]) {
        if !dead.is_empty() {
            self.changed.store(true, Ordering::Release);
        }
        for (id, bytes) in dead {
            if let Some(file) = self.files.get(*id) {
                file.remove_live(*bytes);
            }
        }
    }
}
