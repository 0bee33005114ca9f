//! ElectLeaders (43): every partition has its one possible leader already.

use millrace_types::PartitionId;

use super::Refusal;
use crate::codec::elect_leaders_request::ElectLeadersRequestData;
use crate::codec::elect_leaders_response::{
    ElectLeadersResponseData, PartitionResult, ReplicaElectionResult,
};
use crate::codec::{self, ErrorCode};
use crate::context::Call;
use crate::failure::{Failure, outcome};

/// Preferred and unclean.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

/// Answers that no election is needed. Asked for all partitions, Kafka lists
/// only those that changed: none.
pub(super) fn handle(
    call: &Call,
    request: ElectLeadersRequestData,
) -> Result<ElectLeadersResponseData, Refusal> {
    let mut response = ElectLeadersResponseData::default();
    let known = ELECTION_TYPES.contains(&request.election_type);
    if !known {
        // Version 0 has neither election types nor this field.
        response.error_code = ErrorCode::InvalidRequest.code();
    }
    let Some(topics) = request.topic_partitions else {
        let all = call.broker().topics();
        let untouched = all.iter().filter(|_| known).map(|topic| {
            ReplicaElectionResult::default().with_topic(codec::wire_str(topic.name().as_str()))
        });
        return Ok(response.with_replica_election_results(untouched.collect()));
    };
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            let failure = if known {
                elect(call, topic.topic.as_str(), *index)
            } else {
                let text = format!("Unknown election type {}", request.election_type);
                Failure::invalid_request(text)
            };
            let (code, message) = outcome(&Err(failure));
            PartitionResult::default()
                .with_partition_id(*index)
                .with_error_code(code)
                .with_error_message(message)
        });
        let partitions = partitions.collect();
        ReplicaElectionResult::default().with_topic(topic.topic).with_partition_result(partitions)
    });
    Ok(response.with_replica_election_results(results.collect()))
}

fn elect(call: &Call, name: &str, index: i32) -> Failure {
    let unknown = |text: String| Failure::because(ErrorCode::UnknownTopicOrPartition, text);
    match call.broker().topic(name) {
        None => unknown(format!("No such topic as {name}")),
        Some(topic) if topic.partition(PartitionId(index)).is_none() => {
            unknown(format!("No such partition as {name}-{index}"))
        }
        Some(_) => {
            let text = "Leader election not needed for topic partition.";
            Failure::because(ErrorCode::ElectionNotNeeded, text)
        }
    }
}
