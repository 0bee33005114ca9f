//! Offsets over the wire: commit, fetch, delete.

use super::*;
use crate::api::{offset_delete, offset_fetch};
use crate::codec::offset_delete_request::{
    OffsetDeleteRequestData, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::codec::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
};
use crate::codec::{ApiKey, wire_str, wire_uuid};
use crate::testing;
use millrace_broker::Broker;
use std::sync::Arc;

/// A broker with a topic `t` of two partitions.
async fn broker() -> Arc<Broker> {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 2).await;
    broker
}

/// Commits offsets of `t`; a code for each.
async fn commit(
    broker: &Arc<Broker>,
    version: i16,
    generation: i32,
    offsets: &[(i32, i64, &str)],
) -> Vec<ErrorCode> {
    let call = testing::call(broker, ApiKey::OffsetCommit, version);
    let partition = |(index, offset, metadata): &(i32, i64, &str)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(wire_str(metadata)))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_partitions(offsets.iter().map(partition).collect());
    let topic = if version >= TOPIC_IDS {
        topic.with_topic_id(wire_uuid(broker.topic("t").unwrap().id))
    } else {
        topic.with_name(wire_str("t"))
    };
    let request = OffsetCommitRequestData::default()
        .with_group_id(wire_str("g"))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic]);
    let response = start(&call, request).await.unwrap().await.unwrap();
    let answer = testing::over_the_wire(&call, &response).topics.remove(0);
    answer.partitions.iter().map(|partition| ErrorCode::from(partition.error_code)).collect()
}

/// Offsets of `t` by partition and with their metadata; of all partitions, or
/// of 0 and 1.
async fn fetch(broker: &Arc<Broker>, version: i16, all: bool) -> Vec<(i32, i64, String)> {
    let call = testing::call(broker, ApiKey::OffsetFetch, version);
    let indexes = vec![0, 1];
    let request = OffsetFetchRequestData::default();
    if version < 8 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(wire_str("t"))
            .with_partition_indexes(indexes);
        let request = request.with_group_id(wire_str("g")).with_topics((!all).then(|| vec![topic]));
        let response = offset_fetch::handle(&call, request).await.unwrap();
        let topics = testing::over_the_wire(&call, &response).topics;
        let partitions = topics.into_iter().flat_map(|topic| topic.partitions);
        return partitions
            .map(|p| (p.partition_index, p.committed_offset, p.metadata.unwrap().to_string()))
            .collect();
    }
    let topic = OffsetFetchRequestTopics::default().with_partition_indexes(indexes);
    let topic = if version >= TOPIC_IDS {
        topic.with_topic_id(wire_uuid(broker.topic("t").unwrap().id))
    } else {
        topic.with_name(wire_str("t"))
    };
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(wire_str("g"))
        .with_topics((!all).then(|| vec![topic]));
    let response = offset_fetch::handle(&call, request.with_groups(vec![group])).await.unwrap();
    let group = testing::over_the_wire(&call, &response).groups.remove(0);
    let partitions = group.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions
        .map(|p| (p.partition_index, p.committed_offset, p.metadata.unwrap().to_string()))
        .collect()
}

#[tokio::test]
async fn what_is_committed_is_fetched_at_every_version() {
    let broker = broker().await;
    for version in 2..=10 {
        let offset = 100 + i64::from(version);
        let codes = commit(&broker, version, -1, &[(0, offset, "text")]).await;
        assert_eq!(codes, [ErrorCode::None]);
        let committed = (0, offset, "text".to_owned());
        for version in 1..=10 {
            let fetched = fetch(&broker, version, false).await;
            assert_eq!(fetched, [committed.clone(), (1, -1, String::new())]);
            if version >= 2 {
                assert_eq!(fetch(&broker, version, true).await, std::slice::from_ref(&committed));
            }
        }
    }
}

#[tokio::test]
async fn each_partition_has_its_own_answer() {
    let broker = broker().await;
    let long = "x".repeat(4097);
    let codes = commit(&broker, 9, -1, &[(7, 1, ""), (0, 1, &long), (1, 2, "")]).await;
    let (unknown, large) = (ErrorCode::UnknownTopicOrPartition, ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(codes, [unknown, large, ErrorCode::None]);
    assert_eq!(fetch(&broker, 9, true).await, [(1, 2, String::new())]);
}

#[tokio::test]
async fn a_commit_to_a_group_that_is_not_there_is_told_by_version() {
    let broker = broker().await;
    assert_eq!(commit(&broker, 8, 3, &[(0, 1, "")]).await, [ErrorCode::IllegalGeneration]);
    assert_eq!(commit(&broker, 9, 3, &[(0, 1, "")]).await, [ErrorCode::GroupIdNotFound]);
}

#[tokio::test]
async fn unknown_topics_are_told_by_name_or_id() {
    let broker = broker().await;
    for (version, code) in
        [(9, ErrorCode::UnknownTopicOrPartition), (10, ErrorCode::UnknownTopicId)]
    {
        let call = testing::call(&broker, ApiKey::OffsetCommit, version);
        let partition = OffsetCommitRequestPartition::default();
        let topic = OffsetCommitRequestTopic::default().with_partitions(vec![partition]);
        let topic = if version < TOPIC_IDS { topic.with_name(wire_str("none")) } else { topic };
        let request = OffsetCommitRequestData::default()
            .with_group_id(wire_str("g"))
            .with_topics(vec![topic]);
        let response = start(&call, request).await.unwrap().await.unwrap();
        let answer = testing::over_the_wire(&call, &response).topics.remove(0);
        assert_eq!(answer.partitions[0].error_code, code.code());
    }
    assert!(broker.groups().is_empty(), "nothing was committed");
}

#[tokio::test]
async fn offsets_of_a_topic_that_was_made_again_are_not_found() {
    let broker = broker().await;
    commit(&broker, 9, -1, &[(0, 5, "")]).await;
    broker.delete_topic(broker.topic("t").unwrap().id).await.unwrap();
    testing::topic(&broker, "t", 2).await;
    assert_eq!(fetch(&broker, 9, true).await, []);
    let none = |index| (index, -1, String::new());
    assert_eq!(fetch(&broker, 9, false).await, [none(0), none(1)]);
}

#[tokio::test]
async fn offsets_are_deleted_but_for_what_is_not_there() {
    let broker = broker().await;
    commit(&broker, 9, -1, &[(0, 5, ""), (1, 6, "")]).await;
    let call = testing::call(&broker, ApiKey::OffsetDelete, 0);
    let topic = |name, indexes: &[i32]| {
        let partition =
            |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
        OffsetDeleteRequestTopic::default()
            .with_name(wire_str(name))
            .with_partitions(indexes.iter().map(partition).collect())
    };
    let delete = async |group: &str| {
        let request = OffsetDeleteRequestData::default()
            .with_group_id(wire_str(group))
            .with_topics(vec![topic("none", &[0]), topic("t", &[7, 1])]);
        let response = offset_delete::start(&call, request).await.unwrap().await.unwrap();
        let response = testing::over_the_wire(&call, &response);
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        let codes = partitions.map(|partition| ErrorCode::from(partition.error_code));
        (ErrorCode::from(response.error_code), codes.collect::<Vec<_>>())
    };
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(delete("g").await, (ErrorCode::None, vec![unknown, unknown, ErrorCode::None]));
    assert_eq!(fetch(&broker, 9, true).await, [(0, 5, String::new())]);
    assert_eq!(delete("nothing").await, (ErrorCode::GroupIdNotFound, vec![]));
}
