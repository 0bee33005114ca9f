use super::*;
use crate::api::resource::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::codec::{ApiKey, ErrorCode, wire_str};
use crate::testing;
use millrace_broker::Broker;

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    let keys = keys.map(|keys| keys.iter().map(|key| wire_str(key)).collect());
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(wire_str(name))
        .with_configuration_keys(keys)
}

async fn described(
    broker: &std::sync::Arc<Broker>,
    version: i16,
    resource: DescribeConfigsResource,
) -> DescribeConfigsResult {
    let call = testing::call(broker, ApiKey::DescribeConfigs, version);
    let request = DescribeConfigsRequestData::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    let response = handle(&call, request).await.unwrap();
    testing::over_the_wire(&call, &response).results.remove(0)
}

#[tokio::test]
async fn a_topics_settings_come_with_their_sources() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let result = described(&broker, 4, resource(TOPIC, "t", Some(&["retention.bytes"]))).await;
    assert_eq!((result.error_code, result.error_message), (0, None));
    assert_eq!((result.resource_type, result.resource_name), (TOPIC, wire_str("t")));
    let [config] = result.configs.as_slice() else { panic!("asked for one") };
    assert_eq!(config.value, Some(wire_str("-1")));
    assert_eq!((config.config_source, config.config_type, config.read_only), (5, 5, false));
    assert_eq!(config.synonyms[0].name.as_str(), "log.retention.bytes");
    assert!(config.documentation.as_ref().unwrap().as_str().starts_with("Bytes that a partition"));
}

#[tokio::test]
async fn no_keys_and_an_empty_list_of_keys_mean_all() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    for version in 1..=4 {
        for keys in [None, Some([].as_slice())] {
            assert_eq!(
                described(&broker, version, resource(TOPIC, "t", keys)).await.configs.len(),
                33
            );
        }
    }
}

#[tokio::test]
async fn the_broker_shows_what_it_was_started_with() {
    let broker = Broker::in_memory_with(&[("num.partitions", "4")]);
    let result = described(&broker, 4, resource(BROKER, "1", None)).await;
    let value = |name: &str| {
        let config = result.configs.iter().find(|config| config.name.as_str() == name).unwrap();
        (config.value.as_ref().unwrap().to_string(), config.config_source, config.read_only)
    };
    assert_eq!(value("num.partitions"), ("4".into(), 4, true));
    assert_eq!(value("listeners"), ("PLAINTEXT://127.0.0.1:9092".into(), 4, true));
    assert_eq!(value("log.dirs"), ("/data".into(), 4, true));
    assert_eq!(value("message.max.bytes"), ("1048588".into(), 5, false));
    assert!(described(&broker, 4, resource(BROKER, "", None)).await.configs.is_empty());
}

#[tokio::test]
async fn groups_and_client_metrics_are_described_before_they_exist() {
    let broker = Broker::in_memory();
    assert_eq!(described(&broker, 4, resource(GROUP, "g", None)).await.configs.len(), 17);
    assert_eq!(described(&broker, 4, resource(CLIENT_METRICS, "m", None)).await.configs.len(), 3);
    assert_eq!(described(&broker, 4, resource(BROKER_LOGGER, "1", None)).await.error_code, 0);
}

#[tokio::test]
async fn what_cannot_be_described_says_why() {
    let broker = Broker::in_memory();
    for (kind, name, code, message) in [
        (
            TOPIC,
            "x",
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        ),
        (
            TOPIC,
            "x y",
            ErrorCode::InvalidTopicException,
            "Topic name is invalid: 'x y' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            BROKER,
            "2",
            ErrorCode::InvalidRequest,
            "Unexpected broker id, expected 1 or empty string, but received 2",
        ),
        (BROKER, "x", ErrorCode::InvalidRequest, "Broker id must be an integer, but it is: x"),
        (GROUP, "", ErrorCode::InvalidRequest, "Group name must not be empty"),
        (3, "x", ErrorCode::InvalidRequest, "Unknown resource type 3"),
    ] {
        let result = described(&broker, 4, resource(kind, name, None)).await;
        let text = result.error_message.unwrap();
        assert_eq!((result.error_code, text.as_str()), (code.code(), message));
    }
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let broker = Broker::in_memory();
    let call = testing::call(&broker, ApiKey::DescribeConfigs, 4);
    let groups = (0..20_000).map(|n| resource(GROUP, &n.to_string(), None));
    let request = DescribeConfigsRequestData::default()
        .with_resources(groups.collect())
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let response = handle(&call, request).await.unwrap();
    assert!(response.encoded_len(4).unwrap() < 2 * DESCRIBED_BYTES_MAX);
    let first = response.results.first().unwrap();
    assert_eq!((first.error_code, first.configs.len()), (0, 17));
    let last = response.results.last().unwrap();
    assert_eq!(last.error_code, ErrorCode::InvalidRequest.code());
}
