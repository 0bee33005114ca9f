use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use millrace_broker::NewTopic;
use millrace_types::TopicName;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::Settings;
use crate::stream::id_of;
use crate::testing::Server;

async fn iterator(server: &Server, stream: &str, kind: &str) -> Json {
    let input =
        json!({"StreamName": stream, "ShardId": "shardId-000000000000", "ShardIteratorType": kind});
    server.ok("GetShardIterator", input).await["ShardIterator"].clone()
}

async fn put(server: &Server, stream: &str, data: &[u8]) -> Json {
    let data = BASE64_STANDARD.encode(data);
    server.ok("PutRecord", json!({"StreamName": stream, "Data": data, "PartitionKey": "k"})).await
}

#[tokio::test]
async fn a_topic_is_a_stream_unless_its_name_is_too_long() {
    let server = Server::start().await;
    for name in ["short".to_owned(), "x".repeat(129)] {
        let new = NewTopic::plain(TopicName::new(&name).unwrap(), 2, Default::default());
        server.broker.create_topic(new, false).await.unwrap();
    }
    let listed = server.ok("ListStreams", json!({})).await;
    assert_eq!(listed["StreamNames"], json!(["short"]));
    assert_eq!(listed["HasMoreStreams"], json!(false));
    let described = server.ok("DescribeStream", json!({"StreamName": "short"})).await;
    assert_eq!(described["StreamDescription"]["Shards"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_stream_of_a_name_alone_is_left_to_the_service() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s"})).await;
    let described = server.ok("DescribeStream", json!({"StreamName": "s"})).await;
    let described = &described["StreamDescription"];
    assert_eq!(described["StreamModeDetails"], json!({"StreamMode": "ON_DEMAND"}));
    assert_eq!(described["Shards"].as_array().unwrap().len(), 4);
    let provisioned =
        json!({"StreamName": "t", "StreamModeDetails": {"StreamMode": "PROVISIONED"}});
    let (code, message) = server.refused("CreateStream", provisioned).await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("'shardCount'"), "{message}");
}

#[tokio::test]
async fn a_page_of_streams_has_a_hundred_at_most() {
    let server = Server::start().await;
    for n in 0..101 {
        let new = json!({"StreamName": format!("s{n:03}"), "ShardCount": 1});
        server.ok("CreateStream", new).await;
    }
    let names = |page: &Json| page["StreamNames"].as_array().unwrap().len();
    for asked in [Json::Null, json!(100), json!(101), json!(10_000)] {
        let page = server.ok("ListStreams", json!({"Limit": asked})).await;
        assert_eq!((names(&page), &page["HasMoreStreams"]), (100, &json!(true)), "{asked}");
        let token = page["NextToken"].clone();
        let page = server.ok("ListStreams", json!({"NextToken": token})).await;
        assert_eq!(page["StreamNames"], json!(["s100"]));
        assert_eq!(page["HasMoreStreams"], json!(false));
        let both = json!({"NextToken": token, "ExclusiveStartStreamName": "s050"});
        assert_eq!(server.refused("ListStreams", both).await.0, "InvalidArgumentException");
        let other = json!({"NextToken": token});
        assert_eq!(server.refused("ListShards", other).await.0, "InvalidArgumentException");
    }
    let (_, message) = server.refused("ListShards", json!({})).await;
    assert_eq!(message, "Either NextToken or StreamName should be provided.");
}

#[tokio::test]
async fn a_put_is_read_back_with_its_number() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let stored = put(&server, "s", b"hello").await;
    let at = iterator(&server, "s", "TRIM_HORIZON").await;
    let page = server.ok("GetRecords", json!({"ShardIterator": at})).await;
    assert_eq!(page["Records"][0]["SequenceNumber"], stored["SequenceNumber"]);
    assert_eq!(page["Records"][0]["Data"], json!("aGVsbG8="));
    assert_eq!(page["MillisBehindLatest"], json!(0));
    assert!(page["NextShardIterator"].is_string() && page["ChildShards"].is_null());
}

#[tokio::test]
async fn a_reader_is_behind_by_the_age_of_its_next_record() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let now = || server.broker.env().wall().get();
    put(&server, "s", b"first").await;
    let before = now();
    put(&server, "s", b"second").await;
    let at = iterator(&server, "s", "TRIM_HORIZON").await;
    let mut page = Json::Null;
    // The clock goes on: sooner or later it is a millisecond.
    while page["MillisBehindLatest"].as_i64().unwrap_or(0) == 0 {
        page = server.ok("GetRecords", json!({"ShardIterator": at, "Limit": 1})).await;
        assert!(page["MillisBehindLatest"].as_i64().unwrap() <= now() - before, "{page}");
    }
    let at = &page["NextShardIterator"];
    let rest = server.ok("GetRecords", json!({"ShardIterator": at})).await;
    assert_eq!(rest["Records"][0]["Data"], "c2Vjb25k");
    assert_eq!(rest["MillisBehindLatest"], json!(0), "{rest}");
}

#[tokio::test]
async fn an_iterator_belongs_to_one_topic_for_ever() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let at = iterator(&server, "s", "LATEST").await;
    server.ok("DeleteStream", json!({"StreamName": "s"})).await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let (code, _) = server.refused("GetRecords", json!({"ShardIterator": at})).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_stream_is_found_by_its_id() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let summary = |input| async { server.ok("DescribeStreamSummary", input).await };
    let told = summary(json!({"StreamName": "s"})).await;
    let id = told["StreamDescriptionSummary"]["StreamId"].as_str().unwrap().to_owned();
    assert_eq!(id, id_of(server.broker.topic("s").unwrap().id));
    assert_eq!(&id[20..21], "_", "SDKs go elsewhere with an id in AWS's form");
    for id in [id.replace('_', "-"), id] {
        let found = summary(json!({"StreamId": id})).await;
        assert_eq!(found["StreamDescriptionSummary"]["StreamName"], json!("s"));
    }
    let other = json!({"StreamId": "aaaaaaaaaaaaaaaaaaaa-aaa"});
    let (code, _) = server.refused("DescribeStreamSummary", other).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn names_that_do_not_agree_are_refused() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.ok("CreateStream", json!({"StreamName": name, "ShardCount": 1})).await;
    }
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/b";
    let both = |name: &str| json!({"StreamName": name, "StreamARN": arn});
    server.ok("DescribeStreamSummary", both("b")).await;
    let (code, _) = server.refused("DescribeStreamSummary", both("a")).await;
    assert_eq!(code, "InvalidArgumentException");
    let elsewhere = json!({"StreamARN": arn.replace("us-east-1", "eu-west-1")});
    let (code, _) = server.refused("DescribeStreamSummary", elsewhere).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn on_demand_streams_take_records_without_keys_if_told_so() {
    let server = Server::start().await;
    let mode = json!({"StreamMode": "ON_DEMAND"});
    let new =
        json!({"StreamName": "s", "StreamModeDetails": mode, "RecordDistributionStrategy": "AUTO"});
    server.ok("CreateStream", new).await;
    let records: Vec<_> = (0..100).map(|_| json!({"Data": ""})).collect();
    let put = server.ok("PutRecords", json!({"StreamName": "s", "Records": records})).await;
    assert_eq!(put["FailedRecordCount"], json!(0));
    let shards: std::collections::BTreeSet<_> =
        put["Records"].as_array().unwrap().iter().map(|it| it["ShardId"].to_string()).collect();
    assert_eq!(shards.len(), 4, "records spread");
    server.ok("CreateStream", json!({"StreamName": "t", "ShardCount": 1})).await;
    let (code, message) =
        server.refused("PutRecords", json!({"StreamName": "t", "Records": [{"Data": ""}]})).await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("partitionKey"), "{message}");
}

/// A server whose GetRecords waits so long at the tip, and an iterator there.
async fn waiting(get_records_wait: Duration) -> (Server, Json) {
    let settings = Settings { get_records_wait, ..Settings::default() };
    let server = Server::with(millrace_broker::Broker::in_memory(), settings).await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let at = iterator(&server, "s", "LATEST").await;
    (server, at)
}

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_reader_at_the_tip_may_wait_for_the_next_record() {
    let (server, at) = waiting(LONG).await;
    let begun = Instant::now();
    let (page, _) = tokio::join!(
        server.ok("GetRecords", json!({"ShardIterator": at})),
        put(&server, "s", b"hello"),
    );
    assert_eq!(page["Records"][0]["Data"], json!("aGVsbG8="));
    // What is there is answered at once.
    server.ok("GetRecords", json!({"ShardIterator": at})).await;
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn who_waits_for_nothing_is_answered_in_time() {
    let wait = Duration::from_millis(50);
    let (server, at) = waiting(wait).await;
    let begun = Instant::now();
    let page = server.ok("GetRecords", json!({"ShardIterator": at})).await;
    assert_eq!((&page["Records"], &page["MillisBehindLatest"]), (&json!([]), &json!(0)));
    assert!(page["NextShardIterator"].is_string() && begun.elapsed() >= wait);
}

#[tokio::test]
async fn who_waits_hears_of_the_end_of_the_shard() {
    let (server, at) = waiting(LONG).await;
    let begun = Instant::now();
    let split = json!({
        "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000",
    });
    let (page, _) = tokio::join!(
        server.ok("GetRecords", json!({"ShardIterator": at})),
        server.ok("SplitShard", split),
    );
    assert_eq!(page["ChildShards"].as_array().unwrap().len(), 2);
    assert!(page["NextShardIterator"].is_null() && begun.elapsed() < LONG);
}

#[tokio::test]
async fn who_waits_hears_of_the_end_of_the_stream() {
    let (server, at) = waiting(LONG).await;
    let begun = Instant::now();
    let (refused, _) = tokio::join!(
        server.refused("GetRecords", json!({"ShardIterator": at})),
        server.ok("DeleteStream", json!({"StreamName": "s"})),
    );
    assert_eq!(refused.0, "ResourceNotFoundException");
    assert!(begun.elapsed() < LONG);
}

mod edges;
mod metadata;
