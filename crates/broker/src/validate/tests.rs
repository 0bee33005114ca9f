//! What a batch becomes in a topic with a codec of its own, and what looking
//! inside finds.

mod cost;

use millrace_log::batch::{BatchBuilder, Compression, HEADER_LEN, ProducerStamp};
use millrace_types::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicName};

use super::*;
use crate::{AppendOptions, Isolation, NewTopic, Partition, ReadOptions};

const NEWEST: AppendOptions = AppendOptions { compression_max: Compression::Zstd };
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CODECS: [(&str, Codec); 5] = [
    ("uncompressed", Codec::None),
    ("gzip", Codec::Gzip { level: 6 }),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd { level: 3 }),
];

/// A batch of these values, made at [`NOW`] and each ms after it.
fn plain<V: AsRef<[u8]>>(values: &[V]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(NOW);
    for (n, value) in (0..).zip(values) {
        builder.record(n, Some(b"key"), Some(value.as_ref()), &[]);
    }
    builder.build()
}

/// `batch`, uncompressed so far, in `codec`.
fn encoded(batch: &[u8], codec: Codec) -> Vec<u8> {
    let header = BatchHeader::parse(batch).unwrap();
    batch::recode(&header, batch, &batch[HEADER_LEN..], codec, header.max_timestamp).1
}

/// `batch` with a field of its header replaced, and a CRC to match.
fn with<const N: usize>(mut batch: Vec<u8>, at: usize, field: [u8; N]) -> Vec<u8> {
    batch[at..at + N].copy_from_slice(&field);
    let header = BatchHeader::parse(&batch).unwrap();
    batch::with_max_timestamp(&header, &batch, header.max_timestamp).1
}

/// A batch whose records are these bytes, `count` of them by its header.
fn holding(count: i32, records: &[u8], codec: Codec) -> Vec<u8> {
    let mut batch = with(plain(&["v"]), 57, count.to_be_bytes());
    batch = with(batch, 23, (count - 1).to_be_bytes());
    let header = BatchHeader::parse(&batch).unwrap();
    batch::recode(&header, &batch, records, codec, header.max_timestamp).1
}

async fn topic(broker: &Broker, name: &str, config: &[(&str, &str)]) -> Arc<Partition> {
    let config = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let new = NewTopic::plain(TopicName::new(name).unwrap(), 1, config);
    broker.create_topic(new, false).await.unwrap();
    broker.topic(name).unwrap().partition(PartitionId(0)).unwrap()
}

/// The stored batches from `from` on.
async fn stored(broker: &Broker, partition: &Arc<Partition>) -> Vec<(BatchHeader, Vec<u8>)> {
    let isolation = Isolation::ReadUncommitted;
    let options = ReadOptions { bytes_max: 10 << 20, at_least_one: true, isolation };
    let bytes = broker.read(partition, Offset::ZERO, &options).await.unwrap().records.concat();
    let batches: Result<Vec<_>, _> = batch::batches(&bytes).collect();
    let batches = batches.unwrap().into_iter();
    batches.map(|(header, bytes)| (header, bytes.to_vec())).collect()
}

async fn append(
    broker: &Broker,
    partition: &Arc<Partition>,
    batch: &[u8],
) -> Result<Offset, AppendError> {
    let appended = broker.append(partition, batch, &NEWEST).await?;
    broker.durable(appended.lsn).await.unwrap();
    Ok(appended.base_offset)
}

#[tokio::test]
async fn a_topics_codec_replaces_any_other_and_leaves_its_own_alone() {
    let broker = Broker::in_memory();
    // At once, and beside the connection.
    for (size, len) in [("small", 200), ("large", 3_000)] {
        let values: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n / 9; len]).collect();
        let plain = plain(&values);
        for (name, target) in CODECS {
            let topic_name = format!("{size}-{name}");
            let partition = topic(&broker, &topic_name, &[("compression.type", name)]).await;
            let before = broker.metrics().batches_recompressed.get();
            for (_, source) in CODECS {
                append(&broker, &partition, &encoded(&plain, source)).await.unwrap();
            }
            assert_eq!(broker.metrics().batches_recompressed.get(), before + 4);
            let stored = stored(&broker, &partition).await;
            assert_eq!(stored.len(), CODECS.len());
            for (n, (header, bytes)) in (0..).zip(&stored) {
                assert_eq!(header.compression, target.compression());
                assert_eq!((header.base_offset, header.count), (Offset(n * 100), 100));
                assert_eq!(header.max_timestamp, NOW.plus_ms(99));
                assert_eq!(batch::check_crc(header, bytes), Ok(()));
                let body = records::body(header, bytes, DECODED_MAX).unwrap();
                assert_eq!(&*body, &plain[HEADER_LEN..], "the records byte for byte");
            }
            let own = encoded(&plain, target);
            assert!(stored.iter().any(|(_, bytes)| bytes[HEADER_LEN..] == own[HEADER_LEN..]));
        }
    }
}

#[tokio::test]
async fn with_append_time_a_recompressed_batch_has_that_time() {
    let broker = Broker::in_memory();
    let config = [("compression.type", "lz4"), ("message.timestamp.type", "LogAppendTime")];
    let partition = topic(&broker, "t", &config).await;
    // A year that no CreateTime topic would take.
    let batch = with(plain(&["v"]), 27, i64::MAX.to_be_bytes());
    let appended = broker.append(&partition, &batch, &NEWEST).await.unwrap();
    broker.durable(appended.lsn).await.unwrap();
    let (header, bytes) = stored(&broker, &partition).await.remove(0);
    assert_eq!(Some(header.max_timestamp), appended.append_time);
    assert_eq!(header.compression, Compression::Lz4);
    assert_eq!(batch::check_crc(&header, &bytes), Ok(()));
}

#[tokio::test]
async fn a_retry_is_a_duplicate_whatever_codec_it_is_stored_in() {
    let broker = Broker::in_memory();
    let partition = topic(&broker, "t", &[("compression.type", "zstd")]).await;
    let sent = |base_sequence| {
        let base_sequence = Sequence(base_sequence);
        let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence };
        let mut builder = BatchBuilder::new(NOW).producer(stamp);
        builder.record(0, None, Some(b"a"), &[]).record(0, None, Some(b"b"), &[]);
        encoded(&builder.build(), Codec::Gzip { level: 6 })
    };
    assert_eq!(append(&broker, &partition, &sent(0)).await, Ok(Offset(0)));
    assert_eq!(append(&broker, &partition, &sent(2)).await, Ok(Offset(2)));
    for _ in 0..2 {
        assert_eq!(append(&broker, &partition, &sent(0)).await, Ok(Offset(0)));
        assert_eq!(append(&broker, &partition, &sent(2)).await, Ok(Offset(2)));
    }
    assert!(matches!(append(&broker, &partition, &sent(6)).await, Err(AppendError::Sequence(_))));
    let stored = stored(&broker, &partition).await;
    let sequence = |(header, _): &(BatchHeader, _)| header.producer.unwrap().base_sequence.get();
    assert_eq!(stored.iter().map(sequence).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(broker.metrics().duplicates.get(), 4);
}

#[tokio::test]
async fn a_batch_may_be_too_large_as_sent_or_as_stored() {
    let broker = Broker::in_memory();
    let limit = ("max.message.bytes", "5000");
    let values = [vec![b'x'; 6_000]];
    let plain = plain(&values);
    let small = encoded(&plain, Codec::Zstd { level: 3 });
    assert!(small.len() < 200);

    let kept = topic(&broker, "kept", &[limit]).await;
    assert_eq!(append(&broker, &kept, &small).await, Ok(Offset(0)));
    let unpacked = topic(&broker, "unpacked", &[limit, ("compression.type", "uncompressed")]).await;
    let refused = AppendError::TooLarge { bytes: plain.len(), limit: 5000 };
    assert_eq!(append(&broker, &unpacked, &small).await, Err(refused.clone()));
    // It would fit once compressed, but Kafka measures what was sent first.
    let packed = topic(&broker, "packed", &[limit, ("compression.type", "zstd")]).await;
    assert_eq!(append(&broker, &packed, &plain).await, Err(refused));
}

#[tokio::test]
async fn the_largest_timestamp_is_put_right_where_it_is_looked_at() {
    let lie = with(plain(&["a", "b"]), 35, 5_i64.to_be_bytes());
    let header = Broker::in_memory();
    let full = Broker::in_memory_validating(Validate::Full, &[]);
    for (broker, config, max_timestamp) in [
        (&header, "producer", Timestamp(5)),
        (&header, "gzip", NOW.plus_ms(1)),
        (&full, "producer", NOW.plus_ms(1)),
    ] {
        let partition = topic(broker, config, &[("compression.type", config)]).await;
        append(broker, &partition, &lie).await.unwrap();
        let (header, bytes) = stored(broker, &partition).await.remove(0);
        assert_eq!(header.max_timestamp, max_timestamp, "{config}");
        assert_eq!(batch::check_crc(&header, &bytes), Ok(()));
    }
}

/// A record with this offset delta, timestamp delta, key and value, all of one
/// byte when encoded.
fn record(offset: u8, time: u8) -> Vec<u8> {
    // Length 8: attributes, deltas, key "k", value "v", no headers.
    vec![16, 0, time << 1, offset << 1, 2, b'k', 2, b'v', 0]
}

/// What each lie is refused as; by the codec that hides it.
fn lies() -> Vec<(&'static str, i32, Vec<u8>, RecordError)> {
    let two = || [record(0, 0), record(1, 0)].concat();
    let cut = two()[..17].to_vec();
    let trailing = [two(), vec![0]].concat();
    let long = [vec![18], record(0, 0)[1..].to_vec()].concat();
    let headers = [record(0, 0)[..8].to_vec(), vec![2]].concat();
    vec![
        ("fewer records", 3, two(), RecordError::Count { count: 3, found: 2 }),
        ("more records", 1, two(), RecordError::Count { count: 1, found: 2 }),
        ("bytes behind", 2, trailing, RecordError::Count { count: 2, found: 3 }),
        ("cut off", 2, cut, RecordError::Malformed { index: 1 }),
        ("too long", 1, long, RecordError::Malformed { index: 0 }),
        ("a header that is not there", 1, headers, RecordError::Malformed { index: 0 }),
        ("no records", 1, Vec::new(), RecordError::Count { count: 1, found: 0 }),
        ("offsets from 1", 1, record(1, 0), RecordError::OffsetDelta { index: 0, offset_delta: 1 }),
        (
            "an offset twice",
            2,
            [record(0, 0), record(0, 0)].concat(),
            RecordError::OffsetDelta { index: 1, offset_delta: 0 },
        ),
        (
            "an offset left out",
            2,
            [record(0, 0), record(2, 0)].concat(),
            RecordError::OffsetDelta { index: 1, offset_delta: 2 },
        ),
    ]
}

#[tokio::test]
async fn lies_about_records_are_found_where_they_are_looked_at() {
    let header = Broker::in_memory();
    let full = Broker::in_memory_validating(Validate::Full, &[]);
    let as_sent = topic(&header, "as-sent", &[]).await;
    let checked = topic(&full, "checked", &[]).await;
    for (name, codec) in CODECS {
        let recoded = topic(&header, name, &[("compression.type", name)]).await;
        let (_, other) = CODECS[usize::from(codec == CODECS[0].1)];
        for (lie, count, records, error) in lies() {
            let lying = holding(count, &records, codec);
            append(&header, &as_sent, &lying).await.unwrap();
            let refused = Err(AppendError::Records(error));
            assert_eq!(append(&full, &checked, &lying).await, refused, "{lie} in {name}");
            let lying = holding(count, &records, other);
            assert_eq!(append(&header, &recoded, &lying).await, refused, "{lie} for {name}");
        }
        assert_eq!(recoded.offsets().high_watermark, Offset::ZERO);
        let truth = holding(2, &[record(0, 0), record(1, 0)].concat(), codec);
        append(&full, &checked, &truth).await.unwrap();
    }
    assert_eq!(checked.offsets().high_watermark, Offset(10));
}

#[tokio::test]
async fn what_does_not_decompress_is_refused() {
    let full = Broker::in_memory_validating(Validate::Full, &[]);
    let partition = topic(&full, "t", &[]).await;
    for (name, codec) in CODECS.into_iter().skip(1) {
        let mut garbage = encoded(&plain(&[[b'v'; 100]]), Codec::None);
        garbage[22] = codec.compression().number();
        let garbage = with(garbage, 12, [0; 4]);
        let malformed = DecompressError::Malformed(codec.compression());
        let refused = Err(AppendError::Records(malformed.into()));
        assert_eq!(append(&full, &partition, &garbage).await, refused, "{name}");
    }
}

#[tokio::test]
async fn a_bomb_is_refused_as_too_large() {
    let full = Broker::in_memory_validating(Validate::Full, &[]);
    let partition = topic(&full, "t", &[]).await;
    let zeros = vec![0; DECODED_MAX + 1];
    let bomb = holding(1, &zeros, Codec::Zstd { level: 1 });
    assert!(bomb.len() < 10_000);
    let refused = append(&full, &partition, &bomb).await.unwrap_err();
    assert_eq!(refused.name(), "too large");
    let limit = DECODED_MAX;
    let error = RecordError::Decompress(DecompressError::TooLarge { limit });
    assert_eq!(refused, AppendError::Records(error));
}

#[tokio::test]
async fn each_record_has_its_timestamp_checked() {
    let full = Broker::in_memory_validating(Validate::Full, &[]);
    let hour = ("message.timestamp.before.max.ms", "3600000");
    let partition = topic(&full, "t", &[hour]).await;
    let now = full.env().wall();
    let mut builder = BatchBuilder::new(now);
    // Neither the first nor the largest, which are all that the header tells.
    for delta in [0, -7_200_000, 5, -7_300_000] {
        builder.record(delta, None, None, &[]);
    }
    let refused = append(&full, &partition, &builder.build()).await.unwrap_err();
    let AppendError::Timestamp { timestamp, records, .. } = refused else { panic!("{refused}") };
    assert_eq!((timestamp, records), (now.plus_ms(-7_200_000), vec![1, 3]));
    // "No timestamp" is never too old.
    let mut builder = BatchBuilder::new(Timestamp::NONE);
    builder.record(0, None, None, &[]);
    append(&full, &partition, &builder.build()).await.unwrap();
}
