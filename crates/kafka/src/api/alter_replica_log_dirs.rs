//! AlterReplicaLogDirs (34): moves replicas between directories. There is one,
//! where all of them are already.

use millrace_types::PartitionId;

use super::{Refusal, log_dir};
use crate::codec::ErrorCode;
use crate::codec::alter_replica_log_dirs_request::AlterReplicaLogDirsRequestData;
use crate::codec::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
    AlterReplicaLogDirsResponseData,
};
use crate::context::Call;

/// Agrees to the data directory, and knows no other.
pub(super) fn handle(
    call: &Call,
    request: AlterReplicaLogDirsRequestData,
) -> Result<AlterReplicaLogDirsResponseData, Refusal> {
    let ours = log_dir(call);
    let mut results = Vec::new();
    for dir in request.dirs {
        for wanted in dir.topics {
            let topic = call.broker().topic(wanted.name.as_str());
            let partitions = wanted.partitions.into_iter().map(|index| {
                let exists = topic
                    .as_ref()
                    .is_some_and(|topic| topic.partition(PartitionId(index)).is_some());
                let code = match exists {
                    _ if dir.path.as_str() != ours => ErrorCode::LogDirNotFound,
                    false => ErrorCode::UnknownTopicOrPartition,
                    true => ErrorCode::None,
                };
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(index)
                    .with_error_code(code.code())
            });
            let partitions = partitions.collect();
            results.push(
                AlterReplicaLogDirTopicResult::default()
                    .with_topic_name(wanted.name)
                    .with_partitions(partitions),
            );
        }
    }
    Ok(AlterReplicaLogDirsResponseData::default().with_results(results))
}
