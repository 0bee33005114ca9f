use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value as Json, json};
use tokio::time::advance;

use super::*;
use crate::http::Body;
use crate::testing::Server;
use crate::value::{Members, Value, cbor};

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const SHARD: &str = "shardId-000000000000";

/// A server with the stream `s` of one shard, and the ARN of a consumer.
async fn server() -> (Server, Json) {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let input = json!({"StreamARN": ARN, "ConsumerName": "c"});
    let registered = server.ok("RegisterStreamConsumer", input).await;
    (server, registered["Consumer"]["ConsumerARN"].clone())
}

async fn put(server: &Server, data: &[u8]) -> String {
    let data = BASE64_STANDARD.encode(data);
    let input = json!({"StreamName": "s", "Data": data, "PartitionKey": "k"});
    server.ok("PutRecord", input).await["SequenceNumber"].as_str().unwrap().to_owned()
}

fn input(consumer: &Json, kind: &str) -> Json {
    json!({"ConsumerARN": consumer, "ShardId": SHARD, "StartingPosition": {"Type": kind}})
}

/// A subscription whose first message has been read.
async fn subscribe(server: &Server, input: Json) -> Body {
    let mut body = server.open("SubscribeToShard", input).await;
    assert_eq!(message(&mut body).await.unwrap().0, "initial-response");
    body
}

/// The kind of the next message, and what it says; none at the end.
async fn message(body: &mut Body) -> Option<(String, Json)> {
    let frame = body.frame().await?.unwrap().into_data().unwrap();
    let (headers, payload) = event_stream::read(&frame);
    let kind = if headers[":message-type"] == "event" { ":event-type" } else { ":exception-type" };
    Some((headers[kind].clone(), serde_json::from_slice(&payload).unwrap()))
}

async fn event(body: &mut Body) -> Json {
    let (kind, event) = message(body).await.unwrap();
    assert_eq!(kind, "SubscribeToShardEvent", "{event}");
    event
}

fn data(event: &Json) -> Vec<Vec<u8>> {
    let records = event["Records"].as_array().unwrap();
    let data = |record: &Json| BASE64_STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
    records.iter().map(data).collect()
}

#[tokio::test]
async fn records_come_as_they_are_put() {
    let (server, consumer) = server().await;
    let first = put(&server, b"first").await;
    let mut body = subscribe(&server, input(&consumer, "TRIM_HORIZON")).await;
    let old = event(&mut body).await;
    assert_eq!((data(&old), &old["MillisBehindLatest"]), (vec![b"first".to_vec()], &json!(0)));
    assert_eq!(old["Records"][0]["SequenceNumber"], json!(first));
    assert_eq!(old["ContinuationSequenceNumber"], json!(first));
    assert!(old.get("ChildShards").is_none());
    // Waits already when the record comes: else an event without one would.
    let waiting = tokio::spawn(async move { event(&mut body).await });
    put(&server, b"second").await;
    assert_eq!(data(&waiting.await.unwrap()), [b"second"]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_shard_is_told_of_every_five_seconds_for_five_minutes() {
    let (server, consumer) = server().await;
    put(&server, b"before").await;
    let asked = Instant::now();
    let mut body = subscribe(&server, input(&consumer, "LATEST")).await;
    assert!(asked.elapsed() >= BEGINS_AFTER);
    let begun = Instant::now();
    let mut told = 0;
    let mut continuation = Json::Null;
    while let Some((_, event)) = message(&mut body).await {
        told += 1;
        assert!(begun.elapsed() <= QUIET * told);
        assert_eq!((data(&event), &event["MillisBehindLatest"]), (vec![], &json!(0)));
        continuation = event["ContinuationSequenceNumber"].clone();
    }
    // The last five seconds end with the answer itself.
    assert_eq!((told, begun.elapsed().as_secs()), (59, LIFETIME.as_secs()));
    // From the number on come the records that were not seen, and no others.
    put(&server, b"behind").await;
    let mut at = input(&consumer, "AFTER_SEQUENCE_NUMBER");
    at["StartingPosition"]["SequenceNumber"] = continuation;
    let mut body = subscribe(&server, at).await;
    assert_eq!(data(&event(&mut body).await), [b"behind"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_call_takes_over_but_not_at_once() {
    let (server, consumer) = server().await;
    let mut first = subscribe(&server, input(&consumer, "LATEST")).await;
    let (code, message_) = server.refused("SubscribeToShard", input(&consumer, "LATEST")).await;
    assert_eq!(code, "ResourceInUseException");
    assert!(message_.ends_with(&format!("123456789012:s:c:{SHARD}")), "{message_}");
    advance(Duration::from_secs(5)).await;
    let mut second = subscribe(&server, input(&consumer, "LATEST")).await;
    let (kind, _) = message(&mut first).await.unwrap();
    assert_eq!(kind, "ResourceInUseException");
    assert!(message(&mut first).await.is_none(), "that was its end");
    put(&server, b"for the second").await;
    assert_eq!(data(&event(&mut second).await), [b"for the second"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_consumer_and_its_stream() {
    let (server, consumer) = server().await;
    let mut body = subscribe(&server, input(&consumer, "LATEST")).await;
    server.ok("DeregisterStreamConsumer", json!({"ConsumerARN": consumer})).await;
    assert_eq!(message(&mut body).await.unwrap().0, "ResourceNotFoundException");
    let registered = json!({"StreamARN": ARN, "ConsumerName": "d"});
    let registered = server.ok("RegisterStreamConsumer", registered).await;
    let consumer = &registered["Consumer"]["ConsumerARN"];
    let mut body = subscribe(&server, input(consumer, "LATEST")).await;
    let delete = json!({"StreamName": "s", "EnforceConsumerDeletion": true});
    server.ok("DeleteStream", delete).await;
    assert_eq!(message(&mut body).await.unwrap().0, "ResourceNotFoundException");
    assert!(message(&mut body).await.is_none());
}

#[tokio::test]
async fn at_its_end_a_shard_names_its_children() {
    let (server, consumer) = server().await;
    put(&server, b"last").await;
    let topic = server.broker.topic("s").unwrap();
    let map = format!(
        "{:032x}-{:032x} 1 sealed@1\n{:032x}-{:032x} 2 open 0\n{:032x}-{:032x} 2 open 0\n",
        0,
        u128::MAX,
        0,
        u128::MAX / 2,
        u128::MAX / 2 + 1,
        u128::MAX
    );
    let split = |_: Option<&millrace_broker::Attribute>| Ok::<_, ()>((Some(map), ()));
    server.broker.change_attribute(topic.id, "ranges", split).await.unwrap();
    let mut body = subscribe(&server, input(&consumer, "TRIM_HORIZON")).await;
    let end = event(&mut body).await;
    assert_eq!(data(&end), [b"last"]);
    assert!(end.get("ContinuationSequenceNumber").is_none());
    let children = end["ChildShards"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert_eq!(children[0]["ParentShards"], json!([SHARD]));
    assert!(message(&mut body).await.is_none());
}

#[tokio::test]
async fn who_does_not_read_holds_one_event() {
    let (server, consumer) = server().await;
    for _ in 0..6 {
        put(&server, &vec![7; 300 << 10]).await;
    }
    put(&server, &vec![8; 900 << 10]).await;
    let mut body = subscribe(&server, input(&consumer, "TRIM_HORIZON")).await;
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 2700 << 10 {
        let event = event(&mut body).await;
        sizes.push(data(&event).iter().map(Vec::len).sum());
        assert_eq!(event["MillisBehindLatest"] == 0, sizes.len() == 7, "{sizes:?}");
    }
    assert_eq!(sizes.last(), Some(&(900 << 10)), "a large record comes alone: {sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 900 << 10), "{sizes:?}");
}

#[tokio::test]
async fn a_client_of_cbor_is_sent_cbor() {
    let (server, consumer) = server().await;
    put(&server, b"\xff\x00").await;
    let at = Members::new().text("Type", "TRIM_HORIZON").done();
    let input = Members::new()
        .text("ConsumerARN", consumer.as_str().unwrap().to_owned())
        .text("ShardId", SHARD)
        .with("StartingPosition", at);
    let mut bytes = Vec::new();
    cbor::encode(&input.done(), &mut bytes);
    let request = Request::post("/")
        .header("content-type", "application/x-amz-cbor-1.1")
        .header("x-amz-target", "Kinesis_20131202.SubscribeToShard")
        .body(Full::new(Bytes::from(bytes)))
        .unwrap();
    let answer = server.front.answer(request).await;
    assert_eq!(answer.headers()["content-type"], event_stream::CONTENT_TYPE);
    let mut body = answer.into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let (headers, payload) = event_stream::read(&frame);
        assert_eq!(headers[":content-type"], "application/x-amz-cbor-1.1");
        payload
    };
    assert_eq!(cbor::decode(&next().await).unwrap(), Members::new().done());
    let payload = next().await;
    let event = cbor::decode(&payload).unwrap();
    let Some(Value::List(records)) = event.get("Records") else { panic!("{event:?}") };
    assert_eq!(records[0].get("Data"), Some(&Value::Blob(b"\xff\x00".into())));
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_refused_with_no_effect() {
    let (server, consumer) = server().await;
    let refused = async |change: Json| {
        let mut input = input(&consumer, "LATEST");
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        server.refused("SubscribeToShard", input).await.0
    };
    let none = format!("{ARN}/consumer/c:1");
    assert_eq!(refused(json!({"ConsumerARN": none})).await, "ResourceNotFoundException");
    let other = json!({"ShardId": "shardId-000000000001"});
    assert_eq!(refused(other).await, "ResourceNotFoundException");
    for kind in ["AT_TIMESTAMP", "AT_SEQUENCE_NUMBER"] {
        let lacks = json!({"StartingPosition": {"Type": kind}});
        assert_eq!(refused(lacks).await, "InvalidArgumentException");
    }
    assert_eq!(refused(json!({"DryRun": true})).await, "DryRunOperationException");
    subscribe(&server, input(&consumer, "LATEST")).await;
}

#[tokio::test]
async fn a_subscription_that_waits_hears_of_a_split_at_once() {
    let (server, consumer) = server().await;
    put(&server, b"last").await;
    let mut body = subscribe(&server, input(&consumer, "TRIM_HORIZON")).await;
    assert_eq!(data(&event(&mut body).await), [b"last"]);
    let waiting = tokio::spawn(async move { (event(&mut body).await, message(&mut body).await) });
    let input =
        json!({"StreamName": "s", "ShardToSplit": SHARD, "NewStartingHashKey": "170141183460"});
    server.ok("SplitShard", input).await;
    let (end, behind) = waiting.await.unwrap();
    assert_eq!(data(&end), Vec::<Vec<u8>>::new());
    assert!(end.get("ContinuationSequenceNumber").is_none(), "{end}");
    let children = end["ChildShards"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|child| child["ParentShards"] == json!([SHARD])));
    assert_eq!(behind, None, "nothing comes after it");
}

#[tokio::test]
async fn who_does_not_read_delays_nobody() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 12})).await;
    let large = BASE64_STANDARD.encode(vec![7; 20_000]);
    let shards = server.ok("ListShards", json!({"StreamName": "s"})).await;
    let shards = shards["Shards"].as_array().unwrap();
    for shard in shards {
        let hash = &shard["HashKeyRange"]["StartingHashKey"];
        let record = json!({"Data": large, "PartitionKey": "k", "ExplicitHashKey": hash});
        let records: Vec<_> = (0..30).map(|_| record.clone()).collect();
        server.ok("PutRecords", json!({"StreamName": "s", "Records": records})).await;
    }
    let mut unread = Vec::new();
    for n in 0..20 {
        let new = json!({"StreamARN": ARN, "ConsumerName": format!("c{n}")});
        let consumer = server.ok("RegisterStreamConsumer", new).await;
        for shard in shards {
            let mut asked = input(&consumer["Consumer"]["ConsumerARN"], "TRIM_HORIZON");
            asked["ShardId"] = shard["ShardId"].clone();
            let mut body = subscribe(&server, asked).await;
            // Nobody is left without records, though nobody before reads on.
            assert!(!data(&event(&mut body).await).is_empty());
            unread.push(body);
        }
    }
    assert_eq!(unread.len(), 240);
    let at = json!({"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"});
    let at = server.ok("GetShardIterator", at).await["ShardIterator"].clone();
    let page = server.ok("GetRecords", json!({"ShardIterator": at})).await;
    assert_eq!(page["Records"].as_array().unwrap().len(), 30);
    // Nobody waited.
    let text = server.broker.metrics().registry().render();
    for pool in ["kinesis_answers", "kinesis_events"] {
        let line = format!("millrace_memory_pool_waits_total{{pool=\"{pool}\"}} 0");
        assert!(text.contains(&line), "{line}");
    }
}
