//! Shards: their names, and how they are described.
//!
//! Invariant: a shard that was sealed longer ago than records are kept, and has
//! lost its last one, is not shown any more; its partition stays.

use std::sync::Arc;

use millrace_broker::Topic;
use millrace_broker::ranges::{HashRange, PartitionRange, RangeMap, RangeState};
use millrace_types::{PartitionId, Timestamp};

use crate::error::Error;
use crate::sequence::SequenceNumber;
use crate::value::{Members, Value};

/// The name of a shard.
pub(crate) fn name(id: PartitionId) -> String {
    format!("shardId-{:012}", id.get())
}

/// The shard of a name: a number, alone or behind the first hyphen, since AWS
/// looks at no more of it.
pub(crate) fn parse(name: &str) -> Option<PartitionId> {
    let behind = name.split('-').nth(1).filter(|digits| !digits.is_empty());
    let digits = behind.unwrap_or(name);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(PartitionId)
}

/// There is no such shard.
pub(crate) fn unknown(shard: &str, stream: &str, account: &str) -> Error {
    Error::not_found(format!(
        "Could not find shard {shard} in stream {stream} under account {account}."
    ))
}

/// There is no such shard, or no such stream, say those that read.
pub(crate) fn gone(shard: PartitionId, stream: &str, account: &str) -> Error {
    let shard = name(shard);
    Error::not_found(format!(
        "Shard {shard} in stream {stream} under account {account} does not exist"
    ))
}

/// The shards of one topic at one moment.
pub(crate) struct Shards {
    topic: Arc<Topic>,
    map: Arc<RangeMap>,
    now: Timestamp,
}

impl Shards {
    pub(crate) fn of(topic: &Arc<Topic>, now: Timestamp) -> Self {
        Self { topic: Arc::clone(topic), map: topic.ranges(), now }
    }

    pub(crate) fn map(&self) -> &RangeMap {
        &self.map
    }

    /// The shard of a name, with what is known of it, if it is shown.
    pub(crate) fn find(
        &self,
        name: &str,
        account: &str,
    ) -> Result<(PartitionId, &PartitionRange), Error> {
        let id = parse(name);
        let found = id.and_then(|id| Some((id, self.map.get(id)?)));
        found.filter(|(id, of)| self.is_shown(*id, of)).ok_or_else(|| {
            unknown(
                &id.map_or_else(|| name.to_owned(), self::name),
                self.topic.name().as_str(),
                account,
            )
        })
    }

    /// Shards that are shown, in order.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (PartitionId, &PartitionRange)> {
        self.map.iter().filter(|(id, of)| self.is_shown(*id, of))
    }

    fn is_shown(&self, id: PartitionId, of: &PartitionRange) -> bool {
        let Some(partition) = self.topic.partition(id) else { return false };
        match of.state {
            RangeState::Open => true,
            // One without records, too, stays as long as readers of its parents
            // may come to it.
            RangeState::Sealed { end } => {
                partition.offsets().log_start < end
                    || sealed_at(&self.map, id) >= trim_horizon(&self.topic, self.now)
            }
        }
    }

    /// The children of a shard that has ended, as readers at its end are told.
    pub(crate) fn children(&self, id: PartitionId) -> Value<'static> {
        let child = |(id, of): (PartitionId, &PartitionRange)| {
            let parents = of.parents.iter().map(|id| Value::text(name(*id)));
            Members::new()
                .text("ShardId", name(id))
                .with("ParentShards", Value::List(parents.collect()))
                .with("HashKeyRange", range(of.range))
                .done()
        };
        Value::List(self.map.children(id).map(child).collect())
    }
}

/// When the oldest records that are kept were appended.
pub(crate) fn trim_horizon(topic: &Topic, now: Timestamp) -> Timestamp {
    let kept_ms = topic.config().retention_ms.and_then(|ms| i64::try_from(ms).ok());
    let oldest = kept_ms.map_or(Timestamp(0), |ms| now.plus_ms(-ms));
    oldest.max(topic.created())
}

/// When a sealed shard took its last record, or later: the end of the second in
/// which its first child was made.
pub(crate) fn sealed_at(map: &RangeMap, id: PartitionId) -> Timestamp {
    let secs = map.sealed_secs(id).unwrap_or(0);
    Timestamp(i64::try_from(secs.saturating_mul(1000).saturating_add(999)).unwrap_or(i64::MAX))
}

/// A shard as lists and descriptions have it.
pub(crate) fn describe(id: PartitionId, of: &PartitionRange) -> Value<'static> {
    let parent = |n: usize| of.parents.get(n).map(|id| Value::text(name(*id)));
    let start = SequenceNumber::start(of.created_secs, id).to_string();
    let end = match of.state {
        RangeState::Open => None,
        RangeState::Sealed { .. } => Some(SequenceNumber::end(of.created_secs, id).to_string()),
    };
    let numbers = Members::new()
        .text("StartingSequenceNumber", start)
        .maybe("EndingSequenceNumber", end.map(Value::text));
    Members::new()
        .text("ShardId", name(id))
        .maybe("ParentShardId", parent(0))
        .maybe("AdjacentParentShardId", parent(1))
        .with("HashKeyRange", range(of.range))
        .with("SequenceNumberRange", numbers.done())
        .done()
}

fn range(of: HashRange) -> Value<'static> {
    Members::new()
        .text("StartingHashKey", of.first.to_string())
        .text("EndingHashKey", of.last.to_string())
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(name(PartitionId(7)), "shardId-000000000007");
        assert_eq!(parse(&name(PartitionId(7))), Some(PartitionId(7)));
        for name in ["7", "shard-7", "x-7", "shardId-7-8"] {
            assert_eq!(parse(name), Some(PartitionId(7)), "{name}");
        }
        for name in ["", "shardId-", "shardId--1", "shardId-2147483648", "+1", "1e1", "shardId-x"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
