use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use millrace_types::{Offset, PartitionId};

use super::*;
use crate::call::Pages;
use crate::date;
use crate::testing::Server;
use crate::token::{LIFETIME_MS, PageToken, ShardIterator};
use crate::value::Members;

fn request(headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::post("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
const CBOR: (&str, &str) = ("content-type", "application/x-amz-cbor-1.1");
const LIST: (&str, &str) = ("x-amz-target", "Kinesis_20131202.ListStreams");

#[tokio::test]
async fn what_is_no_request_is_refused_as_at_aws() {
    let server = Server::start().await;
    let other = ("x-amz-target", "Kinesis_20131202.Nothing");
    let service = ("x-amz-target", "DynamoDB_20120810.ListTables");
    for (headers, body, status, said) in [
        (vec![], "", 403, "<AccessDeniedException>"),
        (vec![LIST], "{}", 404, "<UnknownOperationException/>"),
        (vec![JSON], "{}", 400, r#"{"__type":"UnknownOperationException"}"#),
        (vec![JSON, other], "{}", 400, r#"{"__type":"UnknownOperationException"}"#),
        (vec![JSON, service], "{}", 400, r#"{"__type":"UnknownOperationException"}"#),
        (vec![JSON, LIST], "", 400, r#"{"__type":"SerializationException"}"#),
        (vec![JSON, LIST], "[]", 400, r#"{"__type":"SerializationException"}"#),
        (vec![JSON, LIST], "{", 400, r#"{"__type":"SerializationException"}"#),
        (vec![JSON, LIST, ("content-encoding", "br")], "{}", 400, "SerializationException"),
        (vec![JSON, LIST, ("content-encoding", "gzip")], "{}", 400, "SerializationException"),
        (vec![JSON, LIST, ("content-length", "16777217")], "{}", 413, ""),
    ] {
        let (found, answer) = server.send(request(&headers, body.as_bytes())).await;
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert_eq!(found.as_u16(), status, "{headers:?} {body}: {answer}");
        assert!(answer.contains(said), "{headers:?} {body}: {answer}");
    }
    let get = Request::get("/").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(server.send(get).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_operation_of_the_model_answers() {
    let server = Server::start().await;
    let model = Model::load().unwrap();
    for name in model.names() {
        let (status, body) = server.ask(name, json!({})).await;
        assert!(status.as_u16() == 200 || status.as_u16() == 400, "{name}: {status} {body}");
        assert_ne!(body["__type"], "UnknownOperationException", "{name}");
    }
}

#[tokio::test]
async fn cbor_is_answered_in_cbor() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let mut put = Vec::new();
    let input = Members::new()
        .text("StreamName", "s")
        .text("PartitionKey", "k")
        .with("Data", Value::Blob(std::borrow::Cow::Borrowed(b"\xff\x00")));
    cbor::encode(&input.done(), &mut put);
    let target = ("x-amz-target", "Kinesis_20131202.PutRecord");
    let (status, answer) = server.send(request(&[CBOR, target], &put)).await;
    assert_eq!(status, StatusCode::OK);
    let answer = cbor::decode(&answer).unwrap();
    assert_eq!(answer.get("ShardId"), Some(&Value::text("shardId-000000000000")));
    let (status, answer) = server.send(request(&[CBOR, target], b"\xa0")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let answer = cbor::decode(&answer).unwrap();
    assert_eq!(answer.get("__type"), Some(&Value::text("ValidationException")));
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_error() {
    let server = Server::start().await;
    server.ok("ListStreams", json!({})).await;
    server.refused("DescribeStream", json!({"StreamName": "none"})).await;
    server.refused("Whatever", json!({})).await;
    let text = server.broker.metrics().registry().render();
    for line in [
        r#"requests_total{front="kinesis",api="ListStreams",version="0",error="none"} 1"#,
        r#"api="DescribeStream",version="0",error="ResourceNotFoundException"} 1"#,
        r#"api="unknown",version="0",error="UnknownOperationException"} 1"#,
        r#"millrace_memory_pool_used_bytes{pool="kinesis_requests"} 0"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn tokens_say_when_they_are_too_old() {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 2})).await;
    let (topic, now) = (server.broker.topic("s").unwrap().id, server.broker.env().wall());
    let old = now.plus_ms(-LIFETIME_MS - 1);
    let tokens = &server.front.tokens;

    let at = ShardIterator { topic, shard: PartitionId(0), next: Offset(0) };
    server.ok("GetRecords", json!({"ShardIterator": tokens.iterator(&at, now)})).await;
    let expired = json!({"ShardIterator": tokens.iterator(&at, old)});
    let (code, message) = server.refused("GetRecords", expired).await;
    assert_eq!(code, "ExpiredIteratorException");
    let told = |at: millrace_types::Timestamp| date::show_long(at.get() / 1000);
    let begin = format!(
        "Iterator expired. The iterator was created at time {} while right now it is ",
        told(old),
    );
    assert!(message.starts_with(&begin), "{message}");
    let end = " which is further in the future than the tolerated delay of 300000 milliseconds.";
    assert!(message.ends_with(end), "{message}");

    let page = |of: Pages, after: &str, at| {
        json!(tokens.page(of as u8, &PageToken { topic, after: after.to_owned() }, at))
    };
    let rest = json!({"NextToken": page(Pages::Shards, "0 all", now)});
    let rest = server.ok("ListShards", rest).await;
    assert_eq!(rest["Shards"][0]["ShardId"], "shardId-000000000001");
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
    for (operation, input) in [
        ("ListShards", json!({"NextToken": page(Pages::Shards, "0 all", old)})),
        ("ListStreams", json!({"NextToken": page(Pages::Streams, "a", old)})),
        (
            "ListStreamConsumers",
            json!({"NextToken": page(Pages::Consumers, "a", old), "StreamARN": arn}),
        ),
    ] {
        assert_eq!(server.refused(operation, input).await.0, "ExpiredNextTokenException");
    }
}
