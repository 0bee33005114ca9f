use bytes::{Buf, BytesMut};
use millrace_broker::Broker;

use super::*;
use crate::codec::delete_groups_request::DeleteGroupsRequestData;
use crate::codec::offset_commit_request::OffsetCommitRequestData;
use crate::codec::offset_delete_request::OffsetDeleteRequestData;
use crate::codec::{self, DECODERS, DEFAULTS, Encode};
use crate::testing;

#[test]
fn the_table_is_sorted_and_every_row_is_found() {
    assert!(TABLE.is_sorted_by_key(|api| api.key as i16));
    for api in TABLE {
        assert_eq!(find(api.key as i16).unwrap().key, api.key);
        assert!(api.advertised_min <= api.min && api.min <= api.max, "{api:?}");
    }
    assert!(find(-1).is_none());
}

#[tokio::test]
async fn answers_made_of_parts_of_the_request_keep_its_memory() {
    let broker = Broker::in_memory();
    for (key, version, request) in [
        (ApiKey::OffsetCommit, 8, encoded(&OffsetCommitRequestData::default(), 8)),
        (ApiKey::OffsetDelete, 0, encoded(&OffsetDeleteRequestData::default(), 0)),
        (ApiKey::DeleteGroups, 2, encoded(&DeleteGroupsRequestData::default(), 2)),
    ] {
        let call = testing::call(&broker, key, version);
        let started = (call.api.start)(call, request).await.unwrap();
        assert!(matches!(started, Started::Keeping(_)), "{key:?}");
    }
}

fn encoded(request: &impl Encode, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out, version).unwrap();
    out.freeze()
}

/// The client-facing APIs of Kafka 4.3 and the versions that it serves.
const KAFKA: &[(&str, i16, i16, i16)] = &[
    // Core.
    ("Produce", 0, 3, 13),
    ("Fetch", 1, 4, 18),
    ("ListOffsets", 2, 1, 11),
    ("Metadata", 3, 0, 13),
    ("ApiVersions", 18, 0, 4),
    ("DeleteRecords", 21, 0, 2),
    ("InitProducerId", 22, 0, 5),
    ("OffsetForLeaderEpoch", 23, 2, 4),
    ("DescribeProducers", 61, 0, 0),
    ("DescribeTopicPartitions", 75, 0, 0),
    // Classic groups, offsets.
    ("OffsetCommit", 8, 2, 10),
    ("OffsetFetch", 9, 1, 10),
    ("FindCoordinator", 10, 0, 6),
    ("JoinGroup", 11, 0, 9),
    ("Heartbeat", 12, 0, 4),
    ("LeaveGroup", 13, 0, 5),
    ("SyncGroup", 14, 0, 5),
    ("DescribeGroups", 15, 0, 6),
    ("ListGroups", 16, 0, 5),
    ("DeleteGroups", 42, 0, 2),
    ("OffsetDelete", 47, 0, 0),
    // Admin.
    ("CreateTopics", 19, 2, 7),
    ("DeleteTopics", 20, 1, 6),
    ("CreatePartitions", 37, 0, 3),
    ("DescribeConfigs", 32, 1, 4),
    ("AlterConfigs", 33, 0, 2),
    ("IncrementalAlterConfigs", 44, 0, 1),
    ("ListConfigResources", 74, 0, 1),
    ("AlterReplicaLogDirs", 34, 1, 2),
    ("DescribeLogDirs", 35, 1, 5),
    ("ElectLeaders", 43, 0, 2),
    ("AlterPartitionReassignments", 45, 0, 1),
    ("ListPartitionReassignments", 46, 0, 0),
    ("DescribeQuorum", 55, 0, 2),
    ("UpdateFeatures", 57, 0, 2),
    ("DescribeCluster", 60, 0, 2),
    ("UnregisterBroker", 64, 0, 0),
];

#[test]
fn what_is_served_is_what_kafka_serves() {
    let mut kafka = KAFKA.to_vec();
    kafka.sort_by_key(|row| row.1);
    let row = |api: &Api| (api.name(), api.key as i16, api.min, api.max);
    assert_eq!(TABLE.iter().map(row).collect::<Vec<_>>(), kafka);
}

#[test]
fn api_versions_tells_the_table_but_for_old_produce() {
    let ranges: Vec<_> = TABLE.iter().map(|api| (api.advertised_min, api.min)).collect();
    assert_eq!(ranges.iter().filter(|(told, served)| told != served).count(), 1);
    assert_eq!(ranges.first(), Some(&(0, 3)), "librdkafka takes compression from Produce 0");
}

/// The name of the codec's module for an API's requests or responses.
fn module(api: &Api, side: &str) -> String {
    let mut name = String::new();
    for letter in api.name().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    format!("{name}_{side}")
}

/// An error that cannot be said at an old version would close the connection.
#[tokio::test]
async fn every_row_answers_an_empty_request_at_every_version() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    for api in TABLE {
        let encode = DEFAULTS.iter().find(|(name, _)| *name == module(api, "request")).unwrap().1;
        let decode = DECODERS.iter().find(|(name, _)| *name == module(api, "response")).unwrap().1;
        for version in api.min..=api.max {
            let call = testing::call(&broker, api.key, version);
            let mut body = BytesMut::new();
            encode(&mut body, version).unwrap();
            let started = (api.start)(call, body.freeze()).await;
            let response = match started.unwrap_or_else(|why| panic!("{api:?} v{version}: {why}")) {
                Started::Done(response) | Started::Durable(_, response) => response,
                Started::Waiting(response) | Started::Keeping(response) => {
                    response.await.unwrap_or_else(|why| panic!("{api:?} v{version}: {why}"))
                }
                // Produce with acks=0.
                Started::Silent => continue,
            };
            let mut frame = response.to_bytes();
            frame.advance(8);
            if codec::is_flexible(api.key as i16, version) && api.key != ApiKey::ApiVersions {
                frame.advance(1);
            }
            decode(&mut frame, version).unwrap_or_else(|why| panic!("{api:?} v{version}: {why}"));
            assert!(frame.is_empty(), "{api:?} v{version}: {} bytes too many", frame.len());
        }
    }
}
