//! DescribeTopicPartitions (75): topics page by page, in the order of their
//! names.
//!
//! Invariant: a response has at most `max.request.partition.size.limit`
//! partitions, and a cursor if there are more.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_broker::{Partition, Topic};
use millrace_types::TopicName;

use crate::api::Refusal;
use crate::codec::describe_topic_partitions_request::DescribeTopicPartitionsRequestData;
use crate::codec::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponseData, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use crate::codec::{self, ErrorCode, wire_str};
use crate::context::Call;
use crate::operations;

/// Answers the topics asked for, or all, from the cursor on.
pub(super) fn handle(
    call: &Call,
    request: DescribeTopicPartitionsRequestData,
) -> Result<DescribeTopicPartitionsResponseData, Refusal> {
    let (from, first) = request
        .cursor
        .as_ref()
        .map_or(("", 0), |cursor| (cursor.topic_name.as_str(), cursor.partition_index));
    let Ok(first) = usize::try_from(first) else {
        return Err(Refusal::Close("a cursor with a negative partition"));
    };
    let all = call.broker().topics();
    let names: BTreeSet<&str> = if request.topics.is_empty() {
        all.iter().map(|topic| topic.name().as_str()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).collect()
    };
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
    let mut left = limit.min(call.broker().config().described_partitions_max);
    let mut response = DescribeTopicPartitionsResponseData::default();
    for name in names.into_iter().filter(|name| *name >= from) {
        let skip = if name == from { first } else { 0 };
        if left == 0 {
            response.next_cursor = cursor(name, skip);
            break;
        }
        let Some(topic) = call.broker().topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let partitions = topic.partitions();
        let page: Vec<_> = partitions.iter().skip(skip).take(left).collect();
        let end = skip.saturating_add(page.len());
        left -= page.len();
        response.topics.push(described(call, &topic, &page));
        if end < partitions.len() {
            response.next_cursor = cursor(name, end);
            break;
        }
    }
    Ok(response)
}

fn cursor(topic: &str, partition: usize) -> Option<Box<Cursor>> {
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let cursor = Cursor::default().with_topic_name(wire_str(topic));
    Some(Box::new(cursor.with_partition_index(partition)))
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_str(name)))
        .with_error_code(code.code())
}

fn described(
    call: &Call,
    topic: &Topic,
    partitions: &[&Arc<Partition>],
) -> DescribeTopicPartitionsResponseTopic {
    let node = call.broker().node_id();
    let describe = |partition: &&Arc<Partition>| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(partition.id().partition.get())
            .with_leader_id(node)
            .with_leader_epoch(partition.leader_epoch().get())
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_str(topic.name().as_str())))
        .with_topic_id(codec::wire_uuid(topic.id))
        .with_partitions(partitions.iter().map(describe).collect())
        .with_topic_authorized_operations(operations::TOPIC)
}

#[cfg(test)]
mod tests;
