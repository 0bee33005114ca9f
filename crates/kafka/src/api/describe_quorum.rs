//! DescribeQuorum (55): Kafka's controllers keep metadata in a replicated log.
//! Here the broker keeps them itself, in the one log that it has for all: it is
//! shown as a quorum of one, whose epoch is the incarnation and whose offsets
//! are the log's sequence numbers of frames. Both grow, over restarts too.

use super::Refusal;
use crate::codec::describe_quorum_request::DescribeQuorumRequestData;
use crate::codec::describe_quorum_response::{
    DescribeQuorumResponseData, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use crate::codec::{self};
use crate::context::Call;
use crate::failure::{Failure, outcome};

/// The one partition that Kafka describes.
const METADATA: (&str, i32) = ("__cluster_metadata", 0);
/// First version with messages and nodes.
const NODES_MIN: i16 = 2;

/// Describes the quorum; knows no other partition.
pub(super) fn handle(
    call: &Call,
    request: DescribeQuorumRequestData,
) -> Result<DescribeQuorumResponseData, Refusal> {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            if (topic.topic_name.as_str(), partition.partition_index) == METADATA {
                return quorum(call);
            }
            let (code, message) = outcome(&Err(Failure::unknown_topic()));
            PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_error_message(message.filter(|_| call.version >= NODES_MIN))
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions)
    });
    let response = DescribeQuorumResponseData::default()
        .with_error_message(None)
        .with_topics(topics.collect());
    if call.version < NODES_MIN {
        return Ok(response);
    }
    let listener = &call.context.listener;
    let endpoint = Listener::default()
        // Kafka's client takes no other name for a voter's endpoint.
        .with_name(codec::wire_str(&listener.name.to_uppercase()))
        .with_host(codec::wire_str(&listener.host))
        .with_port(listener.port);
    let node = Node::default().with_node_id(call.broker().node_id()).with_listeners(vec![endpoint]);
    Ok(response.with_nodes(vec![node]))
}

fn quorum(call: &Call) -> PartitionData {
    let broker = call.broker();
    let (now, end) = (broker.env().wall().get(), offset(broker.durable_lsn().get()));
    let voter = ReplicaState::default()
        .with_replica_id(broker.node_id())
        .with_log_end_offset(end)
        .with_last_fetch_timestamp(now)
        .with_last_caught_up_timestamp(now);
    PartitionData::default()
        .with_partition_index(METADATA.1)
        .with_error_message(None)
        .with_leader_id(broker.node_id())
        .with_leader_epoch(i32::try_from(broker.incarnation().get()).unwrap_or(i32::MAX))
        .with_high_watermark(end)
        .with_current_voters(vec![voter])
}

fn offset(lsn: u64) -> i64 {
    i64::try_from(lsn).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
