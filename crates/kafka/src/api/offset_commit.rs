//! OffsetCommit (8): how far a group has read. Answered when durable.
//!
//! Offsets are kept by topic id: those of a topic that is deleted and made
//! again under its name are not found by the new one.

use millrace_broker::groups::{CommitRequest, OffsetCommit};
use millrace_types::{LeaderEpoch, Offset, PartitionId, TopicPartition};

use crate::api::Refusal;
use crate::codec::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::codec::offset_commit_response::{
    OffsetCommitResponseData, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::codec::{self, ErrorCode, KafkaString};
use crate::context::Call;
use crate::errors;

/// First version that names topics by id.
const TOPIC_IDS: i16 = 10;

/// Commits what is of partitions that exist, and answers when that is durable.
pub(super) async fn start(
    call: &Call,
    request: OffsetCommitRequestData,
) -> Result<impl Future<Output = Result<OffsetCommitResponseData, Refusal>> + Send + 'static, Refusal>
{
    let version = call.version;
    let (mut answers, offsets) = split(call, request.topics);
    let committing = (!offsets.is_empty()).then(|| {
        call.broker().groups().commit(CommitRequest {
            group: request.group_id.as_str().into(),
            member: request.member_id.as_str().into(),
            instance: request.group_instance_id.as_ref().map(|id| id.as_str().into()),
            generation: request.generation_id_or_member_epoch,
            retention_ms: Some(request.retention_time_ms).filter(|ms| *ms != -1),
            offsets,
        })
    });
    Ok(async move {
        if let Some(committing) = committing {
            let codes = match committing.await? {
                Ok(results) => Codes::Each(
                    results
                        .into_iter()
                        .map(|result| match result {
                            Ok(()) => ErrorCode::None,
                            Err(_) => ErrorCode::OffsetMetadataTooLarge,
                        })
                        .collect(),
                ),
                Err(error) => Codes::All(errors::commit(error, version)),
            };
            fill_in(&mut answers, codes);
        }
        Ok(OffsetCommitResponseData::default().with_topics(answers))
    })
}

/// Stands in an answer for the result that the coordinator has to give.
const PENDING: i16 = i16::MIN;

enum Codes {
    All(ErrorCode),
    Each(std::collections::VecDeque<ErrorCode>),
}

/// Answers as far as they are known, and what is to be committed, in the same
/// order.
fn split(
    call: &Call,
    topics: Vec<OffsetCommitRequestTopic>,
) -> (Vec<OffsetCommitResponseTopic>, Vec<OffsetCommit>) {
    let mut answers = Vec::with_capacity(topics.len());
    let mut offsets = Vec::new();
    for topic in topics {
        let (found, missing) = if call.version >= TOPIC_IDS {
            let id = codec::topic_id(topic.topic_id);
            (call.broker().topic_by_id(id), ErrorCode::UnknownTopicId)
        } else {
            (call.broker().topic(topic.name.as_str()), ErrorCode::UnknownTopicOrPartition)
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = PartitionId(partition.partition_index);
            let code = match &found {
                None => missing.code(),
                Some(topic) if topic.partition(index).is_none() => {
                    ErrorCode::UnknownTopicOrPartition.code()
                }
                Some(topic) => {
                    offsets.push(commit(TopicPartition::new(topic.id, index), &partition));
                    PENDING
                }
            };
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code),
            );
        }
        answers.push(
            OffsetCommitResponseTopic::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    (answers, offsets)
}

fn commit(of: TopicPartition, partition: &OffsetCommitRequestPartition) -> OffsetCommit {
    let epoch = partition.committed_leader_epoch;
    let metadata = partition.committed_metadata.as_ref().map_or("", KafkaString::as_str);
    OffsetCommit {
        partition: of,
        offset: Offset(partition.committed_offset),
        leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        metadata: metadata.into(),
    }
}

fn fill_in(answers: &mut [OffsetCommitResponseTopic], mut codes: Codes) {
    let partitions = answers.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions.filter(|partition| partition.error_code == PENDING) {
        let code = match &mut codes {
            Codes::All(code) => *code,
            Codes::Each(codes) => codes.pop_front().unwrap_or(ErrorCode::UnknownServerError),
        };
        partition.error_code = code.code();
    }
}

#[cfg(test)]
mod tests;
