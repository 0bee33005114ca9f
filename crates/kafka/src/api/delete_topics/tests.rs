use super::*;
use crate::codec::delete_topics_request::DeleteTopicState;
use crate::codec::{ApiKey, wire_str, wire_uuid};
use crate::testing;
use millrace_broker::Broker;
use std::sync::Arc;

fn named(name: &str) -> DeleteTopicState {
    DeleteTopicState::default().with_name(Some(wire_str(name)))
}

fn identified(id: TopicId) -> DeleteTopicState {
    DeleteTopicState::default().with_name(None).with_topic_id(wire_uuid(id))
}

/// Name, code and message of each answer, by name.
async fn delete_all(
    broker: &Arc<Broker>,
    topics: Vec<DeleteTopicState>,
) -> Vec<(String, ErrorCode, String)> {
    let call = testing::call(broker, ApiKey::DeleteTopics, 6);
    let request = DeleteTopicsRequestData::default().with_topics(topics);
    let response = handle(&call, request).await.unwrap();
    let text =
        |text: Option<crate::codec::KafkaString>| text.map_or_else(String::new, |t| t.to_string());
    let answers = testing::over_the_wire(&call, &response).responses.into_iter().map(|answer| {
        (text(answer.name), ErrorCode::from(answer.error_code), text(answer.error_message))
    });
    let mut answers: Vec<_> = answers.collect();
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    answers
}

#[tokio::test]
async fn topics_go_by_name_and_by_id() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    testing::topic(&broker, "b", 1).await;
    let b = broker.topic("b").unwrap().id;
    let answers = delete_all(&broker, vec![named("a"), identified(b)]).await;
    let gone = |name: &str| (name.to_owned(), ErrorCode::None, String::new());
    assert_eq!(answers, [gone("a"), gone("b")]);
    assert!(broker.topics().is_empty());
}

#[tokio::test]
async fn old_versions_name_topics_in_another_field() {
    let broker = Broker::in_memory();
    for version in 1..=5 {
        testing::topic(&broker, "a", 1).await;
        let call = testing::call(&broker, ApiKey::DeleteTopics, version);
        let request = DeleteTopicsRequestData::default().with_topic_names(vec![wire_str("a")]);
        let response = handle(&call, request).await.unwrap();
        let answer = testing::over_the_wire(&call, &response).responses.remove(0);
        assert_eq!((answer.name, answer.error_code), (Some(wire_str("a")), 0));
        assert!(broker.topic("a").is_none());
    }
}

#[tokio::test]
async fn wrong_entries_are_told_why_and_delete_nothing() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    let a = broker.topic("a").unwrap().id;
    let unknown = TopicId([9; 16]);
    for (topics, code, message) in [
        (
            vec![named("x")],
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        ),
        (
            vec![identified(unknown)],
            ErrorCode::UnknownTopicId,
            "This server does not host this topic ID.",
        ),
        (vec![named("a"), named("a")], ErrorCode::InvalidRequest, "Duplicate topic name."),
        (vec![identified(a), identified(a)], ErrorCode::InvalidRequest, "Duplicate topic id."),
        (
            vec![named("a").with_topic_id(wire_uuid(a))],
            ErrorCode::InvalidRequest,
            "You may not specify both topic name and topic id.",
        ),
        (
            vec![DeleteTopicState::default().with_name(None)],
            ErrorCode::InvalidRequest,
            "Neither topic name nor id were specified.",
        ),
    ] {
        let answers = delete_all(&broker, topics).await;
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].1, answers[0].2.as_str()), (code, message));
    }
    assert!(broker.topic("a").is_some());
}

#[tokio::test]
async fn a_topic_named_both_ways_stays() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    let a = broker.topic("a").unwrap().id;
    let answers = delete_all(&broker, vec![named("a"), identified(a)]).await;
    let text = "The provided topic name maps to an ID that was already supplied.";
    assert_eq!(answers, [("a".into(), ErrorCode::InvalidRequest, text.into())]);
    assert!(broker.topic("a").is_some());
}

#[tokio::test]
async fn deletion_can_be_off() {
    let broker = Broker::in_memory_with(&[("delete.topic.enable", "false")]);
    testing::topic(&broker, "a", 1).await;
    let answers = delete_all(&broker, vec![named("a")]).await;
    assert_eq!(answers[0].1, ErrorCode::TopicDeletionDisabled);
    assert!(broker.topic("a").is_some());
}
