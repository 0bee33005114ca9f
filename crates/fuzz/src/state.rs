//! What the server remembers of itself: partitions, groups, topics.

use bytes::Bytes;
use millrace_coord::groups::{
    CommittedOffset, DeleteOffsetsRequest, DeleteTopicOffsets, DurableGroups, GroupMetadata,
    GroupRecord, Groups, GroupsConfig, MemberMetadata, Now, Token,
};
use millrace_log::{
    batch::{BatchBuilder, BatchHeader},
    partition::{Admission, AdmitError, Partition, PartitionSnapshot},
};
use millrace_types::{FileId, LeaderEpoch, Lsn, Offset, PartitionId, Sequence, Timestamp, TopicId};

use crate::{memory::bounded, stored};

const TOPIC: TopicId = TopicId([7; 16]);
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// The state of a partition with its producers, as checkpoints hold it.
pub fn partition_snapshot(bytes: &[u8]) {
    let decode = || PartitionSnapshot::decode(bytes);
    let Ok(snapshot) = bounded(4 * bytes.len(), decode) else { return };
    let mut again = Vec::new();
    snapshot.encode(&mut again);
    assert_eq!(again, bytes, "a snapshot has one form");

    let mut partition = Partition::restore(snapshot.clone());
    assert_eq!(partition.snapshot(), snapshot);
    let producers: Vec<_> = partition.producers().collect();
    assert_eq!(producers.len(), snapshot.producer_count());
    // Each producer goes on where it was, and is refused what it left out.
    for producer in producers.iter().take(8) {
        let batch = |base_sequence| {
            let stamp = millrace_log::batch::ProducerStamp {
                id: producer.id,
                epoch: producer.epoch,
                base_sequence,
            };
            let mut builder = BatchBuilder::new(NOW).producer(stamp);
            builder.record(0, None, Some(b"v"), &[]);
            // A stored epoch or sequence may be negative; a batch's may not.
            BatchHeader::parse(&builder.build())
        };
        let next = Sequence(producer.last_sequence.get().wrapping_add(1) & i32::MAX);
        let Ok(batch) = batch(next) else { continue };
        let append_time = match partition.admit(&batch, Lsn(1), NOW) {
            Ok(Admission::Append { append_time, .. }) => append_time,
            Ok(Admission::Duplicate { .. }) | Err(AdmitError::OffsetOverflow) => continue,
            Err(error) => panic!("the next batch of {producer:?} is refused: {error}"),
        };
        assert!(append_time >= snapshot.append_time);
    }
    assert_eq!(partition.high_watermark(), snapshot.high_watermark);
    let _expired = partition.expire_producers(NOW);
    let _moved = partition.move_log_start(snapshot.high_watermark);
    let _end = partition.epoch_end(LeaderEpoch(0));
}

/// Valid inputs of [`partition_snapshot`].
pub fn partition_snapshot_seeds() -> Vec<Vec<u8>> {
    let encode = |snapshot: PartitionSnapshot| {
        let mut out = Vec::new();
        snapshot.encode(&mut out);
        out
    };
    stored::snapshots().into_iter().map(encode).collect()
}

/// Records of groups, each behind its length in two bytes: what recovery
/// applies before groups come to life.
pub fn group_records(bytes: &[u8]) {
    let mut durable = DurableGroups::default();
    let mut rest = bytes;
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(behind.len());
        let (record, behind) = behind.split_at(len);
        rest = behind;
        // A member is 8 bytes at least, and 200 in memory, twice while the
        // list of them is checked.
        let decode = || GroupRecord::decode(record);
        let Ok(decoded) = bounded(64 * record.len() + 1024, decode) else { continue };
        let again = GroupRecord::decode(&decoded.encode());
        assert_eq!(again.as_ref(), Ok(&decoded));
        durable.apply(decoded);
    }
    let mut restored = DurableGroups::default();
    for record in durable.snapshot() {
        restored.apply(GroupRecord::decode(&record.encode()).unwrap());
    }
    assert_eq!(restored, durable);
    come_to_life(durable, bytes);
}

/// Starts the groups that the records left, and lets their time run out.
fn come_to_life(durable: DurableGroups, bytes: &[u8]) {
    let ids: Vec<_> = durable.snapshot().filter_map(|record| record.group().cloned()).collect();
    let now = |monotonic_ms| Now { monotonic_ms, wall: NOW };
    let (mut groups, _effects) = Groups::start(GroupsConfig::default(), durable, now(0));
    for group in ids {
        let _described = groups.describe(group.as_str());
        // Looks into what members subscribe to.
        let topic = DeleteTopicOffsets {
            topic: TOPIC,
            name: "orders".into(),
            partitions: vec![PartitionId(0)],
        };
        let request = DeleteOffsetsRequest { group, topics: vec![topic] };
        let _effects = groups.delete_offsets(&request, Token(1), now(1));
    }
    let _expired = groups.expire(now(2), None, 100, |_| None);
    for _ in 0..4.min(bytes.len()) {
        let Some(at) = groups.next_deadline() else { break };
        let effects = groups.tick(now(at));
        for persist in effects.persist {
            let _effects = groups.durable(persist, now(at));
        }
    }
}

/// Valid inputs of [`group_records`].
pub fn group_records_seeds() -> Vec<Vec<u8>> {
    let subscription = b"\0\x01\0\0\0\x01\0\x06orders\xff\xff\xff\xff\0\0\0\0";
    let member = |name: &str, instance: Option<&str>| MemberMetadata {
        member: name.into(),
        instance: instance.map(Into::into),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(subscription),
        assignment: Bytes::from_static(b"assigned"),
    };
    let metadata = GroupMetadata {
        generation: 3,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: Some("m1".into()),
        state_since: Some(NOW),
        members: vec![member("m1", None), member("m2", Some("i2"))],
    };
    let empty = GroupMetadata { members: Vec::new(), leader: None, ..metadata.clone() };
    let committed = CommittedOffset {
        offset: Offset(7),
        leader_epoch: Some(LeaderEpoch(1)),
        metadata: "note".into(),
        commit_time: NOW,
        expire_time: Some(Timestamp(NOW.get() + 1000)),
    };
    let offsets = (0..3).map(|n| (stored::partition_of(n), committed.clone())).collect();
    let records = [
        GroupRecord::Group { group: "g".into(), metadata },
        GroupRecord::Group { group: "empty".into(), metadata: empty },
        GroupRecord::OffsetsCommitted { group: "g".into(), offsets },
        GroupRecord::OffsetsDeleted {
            group: "g".into(),
            partitions: vec![stored::partition_of(1)],
        },
        GroupRecord::TopicDeleted { topic: TopicId([8; 16]) },
        GroupRecord::GroupDeleted { group: "empty".into() },
    ];
    let framed = |record: &GroupRecord| {
        let bytes = record.encode();
        [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
    };
    let mut seeds: Vec<Vec<u8>> = records.iter().map(framed).collect();
    seeds.push(seeds.concat());
    seeds
}

/// A record of the engine's own state: log starts, tombstones, quarantine.
pub fn meta_record(bytes: &[u8]) {
    let recode = || millrace_store::engine::fuzzing::recode_meta_record(bytes);
    if let Some(again) = bounded(128, recode) {
        assert_eq!(again, bytes, "a record has one form");
    }
}

/// Valid inputs of [`meta_record`].
pub fn meta_record_seeds() -> Vec<Vec<u8>> {
    // As the head of `engine/meta.rs` draws them.
    let topic = [7_u8; 16];
    let partition = [&topic[..], &3_i32.to_le_bytes()].concat();
    let (first, end) = (3_i64.to_le_bytes(), 9_i64.to_le_bytes());
    let (file, byte) = (FileId(12).get().to_le_bytes(), 4096_u64.to_le_bytes());
    vec![
        [&[1], &partition[..], &end].concat(),
        [&[2], &topic[..]].concat(),
        [&[3], &topic[..]].concat(),
        [&[4], &partition[..], &first, &end, &file, &byte].concat(),
        [&[5], &partition[..]].concat(),
    ]
}
