//! OffsetFetch (9): how far groups have read.
//!
//! Only durable offsets are told. A group's commits that are on their way are
//! waited for: Kafka handles one request of a connection after the other, so
//! that clients count on reading what they committed just before, and with
//! `require_stable` it waits for everyone's.

use std::collections::BTreeMap;

use millrace_broker::Topic;
use millrace_broker::groups::CommittedOffset;
use millrace_types::{LeaderEpoch, PartitionId, TopicId, TopicPartition};

use crate::api::Refusal;
use crate::codec::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::codec::offset_fetch_response::{
    OffsetFetchResponseData, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::codec::{self, ErrorCode, wire_str, wire_uuid};
use crate::context::Call;

/// First version in which no topics mean all; before it none.
const ALL: i16 = 2;
/// First version that asks for several groups.
const BATCHED: i16 = 8;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 10;

/// Answers the committed offsets of each group.
pub(super) async fn handle(
    call: &Call,
    request: OffsetFetchRequestData,
) -> Result<OffsetFetchResponseData, Refusal> {
    let response = OffsetFetchResponseData::default();
    if call.version >= BATCHED {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            groups.push(fetch(call, group).await?);
        }
        return Ok(response.with_groups(groups));
    }
    let topics = request.topics.map(|topics| {
        let topic = |topic: crate::codec::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name)
                .with_partition_indexes(topic.partition_indexes)
        };
        topics.into_iter().map(topic).collect()
    });
    let topics = if call.version < ALL { topics.or_else(|| Some(Vec::new())) } else { topics };
    let group =
        OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics);
    let fetched = fetch(call, group).await?;
    Ok(response.with_topics(fetched.topics.into_iter().map(as_single).collect()))
}

async fn fetch(
    call: &Call,
    group: OffsetFetchRequestGroup,
) -> Result<OffsetFetchResponseGroup, Refusal> {
    let id = group.group_id.as_str();
    call.broker().groups().settled(id).await?;
    let topics = match group.topics {
        Some(topics) => topics
            .into_iter()
            .map(|topic| fetch_topic(call, id, topic))
            .collect::<Result<_, _>>()?,
        None => fetch_all(call, id)?,
    };
    Ok(OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics))
}

fn fetch_topic(
    call: &Call,
    group: &str,
    wanted: OffsetFetchRequestTopics,
) -> Result<OffsetFetchResponseTopics, Refusal> {
    let by_id = call.version >= TOPIC_IDS;
    let topic = if by_id {
        call.broker().topic_by_id(codec::topic_id(wanted.topic_id))
    } else {
        call.broker().topic(wanted.name.as_str())
    };
    let answer = OffsetFetchResponseTopics::default();
    let answer = answer.with_name(wanted.name).with_topic_id(wanted.topic_id);
    let indexes = wanted.partition_indexes;
    let Some(topic) = topic else {
        // By name, a topic that does not exist has no offsets; an id that is
        // none is told so.
        let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::None };
        let missing = |index| partition(index, None).with_error_code(code.code());
        return Ok(answer.with_partitions(indexes.into_iter().map(missing).collect()));
    };
    let of_topic = |index: &i32| TopicPartition::new(topic.id, PartitionId(*index));
    let places: Vec<TopicPartition> = indexes.iter().map(of_topic).collect();
    let committed = call.broker().groups().committed(group, &places)?;
    let partitions = indexes.iter().zip(&committed);
    let partitions = partitions.map(|(index, committed)| partition(*index, committed.as_ref()));
    Ok(answer.with_partitions(partitions.collect()))
}

fn fetch_all(call: &Call, group: &str) -> Result<Vec<OffsetFetchResponseTopics>, Refusal> {
    let mut by_topic: BTreeMap<TopicId, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for (of, committed) in call.broker().groups().all_committed(group)? {
        let answer = partition(of.partition.get(), Some(&committed));
        by_topic.entry(of.topic).or_default().push(answer);
    }
    // Offsets of a topic that is being deleted have no name any more.
    let named = by_topic
        .into_iter()
        .filter_map(|(id, partitions)| call.broker().topic_by_id(id).zip(Some(partitions)));
    let answer = |(topic, partitions): (std::sync::Arc<Topic>, _)| {
        OffsetFetchResponseTopics::default()
            .with_name(wire_str(topic.name().as_str()))
            .with_topic_id(wire_uuid(topic.id))
            .with_partitions(partitions)
    };
    Ok(named.map(answer).collect())
}

/// One answer; without an offset, Kafka's -1.
fn partition(index: i32, committed: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    let epoch = committed.and_then(|committed| committed.leader_epoch);
    OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(committed.map_or(-1, |committed| committed.offset.get()))
        .with_committed_leader_epoch(epoch.map_or(-1, LeaderEpoch::get))
        .with_metadata(Some(wire_str(committed.map_or("", |committed| &committed.metadata))))
}

/// The answer in the form of versions that ask for one group.
fn as_single(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}
