//! AlterPartitionReassignments (45): moves partitions to other brokers. There
//! is one: naming it changes nothing, naming another is refused.

use millrace_types::PartitionId;

use super::{Refusal, assignment};
use crate::codec::ErrorCode;
use crate::codec::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequestData, ReassignablePartition,
};
use crate::codec::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponseData, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::context::Call;
use crate::failure::{Failure, outcome};

/// Answers for each partition.
pub(super) fn handle(
    call: &Call,
    request: AlterPartitionReassignmentsRequestData,
) -> Result<AlterPartitionReassignmentsResponseData, Refusal> {
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let (code, message) = outcome(&reassign(call, topic.name.as_str(), partition));
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_error_message(message)
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    Ok(AlterPartitionReassignmentsResponseData::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_responses(responses.collect()))
}

fn reassign(call: &Call, name: &str, partition: &ReassignablePartition) -> Result<(), Failure> {
    let unknown = |text: String| Err(Failure::because(ErrorCode::UnknownTopicOrPartition, text));
    let Some(topic) = call.broker().topic(name) else {
        return unknown(format!("Unable to find a topic named {name}."));
    };
    let index = partition.partition_index;
    if topic.partition(PartitionId(index)).is_none() {
        return unknown(format!("Unable to find partition {name}:{index}."));
    }
    match &partition.replicas {
        Some(replicas) => assignment::check(replicas, call.broker().node_id()),
        None => {
            let text = "No partition reassignment is in progress.";
            Err(Failure::because(ErrorCode::NoReassignmentInProgress, text))
        }
    }
}
