use super::*;
use crate::codec::create_topics_request::CreatableTopicConfig;
use crate::codec::{ApiKey, KafkaUuid, wire_str};
use crate::testing;
use millrace_broker::Broker;

const LATEST: i16 = 7;

fn wanted(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(wire_str(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn with_config(topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    let config =
        CreatableTopicConfig::default().with_name(wire_str(name)).with_value(value.map(wire_str));
    topic.with_configs(vec![config])
}

fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, brokers): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(brokers.to_vec())
    };
    wanted(name, -1, -1).with_assignments(partitions.iter().map(assignment).collect())
}

async fn create(
    broker: &std::sync::Arc<Broker>,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Vec<CreatableTopicResult> {
    let call = testing::call(broker, ApiKey::CreateTopics, LATEST);
    let request =
        CreateTopicsRequestData::default().with_topics(topics).with_validate_only(validate_only);
    let response = handle(&call, request).await.unwrap();
    testing::over_the_wire(&call, &response).topics
}

/// What one topic alone is answered.
async fn refusal(broker: &std::sync::Arc<Broker>, topic: CreatableTopic) -> (i16, String) {
    let result = create(broker, vec![topic], false).await.remove(0);
    (result.error_code, result.error_message.unwrap().to_string())
}

#[tokio::test]
async fn a_topic_is_made_with_the_defaults_and_answered_whole() {
    let broker = Broker::in_memory_with(&[("num.partitions", "4")]);
    let topic = with_config(wanted("t", -1, 3), "retention.ms", Some("5"));
    let result = create(&broker, vec![topic], false).await.remove(0);
    assert_eq!((result.error_code, result.error_message), (0, None));
    assert_eq!((result.num_partitions, result.replication_factor), (4, 1));
    assert_ne!(result.topic_id, KafkaUuid::ZERO);
    let configs = result.configs.unwrap();
    let retention = configs.iter().find(|c| c.name.as_str() == "retention.ms").unwrap();
    assert_eq!(retention.value.as_ref().unwrap().as_str(), "5");
    assert_eq!(retention.config_source, 1);
    assert!(configs.is_sorted_by_key(|config| config.name.to_string()));
    let topic = broker.topic("t").unwrap();
    assert_eq!(topic.partitions().len(), 4);
    assert_eq!(topic.config().retention_ms, Some(5));
}

#[tokio::test]
async fn validating_makes_nothing() {
    let broker = Broker::in_memory();
    let result = create(&broker, vec![wanted("t", 2, 1)], true).await.remove(0);
    assert_eq!((result.error_code, result.num_partitions), (0, 2));
    assert!(broker.topic("t").is_none());
}

#[tokio::test]
async fn every_version_can_be_answered() {
    let broker = Broker::in_memory();
    for version in 2..=LATEST {
        let call = testing::call(&broker, ApiKey::CreateTopics, version);
        let topics = vec![wanted(&format!("t{version}"), 1, 1), wanted("", 1, 1)];
        let request = CreateTopicsRequestData::default().with_topics(topics);
        let response = handle(&call, request).await.unwrap();
        let results = testing::over_the_wire(&call, &response).topics;
        assert_eq!((results[0].error_code, results[1].error_code), (0, 17));
    }
}

#[tokio::test]
async fn wrong_topics_are_told_what_kafka_tells_them() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a.b", 1).await;
    let all_brokers: &[(i32, &[i32])] = &[(0, &[1, 2, 3])];
    let code = |code: ErrorCode| code.code();
    for (topic, expected, message) in [
        (wanted("a.b", 1, 1), code(ErrorCode::TopicAlreadyExists), "Topic 'a.b' already exists."),
        (
            wanted("a_b", 1, 1),
            code(ErrorCode::InvalidTopicException),
            "Topic 'a_b' collides with existing topic: a.b",
        ),
        (
            wanted("..", 1, 1),
            code(ErrorCode::InvalidTopicException),
            "Topic name is invalid: '..' is not allowed",
        ),
        (
            wanted("a b", 1, 1),
            code(ErrorCode::InvalidTopicException),
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            wanted("t", 0, 1),
            code(ErrorCode::InvalidPartitions),
            "Number of partitions was set to an invalid non-positive value.",
        ),
        (
            wanted("t", 1, 0),
            code(ErrorCode::InvalidReplicationFactor),
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            wanted("t", 1, -2),
            code(ErrorCode::InvalidReplicationFactor),
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            with_config(wanted("t", 1, 1), "retention.mss", Some("1")),
            code(ErrorCode::InvalidConfig),
            "Unknown topic config name: retention.mss (did you mean retention.ms?)",
        ),
        (
            with_config(wanted("t", 1, 1), "retention.ms", Some("soon")),
            code(ErrorCode::InvalidConfig),
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            with_config(wanted("t", 1, 1), "retention.ms", None),
            code(ErrorCode::InvalidConfig),
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            wanted("__cluster_metadata", 1, 1),
            code(ErrorCode::InvalidRequest),
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            wanted("t", 10_001, 1),
            code(ErrorCode::PolicyViolation),
            "Excessively large number of partitions per request.",
        ),
        (
            assigned("t", all_brokers),
            code(ErrorCode::InvalidReplicaAssignment),
            "The manual partition assignment includes broker 2, but no such broker is registered.",
        ),
        (
            assigned("t", &[(0, &[1]), (0, &[1])]),
            code(ErrorCode::InvalidReplicaAssignment),
            "Found multiple manual partition assignments for partition 0",
        ),
        (
            assigned("t", &[(1, &[1]), (2, &[1])]),
            code(ErrorCode::InvalidReplicaAssignment),
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned("t", &[(0, &[1])]).with_num_partitions(1),
            code(ErrorCode::InvalidRequest),
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
    ] {
        assert_eq!(refusal(&broker, topic).await, (expected, message.to_owned()));
    }
    assert!(broker.topic("t").is_none());
}

#[tokio::test]
async fn an_assignment_to_this_broker_is_taken() {
    let broker = Broker::in_memory();
    let topic = assigned("t", &[(1, &[1]), (0, &[1])]);
    let result = create(&broker, vec![topic], false).await.remove(0);
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
}

#[tokio::test]
async fn a_name_given_twice_is_refused_once_and_the_others_made() {
    let broker = Broker::in_memory();
    let topics = vec![wanted("a", 1, 1), wanted("b", 1, 1), wanted("a", 1, 1)];
    let results = create(&broker, topics, false).await;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(results[0].error_message.as_ref().unwrap().as_str(), "Duplicate topic name.");
    assert_eq!(results[1].error_code, 0);
    assert!(broker.topic("a").is_none() && broker.topic("b").is_some());
}

#[tokio::test]
async fn compacted_topics_are_taken() {
    let broker = Broker::in_memory();
    let topic = with_config(wanted("t", 1, 1), "cleanup.policy", Some("compact"));
    assert_eq!(create(&broker, vec![topic], false).await[0].error_code, 0);
    assert!(broker.topic("t").unwrap().config().cleanup_policy.compact);
}
