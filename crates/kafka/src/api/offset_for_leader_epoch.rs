//! OffsetForLeaderEpoch (23): where an epoch of a partition ends, by which a
//! consumer notices that what it has read is no longer there.

use millrace_types::{LeaderEpoch, PartitionId};

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequestData, OffsetForLeaderPartition,
};
use crate::codec::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponseData, OffsetForLeaderTopicResult,
};
use crate::context::Call;
use crate::errors;

/// Answers from durable state.
pub(super) fn handle(
    call: &Call,
    request: OffsetForLeaderEpochRequestData,
) -> Result<OffsetForLeaderEpochResponseData, Refusal> {
    let topics = request.topics.into_iter().map(|topic| {
        let name = topic.topic.as_str();
        let answer = |wanted: &OffsetForLeaderPartition| end_of(call, name, wanted);
        let partitions = topic.partitions.iter().map(answer).collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    Ok(OffsetForLeaderEpochResponseData::default().with_topics(topics.collect()))
}

fn end_of(call: &Call, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let answer = EpochEndOffset::default().with_partition(wanted.partition);
    let topic = call.broker().topic(topic);
    let Some(partition) = topic.and_then(|topic| topic.partition(PartitionId(wanted.partition)))
    else {
        return answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code());
    };
    let now = partition.leader_epoch();
    if let Some(error) = errors::epoch(wanted.current_leader_epoch, now) {
        return answer.with_error_code(error.code());
    }
    let epoch = LeaderEpoch(wanted.leader_epoch);
    // An epoch that is not there yet has no end.
    match partition.epoch_end(epoch).filter(|_| epoch <= now) {
        Some((epoch, end)) => answer.with_leader_epoch(epoch.get()).with_end_offset(end.get()),
        None => answer,
    }
}
