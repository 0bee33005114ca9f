use millrace_broker::{AppendOptions, Broker, Compression};

use super::*;
use crate::codec::list_offsets_request::ListOffsetsTopic;
use crate::codec::{ApiKey, wire_str};
use crate::testing::{self, batch};

/// The time of the records of test batches.
const TIME: i64 = 1_700_000_000_000;

/// A topic `t` with three records, the first deleted.
async fn broker() -> Arc<Broker> {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let partition = broker.topic("t").unwrap().partition(PartitionId(0)).unwrap();
    let options = AppendOptions { compression_max: Compression::Zstd };
    let mut lsn = millrace_types::Lsn(0);
    for values in [&["a"][..], &["b", "c"]] {
        lsn = broker.append(&partition, &batch(values), &options).await.unwrap().lsn;
    }
    broker.durable(lsn).await.unwrap();
    broker.delete_records(&partition, Some(Offset(1))).await.unwrap();
    broker
}

/// Error, offset and timestamp of the answer for one time.
async fn at(broker: &Arc<Broker>, version: i16, time: i64) -> (i16, i64, i64) {
    let wanted = ListOffsetsPartition::default().with_timestamp(time);
    let topic = ListOffsetsTopic::default().with_name(wire_str("t")).with_partitions(vec![wanted]);
    let request = ListOffsetsRequestData::default().with_topics(vec![topic]);
    let call = testing::call(broker, ApiKey::ListOffsets, version);
    let response = handle(&call, request).await.unwrap();
    let answer = &testing::over_the_wire(&call, &response).topics[0].partitions[0];
    let found = answer.error_code == 0 && answer.offset >= 0;
    let epoch = if found && version >= EPOCHS { 0 } else { -1 };
    assert_eq!(answer.leader_epoch, epoch, "version {version}, time {time}");
    (answer.error_code, answer.offset, answer.timestamp)
}

#[tokio::test]
async fn special_times_answer_as_kafka_does_without_tiers() {
    let broker = broker().await;
    for version in 1..=11 {
        assert_eq!(at(&broker, version, LATEST).await, (0, 3, -1));
        assert_eq!(at(&broker, version, EARLIEST).await, (0, 1, -1));
        let since = |first, answer| if version < first { (35, -1, -1) } else { answer };
        assert_eq!(at(&broker, version, MAX_TIMESTAMP).await, since(7, (0, 1, TIME)));
        assert_eq!(at(&broker, version, EARLIEST_LOCAL).await, since(8, (0, 1, -1)));
        assert_eq!(at(&broker, version, LATEST_TIERED).await, since(9, (0, -1, -1)));
        assert_eq!(at(&broker, version, EARLIEST_PENDING_UPLOAD).await, since(11, (0, -1, -1)));
        assert_eq!(at(&broker, version, -7).await, (35, -1, -1));
    }
}

#[tokio::test]
async fn a_time_is_answered_by_the_first_record_from_then_on() {
    let broker = broker().await;
    assert_eq!(at(&broker, 7, 0).await, (0, 1, TIME));
    assert_eq!(at(&broker, 7, TIME).await, (0, 1, TIME));
    assert_eq!(at(&broker, 7, TIME + 1).await, (0, -1, -1));
}

/// A batch of one record whose header claims `max`.
fn claiming(time: i64, max: i64) -> Vec<u8> {
    let mut batch = batch(&["x"]).to_vec();
    batch[27..35].copy_from_slice(&time.to_be_bytes());
    batch[35..43].copy_from_slice(&max.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[tokio::test]
async fn a_batch_that_claims_a_time_in_vain_does_not_end_the_search() {
    let broker = Broker::in_memory_with(&[("log.retention.ms", "-1")]);
    testing::topic(&broker, "t", 1).await;
    let partition = broker.topic("t").unwrap().partition(PartitionId(0)).unwrap();
    let options = AppendOptions { compression_max: Compression::Zstd };
    let append = async |batch: Vec<u8>| {
        let appended = broker.append(&partition, &batch, &options).await.unwrap();
        broker.durable(appended.lsn).await.unwrap();
    };
    append(claiming(TIME, TIME + 10)).await;
    assert_eq!(at(&broker, 7, TIME + 5).await, (0, -1, -1));
    append(claiming(TIME + 5, TIME + 5)).await;
    assert_eq!(at(&broker, 7, TIME + 5).await, (0, 1, TIME + 5));
    assert_eq!(at(&broker, 7, TIME + 6).await, (0, -1, -1));

    // Where most of them do, it is not for the search to read the whole log.
    for _ in 0..70 {
        append(claiming(TIME, TIME + 10)).await;
    }
    assert_eq!(at(&broker, 7, TIME + 6).await, (0, 65, TIME));
}
