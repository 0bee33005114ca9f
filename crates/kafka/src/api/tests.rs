use super::*;

#[test]
fn the_table_is_sorted_and_every_row_is_found() {
    assert!(TABLE.is_sorted_by_key(|api| api.key as i16));
    for api in TABLE {
        assert_eq!(find(api.key as i16).unwrap().key, api.key);
        assert!(api.advertised_min <= api.min && api.min <= api.max, "{api:?}");
    }
    assert!(find(-1).is_none());
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
