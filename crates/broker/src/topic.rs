//! Topics and their partitions, as the fronts hold them.
//!
//! Invariant: a `Topic` never changes its id or name; its partitions only
//! grow in number.

use std::sync::Arc;

use arc_swap::ArcSwap;
use millrace_log::partition::ProducerState;
use millrace_store::engine;
use millrace_types::{
    LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicName, TopicPartition,
};

use crate::{Offsets, config::TopicConfig};

/// A topic: its partitions and its settings.
#[derive(Debug)]
pub struct Topic {
    /// Names it for ever; a topic made again under its name has another.
    pub id: TopicId,
    shared: Arc<Shared>,
    partitions: ArcSwap<Vec<Arc<Partition>>>,
}

/// What a topic's partitions share.
#[derive(Debug)]
struct Shared {
    name: TopicName,
    config: ArcSwap<TopicConfig>,
    created: Timestamp,
}

impl Topic {
    pub(crate) fn new(
        id: TopicId,
        name: TopicName,
        created: Timestamp,
        config: Arc<TopicConfig>,
        logs: Vec<Arc<engine::Partition>>,
    ) -> Self {
        let shared = Arc::new(Shared { name, config: ArcSwap::new(config), created });
        let topic = Self { id, shared, partitions: ArcSwap::default() };
        topic.add(logs);
        topic
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.shared.name
    }

    /// When it was created, by the wall clock.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.shared.created
    }

    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.load().get(usize::try_from(id.get()).ok()?).cloned()
    }

    /// All of its partitions, in order.
    #[must_use]
    pub fn partitions(&self) -> Arc<Vec<Arc<Partition>>> {
        self.partitions.load_full()
    }

    /// Its settings at this moment.
    #[must_use]
    pub fn config(&self) -> Arc<TopicConfig> {
        self.shared.config.load_full()
    }

    pub(crate) fn set_config(&self, config: Arc<TopicConfig>) {
        self.shared.config.store(config);
    }

    /// Adds partitions behind those that are there.
    pub(crate) fn add(&self, logs: Vec<Arc<engine::Partition>>) {
        let mut partitions = Vec::clone(&self.partitions.load());
        partitions.extend(
            logs.into_iter().map(|log| Arc::new(Partition { log, shared: self.shared.clone() })),
        );
        self.partitions.store(Arc::new(partitions));
    }
}

/// A partition of a topic.
#[derive(Debug)]
pub struct Partition {
    pub(crate) log: Arc<engine::Partition>,
    shared: Arc<Shared>,
}

impl Partition {
    /// Which partition of which topic this is.
    #[must_use]
    pub fn id(&self) -> TopicPartition {
        self.log.id()
    }

    /// The topic's name.
    #[must_use]
    pub fn topic_name(&self) -> &TopicName {
        &self.shared.name
    }

    /// The topic's settings at this moment.
    #[must_use]
    pub fn config(&self) -> Arc<TopicConfig> {
        self.shared.config.load_full()
    }

    /// What a reader may see: all durable.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        self.log.offsets()
    }

    /// The epoch that appends are stamped with.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.log.leader_epoch()
    }

    /// The epoch of the record at the log start; of the next append where there
    /// never was one.
    #[must_use]
    pub fn log_start_epoch(&self) -> LeaderEpoch {
        self.log.log_start_epoch()
    }

    /// The largest epoch at or below `epoch`, and the offset where it ends.
    /// `None` where no such epoch is known.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.log.epoch_end(epoch)
    }

    /// The idempotent producers that are remembered, by id.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerState> {
        self.log.producers()
    }

    /// Bytes of the records that can be read.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// Whether the topic was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.log.is_deleted()
    }
}
