//! ListOffsets (2): offsets by time, and the ends of the log.
//!
//! The special times answer as Kafka 4.3 does without tiered storage: there is
//! no "latest tiered" or "earliest pending upload" offset, and the earliest
//! local one is the log start.

use std::sync::Arc;

use millrace_broker::{Isolation, Partition};
use millrace_types::{LeaderEpoch, Offset, PartitionId, Timestamp};

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequestData};
use crate::codec::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponseData, ListOffsetsTopicResponse,
};
use crate::context::Call;
use crate::errors;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// First version that tells the epoch of an offset.
const EPOCHS: i16 = 4;

/// First version that knows a special time.
fn known_from(time: i64) -> Option<i16> {
    Some(match time {
        0.. | LATEST | EARLIEST => 1,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => return None,
    })
}

/// Answers each partition from durable state.
pub(super) async fn handle(
    call: &Call,
    request: ListOffsetsRequestData,
) -> Result<ListOffsetsResponseData, Refusal> {
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = call.broker().topic(topic.name.as_str());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let id = PartitionId(wanted.partition_index);
            let partition = known.as_ref().and_then(|topic| topic.partition(id));
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index);
            partitions.push(match find(call, partition, &wanted, isolation).await? {
                Ok(Found { offset, time, epoch }) => {
                    // Older versions have no field for it.
                    let epoch = if call.version >= EPOCHS { epoch } else { -1 };
                    answer.with_offset(offset).with_timestamp(time).with_leader_epoch(epoch)
                }
                Err(error) => answer.with_error_code(error.code()),
            });
        }
        let answer = ListOffsetsTopicResponse::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions));
    }
    Ok(ListOffsetsResponseData::default().with_topics(topics))
}

/// -1 stands for what there is not.
struct Found {
    offset: i64,
    time: i64,
    epoch: i32,
}

impl Found {
    const NOTHING: Self = Self { offset: -1, time: -1, epoch: -1 };

    fn end(offset: Offset, epoch: LeaderEpoch) -> Self {
        Self { offset: offset.get(), time: -1, epoch: epoch.get() }
    }
}

async fn find(
    call: &Call,
    partition: Option<Arc<Partition>>,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Result<Found, ErrorCode>, Refusal> {
    if known_from(wanted.timestamp).is_none_or(|version| call.version < version) {
        return Ok(Err(ErrorCode::UnsupportedVersion));
    }
    let Some(partition) = partition else { return Ok(Err(ErrorCode::UnknownTopicOrPartition)) };
    let epoch = partition.leader_epoch();
    if let Some(error) = errors::epoch(wanted.current_leader_epoch, epoch) {
        return Ok(Err(error));
    }
    let offsets = partition.offsets();
    let found = match wanted.timestamp {
        LATEST => {
            let end = match isolation {
                Isolation::ReadCommitted => offsets.last_stable,
                Isolation::ReadUncommitted => offsets.high_watermark,
            };
            return Ok(Ok(Found::end(end, epoch)));
        }
        EARLIEST | EARLIEST_LOCAL => {
            return Ok(Ok(Found::end(offsets.log_start, partition.log_start_epoch())));
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(Ok(Found::NOTHING)),
        MAX_TIMESTAMP => call.broker().offset_of_max_timestamp(&partition).await,
        time => call.broker().offset_at_time(&partition, Timestamp(time), isolation).await,
    };
    Ok(match found {
        Ok(None) => Ok(Found::NOTHING),
        Ok(Some(found)) => Ok(Found {
            offset: found.offset.get(),
            time: found.timestamp.get(),
            epoch: found.leader_epoch.get(),
        }),
        Err(error) => Err(errors::read(&error)?),
    })
}

#[cfg(test)]
mod tests;
