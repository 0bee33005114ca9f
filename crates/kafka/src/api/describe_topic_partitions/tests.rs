use millrace_broker::Broker;

use super::*;
use crate::codec::ApiKey;
use crate::codec::describe_topic_partitions_request as wire;
use crate::testing;

#[tokio::test]
async fn pages_cover_every_partition_once() {
    let broker = Broker::in_memory();
    for (name, partitions) in [("c", 4), ("a", 3), ("b", 1)] {
        testing::topic(&broker, name, partitions).await;
    }
    let call = testing::call(&broker, ApiKey::DescribeTopicPartitions, 0);
    for limit in 1..10 {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let request = DescribeTopicPartitionsRequestData::default()
                .with_response_partition_limit(limit)
                .with_cursor(cursor);
            let response = testing::over_the_wire(&call, &handle(&call, request).unwrap());
            let mut page = 0;
            for topic in &response.topics {
                let name = topic.name.as_ref().unwrap().as_str().to_owned();
                let indexes = topic.partitions.iter().map(|p| (name.clone(), p.partition_index));
                seen.extend(indexes);
                page += topic.partitions.len();
            }
            assert!(page <= usize::try_from(limit).unwrap());
            let Some(next) = response.next_cursor else { break };
            let next = wire::Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index);
            cursor = Some(Box::new(next));
        }
        let expected = [("a", 3), ("b", 1), ("c", 4)];
        let expected = expected.iter().flat_map(|(name, n)| (0..*n).map(|i| (name.to_string(), i)));
        assert_eq!(seen, expected.collect::<Vec<_>>(), "limit {limit}");
    }
}

#[tokio::test]
async fn an_unknown_topic_is_told_so() {
    let broker = Broker::in_memory();
    let call = testing::call(&broker, ApiKey::DescribeTopicPartitions, 0);
    let topic = |name| wire::TopicRequest::default().with_name(wire_str(name));
    let request = DescribeTopicPartitionsRequestData::default()
        .with_topics(vec![topic("nowhere"), topic("a/b")]);
    let response = testing::over_the_wire(&call, &handle(&call, request).unwrap());
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [17, 3], "in the order of names");
}
