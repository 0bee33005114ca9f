use super::*;

use proptest::{collection::vec, option, prelude::*};

/// What a record of each kind looks like in bytes: the format is frozen here.
#[test]
fn the_bytes_are_as_documented() {
    let deleted = GroupRecord::GroupDeleted { group: "g".into() };
    assert_eq!(deleted.encode(), [1, 2, 1, b'g']);

    let group = GroupRecord::Group {
        group: "g".into(),
        metadata: GroupMetadata {
            generation: 2,
            protocol_type: Some("c".into()),
            protocol_name: Some("r".into()),
            leader: Some("m".into()),
            state_since: Some(Timestamp(-1)),
            members: vec![MemberMetadata {
                member: "m".into(),
                instance: None,
                client_id: "i".into(),
                client_host: "h".into(),
                rebalance_timeout_ms: 300,
                session_timeout_ms: 1,
                subscription: Bytes::from_static(b"s"),
                assignment: Bytes::new(),
            }],
        },
    };
    let mut bytes = vec![1, 1, 1, b'g', 4, 1, 1, b'c', 1, 1, b'r', 1, 1, b'm', 1, 1, 1];
    bytes.extend([1, b'm', 0, 1, b'i', 1, b'h', 0xd8, 4, 2, 1, b's', 0]);
    assert_eq!(group.encode(), bytes);

    let topic = TopicId([9; 16]);
    let deleted = GroupRecord::TopicDeleted { topic };
    assert_eq!(deleted.encode(), [vec![1, 5], vec![9; 16]].concat());

    let partitions = vec![TopicPartition::new(topic, PartitionId(3))];
    let deleted = GroupRecord::OffsetsDeleted { group: "g".into(), partitions };
    assert_eq!(deleted.encode(), [vec![1, 4, 1, b'g', 1], vec![9; 16], vec![1, 6]].concat());

    let committed = GroupRecord::OffsetsCommitted {
        group: "g".into(),
        offsets: vec![(
            TopicPartition::new(topic, PartitionId(3)),
            CommittedOffset {
                offset: Offset(64),
                leader_epoch: Some(LeaderEpoch(1)),
                metadata: "m".into(),
                commit_time: Timestamp(5),
                expire_time: None,
            },
        )],
    };
    let mut bytes = vec![1, 3, 1, b'g', 1];
    bytes.extend([9; 16]);
    bytes.extend([1, 6, 0x80, 1, 1, 2, 1, b'm', 10, 0]);
    assert_eq!(committed.encode(), bytes);
}

#[test]
fn what_is_not_a_record_is_refused() {
    assert_eq!(GroupRecord::decode(&[]), Err(RecordError::Truncated));
    assert_eq!(GroupRecord::decode(&[2, 2, 0]), Err(RecordError::Version(2)));
    assert_eq!(GroupRecord::decode(&[1, 9]), Err(RecordError::Kind(9)));
    assert_eq!(GroupRecord::decode(&[1, 2, 1, b'g', 0]), Err(RecordError::Trailing(1)));
    assert_eq!(GroupRecord::decode(&[1, 2, 1, 0xff]), Err(RecordError::Invalid("text")));
}

#[test]
fn a_count_larger_than_the_record_takes_no_memory() {
    // Offsets of 2^63 topics in fifteen bytes.
    let mut bytes = vec![1, 3, 0];
    bytes.extend([0xff; 8]);
    bytes.push(0x7f);
    assert_eq!(GroupRecord::decode(&bytes), Err(RecordError::Truncated));
}

#[test]
fn a_group_that_cannot_be_is_refused() {
    let member = MemberMetadata {
        member: "m".into(),
        instance: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 1,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    };
    let metadata = GroupMetadata {
        generation: 1,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: Some("m".into()),
        state_since: None,
        members: vec![member.clone()],
    };
    let decoded = |metadata: GroupMetadata| {
        let bytes = GroupRecord::Group { group: "g".into(), metadata }.encode();
        GroupRecord::decode(&bytes).map(|_| ())
    };
    assert_eq!(decoded(metadata.clone()), Ok(()));
    assert_eq!(
        decoded(GroupMetadata { leader: Some("other".into()), ..metadata.clone() }),
        Err(RecordError::Invalid("leader"))
    );
    assert_eq!(
        decoded(GroupMetadata { protocol_name: None, ..metadata.clone() }),
        Err(RecordError::Invalid("protocol"))
    );
    assert_eq!(
        decoded(GroupMetadata { members: vec![member.clone(), member], ..metadata }),
        Err(RecordError::Invalid("list of members"))
    );
}

fn partitions() -> impl Strategy<Value = TopicPartition> {
    (0..4u8, 0..5i32).prop_map(|(topic, partition)| {
        TopicPartition::new(TopicId([topic; 16]), PartitionId(partition))
    })
}

fn offsets() -> impl Strategy<Value = CommittedOffset> {
    (any::<i64>(), option::of(any::<i32>()), ".{0,5}", any::<i64>(), option::of(any::<i64>()))
        .prop_map(|(offset, epoch, metadata, commit, expire)| CommittedOffset {
            offset: Offset(offset),
            leader_epoch: epoch.map(LeaderEpoch),
            metadata: metadata.into(),
            commit_time: Timestamp(commit),
            expire_time: expire.map(Timestamp),
        })
}

fn members() -> impl Strategy<Value = Vec<MemberMetadata>> {
    let bytes = || vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    vec((any::<bool>(), any::<i32>(), any::<i32>(), bytes(), bytes()), 0..4).prop_map(|members| {
        let member = |(number, (fixed, rebalance, session, subscription, assignment))| {
            let number: usize = number;
            MemberMetadata {
                member: format!("m{number}").into(),
                instance: Some(format!("i{number}").into()).filter(|_| fixed),
                client_id: "client".into(),
                client_host: "/127.0.0.1".into(),
                rebalance_timeout_ms: rebalance,
                session_timeout_ms: session,
                subscription,
                assignment,
            }
        };
        members.into_iter().enumerate().map(member).collect()
    })
}

fn records() -> impl Strategy<Value = GroupRecord> {
    let group = (0..=i32::MAX, option::of(any::<i64>()), members()).prop_map(
        |(generation, state_since, members)| GroupRecord::Group {
            group: "grüppe".into(),
            metadata: GroupMetadata {
                generation,
                protocol_type: Some("consumer".into()),
                protocol_name: Some("range".into()).filter(|_| !members.is_empty()),
                leader: members.first().map(|member| member.member.clone()),
                state_since: state_since.map(Timestamp),
                members,
            },
        },
    );
    prop_oneof![
        group,
        ".{0,5}".prop_map(|group| GroupRecord::GroupDeleted { group: group.into() }),
        vec((partitions(), offsets()), 0..20)
            .prop_map(|offsets| GroupRecord::OffsetsCommitted { group: "g".into(), offsets }),
        vec(partitions(), 0..20)
            .prop_map(|partitions| GroupRecord::OffsetsDeleted { group: "g".into(), partitions }),
        any::<[u8; 16]>().prop_map(|id| GroupRecord::TopicDeleted { topic: TopicId(id) }),
    ]
}

proptest! {
    #[test]
    fn what_was_written_is_read(record in records()) {
        prop_assert_eq!(GroupRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn a_cut_record_is_never_a_record(record in records(), cut: prop::sample::Index) {
        let bytes = record.encode();
        let length = cut.index(bytes.len());
        prop_assert!(GroupRecord::decode(&bytes[..length]).is_err());
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in vec(any::<u8>(), 2..200), kind in 1..=5u8) {
        bytes[0] = VERSION;
        bytes[1] = kind;
        if let Ok(record) = GroupRecord::decode(&bytes) {
            prop_assert_eq!(GroupRecord::decode(&record.encode()), Ok(record));
        }
    }
}
