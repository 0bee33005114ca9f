use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_broker::Broker;
use millrace_broker::testing::{Fault, MemDisk, Operation};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::codec::ApiKey;
use crate::codec::api_versions_request::ApiVersionsRequestData;
use crate::codec::api_versions_response::ApiVersionsResponseData;
use crate::codec::fetch_request::{FetchPartition, FetchRequestData, FetchTopic};
use crate::codec::fetch_response::FetchResponseData;
use crate::codec::heartbeat_request::HeartbeatRequestData;
use crate::codec::heartbeat_response::HeartbeatResponseData;
use crate::codec::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequestData, ListOffsetsTopic,
};
use crate::codec::list_offsets_response::ListOffsetsResponseData;
use crate::codec::metadata_request::MetadataRequestData;
use crate::codec::metadata_response::MetadataResponseData;
use crate::codec::produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData};
use crate::codec::produce_response::ProduceResponseData;
use crate::codec::wire_str;
use crate::settings::Settings;
use crate::testing::{Client, Setup, batch, request_frame, topic};

fn all_topics() -> MetadataRequestData {
    MetadataRequestData::default().with_topics(None)
}

fn fetch(topic: &str, offset: i64) -> FetchRequestData {
    let partition =
        FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(wire_str(topic)).with_partitions(vec![partition]);
    FetchRequestData::default()
        .with_max_wait_ms(60_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

fn produce(topic: &str, acks: i16, records: Bytes) -> ProduceRequestData {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(wire_str(topic)).with_partition_data(vec![partition]);
    ProduceRequestData::default().with_acks(acks).with_topic_data(vec![topic])
}

#[tokio::test]
async fn responses_leave_in_request_order_while_a_fetch_waits() {
    let setup = Setup::new().await;
    topic(&setup.broker, "t", 1).await;
    let mut client = setup.connect(1 << 16);
    let waiting = client.send(ApiKey::Fetch, 11, &fetch("t", 0)).await;
    let behind = client.send(ApiKey::Metadata, 9, &all_topics()).await;
    // The produce behind the waiting fetch is carried out, and ends its wait.
    let produced = client.send(ApiKey::Produce, 9, &produce("t", -1, batch(&["a"]))).await;
    let fetched: FetchResponseData = client.receive(ApiKey::Fetch, 11, waiting).await;
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 1);
    let _: MetadataResponseData = client.receive(ApiKey::Metadata, 9, behind).await;
    let _: ProduceResponseData = client.receive(ApiKey::Produce, 9, produced).await;
}

#[tokio::test]
async fn requests_in_one_segment_and_in_single_bytes_are_the_same() {
    let setup = Setup::new().await;
    let frames: Vec<Bytes> = (1..=20)
        .map(|correlation| request_frame(ApiKey::Metadata, 12, correlation, &all_topics()))
        .collect();
    let all = frames.concat();
    for step in [all.len(), 1, 7] {
        let mut client = setup.connect(1 << 20);
        for part in all.chunks(step) {
            client.stream.write_all(part).await.unwrap();
        }
        for correlation in 1..=20 {
            let _: MetadataResponseData = client.receive(ApiKey::Metadata, 12, correlation).await;
        }
    }
}

#[tokio::test]
async fn a_request_held_back_by_responses_begins_once_they_left() {
    let setup = Setup::with(Settings { response_bytes_max: 1, ..Settings::default() }).await;
    let mut client = setup.connect(1 << 16);
    let frames: Vec<Bytes> = (1..=3)
        .map(|correlation| request_frame(ApiKey::Metadata, 12, correlation, &all_topics()))
        .collect();
    client.stream.write_all(&frames.concat()).await.unwrap();
    for correlation in 1..=3 {
        let answer = client.receive::<MetadataResponseData>(ApiKey::Metadata, 12, correlation);
        tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_request_is_received_whole_and_its_memory_comes_back() {
    let setup = Setup::new().await;
    topic(&setup.broker, "t", 1).await;
    let mut client = setup.connect(1 << 16);
    // Not a valid batch; what matters is that it arrives and is answered.
    let large = Bytes::from(vec![7; 20 << 20]);
    for _ in 0..2 {
        let answer: ProduceResponseData =
            client.call(ApiKey::Produce, 9, &produce("t", -1, large.clone())).await;
        assert_ne!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    drop(client.stream);
    assert!(matches!(client.end.await.unwrap(), End::Closed));
    assert_eq!(setup.front.memory.used(), 0);
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let setup = Setup::new().await;
    let mut client = setup.connect(1 << 16);
    let mut frame = BytesMut::new();
    frame.put_slice(&request_frame(ApiKey::ApiVersions, 3, 1, &ApiVersionsRequestData::default()));
    frame[6..8].copy_from_slice(&99_i16.to_be_bytes());
    client.stream.write_all(&frame).await.unwrap();
    let answer: ApiVersionsResponseData = client.receive(ApiKey::ApiVersions, 0, 1).await;
    assert_eq!(answer.error_code, 35);
    let own: Vec<_> =
        answer.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
    assert_eq!(own, [(18, 0, 4)]);
    // The client falls back on the same connection.
    let answer: ApiVersionsResponseData =
        client.call(ApiKey::ApiVersions, 0, &ApiVersionsRequestData::default()).await;
    assert_eq!(answer.error_code, 0);
}

#[tokio::test]
async fn five_thousand_idle_connections_hold_no_request_memory() {
    let setup = Setup::new().await;
    let mut clients: Vec<_> = (0..5000).map(|_| setup.connect(256)).collect();
    for client in &mut clients {
        let _: MetadataResponseData =
            client.call(ApiKey::Metadata, 9, &all_topics().with_topics(Some(vec![]))).await;
    }
    assert_eq!(setup.front.memory.used(), 0);
    let last = clients.last_mut().unwrap();
    let _: MetadataResponseData = last.call(ApiKey::Metadata, 9, &all_topics()).await;
}

#[tokio::test]
async fn a_request_is_counted_under_the_first_error_of_its_response() {
    let setup = Setup::new().await;
    topic(&setup.broker, "t", 1).await;
    let mut client = setup.connect(1 << 16);
    let _: MetadataResponseData = client.call(ApiKey::Metadata, 9, &all_topics()).await;
    for topic in ["t", "missing"] {
        let produce = produce(topic, -1, batch(&["a"]));
        let _: ProduceResponseData = client.call(ApiKey::Produce, 9, &produce).await;
        let _: FetchResponseData = client.call(ApiKey::Fetch, 11, &fetch(topic, -7)).await;
    }
    let beat = HeartbeatRequestData::default().with_group_id(wire_str("g"));
    let _: HeartbeatResponseData = client.call(ApiKey::Heartbeat, 4, &beat).await;
    let offset = ListOffsetsPartition::default().with_timestamp(-100);
    let offset = ListOffsetsTopic::default().with_name(wire_str("t")).with_partitions(vec![offset]);
    let offset = ListOffsetsRequestData::default().with_topics(vec![offset]);
    let _: ListOffsetsResponseData = client.call(ApiKey::ListOffsets, 7, &offset).await;

    let counted = setup.metrics.registry().render();
    for (api, version, error) in [
        ("Metadata", 9, "none"),
        ("Produce", 9, "none"),
        ("Produce", 9, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("Fetch", 11, "OFFSET_OUT_OF_RANGE"),
        ("Fetch", 11, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("Heartbeat", 4, "UNKNOWN_MEMBER_ID"),
        ("ListOffsets", 7, "UNSUPPORTED_VERSION"),
    ] {
        let series = format!(
            "millrace_front_requests_total\
             {{front=\"kafka\",api=\"{api}\",version=\"{version}\",error=\"{error}\"}} 1\n"
        );
        assert!(counted.contains(&series), "no {series} in\n{counted}");
    }
}

/// A length, and what follows it.
fn raw(len: i32, rest: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes()[..], rest].concat()
}

#[tokio::test]
async fn hostile_bytes_close_the_connection_and_hold_no_memory() {
    let setup = Setup::new().await;
    let metadata = [0, 3, 0, 9];
    let header = [0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a length of 2 GiB", raw(i32::MAX, &metadata)),
        ("a negative length", raw(-1, &metadata)),
        ("no room for a header", raw(7, &metadata)),
        ("an unknown API", raw(64, &[0x7f, 0xff, 0, 0])),
        ("an unsupported version", raw(64, &[0, 3, 0, 99])),
        ("more than its API may send", raw(99 << 20, &metadata)),
        (
            "an array of 2^31 topics",
            raw(16, &[&header[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat()),
        ),
        ("a name beyond the end", raw(14, &[&header[..], &[2, 0xff, 0x7f]].concat())),
        ("a body that is missing", raw(11, &header)),
        ("a header that ends early", raw(8, &[0, 3, 0, 9, 0, 0, 0, 1])),
    ];
    for (name, bytes) in cases {
        let mut client = setup.connect(1 << 16);
        client.stream.write_all(&bytes).await.unwrap();
        let end = client.end().await;
        let refused = matches!(end, End::Receive(_) | End::Header(_) | End::Refused { .. });
        assert!(refused, "{name}: {end}");
        assert_eq!(setup.front.memory.used(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_request_cut_off_is_told_from_a_clean_close() {
    let setup = Setup::new().await;
    let frame = request_frame(ApiKey::Metadata, 9, 1, &all_topics());
    for cut in 1..frame.len() {
        let Client { mut stream, end, .. } = setup.connect(1 << 16);
        stream.write_all(&frame[..cut]).await.unwrap();
        drop(stream);
        let end = end.await.unwrap();
        assert!(matches!(end, End::Receive(ReceiveError::Truncated)), "{cut}: {end}");
    }
}

#[tokio::test]
async fn what_was_sent_before_a_half_close_is_answered() {
    let setup = Setup::new().await;
    topic(&setup.broker, "t", 1).await;
    let mut client = setup.connect(1 << 16);
    client.send(ApiKey::Produce, 9, &produce("t", 0, batch(&["a"]))).await;
    let correlation = client.send(ApiKey::Metadata, 9, &all_topics()).await;
    client.stream.shutdown().await.unwrap();
    let _: MetadataResponseData = client.receive(ApiKey::Metadata, 9, correlation).await;
    assert!(matches!(client.end().await, End::Closed));
    // With acks=0 nobody was told when it is durable.
    let partition = setup.broker.topic("t").unwrap().partitions()[0].clone();
    let mut watch = setup.broker.watch();
    watch.add(&partition, 0);
    while partition.offsets().high_watermark.get() < 1 {
        watch.changed().await;
    }
}

#[tokio::test]
async fn a_refused_batch_with_acks_0_closes_the_connection() {
    let setup = Setup::new().await;
    let mut client = setup.connect(1 << 16);
    client.send(ApiKey::Produce, 9, &produce("unknown", 0, batch(&["a"]))).await;
    assert!(matches!(client.end().await, End::Refused { .. }));
}

#[tokio::test]
async fn when_the_log_fails_what_is_unanswered_stays_unanswered() {
    let disk = Arc::new(MemDisk::new(1));
    let broker = Broker::in_memory_on(Arc::clone(&disk), &[]);
    let setup = Setup::of(Settings::default(), broker);
    topic(&setup.broker, "t", 1).await;
    let mut idle = setup.connect(1 << 16);
    let mut busy = setup.connect(1 << 16);
    let request = produce("t", -1, batch(&["a"]));
    let first: ProduceResponseData = busy.call(ApiKey::Produce, 9, &request).await;
    assert_eq!(first.responses[0].partition_responses[0].error_code, 0);
    disk.fail_every(Operation::Sync, Fault::Io);
    busy.send(ApiKey::Produce, 9, &request).await;
    assert!(busy.frame().await.is_none(), "an answer that nobody can stand for");
    assert!(matches!(busy.end.await.unwrap(), End::BrokerEnded));
    assert!(idle.frame().await.is_none());
    assert!(matches!(idle.end.await.unwrap(), End::BrokerEnded));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off_and_bounded() {
    let settings = Settings { in_flight_requests_max: 4, ..Settings::default() };
    let setup = Setup::with(settings).await;
    topic(&setup.broker, "a-topic-of-many-partitions", 1000).await;
    let mut client = setup.connect(4096);
    let frame = request_frame(ApiKey::Metadata, 9, 1, &all_topics());
    // The connection stops reading long before all are taken.
    let sending = tokio::time::timeout(Duration::from_secs(20), async {
        for _ in 0..100_000 {
            client.stream.write_all(&frame).await.unwrap();
        }
    });
    assert!(sending.await.is_err(), "the connection must stop reading");
    let Client { stream, end, .. } = client;
    assert!(matches!(end.await.unwrap(), End::SlowReader(_)));
    drop(stream);
    assert_eq!(setup.front.memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_and_half_sent_requests_time_out() {
    let setup = Setup::new().await;
    let client = setup.connect(4096);
    let before = Instant::now();
    assert!(matches!(client.end().await, End::Idle(_)));
    assert_eq!(before.elapsed().as_secs(), 600);

    let mut client = setup.connect(4096);
    client.stream.write_all(&[0, 0, 0, 40, 0, 3, 0, 9]).await.unwrap();
    let before = Instant::now();
    assert!(matches!(client.end().await, End::SlowWriter(_)));
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!(setup.front.memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_for_memory_that_another_holds() {
    let settings = Settings { queued_max_request_bytes: 1 << 20, ..Settings::default() };
    let setup = Setup::with(settings).await;
    topic(&setup.broker, "t", 1).await;
    let mut slow = setup.connect(4096);
    // Announces 800 KB and stops.
    slow.stream.write_all(&raw(800_000, &[0, 0, 0, 9])).await.unwrap();
    tokio::task::yield_now().await;
    let mut other = setup.connect(4096);
    let large = Bytes::from(vec![7; 600_000]);
    let request = produce("t", -1, large);
    let answered = async {
        let answer: ProduceResponseData = other.call(ApiKey::Produce, 9, &request).await;
        assert_ne!(answer.responses[0].partition_responses[0].error_code, 0);
    };
    // The memory comes when the slow one is cut off, soon since it is awaited.
    let begun = Instant::now();
    answered.await;
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert!(matches!(slow.end().await, End::SlowWriter(_)));
}

#[tokio::test(start_paused = true)]
async fn small_produce_requests_take_no_memory_from_what_groups_live_by() {
    let settings = Settings { queued_max_request_bytes: 1 << 20, ..Settings::default() };
    let setup = Setup::with(settings).await;
    // Announce little each, together all there is for such, and stop.
    let mut producers = Vec::new();
    for _ in 0..16 {
        let mut producer = setup.connect(4096);
        producer.stream.write_all(&raw(60_000, &[0, 0, 0, 9])).await.unwrap();
        tokio::task::yield_now().await;
        producers.push(producer);
    }
    let mut member = setup.connect(4096);
    let beat = HeartbeatRequestData::default().with_group_id(wire_str("g"));
    let begun = Instant::now();
    let _: HeartbeatResponseData = member.call(ApiKey::Heartbeat, 4, &beat).await;
    assert_eq!(begun.elapsed().as_millis(), 0);
}

/// A connection that a test can stop, by dropping the sender.
fn stoppable(setup: &Setup, buffer: usize) -> (DuplexStream, JoinHandle<End>, oneshot::Sender<()>) {
    let (near, far) = tokio::io::duplex(buffer);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = Box::pin(async { drop(stopped.await) });
    (near, tokio::spawn(serve(far, setup.context(), stopped)), stop)
}

#[tokio::test]
async fn a_stopping_server_answers_what_has_begun() {
    let setup = Setup::new().await;
    let (mut near, end, stop) = stoppable(&setup, 1 << 16);
    near.write_all(&request_frame(ApiKey::Metadata, 9, 1, &all_topics())).await.unwrap();
    let len = near.read_u32().await.unwrap();
    assert!(len > 0);
    drop(stop);
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), usize::try_from(len).unwrap());
    assert!(matches!(end.await.unwrap(), End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_waits_no_longer_for_who_sends_no_more() {
    let setup = Setup::new().await;
    // Half-closed while its answer waits, here for the client itself.
    let (mut near, end, stop) = stoppable(&setup, 16);
    near.write_all(&request_frame(ApiKey::Metadata, 9, 1, &all_topics())).await.unwrap();
    near.shutdown().await.unwrap();
    let _: i32 = near.read_i32().await.unwrap();
    drop(stop);
    let begun = Instant::now();
    assert!(matches!(end.await.unwrap(), End::Stopped));
    assert_eq!(begun.elapsed(), setup.front.settings.drain_timeout);
}
