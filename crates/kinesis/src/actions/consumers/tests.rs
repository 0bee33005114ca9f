use serde_json::{Value as Json, json};

use crate::testing::Server;

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";

async fn server() -> Server {
    let server = Server::start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    server
}

async fn register(server: &Server, name: &str) -> Json {
    let input = json!({"StreamARN": ARN, "ConsumerName": name});
    server.ok("RegisterStreamConsumer", input).await["Consumer"].clone()
}

#[tokio::test]
async fn a_consumer_is_described_until_it_is_deregistered() {
    let server = server().await;
    let consumer = register(&server, "c").await;
    assert_eq!(consumer["ConsumerStatus"], "ACTIVE");
    let arn = consumer["ConsumerARN"].as_str().unwrap();
    assert!(arn.starts_with(&format!("{ARN}/consumer/c:")), "{arn}");
    let names = json!({"StreamARN": ARN, "ConsumerName": "c"});
    for input in [json!({"ConsumerARN": arn}), names.clone()] {
        let found = server.ok("DescribeStreamConsumer", input).await["ConsumerDescription"].clone();
        assert_eq!((&found["ConsumerARN"], &found["StreamARN"]), (&json!(arn), &json!(ARN)));
    }
    let summary = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(summary["StreamDescriptionSummary"]["ConsumerCount"], 1);
    let (code, message) = server.refused("RegisterStreamConsumer", names.clone()).await;
    assert_eq!(code, "ResourceInUseException");
    assert!(message.contains("Consumer c under stream s"), "{message}");
    let (code, _) = server.refused("DeleteStream", json!({"StreamName": "s"})).await;
    assert_eq!(code, "ResourceInUseException");
    server.ok("DeregisterStreamConsumer", json!({"ConsumerARN": arn})).await;
    for operation in ["DescribeStreamConsumer", "DeregisterStreamConsumer"] {
        for input in [json!({"ConsumerARN": arn}), names.clone()] {
            let (code, _) = server.refused(operation, input).await;
            assert_eq!(code, "ResourceNotFoundException");
        }
    }
}

#[tokio::test]
async fn a_consumer_that_comes_again_within_a_second_has_another_arn() {
    let server = server().await;
    let mut arns = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let arn = register(&server, "c").await["ConsumerARN"].clone();
        server.ok("DescribeStreamConsumer", json!({"ConsumerARN": arn})).await;
        server.ok("DeregisterStreamConsumer", json!({"ConsumerARN": arn})).await;
        assert!(arns.insert(arn.as_str().unwrap().to_owned()), "{arn}");
    }
}

#[tokio::test]
async fn names_that_do_not_agree_are_refused() {
    let server = server().await;
    let arn = register(&server, "c").await["ConsumerARN"].clone();
    for input in [
        json!({}),
        json!({"ConsumerName": "c"}),
        json!({"StreamARN": ARN}),
        json!({"ConsumerARN": arn, "ConsumerName": "d"}),
    ] {
        let (code, _) = server.refused("DescribeStreamConsumer", input).await;
        assert_eq!(code, "InvalidArgumentException");
    }
    for arn in [format!("{ARN}/consumer/c:1"), format!("{ARN}/consumer/d:1")] {
        let refused = server.refused("DescribeStreamConsumer", json!({"ConsumerARN": arn})).await;
        assert_eq!(refused, not_found(&arn));
    }
    let named = json!({"StreamARN": ARN, "ConsumerName": "d"});
    assert_eq!(server.refused("DescribeStreamConsumer", named).await, not_found("d"));
}

fn not_found(consumer: &str) -> (String, String) {
    let message = format!("Consumer {consumer}, account 123456789012 not found.");
    ("ResourceNotFoundException".to_owned(), message)
}

#[tokio::test]
async fn twenty_consumers_are_listed_in_pages_and_no_more_are_taken() {
    let server = server().await;
    for n in 0..20 {
        register(&server, &format!("c{n:02}")).await;
    }
    let input = json!({"StreamARN": ARN, "ConsumerName": "one-more"});
    assert_eq!(server.refused("RegisterStreamConsumer", input).await.0, "LimitExceededException");
    let mut names = Vec::new();
    let mut token = Json::Null;
    loop {
        let input = json!({"StreamARN": ARN, "MaxResults": 8, "NextToken": token});
        let page = server.ok("ListStreamConsumers", input).await;
        let consumers = page["Consumers"].as_array().unwrap();
        names.extend(consumers.iter().map(|it| it["ConsumerName"].as_str().unwrap().to_owned()));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(names, (0..20).map(|n| format!("c{n:02}")).collect::<Vec<_>>());
    let input = json!({"StreamARN": ARN, "NextToken": "x"});
    assert_eq!(server.refused("ListStreamConsumers", input).await.0, "InvalidArgumentException");
}

#[tokio::test]
async fn consumers_have_tags_of_their_own() {
    let server = server().await;
    let input = json!({"StreamARN": ARN, "ConsumerName": "c", "Tags": {"a": "1"}});
    let consumer = server.ok("RegisterStreamConsumer", input).await["Consumer"].clone();
    let arn = &consumer["ConsumerARN"];
    server.ok("TagResource", json!({"ResourceARN": arn, "Tags": {"b": "2"}})).await;
    server.ok("UntagResource", json!({"ResourceARN": arn, "TagKeys": ["a"]})).await;
    let of = async |arn: Json| server.ok("ListTagsForResource", json!({"ResourceARN": arn})).await;
    assert_eq!(of(arn.clone()).await["Tags"], json!([{"Key": "b", "Value": "2"}]));
    assert_eq!(of(json!(ARN)).await["Tags"], json!([]));
    server.ok("DeregisterStreamConsumer", json!({"ConsumerARN": arn})).await;
    let (code, _) = server.refused("ListTagsForResource", json!({"ResourceARN": arn})).await;
    assert_eq!(code, "ResourceNotFoundException");
}
