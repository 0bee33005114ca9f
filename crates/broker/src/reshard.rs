//! Splitting and merging partitions: the way from one map of hash ranges to the
//! next, through any crash.
//!
//! 1. The steps are written into the catalog, as the topic's *intent*. Nobody
//!    sees them.
//! 2. What they seal is sealed in the log, by one frame. That decides.
//! 3. Memory gets the new partitions and the new map; appends that came upon
//!    a seal and waited go on.
//! 4. The catalog gets both, and forgets the intent.
//!
//! Invariant: a topic's new partitions take records only once the seals are
//! gathered, so that none outlives them; and a start that finds an intent does
//! what the log says: it completes the change or forgets it ([`settle`]).

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use millrace_coord::ranges::{RangeMap, RangeState, Reshard, ReshardError, Step};
use millrace_store::{
    catalog::{Catalog, CatalogError, CatalogState, CatalogTopic, TopicChange},
    engine::{self, Engine},
};
use millrace_types::{Offset, PartitionId, TopicId, TopicPartition};

use crate::{
    AppendError, Broker, Topic,
    topic::{RANGES, RESHARD},
};

/// Why partitions were not split or merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReshardTopicError<E> {
    /// No topic has this id.
    #[error("the topic does not exist")]
    NotFound,
    /// The one who asked saw the map, and refused.
    #[error("refused")]
    Refused(E),
    /// The map cannot be changed so.
    #[error(transparent)]
    Invalid(#[from] ReshardError),
    /// The server takes only so many partitions more.
    #[error("the server takes {0} partitions more")]
    TooMany(u32),
    /// The log or the catalog cannot be written now; nothing has changed.
    #[error("{0}")]
    Unavailable(String),
    /// The incarnation is over: the next one knows whether it was done.
    #[error("the broker's incarnation ended")]
    Ended,
}

impl Broker {
    /// Splits and merges partitions of a topic, at any load, as one change:
    /// `plan` sees the map that stands and says by which steps, with its
    /// answer, or refuses. Without steps nothing changes.
    ///
    /// # Errors
    /// See [`ReshardTopicError`].
    pub async fn reshard<T: Send + 'static, E: Send + 'static>(
        &self,
        topic: TopicId,
        plan: impl FnOnce(&RangeMap) -> Result<(Vec<Step>, T), E> + Send + 'static,
    ) -> Result<T, ReshardTopicError<E>> {
        let broker = self.me.upgrade().ok_or(ReshardTopicError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            let topic = broker.topic_by_id(topic).ok_or(ReshardTopicError::NotFound)?;
            broker.finalise_late(&topic).await?;
            let map = topic.ranges();
            let (steps, answer) = plan(&map).map_err(ReshardTopicError::Refused)?;
            if !steps.is_empty() {
                let at_secs = u64::try_from(broker.env.wall().get() / 1000).unwrap_or(0);
                broker.reshard_alone(&topic, &map, Reshard { steps, at_secs }).await?;
            }
            Ok(answer)
        };
        self.detached("reshard", work).await.unwrap_or(Err(ReshardTopicError::Ended))
    }

    async fn reshard_alone<E>(
        &self,
        topic: &Arc<Topic>,
        map: &RangeMap,
        reshard: Reshard,
    ) -> Result<(), ReshardTopicError<E>> {
        // Its ends are not known yet; what it seals is.
        let preview = map.resharded(&reshard, |_| Offset::ZERO)?;
        let more = count(preview.len() - map.len());
        let room = self.partitions_max.saturating_sub(self.topics.read().partitions);
        if more > room {
            return Err(ReshardTopicError::TooMany(room));
        }
        let intent = reshard.encode();
        let unavailable = |error| ReshardTopicError::Unavailable(self.catalog_failed(&error));
        self.catalog
            .change_topic(topic.id, attribute(RESHARD, Some(intent.clone())))
            .await
            .map_err(unavailable)?;
        let ends = match self.seal(topic.id, &newly_sealed(map, &preview)).await {
            Ok(ends) => ends,
            Err(engine::AppendError::Ended(_)) => return Err(ReshardTopicError::Ended),
            Err(error) => {
                // What can't be undone now, the next start undoes.
                let undone = self.catalog.change_topic(topic.id, attribute(RESHARD, None)).await;
                if let Err(error) = undone {
                    tracing::warn!(topic = %topic.name(), %error, "an intent to reshard stays");
                }
                return Err(ReshardTopicError::Unavailable(error.to_string()));
            }
        };
        let next = map.resharded(&reshard, |id| ends.get(&id).copied().unwrap_or_default())?;
        self.publish(topic, &next, intent);
        tracing::info!(topic = %topic.name(), id = %topic.id, partitions = next.len(),
            open = next.open_len(), "partitions were split or merged");
        if let Err(error) = self.finalise(topic).await {
            // The log and memory have it: a start completes it, if nothing
            // does before.
            tracing::warn!(topic = %topic.name(), %error,
                "the catalog learns of split or merged partitions later");
        }
        Ok(())
    }

    /// Seals partitions, those that are only made on the way among them; the
    /// ends of all.
    async fn seal(
        &self,
        topic: TopicId,
        ids: &[PartitionId],
    ) -> Result<BTreeMap<PartitionId, Offset>, engine::AppendError> {
        let open = |id: &PartitionId| self.engine.open_partition(TopicPartition::new(topic, *id));
        let logs: Vec<_> = ids.iter().map(open).collect();
        let ends = self.engine.seal_partitions(&logs).await?;
        Ok(ids.iter().copied().zip(ends).collect())
    }

    /// Shows the new partitions and the new map. `intent` marks that the catalog
    /// does not know yet.
    fn publish(&self, topic: &Topic, next: &RangeMap, intent: String) {
        let present = count(topic.partitions().len());
        let total = count(next.len());
        // Partitions before the map that names them.
        topic.add((present..total).map(|n| self.engine.open_nth_partition(topic.id, n)).collect());
        topic.set_attribute(RESHARD, Some(intent));
        topic.set_attribute(RANGES, Some(next.encode()));
        self.topics.write().partitions += total.saturating_sub(present);
        topic.resharded.notify_waiters();
        for partition in topic.partitions().iter() {
            self.engine.wake_watchers(&partition.log);
        }
    }

    /// Tells the catalog what memory has.
    async fn finalise(&self, topic: &Topic) -> Result<(), CatalogError> {
        let map = topic.ranges();
        self.catalog.change_topic(topic.id, finished(&map)).await?;
        topic.set_attribute(RESHARD, None);
        Ok(())
    }

    /// Makes up for a finalising that failed.
    async fn finalise_late<E>(&self, topic: &Topic) -> Result<(), ReshardTopicError<E>> {
        if topic.attribute(RESHARD).is_none() {
            return Ok(());
        }
        let finalised = self.finalise(topic).await;
        finalised.map_err(|error| ReshardTopicError::Unavailable(self.catalog_failed(&error)))
    }

    /// The topic and its map, once that knows every seal that an append to one
    /// of `partitions` can have come upon.
    ///
    /// # Errors
    /// [`AppendError::TopicDeleted`], [`AppendError::Ended`].
    pub async fn routes(
        &self,
        topic: TopicId,
        partitions: &[PartitionId],
    ) -> Result<(Arc<Topic>, Arc<RangeMap>), AppendError> {
        loop {
            let topic = self.topic_by_id(topic).ok_or(AppendError::TopicDeleted)?;
            let mut resharded = pin!(topic.resharded.notified());
            // Before the look at the map: nothing is missed in between.
            resharded.as_mut().enable();
            let map = topic.ranges();
            let is_behind = |id: &PartitionId| {
                let open = map.get(*id).is_some_and(|of| of.state == RangeState::Open);
                open && topic.partition(*id).is_some_and(|it| it.log.is_sealing())
            };
            if !partitions.iter().any(is_behind) {
                return Ok((Arc::clone(&topic), map));
            }
            tokio::select! {
                biased;
                () = resharded => {}
                () = self.ended() => return Err(AppendError::Ended),
            }
        }
    }
}

/// What `after` seals that `before` does not.
fn newly_sealed(before: &RangeMap, after: &RangeMap) -> Vec<PartitionId> {
    let open = |id| before.get(id).is_none_or(|of| of.state == RangeState::Open);
    let sealed = after.iter().filter(|(_, of)| of.state != RangeState::Open);
    sealed.map(|(id, _)| id).filter(|id| open(*id)).collect()
}

fn attribute(key: &str, text: Option<String>) -> TopicChange {
    TopicChange { partitions: None, attributes: [(key.to_owned(), text)].into() }
}

/// The row of a topic whose map this is.
fn finished(map: &RangeMap) -> TopicChange {
    let attributes = [(RANGES.to_owned(), Some(map.encode())), (RESHARD.to_owned(), None)];
    TopicChange { partitions: Some(count(map.len())), attributes: attributes.into() }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// At a start: completes what was sealed in the log, and forgets what was not.
pub(crate) async fn settle(
    engine: &Engine,
    catalog: &dyn Catalog,
    state: &mut CatalogState,
) -> Result<(), CatalogError> {
    for row in state.topics.values_mut() {
        let Some(intent) = row.attributes.get(RESHARD) else { continue };
        let change = match completed(engine, row, intent) {
            Ok(Some(map)) => {
                tracing::info!(topic = %row.name, "a split or merge that was under way is completed");
                finished(&map)
            }
            Ok(None) => {
                tracing::info!(topic = %row.name, "a split or merge that was begun is undone");
                attribute(RESHARD, None)
            }
            Err(why) => {
                tracing::error!(topic = %row.name, why, "a split or merge cannot be completed");
                continue;
            }
        };
        catalog.change_topic(row.id, change.clone()).await?;
        row.partitions = change.partitions.unwrap_or(row.partitions);
        for (key, text) in change.attributes {
            match text {
                Some(text) => drop(row.attributes.insert(key, text)),
                None => drop(row.attributes.remove(&key)),
            }
        }
    }
    Ok(())
}

/// The map that the intent of a topic leads to, if its seals are in the log.
fn completed(
    engine: &Engine,
    row: &CatalogTopic,
    intent: &str,
) -> Result<Option<RangeMap>, String> {
    let ranges = row.attributes.get(RANGES).map(String::as_str).unwrap_or_default();
    let map = RangeMap::decode(ranges).map_err(|error| error.to_string())?;
    let reshard = Reshard::decode(intent).map_err(|error| error.to_string())?;
    let preview = map.resharded(&reshard, |_| Offset::ZERO).map_err(|error| error.to_string())?;
    let log = |id| TopicPartition::new(row.id, id);
    let sealed = newly_sealed(&map, &preview);
    let is_sealed = |id: &PartitionId| engine.open_partition(log(*id)).sealed().is_some();
    // One seal proves them all. Corruption may have taken them: then a record
    // that came after them does.
    let is_new = |id: PartitionId| map.get(id).is_none();
    let has_records = |id: PartitionId| engine.log_start(log(id)).is_some();
    let made = preview.iter().map(|(id, _)| id).filter(|id| is_new(*id));
    let is_done = sealed.iter().filter(|id| !is_new(**id)).any(is_sealed)
        || made.into_iter().any(has_records);
    if !is_done {
        return Ok(None);
    }
    let mut ends = BTreeMap::new();
    for id in sealed {
        let partition = engine.open_partition(log(id));
        partition.presume_sealed();
        ends.insert(id, partition.sealed().unwrap_or_default());
    }
    let end = |id: PartitionId| ends.get(&id).copied().unwrap_or_default();
    map.resharded(&reshard, end).map(Some).map_err(|error| error.to_string())
}

/// At a start: what the map says is sealed takes nothing more, also where
/// corruption took the seal.
pub(crate) fn seal_by_map(topic: &Topic) {
    let Some(map) = topic.kept_ranges() else { return };
    for (id, of) in map.iter() {
        let Some(partition) = topic.partition(id) else { continue };
        let (is_open, sealed) = (of.state == RangeState::Open, partition.log.sealed());
        if is_open && sealed.is_some() {
            tracing::error!(partition = %partition.id(), ?sealed,
                "the log has sealed a partition of which the catalog says that it is open, as one \
                 does that was restored from an old backup: it takes no records");
        } else if !is_open && sealed.is_none() {
            tracing::warn!(partition = %partition.id(), state = ?of.state,
                "the log lost the seal of a partition; the catalog has it");
            partition.log.presume_sealed();
        }
    }
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests;
