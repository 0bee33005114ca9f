//! DeleteRecords (21): moves the log start of partitions.

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::delete_records_request::DeleteRecordsRequestData;
use crate::codec::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponseData, DeleteRecordsTopicResult,
};
use crate::context::Call;
use crate::errors;
use millrace_types::{Offset, PartitionId};

/// The offset that stands for "up to the high watermark".
const HIGH_WATERMARK: i64 = -1;

/// Moves each partition's log start and answers the durable new one.
pub(super) async fn handle(
    call: &Call,
    request: DeleteRecordsRequestData,
) -> Result<DeleteRecordsResponseData, Refusal> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = call.broker().topic(topic.name.as_str());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let partition =
                known.as_ref().and_then(|t| t.partition(PartitionId(wanted.partition_index)));
            let answer = DeleteRecordsPartitionResult::default()
                .with_partition_index(wanted.partition_index)
                .with_low_watermark(-1);
            let Some(partition) = partition else {
                partitions.push(answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code()));
                continue;
            };
            let before = match wanted.offset {
                HIGH_WATERMARK => None,
                offset if offset < 0 => {
                    partitions.push(answer.with_error_code(ErrorCode::OffsetOutOfRange.code()));
                    continue;
                }
                offset => Some(Offset(offset)),
            };
            partitions.push(match call.broker().delete_records(&partition, before).await {
                Ok(start) => answer.with_low_watermark(start.get()),
                Err(error) => answer.with_error_code(errors::delete_records(&error)?.code()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    Ok(DeleteRecordsResponseData::default().with_topics(topics))
}
