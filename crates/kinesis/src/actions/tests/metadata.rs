//! What is set of streams, of consumers and of the account is kept, shown, and
//! refused where AWS refuses it.

use serde_json::{Value as Json, json};

use crate::stream::{Consumer, KEEPER, StreamState};
use crate::testing::Server;

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";

async fn server(mode: &str) -> Server {
    let server = Server::start().await;
    let mode = json!({"StreamMode": mode});
    let new = json!({"StreamName": "s", "ShardCount": 1, "StreamModeDetails": mode});
    server.ok("CreateStream", new).await;
    server
}

async fn summary(server: &Server) -> Json {
    let answer = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    answer["StreamDescriptionSummary"].clone()
}

/// Registers the consumer `c` at 7 s and tells its ARN.
async fn consumer(server: &Server) -> String {
    let topic = server.broker.topic("s").unwrap();
    let change = server.broker.change_attribute(topic.id, KEEPER, |standing| {
        let mut state = StreamState::clone(&StreamState::of(standing));
        let consumer = Consumer { created_ms: 7_999, ..Consumer::default() };
        state.consumers.insert("c".to_owned(), consumer);
        Ok::<_, std::convert::Infallible>((state.encode(), ()))
    });
    change.await.unwrap();
    format!("{ARN}/consumer/c:7")
}

#[tokio::test]
async fn a_policy_is_returned_as_it_was_put() {
    let server = server("PROVISIONED").await;
    let consumer = consumer(&server).await;
    for arn in [ARN, &consumer] {
        let get = || server.ok("GetResourcePolicy", json!({"ResourceARN": arn}));
        assert_eq!(get().await, json!({"Policy": "{}"}));
        let policy = format!(
            r#"{{ "Statement": {{"Effect":"Allow","Principal":"*","Action":"*","Resource":"{arn}"}} }}"#
        );
        let put = json!({"ResourceARN": arn, "Policy": policy});
        assert_eq!(server.ok("PutResourcePolicy", put).await, Json::Null);
        assert_eq!(get().await, json!({"Policy": policy}));
        let malformed = json!({"ResourceARN": arn, "Policy": "{}"});
        let refused = server.refused("PutResourcePolicy", malformed).await;
        let said = "The policy is malformed: it has no Statement.";
        assert_eq!(refused, ("InvalidArgumentException".into(), said.into()));
        let large = json!({"ResourceARN": arn, "Policy": " ".repeat(20_481)});
        assert_eq!(server.refused("PutResourcePolicy", large).await.0, "LimitExceededException");
        assert_eq!(get().await, json!({"Policy": policy}), "what is refused changes nothing");
        server.ok("DeleteResourcePolicy", json!({"ResourceARN": arn})).await;
        assert_eq!(get().await, json!({"Policy": "{}"}));
        let again = server.refused("DeleteResourcePolicy", json!({"ResourceARN": arn})).await;
        let said = format!("No resource policy found for resource ARN {arn}.");
        assert_eq!(again, ("ResourceNotFoundException".into(), said));
    }
}

#[tokio::test]
async fn resources_that_are_not_there_are_not_found() {
    let server = server("PROVISIONED").await;
    let consumer = consumer(&server).await;
    let queue = ARN.replace("stream", "queue");
    let others = [ARN.replace("/s", "/t"), consumer.replace(":7", ":8"), consumer + "7", queue];
    let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
    let policy = json!({"Statement": statement}).to_string();
    for arn in others {
        for (operation, name, value) in [
            ("GetResourcePolicy", "", Json::Null),
            ("DeleteResourcePolicy", "", Json::Null),
            ("PutResourcePolicy", "Policy", json!(policy)),
            ("ListTagsForResource", "", Json::Null),
            ("TagResource", "Tags", json!({"a": "b"})),
            ("UntagResource", "TagKeys", json!(["a"])),
        ] {
            let (code, said) =
                server.refused(operation, json!({"ResourceARN": arn, name: value})).await;
            assert_eq!(code, "ResourceNotFoundException", "{operation} {arn}: {said}");
        }
    }
    let unknown = ARN.to_owned() + "unknown";
    let (_, said) = server.refused("GetResourcePolicy", json!({"ResourceARN": unknown})).await;
    assert_eq!(said, format!("Stream {unknown} under account 123456789012 not found."));
}

#[tokio::test]
async fn tags_of_a_consumer_are_its_own() {
    let server = server("PROVISIONED").await;
    let consumer = consumer(&server).await;
    let tags = json!({"ResourceARN": consumer, "Tags": {"a": "1", "b": ""}});
    server.ok("TagResource", tags).await;
    server.ok("UntagResource", json!({"ResourceARN": consumer, "TagKeys": ["a", "z"]})).await;
    let listed = server.ok("ListTagsForResource", json!({"ResourceARN": consumer})).await;
    assert_eq!(listed, json!({"Tags": [{"Key": "b", "Value": ""}]}));
    let listed = server.ok("ListTagsForResource", json!({"ResourceARN": ARN})).await;
    assert_eq!(listed, json!({"Tags": []}));
}

#[tokio::test]
async fn tags_have_the_characters_that_the_message_names() {
    let server = server("PROVISIONED").await;
    let add = |key: &str| json!({"StreamName": "s", "Tags": {key: "é 1_./=+-%@:"}});
    server.ok("AddTagsToStream", add("ü 1_./=+-%@")).await;
    for bad in ["a;b", "a*", "aws:x"] {
        let refused = server.refused("AddTagsToStream", add(bad)).await;
        assert_eq!(refused.0, "InvalidArgumentException", "{bad}: {}", refused.1);
    }
}

#[tokio::test]
async fn metrics_are_told_before_and_after() {
    let server = server("PROVISIONED").await;
    let ask = async |operation: &str, metrics: Json| {
        let input = json!({"StreamARN": ARN, "ShardLevelMetrics": metrics});
        let answer = server.ok(operation, input).await;
        assert_eq!((&answer["StreamName"], &answer["StreamARN"]), (&json!("s"), &json!(ARN)));
        let members = ["CurrentShardLevelMetrics", "DesiredShardLevelMetrics"];
        members.map(|name| answer[name].as_array().unwrap().clone())
    };
    let [before, after] = ask("EnableEnhancedMonitoring", json!(["IncomingBytes"])).await;
    assert_eq!((before, after), (vec![], vec![json!("IncomingBytes")]));
    let [before, after] = ask("EnableEnhancedMonitoring", json!(["ALL"])).await;
    assert_eq!((before.len(), after.len()), (1, 7), "ALL stands for each of them");
    let [before, after] = ask("DisableEnhancedMonitoring", json!(["OutgoingBytes"])).await;
    assert_eq!((before.len(), after.len()), (7, 6));
    let shown = summary(&server).await["EnhancedMonitoring"][0]["ShardLevelMetrics"].clone();
    assert_eq!(shown, Json::Array(after));
    let [_, after] = ask("DisableEnhancedMonitoring", json!(["ALL"])).await;
    assert_eq!(after, Vec::<Json>::new());
}

#[tokio::test]
async fn a_larger_record_is_taken_once_that_is_allowed() {
    let server = server("PROVISIONED").await;
    let data = "AAAA".repeat((1 << 20) / 3 + 1);
    let put = || json!({"StreamName": "s", "PartitionKey": "k", "Data": data});
    assert_eq!(server.refused("PutRecord", put()).await.0, "ValidationException");
    let size = json!({"StreamARN": ARN, "MaxRecordSizeInKiB": 2048});
    assert_eq!(server.ok("UpdateMaxRecordSize", size).await, Json::Null);
    assert_eq!(summary(&server).await["MaxRecordSizeInKiB"], json!(2048));
    server.ok("PutRecord", put()).await;
}

#[tokio::test]
async fn a_provisioned_stream_has_nothing_of_on_demand_ones() {
    let server = server("PROVISIONED").await;
    server.ok("UpdateAccountSettings", commitment("ENABLED")).await;
    let refused = |operation, input| server.refused(operation, input);
    let (code, said) =
        refused("UpdateStreamWarmThroughput", json!({"StreamARN": ARN, "WarmThroughputMiBps": 5}))
            .await;
    assert_eq!(code, "ValidationException");
    let mode = "Stream s under account 123456789012 is in Provisioned mode.";
    assert_eq!(said, format!("Request is invalid. {mode}"));
    let auto = json!({"StreamARN": ARN, "RecordDistributionStrategy": "AUTO"});
    let operation = "UpdateStreamRecordDistributionStrategy";
    assert_eq!(refused(operation, auto.clone()).await.0, "InvalidArgumentException");
    let by_key = json!({"StreamARN": ARN, "RecordDistributionStrategy": "USER_PARTITION_KEY"});
    server.ok(operation, by_key).await;
    let new = json!({"StreamName": "t", "ShardCount": 1, "RecordDistributionStrategy": "AUTO"});
    assert_eq!(refused("CreateStream", new).await.0, "InvalidArgumentException");
    let new = json!({"StreamName": "t", "ShardCount": 1, "WarmThroughputMiBps": 5});
    assert_eq!(refused("CreateStream", new).await.0, "ValidationException");

    let on_demand = json!({"StreamMode": "ON_DEMAND"});
    let mode = json!({"StreamARN": ARN, "StreamModeDetails": on_demand, "WarmThroughputMiBps": 5});
    assert_eq!(server.ok("UpdateStreamMode", mode).await, Json::Null);
    server.ok(operation, auto).await;
    let shown = summary(&server).await;
    assert_eq!(shown["StreamModeDetails"], on_demand);
    assert_eq!(shown["WarmThroughput"], json!({"TargetMiBps": 5, "CurrentMiBps": 5}));
    assert_eq!(shown["RecordDistributionStrategy"], json!("AUTO"));
    let provisioned = json!({"StreamMode": "PROVISIONED"});
    let mode = json!({"StreamARN": ARN, "StreamModeDetails": provisioned});
    server.ok("UpdateStreamMode", mode).await;
    let shown = summary(&server).await;
    assert!(shown["WarmThroughput"].is_null() && shown["RecordDistributionStrategy"].is_null());
}

fn commitment(status: &str) -> Json {
    json!({"MinimumThroughputBillingCommitment": {"Status": status}})
}

#[tokio::test]
async fn warm_throughput_needs_the_accounts_commitment() {
    let server = server("ON_DEMAND").await;
    let told = server.ok("DescribeAccountSettings", json!({})).await;
    assert_eq!(told, commitment("DISABLED"));
    let warm = || json!({"StreamName": "s", "WarmThroughputMiBps": 100});
    let refused = server.refused("UpdateStreamWarmThroughput", warm()).await;
    assert_eq!(refused.0, "ValidationException");
    assert!(refused.1.contains("MinimumThroughputBillingCommitment"), "{}", refused.1);

    let told = server.ok("UpdateAccountSettings", commitment("ENABLED")).await;
    let told = &told["MinimumThroughputBillingCommitment"];
    assert_eq!(told["Status"], json!("ENABLED"));
    let secs = |name: &str| told[name].as_f64().unwrap();
    assert_eq!(secs("EarliestAllowedEndAt") - secs("StartedAt"), 86_400.0);
    let answer = server.ok("UpdateStreamWarmThroughput", warm()).await;
    let throughput = json!({"TargetMiBps": 100, "CurrentMiBps": 100});
    let expected = json!({"StreamARN": ARN, "StreamName": "s", "WarmThroughput": throughput});
    assert_eq!(answer, expected);

    server.ok("UpdateAccountSettings", commitment("DISABLED")).await;
    let again = Server::on(server.broker).await;
    let told = again.ok("DescribeAccountSettings", json!({})).await;
    let status = &told["MinimumThroughputBillingCommitment"]["Status"];
    assert_eq!(status, &json!("ENABLED_UNTIL_EARLIEST_ALLOWED_END"));
}

#[tokio::test]
async fn records_are_spread_whatever_their_keys_if_the_service_chooses() {
    let server = Server::start().await;
    let mode = json!({"StreamMode": "ON_DEMAND"});
    server.ok("CreateStream", json!({"StreamName": "s", "StreamModeDetails": mode})).await;
    let shards = async || {
        let record = json!({"Data": "", "PartitionKey": "k", "ExplicitHashKey": "0"});
        let records = vec![record; 100];
        let put = server.ok("PutRecords", json!({"StreamName": "s", "Records": records})).await;
        let shards = put["Records"].as_array().unwrap().iter().map(|it| it["ShardId"].to_string());
        shards.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(shards().await, 1);
    for (strategy, used) in [("AUTO", 4), ("USER_PARTITION_KEY", 1)] {
        let input = json!({"StreamARN": ARN, "RecordDistributionStrategy": strategy});
        server.ok("UpdateStreamRecordDistributionStrategy", input).await;
        assert_eq!(shards().await, used, "{strategy}");
    }
}
