use std::sync::Arc;

use millrace_broker::{AppendOptions, Compression};
use millrace_types::PartitionId;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::codec::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use crate::codec::fetch_response::{FetchResponseData, PartitionData};
use crate::codec::{self, ApiKey, wire_str};
use crate::settings::Settings;
use crate::testing::{self, Client, Setup, batch};

const VERSION: i16 = 11;

fn part(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
}

fn topic(name: &str, partitions: Vec<FetchPartition>) -> FetchTopic {
    FetchTopic::default().with_topic(wire_str(name)).with_partitions(partitions)
}

/// A request that does not wait.
fn request(session: (i32, i32), topics: Vec<FetchTopic>) -> FetchRequestData {
    FetchRequestData::default()
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(session.0)
        .with_session_epoch(session.1)
        .with_topics(topics)
}

async fn append(setup: &Setup, name: &str, partition: i32, values: &[&str]) {
    append_batch(setup, name, partition, &batch(values)).await;
}

async fn append_batch(setup: &Setup, name: &str, partition: i32, batch: &[u8]) {
    let topic = setup.broker.topic(name).unwrap();
    let partition = topic.partition(PartitionId(partition)).unwrap();
    let options = AppendOptions { compression_max: Compression::Zstd };
    let appended = setup.broker.append(&partition, batch, &options).await.unwrap();
    setup.broker.durable(appended.lsn).await.unwrap();
}

async fn setup() -> (Setup, Client) {
    let setup = Setup::new().await;
    testing::topic(&setup.broker, "t", 3).await;
    let client = setup.connect(1 << 20);
    (setup, client)
}

async fn fetch(client: &mut Client, request: &FetchRequestData) -> FetchResponseData {
    client.call(ApiKey::Fetch, VERSION, request).await
}

/// Partition, error and bytes of every answer.
fn answers(response: &FetchResponseData) -> Vec<(i32, i16, usize)> {
    let of = |p: &PartitionData| {
        (p.partition_index, p.error_code, p.records.as_ref().map_or(0, bytes::Bytes::len))
    };
    response.responses.iter().flat_map(|topic| topic.partitions.iter().map(of)).collect()
}

#[tokio::test]
async fn a_session_tells_only_what_changed() {
    let (setup, mut client) = setup().await;
    let all = vec![topic("t", vec![part(0, 0), part(1, 0), part(2, 0)])];
    let first = fetch(&mut client, &request((0, 0), all)).await;
    assert_eq!(answers(&first), [(0, 0, 0), (1, 0, 0), (2, 0, 0)], "a full fetch answers all");
    let id = first.session_id;
    assert_ne!(id, 0);

    let none = fetch(&mut client, &request((id, 1), vec![])).await;
    assert_eq!(answers(&none), [], "nothing changed");

    append(&setup, "t", 1, &["x"]).await;
    let len = batch(&["x"]).len();
    let one = fetch(&mut client, &request((id, 2), vec![])).await;
    assert_eq!(answers(&one), [(1, 0, len)]);

    // The client did not get on: it is told again.
    let again = fetch(&mut client, &request((id, 3), vec![])).await;
    assert_eq!(answers(&again), [(1, 0, len)]);

    let next = vec![topic("t", vec![part(1, 1)])];
    let caught_up = fetch(&mut client, &request((id, 4), next)).await;
    assert_eq!(answers(&caught_up), []);
}

#[tokio::test]
async fn a_forgotten_partition_is_told_no_more() {
    let (setup, mut client) = setup().await;
    let all = vec![topic("t", vec![part(0, 0), part(1, 0)])];
    let id = fetch(&mut client, &request((0, 0), all)).await.session_id;
    append(&setup, "t", 0, &["x"]).await;
    append(&setup, "t", 1, &["x"]).await;
    let gone = ForgottenTopic::default().with_topic(wire_str("t")).with_partitions(vec![0]);
    let second = request((id, 1), vec![]).with_forgotten_topics_data(vec![gone]);
    let left: Vec<_> =
        answers(&fetch(&mut client, &second).await).iter().map(|answer| answer.0).collect();
    assert_eq!(left, [1]);
    // Without partitions there is no session.
    let gone = ForgottenTopic::default().with_topic(wire_str("t")).with_partitions(vec![1]);
    let third = request((id, 2), vec![]).with_forgotten_topics_data(vec![gone]);
    assert_eq!(fetch(&mut client, &third).await.session_id, 0);
    assert!(setup.front.sessions.is_empty());
}

#[tokio::test]
async fn sessions_and_epochs_that_are_not_are_told_so() {
    let (setup, mut client) = setup().await;
    let all = || vec![topic("t", vec![part(0, 0)])];
    let id = fetch(&mut client, &request((0, 0), all())).await.session_id;
    let unknown = fetch(&mut client, &request((id ^ 1, 1), vec![])).await;
    assert_eq!(unknown.error_code, ErrorCode::FetchSessionIdNotFound.code());
    let skipped = fetch(&mut client, &request((id, 2), vec![])).await;
    assert_eq!(skipped.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    // By name first, then by id.
    let by_id: FetchResponseData = client.call(ApiKey::Fetch, 13, &request((id, 1), vec![])).await;
    assert_eq!(by_id.error_code, ErrorCode::FetchSessionTopicIdError.code());
    // A full fetch with the old id replaces the session.
    let renewed = fetch(&mut client, &request((id, 0), all())).await;
    assert_eq!((renewed.error_code, setup.front.sessions.len()), (0, 1));
    // And one that wants none ends it.
    let ended = fetch(&mut client, &request((renewed.session_id, -1), all())).await;
    assert_eq!((ended.session_id, setup.front.sessions.len()), (0, 0));
}

#[tokio::test]
async fn a_fetch_that_is_not_answered_ends_its_session() {
    let (setup, mut client) = setup().await;
    let all = vec![topic("t", vec![part(0, 0), part(1, 0)])];
    let id = fetch(&mut client, &request((0, 0), all)).await.session_id;
    // What it has seen of the partitions goes with the connection.
    append(&setup, "t", 0, &["x"]).await;
    let waiting = request((id, 1), vec![]).with_min_bytes(100_000).with_max_wait_ms(60_000);
    client.send(ApiKey::Fetch, VERSION, &waiting).await;
    client.stream.shutdown().await.unwrap();
    client.end().await;

    let mut client = setup.connect(1 << 20);
    let gone = fetch(&mut client, &request((id, 2), vec![])).await;
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound.code());
}

#[tokio::test]
async fn a_session_that_grows_beyond_all_room_ends() {
    let setup = Setup::with(Settings { fetch_session_partitions_max: 2, ..Settings::default() });
    let setup = setup.await;
    testing::topic(&setup.broker, "t", 3).await;
    let mut client = setup.connect(1 << 20);
    let one = vec![topic("t", vec![part(0, 0)])];
    let id = fetch(&mut client, &request((0, 0), one)).await.session_id;
    let second = vec![topic("t", vec![part(1, 0)])];
    let two = fetch(&mut client, &request((id, 1), second)).await;
    assert_eq!((two.error_code, two.session_id), (0, id));
    let third = vec![topic("t", vec![part(2, 0)])];
    let three = fetch(&mut client, &request((id, 2), third)).await;
    assert_eq!((three.error_code, three.session_id), (0, 0), "answered, and ended");
    assert_eq!(answers(&three), [(2, 0, 0)]);
    assert!(setup.front.sessions.is_empty());
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_an_append() {
    let (setup, mut client) = setup().await;
    for (end, session) in (0..).zip([(0, -1), (0, 0), (0, -1)]) {
        let all = vec![topic("t", vec![part(0, 0), part(2, end)])];
        let waiting = request(session, all).with_max_wait_ms(60_000);
        let correlation = client.send(ApiKey::Fetch, VERSION, &waiting).await;
        tokio::task::yield_now().await;
        append(&setup, "t", 2, &["x"]).await;
        let woken: FetchResponseData = client.receive(ApiKey::Fetch, VERSION, correlation).await;
        let mut answers = answers(&woken);
        answers.sort_unstable();
        assert_eq!(answers, [(0, 0, 0), (2, 0, batch(&["x"]).len())]);
    }
}

fn partition(setup: &Setup, index: i32) -> Arc<Partition> {
    setup.broker.topic("t").unwrap().partition(PartitionId(index)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_time_with_what_there_is() {
    let (setup, _) = setup().await;
    append(&setup, "t", 0, &["x"]).await;
    // The clock stands while nothing but it is waited for, and the broker is
    // not of this runtime: the connection comes after it.
    let mut client = setup.connect(1 << 20);
    let all = vec![topic("t", vec![part(0, 0), part(1, 0)])];
    let waiting = request((0, -1), all).with_min_bytes(100_000).with_max_wait_ms(500);
    let begun = Instant::now();
    let response = fetch(&mut client, &waiting).await;
    assert_eq!(begun.elapsed().as_millis(), 500);
    assert_eq!(answers(&response), [(0, 0, batch(&["x"]).len()), (1, 0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_wait_but_an_unknown_topic_does_not() {
    let (_setup, mut client) = setup().await;
    let beyond = vec![topic("t", vec![part(0, 99), part(1, 0)])];
    let begun = Instant::now();
    let response = fetch(&mut client, &request((0, -1), beyond).with_max_wait_ms(500)).await;
    assert_eq!(begun.elapsed().as_millis(), 0);
    assert_eq!(answers(&response), [(0, 1, 0), (1, 0, 0)]);

    let unknown = vec![topic("nowhere", vec![part(0, 0)]), topic("t", vec![part(1, 0)])];
    let response = fetch(&mut client, &request((0, -1), unknown).with_max_wait_ms(500)).await;
    assert_eq!(begun.elapsed().as_millis(), 500);
    let mut answers = answers(&response);
    answers.sort_unstable();
    assert_eq!(answers, [(0, 3, 0), (1, 0, 0)]);
}

#[tokio::test]
async fn at_least_one_batch_comes_whole_and_the_rest_by_turns() {
    let (setup, mut client) = setup().await;
    for partition in 0..3 {
        append(&setup, "t", partition, &["some", "words"]).await;
    }
    let len = batch(&["some", "words"]).len();
    let all = vec![topic("t", vec![part(0, 0), part(1, 0), part(2, 0)])];
    let tight = |session, topics| request(session, topics).with_max_bytes(1);
    let first = fetch(&mut client, &tight((0, 0), all)).await;
    assert_eq!(answers(&first), [(0, 0, len), (1, 0, 0), (2, 0, 0)]);
    let id = first.session_id;
    let mut served = Vec::new();
    for epoch in 1..=3 {
        let response = fetch(&mut client, &tight((id, epoch), vec![])).await;
        served.extend(answers(&response).iter().filter(|a| a.2 > 0).map(|a| a.0));
    }
    served.sort_unstable();
    assert_eq!(served, [0, 1, 2], "each has its turn");
}

#[tokio::test]
async fn epochs_are_fenced_and_topics_found_by_id() {
    let (setup, mut client) = setup().await;
    let now = partition(&setup, 0).leader_epoch().get();
    let newer = vec![topic("t", vec![part(0, 0).with_current_leader_epoch(now + 1)])];
    let response = fetch(&mut client, &request((0, -1), newer)).await;
    assert_eq!(answers(&response), [(0, ErrorCode::UnknownLeaderEpoch.code(), 0)]);

    let id = setup.broker.topic("t").unwrap().id;
    let named = |id| {
        FetchTopic::default().with_topic_id(codec::wire_uuid(id)).with_partitions(vec![part(0, 0)])
    };
    let known = request((0, -1), vec![named(id)]);
    let response: FetchResponseData = client.call(ApiKey::Fetch, 17, &known).await;
    assert_eq!(answers(&response), [(0, 0, 0)]);
    let unknown = request((0, -1), vec![named(millrace_types::TopicId([9; 16]))]);
    let response: FetchResponseData = client.call(ApiKey::Fetch, 17, &unknown).await;
    assert_eq!(answers(&response), [(0, ErrorCode::UnknownTopicId.code(), 0)]);
}

#[tokio::test]
async fn a_topic_created_later_joins_the_session() {
    let (setup, mut client) = setup().await;
    let all = vec![topic("late", vec![part(0, 0)])];
    let first = fetch(&mut client, &request((0, 0), all)).await;
    assert_eq!(answers(&first), [(0, 3, 0)]);
    testing::topic(&setup.broker, "late", 1).await;
    let second = fetch(&mut client, &request((first.session_id, 1), vec![])).await;
    assert_eq!(answers(&second), [(0, 0, 0)], "the error is gone");
    append(&setup, "late", 0, &["x"]).await;
    let third = fetch(&mut client, &request((first.session_id, 2), vec![])).await;
    assert_eq!(answers(&third), [(0, 0, batch(&["x"]).len())]);
}

/// A batch of nearly a megabyte, whose records nobody can decode.
fn large_batch() -> bytes::Bytes {
    const HEAD: usize = 61;
    const CRC: std::ops::Range<usize> = 17..21;
    let mut batch = batch(&["x"]).get(..HEAD).unwrap().to_vec();
    batch.resize(1_000_000, 0);
    let len = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&len.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC.end..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

async fn append_large(setup: &Setup) {
    append_batch(setup, "slow", 0, &large_batch()).await;
}

/// Fills all memory for reading with what somebody reads and does not let go.
async fn hold_all_memory(setup: &Setup) -> Vec<millrace_broker::Read> {
    testing::topic(&setup.broker, "slow", 1).await;
    for _ in 0..20 {
        append_large(setup).await;
    }
    let partition = setup.broker.topic("slow").unwrap().partition(PartitionId(0)).unwrap();
    let isolation = Isolation::ReadUncommitted;
    let options = ReadOptions { bytes_max: 1_000_000, at_least_one: false, isolation };
    let mut held = Vec::new();
    for offset in 0..20 {
        let read = setup.broker.read(&partition, Offset(offset), &options).await.unwrap();
        if read.bytes == 0 {
            return held;
        }
        held.push(read);
    }
    panic!("there is more memory than the test reads");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_of_many_partitions_waits_for_memory_once() {
    let (setup, _) = setup().await;
    for partition in 0..3 {
        append(&setup, "t", partition, &["x"]).await;
    }
    let held = hold_all_memory(&setup).await;
    let mut client = setup.connect(1 << 20);
    let all = vec![topic("t", vec![part(0, 0), part(1, 0), part(2, 0)])];
    let begun = Instant::now();
    let starved = fetch(&mut client, &request((0, 0), all)).await;
    assert_eq!(begun.elapsed().as_secs(), 5, "one wait, however many partitions");
    let error = ErrorCode::KafkaStorageError.code();
    assert_eq!(answers(&starved), [(0, error, 0), (1, 0, 0), (2, 0, 0)]);

    drop(held);
    let len = batch(&["x"]).len();
    let served = fetch(&mut client, &request((starved.session_id, 1), vec![])).await;
    assert_eq!(answers(&served), [(0, 0, len), (1, 0, len), (2, 0, len)]);
}

#[tokio::test]
async fn a_waiting_fetch_holds_none_of_the_memory_for_readers() {
    let (setup, mut client) = setup().await;
    append(&setup, "t", 0, &["x"]).await;
    let mut held = hold_all_memory(&setup).await;
    held.truncate(held.len() - 2);
    // Three batches of a megabyte: as much as is free, and not enough to answer.
    let last = part(0, 17).with_partition_max_bytes(10_000_000);
    let waiting = request((0, 0), vec![topic("slow", vec![last])])
        .with_max_bytes(10_000_000)
        .with_min_bytes(3_500_000)
        .with_max_wait_ms(60_000);
    let mut waiter = setup.connect(1 << 16);
    let correlation = waiter.send(ApiKey::Fetch, VERSION, &waiting).await;
    tokio::task::yield_now().await;
    let other = request((0, -1), vec![topic("t", vec![part(0, 0)])]);
    let served = fetch(&mut client, &other).await;
    assert_eq!(answers(&served), [(0, 0, batch(&["x"]).len())]);

    drop(held);
    append_large(&setup).await;
    let woken: FetchResponseData = waiter.receive(ApiKey::Fetch, VERSION, correlation).await;
    assert_eq!(answers(&woken), [(0, 0, 4_000_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_no_longer_when_another_is_there() {
    let (_setup, mut client) = setup().await;
    let waiting = request((0, -1), vec![topic("t", vec![part(0, 0)])]).with_max_wait_ms(60_000);
    let begun = Instant::now();
    let first = client.send(ApiKey::Fetch, VERSION, &waiting).await;
    let second = client.send(ApiKey::Fetch, VERSION, &waiting).await;
    let empty: FetchResponseData = client.receive(ApiKey::Fetch, VERSION, first).await;
    assert_eq!((answers(&empty), begun.elapsed().as_secs()), (vec![(0, 0, 0)], 0));
    let empty: FetchResponseData = client.receive(ApiKey::Fetch, VERSION, second).await;
    assert_eq!((answers(&empty), begun.elapsed().as_secs()), (vec![(0, 0, 0)], 60));
}
