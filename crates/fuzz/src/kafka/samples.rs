//! Requests as clients send them: what the fuzzer begins with.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_kafka::{
    api::{self, TABLE},
    codec::{
        self, ApiKey, DEFAULTS, Encode, create_topics_request as create,
        delete_records_request as delete_records, describe_configs_request as describe,
        fetch_request as fetch, find_coordinator_request as find,
        incremental_alter_configs_request as alter, join_group_request as join,
        list_offsets_request as list, metadata_request as metadata,
        offset_commit_request as commit, offset_fetch_request as offsets,
        offset_for_leader_epoch_request as epochs, produce_request as produce,
        sync_group_request as sync, wire_str,
    },
};

use super::module;
use crate::records::batch_seeds;

/// Header and body of a request, without the length.
fn payload(key: ApiKey, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i16(key as i16);
    out.put_i16(version);
    out.put_i32(correlation);
    out.put_i16(1);
    out.put_slice(b"c");
    // The header of ApiVersions has tagged fields where its body has.
    if codec::is_flexible(key as i16, version) {
        out.put_u8(0);
    }
    out.put_slice(body);
    out.to_vec()
}

/// The same at some versions.
fn at(key: ApiKey, versions: &[i16], request: &impl Encode) -> Vec<Vec<u8>> {
    let one = |version: &i16| {
        let mut body = BytesMut::new();
        request.encode(&mut body, *version).unwrap();
        payload(key, *version, 7, &body)
    };
    versions.iter().map(one).collect()
}

/// Requests in an order in which they find what they ask for.
fn filled() -> Vec<Vec<u8>> {
    let name = || wire_str("t");
    let mut out = Vec::new();
    let topic = create::CreatableTopic::default()
        .with_name(name())
        .with_num_partitions(2)
        .with_replication_factor(1)
        .with_configs(vec![
            create::CreatableTopicConfig::default()
                .with_name(wire_str("retention.ms"))
                .with_value(Some(wire_str("1000"))),
        ]);
    let request = create::CreateTopicsRequestData::default().with_topics(vec![topic]);
    out.extend(at(ApiKey::CreateTopics, &[2, 7], &request));

    let topic = metadata::MetadataRequestTopic::default().with_name(Some(name()));
    let request = metadata::MetadataRequestData::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    out.extend(at(ApiKey::Metadata, &[4, 9, 13], &request));

    for batch in batch_seeds().into_iter().take(4) {
        let partition = produce::PartitionProduceData::default()
            .with_index(0)
            .with_records(Some(Bytes::from(batch)));
        let topic = produce::TopicProduceData::default()
            .with_name(name())
            .with_partition_data(vec![partition]);
        let request = produce::ProduceRequestData::default()
            .with_acks(-1)
            .with_timeout_ms(1000)
            .with_topic_data(vec![topic]);
        out.extend(at(ApiKey::Produce, &[3, 9, 12], &request));
    }

    let partition = fetch::FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = fetch::FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
    let request = fetch::FetchRequestData::default()
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    out.extend(at(ApiKey::Fetch, &[4, 7, 12], &request));
    let forgotten = fetch::ForgottenTopic::default().with_topic(name()).with_partitions(vec![0, 1]);
    let request = request.with_session_id(1).with_session_epoch(1);
    out.extend(at(ApiKey::Fetch, &[11], &request.with_forgotten_topics_data(vec![forgotten])));

    let partition = list::ListOffsetsPartition::default().with_timestamp(-1);
    let later = list::ListOffsetsPartition::default().with_timestamp(1_700_000_000_000);
    let topic =
        list::ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition, later]);
    let request = list::ListOffsetsRequestData::default().with_topics(vec![topic]);
    out.extend(at(ApiKey::ListOffsets, &[1, 8], &request));

    let partition = delete_records::DeleteRecordsPartition::default().with_offset(1);
    let topic = delete_records::DeleteRecordsTopic::default()
        .with_name(name())
        .with_partitions(vec![partition]);
    let request = delete_records::DeleteRecordsRequestData::default().with_topics(vec![topic]);
    out.extend(at(ApiKey::DeleteRecords, &[0, 2], &request));

    let topic = epochs::OffsetForLeaderTopic::default()
        .with_topic(name())
        .with_partitions(vec![epochs::OffsetForLeaderPartition::default()]);
    let request = epochs::OffsetForLeaderEpochRequestData::default().with_topics(vec![topic]);
    out.extend(at(ApiKey::OffsetForLeaderEpoch, &[2, 4], &request));

    out.extend(of_groups());
    out.extend(of_configs());
    out
}

fn of_groups() -> Vec<Vec<u8>> {
    let (name, group) = (|| wire_str("t"), || wire_str("g"));
    let mut out = Vec::new();
    let request = find::FindCoordinatorRequestData::default().with_key(group());
    out.extend(at(ApiKey::FindCoordinator, &[0, 3], &request));
    let request = find::FindCoordinatorRequestData::default().with_coordinator_keys(vec![group()]);
    out.extend(at(ApiKey::FindCoordinator, &[6], &request));

    let subscription = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0";
    let protocol = join::JoinGroupRequestProtocol::default()
        .with_name(wire_str("range"))
        .with_metadata(Bytes::from_static(subscription));
    let request = join::JoinGroupRequestData::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(wire_str("consumer"))
        .with_protocols(vec![protocol]);
    out.extend(at(ApiKey::JoinGroup, &[0, 3], &request));
    let request = request.with_group_instance_id(Some(wire_str("i")));
    out.extend(at(ApiKey::JoinGroup, &[9], &request));

    let assignment = sync::SyncGroupRequestAssignment::default()
        .with_member_id(wire_str("m"))
        .with_assignment(Bytes::from_static(b"\0\0"));
    let request = sync::SyncGroupRequestData::default()
        .with_group_id(group())
        .with_generation_id(1)
        .with_member_id(wire_str("m"))
        .with_assignments(vec![assignment]);
    out.extend(at(ApiKey::SyncGroup, &[0, 5], &request));

    let partition = commit::OffsetCommitRequestPartition::default()
        .with_committed_offset(1)
        .with_committed_metadata(Some(wire_str("note")));
    let topic = commit::OffsetCommitRequestTopic::default()
        .with_name(name())
        .with_partitions(vec![partition]);
    let request = commit::OffsetCommitRequestData::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    out.extend(at(ApiKey::OffsetCommit, &[2, 8], &request));

    let topic = offsets::OffsetFetchRequestTopic::default()
        .with_name(name())
        .with_partition_indexes(vec![0, 1]);
    let request = offsets::OffsetFetchRequestData::default()
        .with_group_id(group())
        .with_topics(Some(vec![topic]));
    out.extend(at(ApiKey::OffsetFetch, &[1, 7], &request));
    let all = offsets::OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let request = offsets::OffsetFetchRequestData::default().with_groups(vec![all]);
    out.extend(at(ApiKey::OffsetFetch, &[8], &request));
    out
}

fn of_configs() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (kind, name) in [(2, "t"), (4, "1"), (4, ""), (32, "g")] {
        let resource = describe::DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(wire_str(name))
            .with_configuration_keys(None);
        let request = describe::DescribeConfigsRequestData::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true);
        out.extend(at(ApiKey::DescribeConfigs, &[4], &request));
    }
    for (operation, name, value) in
        [(0, "retention.ms", "1"), (1, "retention.ms", ""), (2, "cleanup.policy", "compact")]
    {
        let config = alter::AlterableConfig::default()
            .with_name(wire_str(name))
            .with_config_operation(operation)
            .with_value(Some(wire_str(value)));
        let resource = alter::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(wire_str("t"))
            .with_configs(vec![config]);
        let request =
            alter::IncrementalAlterConfigsRequestData::default().with_resources(vec![resource]);
        out.extend(at(ApiKey::IncrementalAlterConfigs, &[0, 1], &request));
    }
    out
}

/// Every API at its versions, with nothing in the request.
fn empty() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for api in TABLE {
        let module = module(api);
        let encode = DEFAULTS.iter().find(|(name, _)| *name == module).unwrap().1;
        for version in api.min..=api.max {
            let mut body = BytesMut::new();
            // Some fields have no empty form at some versions.
            if encode(&mut body, version).is_ok() {
                out.push(payload(api.key, version, i32::from(version), &body));
            }
        }
    }
    out
}

/// Valid inputs of [`super::request`].
pub fn request_seeds() -> Vec<Vec<u8>> {
    [empty(), filled()].concat()
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

/// The newest version of every API behind one another; pieces of any size.
pub fn framing_seeds() -> Vec<Vec<u8>> {
    let newest = |payload: &&Vec<u8>| {
        let (key, version) = codec::peek_api(payload).unwrap();
        api::find(key).is_some_and(|api| api.max == version)
    };
    let all: Vec<u8> = empty().iter().filter(newest).flat_map(|one| framed(one)).collect();
    let few: Vec<u8> = filled().iter().take(4).flat_map(|one| framed(one)).collect();
    vec![
        [&[0], &few[..]].concat(),
        [&[255], &few[..]].concat(),
        [&[40], &all[..]].concat(),
        [&[255], &few[..few.len() - 1]].concat(),
    ]
}

/// What a client does one after the other, and every request alone behind the
/// creation of a topic.
pub fn connection_seeds() -> Vec<Vec<u8>> {
    let filled = filled();
    let all: Vec<u8> = filled.iter().flat_map(|one| framed(one)).collect();
    let mut seeds = vec![[&[0], &all[..]].concat()];
    for payload in filled.iter().skip(1).chain(&empty()) {
        let (first, second) = (framed(&filled[0]), framed(payload));
        seeds.push([&[1], &first[..], &second].concat());
    }
    seeds
}
