//! OffsetDelete (47): forgets how far a group has read topics that it does not
//! read any more. Answered when durable.

use std::collections::VecDeque;

use millrace_broker::groups::{DeleteOffsetsRequest, DeleteTopicOffsets};
use millrace_types::PartitionId;

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::offset_delete_request::{OffsetDeleteRequestData, OffsetDeleteRequestTopic};
use crate::codec::offset_delete_response::{
    OffsetDeleteResponseData, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::context::Call;
use crate::errors;

/// Stands in an answer for the result that the coordinator has to give.
const PENDING: i16 = i16::MIN;

/// Deletes offsets of partitions that exist, and answers when that is durable.
pub(super) async fn start(
    call: &Call,
    request: OffsetDeleteRequestData,
) -> Result<impl Future<Output = Result<OffsetDeleteResponseData, Refusal>> + Send + 'static, Refusal>
{
    let (mut answers, topics) = split(call, request.topics);
    let request = DeleteOffsetsRequest { group: request.group_id.as_str().into(), topics };
    let deleting = call.broker().groups().delete_offsets(&request);
    Ok(async move {
        let response = OffsetDeleteResponseData::default();
        match deleting.await? {
            Ok(results) => {
                let code = |result: Result<(), _>| match result {
                    Ok(()) => ErrorCode::None,
                    Err(_) => ErrorCode::GroupSubscribedToTopic,
                };
                fill_in(&mut answers, results.into_iter().map(code).collect());
                Ok(response.with_topics(answers))
            }
            Err(error) => Ok(response.with_error_code(errors::delete_group(error).code())),
        }
    })
}

/// Answers as far as they are known, and what is to be deleted: one entry for
/// each topic that has a pending answer, in the same order.
fn split(
    call: &Call,
    topics: Vec<OffsetDeleteRequestTopic>,
) -> (Vec<OffsetDeleteResponseTopic>, Vec<DeleteTopicOffsets>) {
    let mut answers = Vec::with_capacity(topics.len());
    let mut wanted = Vec::new();
    for topic in topics {
        let found = call.broker().topic(topic.name.as_str());
        let mut existing = Vec::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = PartitionId(partition.partition_index);
            let exists = found.as_ref().is_some_and(|topic| topic.partition(index).is_some());
            let code = if exists {
                existing.push(index);
                PENDING
            } else {
                ErrorCode::UnknownTopicOrPartition.code()
            };
            partitions.push(
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code),
            );
        }
        if let Some(found) = found.filter(|_| !existing.is_empty()) {
            let name = topic.name.as_str().into();
            wanted.push(DeleteTopicOffsets { topic: found.id, name, partitions: existing });
        }
        let answer = OffsetDeleteResponseTopic::default();
        answers.push(answer.with_name(topic.name).with_partitions(partitions));
    }
    (answers, wanted)
}

fn fill_in(answers: &mut [OffsetDeleteResponseTopic], mut codes: VecDeque<ErrorCode>) {
    for topic in answers {
        let mut pending = topic
            .partitions
            .iter_mut()
            .filter(|partition| partition.error_code == PENDING)
            .peekable();
        if pending.peek().is_none() {
            continue;
        }
        let code = codes.pop_front().unwrap_or(ErrorCode::UnknownServerError);
        pending.for_each(|partition| partition.error_code = code.code());
    }
}
