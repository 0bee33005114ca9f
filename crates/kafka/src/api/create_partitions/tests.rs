use super::*;
use crate::codec::create_partitions_request::CreatePartitionsAssignment;
use crate::codec::{ApiKey, wire_str};
use crate::testing;
use millrace_broker::Broker;

fn wanted(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(wire_str(name))
        .with_count(count)
        .with_assignments(None)
}

fn assigned(name: &str, count: i32, brokers: &[&[i32]]) -> CreatePartitionsTopic {
    let assignment =
        |ids: &&[i32]| CreatePartitionsAssignment::default().with_broker_ids(ids.to_vec());
    wanted(name, count).with_assignments(Some(brokers.iter().map(assignment).collect()))
}

async fn grow(
    broker: &std::sync::Arc<Broker>,
    topics: Vec<CreatePartitionsTopic>,
    validate_only: bool,
) -> Vec<CreatePartitionsTopicResult> {
    let call = testing::call(broker, ApiKey::CreatePartitions, 3);
    let request = CreatePartitionsRequestData::default()
        .with_topics(topics)
        .with_validate_only(validate_only);
    let response = handle(&call, request).await.unwrap();
    testing::over_the_wire(&call, &response).results
}

#[tokio::test]
async fn a_topic_grows_unless_it_is_only_validated() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 2).await;
    let result = grow(&broker, vec![wanted("t", 5)], true).await.remove(0);
    assert_eq!((result.error_code, result.error_message), (0, None));
    assert_eq!(broker.topic("t").unwrap().partitions().len(), 2);
    assert_eq!(grow(&broker, vec![wanted("t", 5)], false).await[0].error_code, 0);
    assert_eq!(broker.topic("t").unwrap().partitions().len(), 5);
    let one: &[i32] = &[1];
    assert_eq!(grow(&broker, vec![assigned("t", 6, &[one])], false).await[0].error_code, 0);
}

#[tokio::test]
async fn wrong_numbers_and_assignments_are_told_what_kafka_tells_them() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 2).await;
    let (one, two): (&[i32], &[i32]) = (&[1], &[2]);
    for (topics, code, message) in [
        (vec![wanted("t", 2)], ErrorCode::InvalidPartitions, "Topic already has 2 partition(s)."),
        (
            vec![wanted("t", -1)],
            ErrorCode::InvalidPartitions,
            "The topic t currently has 2 partition(s); -1 would not be an increase.",
        ),
        (
            vec![wanted("x", 3)],
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        ),
        (vec![wanted("t", 3), wanted("t", 4)], ErrorCode::InvalidRequest, "Duplicate topic name."),
        (
            vec![assigned("t", 4, &[one])],
            ErrorCode::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            vec![assigned("t", 3, &[two])],
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 2, but no such broker is registered.",
        ),
    ] {
        let results = grow(&broker, topics, false).await;
        assert_eq!(results.len(), 1);
        let text = results[0].error_message.as_ref().unwrap().as_str();
        assert_eq!((results[0].error_code, text), (code.code(), message));
    }
    assert_eq!(broker.topic("t").unwrap().partitions().len(), 2);
}
