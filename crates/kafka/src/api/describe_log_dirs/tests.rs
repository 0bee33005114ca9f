//! Tests of the APIs about directories, brokers, leaders and reassignments:
//! Kafka's tools ask them, and one machine has short answers.

use super::*;
use crate::api::{
    alter_partition_reassignments, alter_replica_log_dirs, describe_cluster, describe_quorum,
    elect_leaders, list_partition_reassignments, unregister_broker, update_features,
};
use crate::codec::alter_partition_reassignments_request as reassign;
use crate::codec::alter_replica_log_dirs_request as move_dirs;
use crate::codec::describe_cluster_request::DescribeClusterRequestData;
use crate::codec::describe_log_dirs_request::DescribableLogDirTopic;
use crate::codec::describe_quorum_request as quorum;
use crate::codec::elect_leaders_request as elect;
use crate::codec::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use crate::codec::unregister_broker_request::UnregisterBrokerRequestData;
use crate::codec::update_features_request as features;
use crate::codec::{ApiKey, ErrorCode, wire_str};
use crate::testing;
use millrace_broker::Broker;
use std::sync::Arc;

async fn broker() -> Arc<Broker> {
    let broker = Broker::in_memory_with(&[("broker.rack", "r1")]);
    testing::topic(&broker, "a", 2).await;
    testing::topic(&broker, "b", 1).await;
    broker
}

#[tokio::test]
async fn the_directory_lists_all_partitions_or_those_asked_for() {
    let broker = broker().await;
    let some =
        DescribableLogDirTopic::default().with_topic(wire_str("a")).with_partitions(vec![1, 7]);
    let none = DescribableLogDirTopic::default().with_topic(wire_str("x")).with_partitions(vec![0]);
    for version in 1..=5 {
        let call = testing::call(&broker, ApiKey::DescribeLogDirs, version);
        let all = DescribeLogDirsRequestData::default().with_topics(None);
        let response = testing::over_the_wire(&call, &handle(&call, all).await.unwrap());
        let [dir] = response.results.as_slice() else { panic!("one directory") };
        let space = (dir.total_bytes > 0, dir.usable_bytes > 0);
        assert_eq!(space, (version >= 4, version >= 4), "the fields are new in version 4");
        assert_eq!((dir.error_code, dir.log_dir.as_str()), (0, "/data"));
        assert_eq!(dir.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 3);
        let request = DescribeLogDirsRequestData::default()
            .with_topics(Some(vec![some.clone(), none.clone()]));
        let response = testing::over_the_wire(&call, &handle(&call, request).await.unwrap());
        let topics = &response.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
        assert_eq!(topics[0].partitions[0].partition_index, 1);
    }
}

#[tokio::test]
async fn replicas_stay_in_the_one_directory() {
    let broker = broker().await;
    let call = testing::call(&broker, ApiKey::AlterReplicaLogDirs, 2);
    let dir = |path: &str| {
        let topic = move_dirs::AlterReplicaLogDirTopic::default()
            .with_name(wire_str("a"))
            .with_partitions(vec![0, 9]);
        let path = wire_str(path);
        move_dirs::AlterReplicaLogDir::default().with_path(path).with_topics(vec![topic])
    };
    let request = move_dirs::AlterReplicaLogDirsRequestData::default()
        .with_dirs(vec![dir("/data"), dir("/other")]);
    let response = alter_replica_log_dirs::handle(&call, request).unwrap();
    let results = testing::over_the_wire(&call, &response).results;
    let codes = results.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
    let expected = [
        ErrorCode::None,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::LogDirNotFound,
        ErrorCode::LogDirNotFound,
    ];
    assert!(codes.eq(expected.map(|code| code.code())));
}

#[tokio::test]
async fn the_cluster_is_this_broker_at_the_listeners_address() {
    let broker = broker().await;
    for version in 0..=2 {
        let call = testing::call(&broker, ApiKey::DescribeCluster, version);
        let request =
            DescribeClusterRequestData::default().with_include_cluster_authorized_operations(true);
        let response = describe_cluster::handle(&call, request).unwrap();
        let response = testing::over_the_wire(&call, &response);
        let node = &response.brokers[0];
        assert_eq!((node.broker_id, node.host.as_str(), node.port), (1, "broker.example", 9092));
        assert_eq!(node.rack, Some(wire_str("r1")));
        assert_eq!((response.controller_id, response.cluster_authorized_operations), (1, 8096));
    }
    let call = testing::call(&broker, ApiKey::DescribeCluster, 1);
    let request = DescribeClusterRequestData::default().with_endpoint_type(2);
    let response = describe_cluster::handle(&call, request).unwrap();
    assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType.code());
}

#[tokio::test]
async fn no_election_is_ever_needed() {
    let broker = broker().await;
    let call = testing::call(&broker, ApiKey::ElectLeaders, 2);
    let topic =
        elect::TopicPartitions::default().with_topic(wire_str("a")).with_partitions(vec![0, 9]);
    let request =
        elect::ElectLeadersRequestData::default().with_topic_partitions(Some(vec![topic]));
    let response = elect_leaders::handle(&call, request.clone()).unwrap();
    let response = testing::over_the_wire(&call, &response);
    let codes = response.replica_election_results[0].partition_result.iter().map(|p| p.error_code);
    let expected = [ErrorCode::ElectionNotNeeded, ErrorCode::UnknownTopicOrPartition];
    assert!(codes.eq(expected.map(|code| code.code())));

    let all = elect_leaders::handle(&call, request.clone().with_topic_partitions(None)).unwrap();
    assert!(all.replica_election_results.iter().all(|topic| topic.partition_result.is_empty()));
    let wrong = elect_leaders::handle(&call, request.with_election_type(5)).unwrap();
    assert_eq!(wrong.error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn partitions_can_be_reassigned_to_where_they_are() {
    let broker = broker().await;
    let call = testing::call(&broker, ApiKey::AlterPartitionReassignments, 1);
    let partition = |index, replicas: Option<Vec<i32>>| {
        reassign::ReassignablePartition::default()
            .with_partition_index(index)
            .with_replicas(replicas)
    };
    let partitions = vec![
        partition(0, Some(vec![1])),
        partition(0, Some(vec![2])),
        partition(0, None),
        partition(9, Some(vec![1])),
    ];
    let topic =
        reassign::ReassignableTopic::default().with_name(wire_str("a")).with_partitions(partitions);
    let request =
        reassign::AlterPartitionReassignmentsRequestData::default().with_topics(vec![topic]);
    let response = alter_partition_reassignments::handle(&call, request).unwrap();
    let response = testing::over_the_wire(&call, &response);
    let codes = response.responses[0].partitions.iter().map(|partition| partition.error_code);
    let expected = [
        ErrorCode::None,
        ErrorCode::InvalidReplicaAssignment,
        ErrorCode::NoReassignmentInProgress,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert!(codes.eq(expected.map(|code| code.code())));
    let call = testing::call(&broker, ApiKey::ListPartitionReassignments, 0);
    let request = ListPartitionReassignmentsRequestData::default().with_topics(None);
    let response = list_partition_reassignments::handle(&call, request).unwrap();
    assert!(testing::over_the_wire(&call, &response).topics.is_empty());
}

#[tokio::test]
async fn the_quorum_is_this_broker() {
    let broker = broker().await;
    let topic = |name: &str| {
        let partition = quorum::PartitionData::default().with_partition_index(0);
        quorum::TopicData::default()
            .with_topic_name(wire_str(name))
            .with_partitions(vec![partition])
    };
    for version in 0..=2 {
        let call = testing::call(&broker, ApiKey::DescribeQuorum, version);
        let request = quorum::DescribeQuorumRequestData::default()
            .with_topics(vec![topic("__cluster_metadata"), topic("a")]);
        let response = describe_quorum::handle(&call, request).unwrap();
        let response = testing::over_the_wire(&call, &response);
        let known = &response.topics[0].partitions[0];
        assert_eq!((known.error_code, known.leader_id), (0, 1));
        assert_eq!(known.current_voters[0].replica_id, 1);
        let unknown = &response.topics[1].partitions[0];
        assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
        assert_eq!(response.nodes.len(), usize::from(version == 2));
    }
}

#[tokio::test]
async fn features_and_brokers_stay_as_they_are() {
    let broker = broker().await;
    for version in 0..=2 {
        let call = testing::call(&broker, ApiKey::UpdateFeatures, version);
        let update = features::FeatureUpdateKey::default()
            .with_feature(wire_str("metadata.version"))
            .with_max_version_level(9);
        let request =
            features::UpdateFeaturesRequestData::default().with_feature_updates(vec![update]);
        let response = update_features::handle(&call, request).unwrap();
        let response = testing::over_the_wire(&call, &response);
        let refused = ErrorCode::InvalidUpdateVersion.code();
        let of_feature = response.results.first().map(|result| result.error_code);
        assert!(response.error_code == refused || of_feature == Some(refused));
    }
    let call = testing::call(&broker, ApiKey::UnregisterBroker, 0);
    for (id, code) in [(1, ErrorCode::InvalidRequest), (2, ErrorCode::BrokerIdNotRegistered)] {
        let request = UnregisterBrokerRequestData::default().with_broker_id(id);
        let response = unregister_broker::handle(&call, request).unwrap();
        assert_eq!(testing::over_the_wire(&call, &response).error_code, code.code());
    }
}
