//! Topics and their partitions, as the fronts hold them.
//!
//! Invariant: a `Topic` never changes its id or name; its partitions only
//! grow in number.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use millrace_coord::ranges::RangeMap;
use millrace_log::partition::ProducerState;
use millrace_store::engine;
use millrace_types::{
    LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicName, TopicPartition,
};
use tokio::sync::Notify;

use crate::{
    Attribute, Offsets,
    attributes::Attributes,
    config::{Overrides, TopicConfig},
    metrics::TopicTraffic,
};

/// The attribute in which a splittable topic keeps its map of hash ranges.
pub(crate) const RANGES: &str = "ranges";
/// The attribute in which it keeps the change of them that is under way.
pub(crate) const RESHARD: &str = "reshard";

/// A topic: its partitions and its settings.
#[derive(Debug)]
pub struct Topic {
    /// Names it for ever; a topic made again under its name has another.
    pub id: TopicId,
    shared: Arc<Shared>,
    partitions: ArcSwap<Vec<Arc<Partition>>>,
    /// Made when it is first asked for: Kafka's topics may be many.
    ranges: ArcSwapOption<RangeMap>,
    attributes: ArcSwap<Attributes>,
    /// Told when partitions were split or merged.
    pub(crate) resharded: Notify,
}

/// What a topic's partitions share.
#[derive(Debug)]
struct Shared {
    name: TopicName,
    config: ArcSwap<TopicConfig>,
    created: Timestamp,
    traffic: Arc<TopicTraffic>,
}

impl Topic {
    pub(crate) fn new(
        id: TopicId,
        name: TopicName,
        created: Timestamp,
        config: Arc<TopicConfig>,
        attributes: &Overrides,
        logs: Vec<Arc<engine::Partition>>,
        traffic: Arc<TopicTraffic>,
    ) -> Self {
        let shared = Arc::new(Shared { name, config: ArcSwap::new(config), created, traffic });
        let kept = attributes.iter().map(|(key, text)| (key.clone(), Attribute::new(text.clone())));
        let topic = Self {
            id,
            shared,
            partitions: ArcSwap::default(),
            ranges: ArcSwapOption::empty(),
            attributes: ArcSwap::from_pointee(kept.collect()),
            resharded: Notify::new(),
        };
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

    /// Which of its partitions take which hashes of keys.
    #[must_use]
    pub fn ranges(&self) -> Arc<RangeMap> {
        let partitions = self.partitions.load().len();
        // One that was made while partitions were added is made again.
        let current = |map: &Arc<RangeMap>| map.is_splittable() || map.len() == partitions;
        if let Some(map) = self.ranges.load_full().filter(current) {
            return map;
        }
        let map = Arc::new(self.ranges_of(partitions));
        self.ranges.store(Some(Arc::clone(&map)));
        map
    }

    /// The map of a topic that keeps one.
    pub(crate) fn kept_ranges(&self) -> Option<Arc<RangeMap>> {
        self.attribute(RANGES).map(|_| self.ranges())
    }

    /// What a front keeps with it under this name.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<Arc<Attribute>> {
        self.attributes.load().get(key).cloned()
    }

    /// Sets or removes an attribute, which is in the catalog by then; one
    /// change at a time.
    pub(crate) fn set_attribute(&self, key: &str, text: Option<String>) {
        let mut attributes = Attributes::clone(&self.attributes.load());
        match text {
            Some(text) => drop(attributes.insert(key.to_owned(), Attribute::new(text))),
            None => drop(attributes.remove(key)),
        }
        self.attributes.store(Arc::new(attributes));
        if key == RANGES {
            self.ranges.store(Some(Arc::new(self.ranges_of(self.partitions().len()))));
        }
    }

    /// The map that it keeps, or equal ranges over so many partitions.
    fn ranges_of(&self, partitions: usize) -> RangeMap {
        let uniform = || {
            let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
            let created_secs = u64::try_from(self.created().get() / 1000).unwrap_or(0);
            RangeMap::uniform(partitions, created_secs, false)
        };
        let Some(kept) = self.attribute(RANGES) else { return uniform() };
        RangeMap::decode(kept.text()).unwrap_or_else(|error| {
            tracing::error!(topic = %self.name(), %error, "it is taken for one of equal ranges");
            uniform()
        })
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

    /// Where its topic counts what goes in and out.
    pub(crate) fn traffic(&self) -> &TopicTraffic {
        &self.shared.traffic
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
