use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use millrace_broker::NewTopic;
use millrace_types::TopicName;
use serde_json::{Value as Json, json};

use crate::testing::Server;

const HALF: u128 = 1 << 127;

async fn server(shards: u32) -> Server {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": shards})).await;
    server
}

fn name(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

async fn split(server: &Server, shard: u32, at: u128) -> Json {
    let at = at.to_string();
    let input = json!({"StreamName": "s", "ShardToSplit": name(shard), "NewStartingHashKey": at});
    server.ok("SplitShard", input).await
}

async fn put(server: &Server, hash: u128) -> (String, String) {
    let data = BASE64_STANDARD.encode(hash.to_string());
    let input = json!({"StreamName": "s", "Data": data, "PartitionKey": "k",
        "ExplicitHashKey": hash.to_string()});
    let put = server.ok("PutRecord", input).await;
    let text = |member: &str| put[member].as_str().unwrap().to_owned();
    (text("ShardId"), text("SequenceNumber"))
}

async fn iterator(server: &Server, shard: u32) -> Json {
    let input = json!({"StreamName": "s", "ShardId": name(shard),
        "ShardIteratorType": "TRIM_HORIZON"});
    server.ok("GetShardIterator", input).await["ShardIterator"].clone()
}

async fn listed(server: &Server, filter: Json) -> Vec<String> {
    let mut input = json!({"StreamName": "s"});
    if !filter.is_null() {
        input["ShardFilter"] = filter;
    }
    let shards = server.ok("ListShards", input).await["Shards"].clone();
    let id = |shard: &Json| shard["ShardId"].as_str().unwrap().to_owned();
    shards.as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn a_split_shard_ends_with_its_children_and_they_go_on() {
    let server = server(1).await;
    let before = put(&server, 7).await;
    assert!(split(&server, 0, HALF).await.is_null(), "the answer is empty");
    let (low, high) = (put(&server, 7).await, put(&server, HALF).await);
    assert_eq!((before.0, low.0.clone(), high.0.clone()), (name(0), name(1), name(2)));
    assert!(before.1 < low.1 && before.1 < high.1, "children's numbers come after");
    let at = iterator(&server, 0).await;
    let page = server.ok("GetRecords", json!({"ShardIterator": at, "Limit": 1})).await;
    assert!(page["NextShardIterator"].is_null(), "{page}");
    assert_eq!(page["Records"].as_array().unwrap().len(), 1);
    let child = |n: u32, first: u128, last: u128| {
        json!({"ShardId": name(n), "ParentShards": [name(0)], "HashKeyRange":
            {"StartingHashKey": first.to_string(), "EndingHashKey": last.to_string()}})
    };
    let children = json!([child(1, 0, HALF - 1), child(2, HALF, u128::MAX)]);
    assert_eq!(page["ChildShards"], children);
    let described = server.ok("DescribeStream", json!({"StreamName": "s"})).await;
    let shards = &described["StreamDescription"]["Shards"];
    assert!(shards[0]["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    assert!(shards[1]["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
    assert_eq!(shards[1]["ParentShardId"], json!(name(0)));
}

#[tokio::test]
async fn a_merged_shard_names_both_parents() {
    let server = server(2).await;
    put(&server, 1).await;
    let input = json!({"StreamName": "s", "ShardToMerge": name(0),
        "AdjacentShardToMerge": name(1)});
    server.ok("MergeShards", input).await;
    let described = server.ok("DescribeStream", json!({"StreamName": "s"})).await;
    let merged = &described["StreamDescription"]["Shards"][2];
    assert_eq!(merged["ParentShardId"], json!(name(0)));
    assert_eq!(merged["AdjacentParentShardId"], json!(name(1)));
    // One that took no record ends too.
    let at = iterator(&server, 1).await;
    let page = server.ok("GetRecords", json!({"ShardIterator": at})).await;
    assert_eq!(page["ChildShards"][0]["ParentShards"], json!([name(0), name(1)]));
}

#[tokio::test]
async fn shards_are_listed_by_every_filter() {
    let server = server(2).await;
    split(&server, 0, 1 << 100).await;
    let all = [0, 1, 2, 3].map(name).to_vec();
    assert_eq!(listed(&server, Json::Null).await, all, "an empty parent stays for its readers");
    assert_eq!(listed(&server, json!({"Type": "AT_LATEST"})).await, [1, 2, 3].map(name));
    assert_eq!(listed(&server, json!({"Type": "FROM_TRIM_HORIZON"})).await, all);
    let after = json!({"Type": "AFTER_SHARD_ID", "ShardId": name(1)});
    assert_eq!(listed(&server, after).await, [2, 3].map(name));
    // Until the first children's second begins the parents are what was open.
    let horizon = listed(&server, json!({"Type": "AT_TRIM_HORIZON"})).await;
    assert_eq!(horizon, [0, 1].map(name));
}

#[tokio::test]
async fn a_shard_count_is_updated_and_told() {
    let server = server(2).await;
    let count = |target| json!({"StreamName": "s", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"});
    let answer = server.ok("UpdateShardCount", count(4)).await;
    assert_eq!((&answer["CurrentShardCount"], &answer["TargetShardCount"]), (&json!(2), &json!(4)));
    assert!(answer["StreamARN"].as_str().unwrap().ends_with(":stream/s"));
    assert_eq!(listed(&server, json!({"Type": "AT_LATEST"})).await.len(), 4);
    server.ok("UpdateShardCount", count(4)).await;
    assert_eq!(listed(&server, Json::Null).await.len(), 6, "the same number is no change");
    let limit = |why: &str| ("LimitExceededException".to_owned(), why.to_owned());
    assert_eq!(
        server.refused("UpdateShardCount", count(9)).await,
        limit(
            "UpdateShardCount cannot scale up over double your current open shard count. Current \
             open shard count: 4 Target shard count: 9"
        )
    );
    assert_eq!(
        server.refused("UpdateShardCount", count(1)).await,
        limit(
            "UpdateShardCount cannot scale down below half your current open shard count. Current \
             open shard count: 4 Target shard count: 1"
        )
    );
    assert_eq!(server.refused("UpdateShardCount", count(10_001)).await.0, limit("").0);
}

#[tokio::test]
async fn what_aws_refuses_is_refused_in_its_words() {
    let server = server(3).await;
    let split = |shard: &str, at: &str| json!({"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": at});
    let last = u128::MAX / 3 - 1;
    for at in ["0".to_owned(), "1".to_owned(), last.to_string(), u128::MAX.to_string()] {
        let message = format!(
            "NewStartingHashKey {at} used in SplitShard() on shard shardId-000000000000 in stream \
             s under account 123456789012 is not both greater than one plus the shard's \
             StartingHashKey 0 and less than the shard's EndingHashKey {last}."
        );
        let refused = server.refused("SplitShard", split("shardId-0", &at)).await;
        assert_eq!(refused, ("InvalidArgumentException".to_owned(), message));
    }
    let (code, message) = server.refused("SplitShard", split("shardId-9", "5")).await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(
        message,
        "Could not find shard shardId-000000000009 in stream s under account 123456789012."
    );
    let merge = |lower: u32, upper: u32| json!({"StreamName": "s", "ShardToMerge": name(lower), "AdjacentShardToMerge": name(upper)});
    for (lower, upper) in [(0, 2), (1, 0)] {
        let (code, message) = server.refused("MergeShards", merge(lower, upper)).await;
        assert_eq!(code, "InvalidArgumentException");
        assert_eq!(
            message,
            format!(
                "Shards {} and {} in stream s under account 123456789012 are not an adjacent pair \
                 of shards eligible for merging",
                name(lower),
                name(upper)
            )
        );
    }
    server.ok("MergeShards", merge(0, 1)).await;
    let closed = "Shard shardId-000000000001 in stream s under account 123456789012 has already \
                  been merged or split, and thus is not eligible for merging or splitting.";
    for (operation, input) in
        [("MergeShards", merge(1, 2)), ("SplitShard", split("shardId-1", "5"))]
    {
        let refused = server.refused(operation, input).await;
        assert_eq!(refused, ("InvalidArgumentException".to_owned(), closed.to_owned()));
    }
}

#[tokio::test]
async fn streams_that_are_not_provisioned_are_refused() {
    let server = Server::start().await;
    let new = NewTopic::plain(TopicName::new("kafka").unwrap(), 2, Default::default());
    server.broker.create_topic(new, false).await.unwrap();
    let input = json!({"StreamName": "od", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    server.ok("CreateStream", input).await;
    for (stream, code, part) in [
        ("kafka", "InvalidArgumentException", "CreatePartitions"),
        ("od", "ValidationException", "is in On-Demand mode."),
    ] {
        for (operation, more) in [
            ("SplitShard", json!({"ShardToSplit": name(0), "NewStartingHashKey": "9"})),
            ("MergeShards", json!({"ShardToMerge": name(0), "AdjacentShardToMerge": name(1)})),
            ("UpdateShardCount", json!({"TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"})),
        ] {
            let mut input = more;
            input["StreamName"] = json!(stream);
            let refused = server.refused(operation, input).await;
            assert_eq!(refused.0, code, "{operation} of {stream}: {}", refused.1);
            assert!(refused.1.contains(part), "{}", refused.1);
        }
    }
}

/// PutRecords while its shards are split and merged: each record stands once,
/// where its answer says, and in the order of its hash.
#[tokio::test(flavor = "multi_thread")]
async fn puts_under_way_go_to_the_children() {
    const ROUNDS: u32 = 200;
    let server = Arc::new(server(2).await);
    let putting = tokio::spawn({
        let server = Arc::clone(&server);
        async move {
            let mut told = Vec::new();
            for round in 0..ROUNDS {
                let entry = |n: u128| {
                    json!({"Data": BASE64_STANDARD.encode(format!("{round} {n}")),
                        "PartitionKey": "k", "ExplicitHashKey": (n << 124).to_string()})
                };
                let entries: Vec<_> = (0..16).map(entry).collect();
                let input = json!({"StreamName": "s", "Records": entries});
                let put = server.ok("PutRecords", input).await;
                assert_eq!(put["FailedRecordCount"], json!(0), "{put}");
                for (n, record) in put["Records"].as_array().unwrap().iter().enumerate() {
                    let text = |member: &str| record[member].as_str().unwrap().to_owned();
                    told.push((text("ShardId"), text("SequenceNumber"), format!("{round} {n}")));
                }
            }
            told
        }
    });
    let mut changes = 0;
    while !putting.is_finished() {
        let target = [4, 3, 6, 4, 2][changes % 5];
        let input = json!({"StreamName": "s", "TargetShardCount": target,
            "ScalingType": "UNIFORM_SCALING"});
        server.ok("UpdateShardCount", input).await;
        changes += 1;
    }
    let mut told = putting.await.unwrap();
    let mut stored = Vec::new();
    let mut last_of_hash = vec![String::new(); 16];
    for shard in listed(&server, Json::Null).await {
        let number: u32 = shard.trim_start_matches("shardId-").parse().unwrap();
        let at = iterator(&server, number).await;
        let page = server.ok("GetRecords", json!({"ShardIterator": at})).await;
        for record in page["Records"].as_array().unwrap() {
            let data = BASE64_STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
            let data = String::from_utf8(data).unwrap();
            let sequence = record["SequenceNumber"].as_str().unwrap().to_owned();
            stored.push((shard.clone(), sequence, data));
        }
    }
    told.sort();
    stored.sort();
    assert_eq!(stored, told, "after {changes} changes");
    // In the order of sequence numbers the rounds of each hash rise.
    stored.sort_by(|a, b| a.1.cmp(&b.1));
    for (_, _, data) in &stored {
        let (round, n) = data.split_once(' ').unwrap();
        let last = &mut last_of_hash[n.parse::<usize>().unwrap()];
        let round = format!("{:06}", round.parse::<u32>().unwrap());
        assert!(*last < round || last.is_empty(), "{data} after {last}");
        *last = round;
    }
}
