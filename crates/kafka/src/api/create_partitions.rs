//! CreatePartitions (37): gives topics more partitions.

use std::collections::BTreeMap;

use super::{Refusal, assignment};
use crate::codec::ErrorCode;
use crate::codec::create_partitions_request::{CreatePartitionsRequestData, CreatePartitionsTopic};
use crate::codec::create_partitions_response::{
    CreatePartitionsResponseData, CreatePartitionsTopicResult,
};
use crate::context::Call;
use crate::errors;
use crate::failure::{Failure, outcome};

/// Grows each topic, or says why not.
pub(super) async fn handle(
    call: &Call,
    request: CreatePartitionsRequestData,
) -> Result<CreatePartitionsResponseData, Refusal> {
    let mut times = BTreeMap::<String, u32>::new();
    for topic in &request.topics {
        *times.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times.len());
    for topic in request.topics {
        let result = match times.remove(topic.name.as_str()) {
            Some(1) => create(call, &topic, request.validate_only).await?,
            Some(_) => Err(Failure::invalid_request("Duplicate topic name.")),
            // Answered with the first of its name.
            None => continue,
        };
        let (code, message) = outcome(&result);
        results.push(
            CreatePartitionsTopicResult::default()
                .with_name(topic.name)
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    Ok(CreatePartitionsResponseData::default().with_results(results))
}

async fn create(
    call: &Call,
    wanted: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<Result<(), Failure>, Refusal> {
    let Some(topic) = call.broker().topic(wanted.name.as_str()) else {
        return Ok(Err(Failure::unknown_topic()));
    };
    let present = topic.partitions().len();
    let total = match check(call, wanted, present) {
        Ok(total) => total,
        Err(failure) => return Ok(Err(failure)),
    };
    match call.broker().create_partitions(topic.id, total, validate_only).await {
        Ok(()) => Ok(Ok(())),
        Err(error) => errors::create_partitions(&error).map(Err),
    }
}

/// How many partitions the topic shall have.
fn check(call: &Call, wanted: &CreatePartitionsTopic, present: usize) -> Result<u32, Failure> {
    let invalid = |text: String| Err(Failure::because(ErrorCode::InvalidPartitions, text));
    let count = usize::try_from(wanted.count).unwrap_or(0);
    if count == present {
        return invalid(format!("Topic already has {present} partition(s)."));
    }
    if count < present {
        return invalid(format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            wanted.name, wanted.count
        ));
    }
    if let Some(assignments) = &wanted.assignments {
        let additional = count - present;
        if assignments.len() != additional {
            return Err(Failure::because(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {additional} additional partition(s), but only {} \
                     assignment(s) were specified.",
                    assignments.len()
                ),
            ));
        }
        for partition in assignments {
            assignment::check(&partition.broker_ids, call.broker().node_id())?;
        }
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
