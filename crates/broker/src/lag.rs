//! Consumer lag as the broker sees it: how far the committed offsets of each
//! group are behind what is durable, in records and in time.
//!
//! Invariant: it is worked out at a scrape from what is in memory, and never
//! waits for the disk: where the index of an old file is not there, the time is
//! judged (see [`Partition::backlog`](millrace_store::engine::Partition::backlog)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_types::{Offset, Timestamp, TopicId, TopicPartition};

use crate::{
    Broker, Topic,
    metrics::{Lag, Lags, Metrics},
};

impl Broker {
    pub(crate) fn show_lag(&self, topics: &BTreeMap<TopicId, Arc<Topic>>, metrics: &Metrics) {
        let pairs_max = metrics.limits.groups_max;
        if pairs_max == 0 {
            return;
        }
        let now = self.env.wall();
        let mut lags = Lags::new(pairs_max);
        self.groups.each_committed(|group, offsets| {
            // Sorted by topic, so that each topic comes once.
            for of_topic in offsets.chunk_by(|(a, _), (b, _)| a.topic == b.topic) {
                let Some((first, _)) = of_topic.first() else { continue };
                if let Some(topic) = topics.get(&first.topic) {
                    lags.add(group.as_str(), topic.name(), lag(topic, of_topic, now));
                }
            }
        });
        let (records, times) = lags.rows();
        metrics.lag_records.replace(records);
        metrics.lag_time.replace(times);
    }
}

fn lag(topic: &Topic, committed: &[(TopicPartition, Offset)], now: Timestamp) -> Lag {
    let partitions = topic.partitions();
    committed.iter().fold(Lag::default(), |sum, (id, offset)| {
        let number = usize::try_from(id.partition.get()).ok();
        let Some(partition) = number.and_then(|n| partitions.get(n)) else { return sum };
        let (records, appended) = partition.log.backlog(*offset);
        let age = appended.map_or(0, |at| now.get().saturating_sub(at.get()));
        let time = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        sum.and(Lag { time, records })
    })
}
