//! What lies just within AWS's limits, and just beyond.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value as Json, json};

use crate::testing::Server;

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";

/// A server with a stream `s` of two shards.
async fn server() -> Server {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 2})).await;
    server
}

fn record(bytes: usize, key: &str) -> Json {
    let data = BASE64_STANDARD.encode(vec![b'x'; bytes]);
    json!({"StreamName": "s", "Data": data, "PartitionKey": key})
}

#[tokio::test]
async fn hash_keys_reach_from_the_first_shard_to_the_last() {
    let server = server().await;
    let half = 1u128 << 127;
    for (hash, shard) in [(0, 0), (half - 1, 0), (half, 1), (u128::MAX, 1)] {
        let mut put = record(1, "k");
        put["ExplicitHashKey"] = json!(hash.to_string());
        let stored = server.ok("PutRecord", put).await;
        assert_eq!(stored["ShardId"], format!("shardId-{shard:012}"), "{hash}");
    }
    for beyond in ["340282366920938463463374607431768211456", &"9".repeat(39)] {
        let mut put = record(1, "k");
        put["ExplicitHashKey"] = json!(beyond);
        let (code, message) = server.refused("PutRecord", put).await;
        assert_eq!(code, "InvalidArgumentException");
        assert!(message.contains("[0, 2^128-1]"), "{message}");
    }
}

#[tokio::test]
async fn a_record_has_a_mebibyte_with_its_key_and_a_key_256_characters() {
    let server = server().await;
    for (bytes, key, fits) in [
        (0, "k".to_owned(), true),
        ((1 << 20) - 1, "k".to_owned(), true),
        (1 << 20, "k".to_owned(), false),
        ((1 << 20) - 512, "ü".repeat(256), true),
        ((1 << 20) - 511, "ü".repeat(256), false),
        (1, "😀".repeat(256), true),
        (1, "😀".repeat(257), false),
        (1, String::new(), false),
    ] {
        let (status, body) = server.ask("PutRecord", record(bytes, &key)).await;
        assert_eq!(status.is_success(), fits, "{bytes} {key}: {body}");
        assert!(fits || body["__type"] == "ValidationException", "{body}");
    }
    for count in [0, 501] {
        let records = vec![json!({"Data": "", "PartitionKey": "k"}); count];
        let many = json!({"StreamName": "s", "Records": records});
        assert_eq!(server.refused("PutRecords", many).await.0, "ValidationException");
    }
}

#[tokio::test]
async fn retention_is_a_day_to_a_year() {
    let server = server().await;
    for (operation, hours, fits) in [
        ("DecreaseStreamRetentionPeriod", 23, false),
        ("IncreaseStreamRetentionPeriod", 24, true),
        ("DecreaseStreamRetentionPeriod", 25, false),
        ("IncreaseStreamRetentionPeriod", 8761, false),
        ("IncreaseStreamRetentionPeriod", 8760, true),
        ("IncreaseStreamRetentionPeriod", 8759, false),
        ("DecreaseStreamRetentionPeriod", 24, true),
    ] {
        let input = json!({"StreamName": "s", "RetentionPeriodHours": hours});
        let (status, body) = server.ask(operation, input).await;
        assert_eq!(status.is_success(), fits, "{operation} {hours}: {body}");
        assert!(fits || body["__type"] == "InvalidArgumentException", "{body}");
    }
}

#[tokio::test]
async fn a_stream_has_fifty_tags_and_none_of_awss() {
    let server = server().await;
    let tags = |range: std::ops::Range<usize>| {
        let tags: serde_json::Map<_, _> = range.map(|n| (format!("k{n:02}"), json!("v"))).collect();
        json!({"StreamName": "s", "Tags": tags})
    };
    server.ok("AddTagsToStream", tags(0..50)).await;
    server.ok("AddTagsToStream", tags(40..50)).await;
    for refused in [tags(50..51), json!({"StreamName": "s", "Tags": {"aws:x": ""}})] {
        let (code, _) = server.refused("AddTagsToStream", refused).await;
        assert_eq!(code, "InvalidArgumentException");
    }
    let listed = server.ok("ListTagsForStream", json!({"StreamName": "s"})).await;
    assert_eq!(listed["Tags"].as_array().unwrap().len(), 50);
    let last = json!({"StreamName": "s", "ExclusiveStartTagKey": "k47", "Limit": 2});
    let last = server.ok("ListTagsForStream", last).await;
    assert_eq!((&last["Tags"][1]["Key"], &last["HasMoreTags"]), (&json!("k49"), &json!(false)));
}

#[tokio::test]
async fn the_account_is_told_what_it_has() {
    let server = server().await;
    let on_demand = json!({"StreamName": "d", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    server.ok("CreateStream", on_demand).await;
    let half = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": (1u128 << 126).to_string()});
    server.ok("SplitShard", half).await;
    let limits = server.ok("DescribeLimits", json!({})).await;
    assert_eq!((&limits["OpenShardCount"], &limits["OnDemandStreamCount"]), (&json!(7), &json!(1)));
}

#[tokio::test]
async fn a_stream_goes_with_its_consumers_if_that_is_said() {
    let server = server().await;
    server.ok("RegisterStreamConsumer", json!({"StreamARN": ARN, "ConsumerName": "c"})).await;
    for unsaid in [Json::Null, json!(false)] {
        let delete = json!({"StreamName": "s", "EnforceConsumerDeletion": unsaid});
        let (code, message) = server.refused("DeleteStream", delete).await;
        assert_eq!(code, "ResourceInUseException");
        assert_eq!(
            message,
            "DeleteStream can’t delete 123456789012:s because there are consumers associated with \
             this data stream. To delete s anyway, set the EnforceConsumerDeletion parameter to \
             true to force the deletion of all the consumers that are associated with it."
        );
    }
    server.ok("DeleteStream", json!({"StreamName": "s", "EnforceConsumerDeletion": true})).await;
    for operation in ["DescribeStream", "DescribeStreamSummary", "DeleteStream"] {
        let (code, _) = server.refused(operation, json!({"StreamName": "s"})).await;
        assert_eq!(code, "ResourceNotFoundException", "{operation}");
    }
}

#[tokio::test]
async fn every_record_without_a_key_is_named() {
    let server = server().await;
    let put = |records: Vec<Json>| {
        server.refused("PutRecords", json!({"StreamName": "s", "Records": records}))
    };
    let null = |n| {
        format!(
            "Value null at 'records.{n}.member.partitionKey' failed to satisfy constraint: Member \
             must not be null"
        )
    };
    let (without, with) = (json!({"Data": ""}), json!({"Data": "", "PartitionKey": "k"}));
    let one = put(vec![with.clone(), without.clone()]).await;
    let said = format!("1 validation error detected: {}", null(2));
    assert_eq!(one, ("ValidationException".to_owned(), said));
    let two = put(vec![without.clone(), with, without.clone()]).await;
    assert_eq!(two.1, format!("2 validation errors detected: {}; {}", null(1), null(3)));
    let many = put(vec![without; 11]).await.1;
    assert!(many.starts_with("10 validation errors detected: "), "{many}");
    let (_, single) = server.refused("PutRecord", json!({"StreamName": "s", "Data": ""})).await;
    assert_eq!(single, said_of_one(&null(1)));
}

/// PutRecord's message, of what PutRecords says of the first record.
fn said_of_one(first: &str) -> String {
    format!("1 validation error detected: {}", first.replace("records.1.member.", ""))
}
