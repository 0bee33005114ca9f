use bytes::Buf;
use millrace_broker::Broker;

use super::*;
use crate::codec::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponseData, FetchableTopicResponse,
    LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::codec::{ApiKey, Encode, wire_str, wire_uuid};
use crate::testing;
use millrace_types::TopicId;

fn label(version: i16, name: &str, number: u8) -> Label {
    if version >= TOPIC_IDS {
        return Label { name: None, id: TopicId([number; 16]) };
    }
    Label { name: Some(name.into()), id: TopicId::default() }
}

fn answer(topic: &Label, partition: i32, records: &[&'static [u8]]) -> Answer {
    let records: Vec<Bytes> = records.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    Answer {
        token: 0,
        topic: topic.clone(),
        partition,
        error: ErrorCode::None,
        offsets: Some(Offsets {
            log_start: Offset(3),
            high_watermark: Offset(90),
            last_stable: Offset(80),
        }),
        diverging: None,
        leader_epoch: LeaderEpoch(4),
        bytes: records.iter().map(Bytes::len).sum(),
        records,
    }
}

fn failed(topic: &Label, partition: i32, error: ErrorCode) -> Answer {
    Answer { offsets: None, error, ..answer(topic, partition, &[]) }
}

/// What the codec would be given to say the same.
fn expected(version: i16, head: &Head, groups: &[&[Answer]]) -> FetchResponseData {
    let partition = |answer: &Answer| {
        let offsets = answer.offsets;
        let mut data = PartitionData::default()
            .with_partition_index(answer.partition)
            .with_error_code(answer.error.code())
            .with_high_watermark(offsets.map_or(-1, |o| o.high_watermark.get()))
            .with_last_stable_offset(offsets.map_or(-1, |o| o.last_stable.get()))
            .with_preferred_read_replica(-1)
            .with_records(Some(answer.records.concat().into()));
        if version >= 5 {
            data.log_start_offset = offsets.map_or(-1, |o| o.log_start.get());
        }
        let aborted =
            (head.read_committed && offsets.is_some()).then(Vec::<AbortedTransaction>::new);
        data.aborted_transactions = aborted;
        if let Some((epoch, end)) = answer.diverging
            && version >= 12
        {
            data.diverging_epoch =
                EpochEndOffset::default().with_epoch(epoch.get()).with_end_offset(end.get());
        }
        if version >= 16 && answer.error == ErrorCode::FencedLeaderEpoch {
            data.current_leader = LeaderIdAndEpoch::default()
                .with_leader_id(1)
                .with_leader_epoch(answer.leader_epoch.get());
        }
        data
    };
    let topic = |group: &&[Answer]| {
        let mut topic = FetchableTopicResponse::default()
            .with_partitions(group.iter().map(partition).collect());
        if version >= TOPIC_IDS {
            topic.topic_id = wire_uuid(group[0].topic.id);
        } else {
            topic.topic = wire_str(group[0].topic.name.as_deref().unwrap());
        }
        topic
    };
    let mut response =
        FetchResponseData::default().with_responses(groups.iter().map(topic).collect());
    if version >= 7 {
        response.error_code = head.error.code();
        response.session_id = head.session;
    }
    let fenced = |answer: &Answer| answer.error == ErrorCode::FencedLeaderEpoch;
    if version >= 16 && groups.iter().any(|group| group.iter().any(fenced)) {
        let endpoint = NodeEndpoint::default().with_node_id(1);
        let endpoint = endpoint.with_host(wire_str("broker.example")).with_port(9092);
        response.node_endpoints = vec![endpoint];
    }
    response
}

fn check(version: i16, head: &Head, groups: &[&[Answer]]) {
    let call = testing::call(&Broker::in_memory(), ApiKey::Fetch, version);
    let answers: Vec<Answer> = groups.iter().flat_map(|group| group.iter().cloned()).collect();
    let response = encode(&call, head, answers);
    let mut frame = response.to_bytes();
    assert_eq!(frame.len(), response.len());
    assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len());
    assert_eq!(frame.get_i32(), call.correlation_id);
    if version >= FLEXIBLE {
        assert_eq!(frame.get_u8(), 0);
    }
    let mut body = BytesMut::new();
    expected(version, head, groups).encode(&mut body, version).unwrap();
    assert_eq!(frame, body, "version {version}");
}

#[test]
fn every_version_is_encoded_as_the_codec_does() {
    for version in 4..=18 {
        let (one, two) = (label(version, "one", 1), label(version, "two", 2));
        let whole: &[Answer] = &[
            answer(&one, 0, &[b"first batch", b"second"]),
            answer(&one, 1, &[]),
            failed(&one, 7, ErrorCode::OffsetOutOfRange),
        ];
        let fenced: &[Answer] = &[failed(&two, 0, ErrorCode::FencedLeaderEpoch)];
        let mut parted = answer(&two, 1, &[b"x"]);
        if version >= 12 {
            parted.diverging = Some((LeaderEpoch(2), Offset(50)));
        }
        let last: &[Answer] = &[answer(&one, 2, &[&[9; 300]])];
        for read_committed in [false, true] {
            let head = Head { error: ErrorCode::None, session: 77, read_committed };
            check(version, &head, &[whole]);
            check(version, &head, &[whole, fenced, last]);
            check(version, &head, &[std::slice::from_ref(&parted), whole]);
        }
        let head = Head {
            error: if version >= 7 { ErrorCode::FetchSessionIdNotFound } else { ErrorCode::None },
            session: 0,
            read_committed: false,
        };
        check(version, &head, &[]);
    }
}

#[test]
fn records_are_the_logs_own_memory() {
    let call = testing::call(&Broker::in_memory(), ApiKey::Fetch, 13);
    let head = Head { error: ErrorCode::None, session: 0, read_committed: false };
    let one = label(13, "one", 1);
    let with_records = answer(&one, 0, &[b"first batch", b"second"]);
    let memory: Vec<_> = with_records.records.iter().map(|bytes| bytes.as_ptr()).collect();
    let response = encode(&call, &head, vec![with_records]);
    let pieces: Vec<_> = response.into_pieces().map(|piece| piece.as_ptr()).collect();
    assert!(memory.iter().all(|piece| pieces.contains(piece)));
}
