use bytes::Buf;
use millrace_broker::Validate;
use millrace_types::TopicId;

use super::*;
use crate::codec::produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData};
use crate::codec::produce_response::{
    PartitionProduceResponse, ProduceResponseData, TopicProduceResponse,
};
use crate::codec::{ApiKey, Decode, Encode, wire_str, wire_uuid};
use crate::testing::{self, batch};

fn partition(index: i32, records: &[u8]) -> PartitionProduceData {
    let records = Bytes::copy_from_slice(records);
    PartitionProduceData::default().with_index(index).with_records(Some(records))
}

/// A request to topics by name, or by id from version 13 on.
fn request(
    broker: &Broker,
    version: i16,
    topics: &[(&str, Vec<PartitionProduceData>)],
) -> ProduceRequestData {
    let topic = |(name, partitions): &(&str, Vec<PartitionProduceData>)| {
        let topic = TopicProduceData::default().with_partition_data(partitions.clone());
        if version >= TOPIC_IDS {
            let id = broker.topic(name).map_or(TopicId([9; 16]), |topic| topic.id);
            return topic.with_topic_id(wire_uuid(id));
        }
        topic.with_name(wire_str(name))
    };
    ProduceRequestData::default()
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(topics.iter().map(topic).collect())
}

/// The response, decoded by the codec.
async fn answer(
    broker: &Arc<Broker>,
    version: i16,
    request: &ProduceRequestData,
) -> Vec<TopicProduceResponse> {
    let call = testing::call(broker, ApiKey::Produce, version);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    let response = match start(call, body.freeze()).await.unwrap() {
        Started::Done(response) | Started::Durable(_, response) => response,
        _ => panic!("no response"),
    };
    let mut frame = response.to_bytes();
    assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len());
    frame.advance(if version >= FLEXIBLE { 5 } else { 4 });
    let response = ProduceResponseData::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty());
    response.responses
}

fn codes(topics: &[TopicProduceResponse]) -> Vec<(i32, i16, i64)> {
    let of = |p: &PartitionProduceResponse| (p.index, p.error_code, p.base_offset);
    topics.iter().flat_map(|topic| topic.partition_responses.iter().map(of)).collect()
}

#[tokio::test]
async fn every_version_appends_and_answers_by_partition() {
    for version in SERVED..=13 {
        let broker = Broker::in_memory();
        testing::topic(&broker, "a", 2).await;
        testing::topic(&broker, "b", 1).await;
        let unknown = if version >= TOPIC_IDS { 100 } else { 3 };
        let topics = [
            ("a", vec![partition(1, &batch(&["x", "y"])), partition(7, &batch(&["z"]))]),
            ("nowhere", vec![partition(0, &batch(&["z"]))]),
            ("b", vec![partition(0, &batch(&["z"]))]),
        ];
        let request = request(&broker, version, &topics);
        let first = codes(&answer(&broker, version, &request).await);
        assert_eq!(first, [(1, 0, 0), (7, 3, -1), (0, unknown, -1), (0, 0, 0)], "{version}");
        let second = codes(&answer(&broker, version, &request).await);
        assert_eq!(second[0], (1, 0, 2), "{version}");
    }
}

#[tokio::test]
async fn what_is_not_one_batch_of_magic_2_is_an_invalid_record() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    let one = batch(&["x"]);
    let mut old = one.to_vec();
    old[16] = 1;
    let two = [&one[..], &one[..]].concat();
    for records in [&b""[..], &one[..16], &old, &two] {
        let request = request(&broker, 9, &[("a", vec![partition(0, records)])]);
        let topics = answer(&broker, 9, &request).await;
        assert_eq!(codes(&topics), [(0, ErrorCode::InvalidRecord.code(), -1)]);
        assert!(topics[0].partition_responses[0].error_message.is_some());
    }
    assert_eq!(broker.topic("a").unwrap().partitions()[0].offsets().high_watermark.get(), 0);
}

fn zstd_by_its_header() -> Vec<u8> {
    let mut zstd = batch(&["x"]).to_vec();
    zstd[22] = 4;
    let crc = crc32c::crc32c(&zstd[21..]);
    zstd[17..21].copy_from_slice(&crc.to_be_bytes());
    zstd
}

#[tokio::test]
async fn zstd_is_for_versions_that_know_it() {
    // What a version may carry does not depend on what the topic stores.
    let stores_gzip = [("compression.type", "gzip")];
    let recompressing = Broker::in_memory_with(&stores_gzip);
    testing::topic(&recompressing, "a", 1).await;
    let garbage = [("a", vec![partition(0, &zstd_by_its_header())])];
    for (version, code) in [(6, 76), (7, 87)] {
        let request = request(&recompressing, version, &garbage);
        assert_eq!(codes(&answer(&recompressing, version, &request).await)[0].1, code);
    }

    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    // The records are never decompressed here.
    let zstd = zstd_by_its_header();
    for version in SERVED..=12 {
        let request = request(&broker, version, &[("a", vec![partition(0, &zstd)])]);
        let (_, code, _) = codes(&answer(&broker, version, &request).await)[0];
        assert_eq!(code, if version < ZSTD { 76 } else { 0 }, "{version}");
    }
}

#[tokio::test]
async fn a_compacted_topic_tells_which_records_have_no_key() {
    let broker = Broker::in_memory();
    let new = millrace_broker::NewTopic::plain(
        millrace_types::TopicName::new("c").unwrap(),
        1,
        [("cleanup.policy".into(), "compact".into())].into(),
    );
    broker.create_topic(new, false).await.unwrap();
    // The batches of these tests have no keys.
    let request = request(&broker, 9, &[("c", vec![partition(0, &batch(&["x", "y"]))])]);
    let topics = answer(&broker, 9, &request).await;
    assert_eq!(codes(&topics), [(0, ErrorCode::InvalidRecord.code(), -1)]);
    let blamed = &topics[0].partition_responses[0].record_errors;
    assert_eq!(blamed.iter().map(|record| record.batch_index).collect::<Vec<_>>(), [0, 1]);
    assert!(blamed[0].batch_index_error_message.is_some());
}

#[tokio::test]
async fn what_is_wrong_inside_is_told_where_records_are_checked() {
    let config = [("log.message.timestamp.before.max.ms", "3600000")];
    let broker = Broker::in_memory_validating(Validate::Full, &config);
    testing::topic(&broker, "a", 1).await;
    // Those of these tests are years old, and the second is not where it says.
    let old = batch(&["x", "y"]);
    let mut twice = old.to_vec();
    let second = twice.len() - 8 + 3;
    assert_eq!(twice[second], 2);
    twice[second] = 0;
    let crc = crc32c::crc32c(&twice[21..]);
    twice[17..21].copy_from_slice(&crc.to_be_bytes());
    for (records, code, blamed) in [
        (&old[..], ErrorCode::InvalidTimestamp, &[0, 1][..]),
        (&twice[..], ErrorCode::InvalidRecord, &[]),
    ] {
        let request = request(&broker, 9, &[("a", vec![partition(0, records)])]);
        let topics = answer(&broker, 9, &request).await;
        assert_eq!(codes(&topics), [(0, code.code(), -1)]);
        let answer = &topics[0].partition_responses[0];
        assert!(answer.error_message.is_some());
        let found = answer.record_errors.iter().map(|record| record.batch_index);
        assert_eq!(found.collect::<Vec<_>>(), blamed);
    }
}

#[tokio::test]
async fn transactions_and_unknown_acks_are_refused_before_anything_is_appended() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    let good = request(&broker, 9, &[("a", vec![partition(0, &batch(&["x"]))])]);

    let transactional = good.clone().with_transactional_id(Some(wire_str("tx")));
    let topics = answer(&broker, 9, &transactional).await;
    assert_eq!(codes(&topics), [(0, 53, -1)]);
    let message = topics[0].partition_responses[0].error_message.as_ref().unwrap();
    assert_eq!(message.as_str(), TRANSACTIONS);

    let acks = good.with_acks(2);
    assert_eq!(codes(&answer(&broker, 9, &acks).await), [(0, 21, -1)]);
    assert_eq!(broker.topic("a").unwrap().partitions()[0].offsets().high_watermark.get(), 0);
}

#[tokio::test]
async fn versions_that_are_only_advertised_are_answered_unsupported() {
    // Versions 0 to 2: no transactional id; acks, time-out, one topic `a`, one
    // partition, no records.
    let body = [
        &[0xff, 0xff, 0, 0, 0, 1][..],
        &[0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1],
        &[0, 0, 0, 5, 0, 0, 0, 0],
    ];
    let unsupported = |version: i16| -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_i32(1);
        out.put_slice(&[0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 5]);
        out.put_i16(35);
        out.put_i64(-1);
        if version >= 2 {
            out.put_i64(-1);
        }
        if version >= 1 {
            out.put_i32(0);
        }
        out.to_vec()
    };
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 6).await;
    for version in 0..SERVED {
        let call = testing::call(&broker, ApiKey::Produce, version);
        let Started::Done(response) = start(call, body.concat().into()).await.unwrap() else {
            panic!("no response");
        };
        assert_eq!(response.to_bytes()[8..], unsupported(version)[..], "{version}");
    }
}

#[tokio::test]
async fn a_request_cut_anywhere_appends_nothing() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 2).await;
    for version in [3, 9] {
        let batches = vec![partition(0, &batch(&["x"])), partition(1, &batch(&["y"]))];
        let mut body = BytesMut::new();
        request(&broker, version, &[("a", batches)]).encode(&mut body, version).unwrap();
        let body = body.freeze();
        for cut in 0..body.len() {
            let call = testing::call(&broker, ApiKey::Produce, version);
            assert!(start(call, body.slice(..cut)).await.is_err(), "{cut}");
        }
        for partition in broker.topic("a").unwrap().partitions().iter() {
            assert_eq!(partition.offsets().high_watermark.get(), 0);
        }
    }
}

#[tokio::test]
async fn a_request_of_countless_partitions_is_refused() {
    let mut body = BytesMut::new();
    body.put_slice(&[0, 0xff, 0xff, 0, 0, 0, 1, 2, 2, b'a']);
    body.put_slice(&[0x81, 0x92, 0xf4, 0x01]); // 4,000,000 partitions
    body.put_bytes(0, 6 * 4_000_000);
    let call = testing::call(&Broker::in_memory(), ApiKey::Produce, 9);
    let refused = start(call, body.freeze()).await.err().unwrap();
    assert!(matches!(refused, Refusal::Close(_)), "{refused}");
}
