//! Making, changing and deleting topics.
//!
//! Invariant: the catalog changes first, memory after it, both in a task that
//! goes on when the caller leaves; one change at a time.

use std::sync::Arc;

use millrace_coord::ranges::RangeMap;
use millrace_store::catalog::{CatalogError, CatalogTopic};
use millrace_types::{TopicId, TopicName};

use crate::{
    Broker, CreatePartitionsError, CreateTopicError, DeleteTopicError, Topic,
    config::{Overrides, TopicConfig},
    topic,
};

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Number of its partitions.
    pub partitions: u32,
    /// Settings that differ from the server's.
    pub config: Overrides,
    /// Whether its partitions can be split and merged; else their number can
    /// be raised.
    pub splittable: bool,
    /// What the front keeps with it.
    pub attributes: Overrides,
}

impl NewTopic {
    /// One that can be extended, with nothing kept with it.
    #[must_use]
    pub const fn plain(name: TopicName, partitions: u32, config: Overrides) -> Self {
        Self { name, partitions, config, splittable: false, attributes: Overrides::new() }
    }
}

impl Broker {
    fn strong(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    /// Creates a topic; with `validate_only`, says what would happen. The
    /// topic returned then is not part of the broker.
    ///
    /// # Errors
    /// See [`CreateTopicError`].
    pub async fn create_topic(
        &self,
        new: NewTopic,
        validate_only: bool,
    ) -> Result<Arc<Topic>, CreateTopicError> {
        let broker = self.strong().ok_or(CreateTopicError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            broker.create_topic_alone(new, validate_only).await
        };
        self.detached("create topic", work).await.unwrap_or(Err(CreateTopicError::Ended))
    }

    async fn create_topic_alone(
        &self,
        new: NewTopic,
        validate_only: bool,
    ) -> Result<Arc<Topic>, CreateTopicError> {
        let config = TopicConfig::resolve(&new.config, &self.config())?;
        self.check_new_name(&new.name)?;
        self.check_partitions(new.partitions)?;
        let created = self.env.wall();
        let id = self.new_topic_id();
        let mut attributes = new.attributes;
        if new.splittable {
            let created_secs = u64::try_from(created.get() / 1000).unwrap_or(0);
            let map = RangeMap::uniform(new.partitions, created_secs, true);
            attributes.insert(topic::RANGES.to_owned(), map.encode());
        }
        if !validate_only {
            let row = CatalogTopic {
                id,
                name: new.name.clone(),
                partitions: new.partitions,
                config: new.config,
                attributes: attributes.clone(),
                created,
            };
            self.catalog
                .create_topic(row)
                .await
                .map_err(|error| CreateTopicError::Unavailable(self.catalog_failed(&error)))?;
        }
        // A topic that is only validated has no partitions of the log.
        let count = if validate_only { 0 } else { new.partitions };
        let logs = (0..count).map(|n| self.engine.open_nth_partition(id, n)).collect();
        let topic = Arc::new(Topic::new(
            id,
            new.name,
            created,
            Arc::new(config),
            &attributes,
            logs,
            self.metrics.traffic.of(id),
        ));
        if !validate_only {
            self.topics.write().insert(Arc::clone(&topic));
            tracing::info!(topic = %topic.name(), %id, partitions = new.partitions, "topic created");
        }
        Ok(topic)
    }

    fn check_new_name(&self, name: &TopicName) -> Result<(), CreateTopicError> {
        let topics = self.topics.read();
        if topics.by_name.contains_key(name) {
            return Err(CreateTopicError::Exists(name.to_string()));
        }
        match topics.collisions.get(&name.collision_form()) {
            Some(with) => Err(CreateTopicError::Collides { with: with.to_string() }),
            None => Ok(()),
        }
    }

    fn check_partitions(&self, partitions: u32) -> Result<(), CreateTopicError> {
        let room = self.partitions_max.saturating_sub(self.topics.read().partitions);
        if partitions == 0 || partitions > room {
            return Err(CreateTopicError::InvalidPartitions(room));
        }
        Ok(())
    }

    /// A random id that is none of the hidden topics' and not zero.
    fn new_topic_id(&self) -> TopicId {
        loop {
            let high = u128::from(self.env.random_u64());
            let id = TopicId(((high << 64) | u128::from(self.env.random_u64())).to_be_bytes());
            if !id.is_hidden() && id != TopicId::default() {
                return id;
            }
        }
    }

    /// Deletes a topic. It is unknown once that is durable, which is when this
    /// returns; its bytes go later.
    ///
    /// # Errors
    /// See [`DeleteTopicError`].
    pub async fn delete_topic(&self, id: TopicId) -> Result<(), DeleteTopicError> {
        let broker = self.strong().ok_or(DeleteTopicError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            broker.delete_topic_alone(id).await
        };
        self.detached("delete topic", work).await.unwrap_or(Err(DeleteTopicError::Ended))
    }

    async fn delete_topic_alone(&self, id: TopicId) -> Result<(), DeleteTopicError> {
        let topic = self.topic_by_id(id).ok_or(DeleteTopicError::NotFound)?;
        // The tombstone first: a start that finds the row beside it finishes
        // the deletion. The other way round the bytes would stay for ever.
        self.engine.delete_topic(id).await.map_err(|error| match error {
            millrace_store::engine::AppendError::Ended(_) => DeleteTopicError::Ended,
            other => DeleteTopicError::Unavailable(other.to_string()),
        })?;
        self.topics.write().remove(id);
        tracing::info!(topic = %topic.name(), %id, "topic deleted");
        let groups_know = self.groups.topic_deleted(id);
        if let Err(error) = self.catalog.delete_topic(id).await {
            // The topic is gone all the same: its row goes at the next start.
            tracing::warn!(%error, %id, "a deleted topic's row stays in the catalog for now");
        } else if !groups_know.await {
            // The tombstone is what tells them again.
            tracing::debug!(%id, "groups keep a deleted topic's offsets until the next start");
        } else if let Err(error) = self.engine.forget_tombstones(&[id]).await {
            tracing::debug!(%error, %id, "a tombstone stays until the next start");
        }
        Ok(())
    }

    /// Adds partitions to a topic until it has `total`.
    ///
    /// # Errors
    /// See [`CreatePartitionsError`].
    pub async fn create_partitions(
        &self,
        id: TopicId,
        total: u32,
        validate_only: bool,
    ) -> Result<(), CreatePartitionsError> {
        let broker = self.strong().ok_or(CreatePartitionsError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            broker.create_partitions_alone(id, total, validate_only).await
        };
        self.detached("create partitions", work).await.unwrap_or(Err(CreatePartitionsError::Ended))
    }

    async fn create_partitions_alone(
        &self,
        id: TopicId,
        total: u32,
        validate_only: bool,
    ) -> Result<(), CreatePartitionsError> {
        let topic = self.topic_by_id(id).ok_or(CreatePartitionsError::NotFound)?;
        let present = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        if topic.ranges().is_splittable() {
            return Err(CreatePartitionsError::Invalid(format!(
                "The topic {} is a stream whose shards share out the hashes of keys: change their \
                 number by Kinesis' UpdateShardCount, SplitShard or MergeShards.",
                topic.name()
            )));
        }
        if total <= present {
            return Err(CreatePartitionsError::Invalid(format!(
                "The topic {} currently has {present} partition(s); {total} would not be an increase.",
                topic.name()
            )));
        }
        let room = self.partitions_max.saturating_sub(self.topics.read().partitions);
        if total - present > room {
            return Err(CreatePartitionsError::Invalid(format!(
                "the server takes {room} partitions more"
            )));
        }
        if validate_only {
            return Ok(());
        }
        self.catalog
            .set_partitions(id, total)
            .await
            .map_err(|error| CreatePartitionsError::Unavailable(self.catalog_failed(&error)))?;
        topic.add((present..total).map(|n| self.engine.open_nth_partition(id, n)).collect());
        self.topics.write().partitions += total - present;
        Ok(())
    }

    pub(crate) fn catalog_failed(&self, error: &CatalogError) -> String {
        tracing::error!(%error, "the catalog was not changed");
        error.to_string()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
