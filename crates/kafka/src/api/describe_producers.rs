//! DescribeProducers (61): the idempotent producers that partitions remember.

use std::collections::BTreeSet;

use millrace_types::PartitionId;

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::describe_producers_request::DescribeProducersRequestData;
use crate::codec::describe_producers_response::{
    DescribeProducersResponseData, PartitionResponse, ProducerState, TopicResponse,
};
use crate::context::Call;

/// Answers each partition asked for.
pub(super) fn handle(
    call: &Call,
    request: DescribeProducersRequestData,
) -> Result<DescribeProducersResponseData, Refusal> {
    let mut seen = BTreeSet::new();
    let topics = request.topics.into_iter().map(|topic| {
        let name = topic.name.as_str();
        // Each once, whatever the request repeats.
        let fresh =
            topic.partition_indexes.iter().filter(|index| seen.insert((name.to_owned(), **index)));
        let partitions = fresh.map(|index| producers(call, name, *index)).collect();
        TopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    Ok(DescribeProducersResponseData::default().with_topics(topics.collect()))
}

fn producers(call: &Call, topic: &str, index: i32) -> PartitionResponse {
    let answer = PartitionResponse::default().with_partition_index(index);
    let topic = call.broker().topic(topic);
    let Some(partition) = topic.and_then(|topic| topic.partition(PartitionId(index))) else {
        return answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code());
    };
    let state = |producer: millrace_broker::ProducerInfo| {
        ProducerState::default()
            .with_producer_id(producer.id.get())
            .with_producer_epoch(i32::from(producer.epoch.get()))
            .with_last_sequence(producer.last_sequence.get())
            .with_last_timestamp(producer.last_timestamp.get())
            .with_coordinator_epoch(-1)
    };
    answer.with_active_producers(partition.producers().into_iter().map(state).collect())
}
