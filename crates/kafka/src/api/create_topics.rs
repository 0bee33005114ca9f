//! CreateTopics (19): makes topics, or says whether it would.
//!
//! Every partition has one replica, on this broker: a replication factor is
//! accepted and answered as 1, since people's manifests say 3; an assignment
//! may name this broker only.

use std::collections::{BTreeMap, BTreeSet};

use millrace_broker::NewTopic;
use millrace_broker::config::{self, Overrides};

use super::{Refusal, assignment, compaction};
use crate::codec::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequestData,
};
use crate::codec::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponseData,
};
use crate::codec::{self, ErrorCode, KafkaString};
use crate::context::Call;
use crate::errors;
use crate::failure::{Failure, outcome, topic_name};

/// Most partitions that one request may make; Kafka's limit.
const PARTITIONS_MAX: u64 = 10_000;
/// Kafka's own log of metadata.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Makes each topic, or says why not; one topic's failure leaves the others.
pub(super) async fn handle(
    call: &Call,
    request: CreateTopicsRequestData,
) -> Result<CreateTopicsResponseData, Refusal> {
    let mut seen = BTreeMap::<String, u32>::new();
    for topic in &request.topics {
        *seen.entry(topic.name.to_string()).or_default() += 1;
    }
    let too_many = partitions(call, &request) > PARTITIONS_MAX;
    let mut results = Vec::with_capacity(seen.len());
    for topic in request.topics {
        let result = if too_many {
            let text = "Excessively large number of partitions per request.";
            Err(Failure::because(ErrorCode::PolicyViolation, text))
        } else {
            match seen.get_mut(topic.name.as_str()) {
                Some(1) => create(call, &topic, request.validate_only).await?,
                // The second and later ones were answered with the first.
                Some(0) | None => continue,
                Some(times) => {
                    *times = 0;
                    Err(Failure::invalid_request("Duplicate topic name."))
                }
            }
        };
        results.push(match result {
            Ok(result) => result.with_name(topic.name),
            Err(failure) => {
                let (code, message) = outcome(&Err(failure));
                CreatableTopicResult::default()
                    .with_name(topic.name)
                    .with_error_code(code)
                    .with_error_message(message)
                    .with_configs(Some(Vec::new()))
            }
        });
    }
    Ok(CreateTopicsResponseData::default().with_topics(results))
}

/// Partitions that the whole request asks for.
fn partitions(call: &Call, request: &CreateTopicsRequestData) -> u64 {
    let of = |topic: &CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => u64::from(call.broker().config().partitions),
        (0, count) => u64::try_from(count).unwrap_or(0),
        (assigned, _) => u64::try_from(assigned).unwrap_or(u64::MAX),
    };
    request.topics.iter().map(of).fold(0, u64::saturating_add)
}

async fn create(
    call: &Call,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Result<CreatableTopicResult, Failure>, Refusal> {
    let broker = call.broker();
    let checked = check(call, topic);
    let (new, partitions) = match checked {
        Ok(checked) => checked,
        Err(failure) => return Ok(Err(failure)),
    };
    let created = match broker.create_topic(new, validate_only).await {
        Ok(created) => created,
        Err(error) => return errors::create_topic(topic.name.as_str(), &error).map(Err),
    };
    if !validate_only {
        compaction::notice(call, &created.config());
    }
    let result = CreatableTopicResult::default()
        .with_topic_id(codec::wire_uuid(created.id))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(Some(configs(call, created.config().overrides())));
    Ok(Ok(result))
}

/// The topic as the broker makes it, and its partitions as the answer has
/// them. The order of the checks is Kafka's: it decides what a wrong request
/// is told first.
fn check(call: &Call, topic: &CreatableTopic) -> Result<(NewTopic, i32), Failure> {
    let broker = call.broker();
    if topic.name.as_str() == METADATA_TOPIC {
        return Err(Failure::invalid_request(format!(
            "Creation of internal topic {METADATA_TOPIC} is prohibited."
        )));
    }
    let name = topic_name(topic.name.as_str())?;
    if broker.topic(name.as_str()).is_some() {
        let text = format!("Topic '{name}' already exists.");
        return Err(Failure::because(ErrorCode::TopicAlreadyExists, text));
    }
    let config = overrides(topic)?;
    config::check(config::Scope::Topic, &config, &broker.config())
        .map_err(|error| Failure::invalid_config(&error))?;
    let count = match topic.assignments.as_slice() {
        [] => count(topic, broker.config().partitions)?,
        assignments => assigned(topic, assignments, broker.node_id())?,
    };
    let shown = i32::try_from(count).unwrap_or(i32::MAX);
    Ok((NewTopic::plain(name, count, config), shown))
}

fn overrides(topic: &CreatableTopic) -> Result<Overrides, Failure> {
    let mut overrides = Overrides::new();
    let mut nulls = Vec::new();
    for config in &topic.configs {
        match &config.value {
            Some(value) => drop(overrides.insert(config.name.to_string(), value.to_string())),
            None => nulls.push(config.name.as_str()),
        }
    }
    if nulls.is_empty() {
        return Ok(overrides);
    }
    let text = format!("Null value not supported for topic configs: {}", nulls.join(","));
    Err(Failure::because(ErrorCode::InvalidConfig, text))
}

/// The number of partitions of a topic without an assignment.
fn count(topic: &CreatableTopic, default: u32) -> Result<u32, Failure> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Failure::because(ErrorCode::InvalidReplicationFactor, text));
    }
    match topic.num_partitions {
        -1 => Ok(default),
        count => u32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
            let text = "Number of partitions was set to an invalid non-positive value.";
            Failure::because(ErrorCode::InvalidPartitions, text)
        }),
    }
}

/// The number of partitions of a topic with one.
fn assigned(
    topic: &CreatableTopic,
    assignments: &[CreatableReplicaAssignment],
    node_id: i32,
) -> Result<u32, Failure> {
    let not_default = |what| {
        Err(Failure::invalid_request(format!(
            "A manual partition assignment was specified, but {what} was not set to -1."
        )))
    };
    if topic.replication_factor != -1 {
        return not_default("replication factor");
    }
    if topic.num_partitions != -1 {
        return not_default("numPartitions");
    }
    let refuse = |text: String| Err(Failure::because(ErrorCode::InvalidReplicaAssignment, text));
    let mut indexes = BTreeSet::new();
    for partition in assignments {
        if !indexes.insert(partition.partition_index) {
            return refuse(format!(
                "Found multiple manual partition assignments for partition {}",
                partition.partition_index
            ));
        }
        assignment::check(&partition.broker_ids, node_id)?;
    }
    if !indexes.iter().zip(0..).all(|(index, n)| *index == n) {
        return refuse("partitions should be a consecutive 0-based integer sequence".into());
    }
    Ok(u32::try_from(indexes.len()).unwrap_or(u32::MAX))
}

/// The settings of the new topic, all of them, by name.
fn configs(call: &Call, overrides: &Overrides) -> Vec<CreatableTopicConfigs> {
    let entries = config::describe::topic(overrides, &call.broker().config());
    let shown = entries.into_iter().map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(KafkaString::from_static(entry.name))
            .with_value(entry.value.as_deref().map(codec::wire_str))
            .with_read_only(entry.read_only)
            .with_config_source(entry.source.id())
            .with_is_sensitive(entry.sensitive)
    });
    shown.collect()
}

#[cfg(test)]
mod tests;
