use millrace_broker::Broker;

use super::*;
use crate::codec::{ApiKey, wire_uuid};
use crate::testing;

fn named(names: &[&str]) -> MetadataRequestData {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(wire_str(name)));
    MetadataRequestData::default().with_topics(Some(names.iter().map(topic).collect()))
}

async fn ask(
    broker: &Arc<Broker>,
    version: i16,
    request: MetadataRequestData,
) -> MetadataResponseData {
    let call = testing::call(broker, ApiKey::Metadata, version);
    testing::over_the_wire(&call, &handle(&call, request).await.unwrap())
}

/// Name, error and partitions of each topic.
fn topics(response: &MetadataResponseData) -> Vec<(&str, i16, usize)> {
    let told = response.topics.iter().map(|topic| {
        let text = topic.name.as_ref().map_or("", KafkaString::as_str);
        (text, topic.error_code, topic.partitions.len())
    });
    told.collect()
}

#[tokio::test]
async fn every_version_tells_topics_partitions_and_this_broker() {
    let broker = Broker::in_memory_with(&[("broker.rack", "r1")]);
    testing::topic(&broker, "a", 2).await;
    testing::topic(&broker, "b", 1).await;
    for version in 0..=13 {
        let all = MetadataRequestData::default().with_topics((version == 0).then(Vec::new));
        let response = ask(&broker, version, all).await;
        assert_eq!(topics(&response), [("a", 0, 2), ("b", 0, 1)], "{version}");
        let told = &response.brokers[0];
        assert_eq!((told.host.as_str(), told.port), ("broker.example", 9092));
        let partition = &response.topics[0].partitions[1];
        assert_eq!((partition.leader_id, partition.isr_nodes.as_slice()), (1, &[1][..]));
        if version >= 1 {
            let none = MetadataRequestData::default().with_topics(Some(vec![]));
            assert_eq!(topics(&ask(&broker, version, none).await), []);
        }
    }
}

#[tokio::test]
async fn an_unknown_topic_is_created_where_client_and_server_allow_it() {
    let broker = Broker::in_memory_with(&[("num.partitions", "3")]);
    let asked = ask(&broker, 9, named(&["new"]).with_allow_auto_topic_creation(false)).await;
    assert_eq!(topics(&asked), [("new", 3, 0)]);
    assert_eq!(topics(&ask(&broker, 9, named(&["new"])).await), [("new", 0, 3)]);
    // Older clients cannot refuse, and are not asked.
    assert_eq!(topics(&ask(&broker, 1, named(&["old"])).await), [("old", 0, 3)]);

    let forbidden = Broker::in_memory_with(&[("auto.create.topics.enable", "false")]);
    assert_eq!(topics(&ask(&forbidden, 9, named(&["new"])).await), [("new", 3, 0)]);
    assert!(forbidden.topics().is_empty());
}

#[tokio::test]
async fn names_that_cannot_be_are_told_so() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a.b", 1).await;
    let response = ask(&broker, 9, named(&["a/b", "..", "a_b"])).await;
    assert_eq!(topics(&response), [("a/b", 17, 0), ("..", 17, 0), ("a_b", 17, 0)]);
}

#[tokio::test]
async fn topics_are_found_by_id_and_each_is_told_once() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "a", 1).await;
    let id = broker.topic("a").unwrap().id;
    let by_id = |id| MetadataRequestTopic::default().with_topic_id(wire_uuid(id));
    let unknown = TopicId([7; 16]);
    let asked = vec![by_id(id), by_id(unknown), by_id(id)];
    let response = ask(&broker, 12, MetadataRequestData::default().with_topics(Some(asked))).await;
    assert_eq!(topics(&response), [("a", 0, 1), ("", 100, 0)]);
    assert_eq!(response.topics[1].topic_id, wire_uuid(unknown));
}
