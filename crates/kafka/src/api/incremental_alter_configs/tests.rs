use super::*;
use crate::api::alter_configs;
use crate::api::list_config_resources;
use crate::api::resource::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::codec::alter_configs_request as legacy;
use crate::codec::incremental_alter_configs_request::AlterableConfig;
use crate::codec::list_config_resources_request::ListConfigResourcesRequestData;
use crate::codec::{ApiKey, ErrorCode, wire_str};
use crate::testing;
use millrace_broker::{Broker, ConfigScope};
use std::sync::Arc;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

type Op<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, ops: &[Op<'_>]) -> AlterConfigsResource {
    let config = |(name, operation, value): &Op<'_>| {
        AlterableConfig::default()
            .with_name(wire_str(name))
            .with_config_operation(*operation)
            .with_value(value.map(wire_str))
    };
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(wire_str(name))
        .with_configs(ops.iter().map(config).collect())
}

async fn alter(
    broker: &Arc<Broker>,
    resources: Vec<AlterConfigsResource>,
    validate_only: bool,
) -> Vec<(ErrorCode, String)> {
    let call = testing::call(broker, ApiKey::IncrementalAlterConfigs, 1);
    let request = IncrementalAlterConfigsRequestData::default()
        .with_resources(resources)
        .with_validate_only(validate_only);
    let response = handle(&call, request).await.unwrap();
    let answers = testing::over_the_wire(&call, &response).responses.into_iter();
    let text =
        |text: Option<crate::codec::KafkaString>| text.map_or_else(String::new, |t| t.to_string());
    answers.map(|a| (ErrorCode::from(a.error_code), text(a.error_message))).collect()
}

fn fine() -> (ErrorCode, String) {
    (ErrorCode::None, String::new())
}

#[tokio::test]
async fn a_topics_settings_change_one_by_one() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let ops = [("retention.ms", SET, Some("5")), ("cleanup.policy", APPEND, Some("compact"))];
    assert_eq!(alter(&broker, vec![resource(TOPIC, "t", &ops)], true).await, [fine()]);
    assert_eq!(broker.topic("t").unwrap().config().retention_ms, Some(604_800_000));
    assert_eq!(alter(&broker, vec![resource(TOPIC, "t", &ops)], false).await, [fine()]);
    let config = broker.topic("t").unwrap().config();
    assert_eq!(config.retention_ms, Some(5));
    assert!(config.cleanup_policy.compact && config.cleanup_policy.delete);
    let back = [("retention.ms", DELETE, None)];
    assert_eq!(alter(&broker, vec![resource(TOPIC, "t", &back)], false).await, [fine()]);
    let config = broker.topic("t").unwrap().config();
    assert_eq!(config.retention_ms, Some(604_800_000));
    assert!(config.cleanup_policy.compact);
}

#[tokio::test]
async fn a_brokers_settings_reach_its_topics() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let all = resource(BROKER, "", &[("message.max.bytes", SET, Some("2000"))]);
    assert_eq!(alter(&broker, vec![all], false).await, [fine()]);
    assert_eq!(broker.topic("t").unwrap().config().message_bytes_max, 2000);
    let this = resource(BROKER, "1", &[("message.max.bytes", SET, Some("3000"))]);
    assert_eq!(alter(&broker, vec![this], false).await, [fine()]);
    assert_eq!(broker.topic("t").unwrap().config().message_bytes_max, 3000);
}

#[tokio::test]
async fn groups_and_client_metrics_keep_settings_and_are_listed() {
    let broker = Broker::in_memory();
    let group = resource(GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("50000"))]);
    let metrics = resource(CLIENT_METRICS, "m", &[("interval.ms", SET, Some("1000"))]);
    assert_eq!(alter(&broker, vec![group, metrics], false).await, [fine(), fine()]);
    let kept = broker.config_overrides(&ConfigScope::new("group", "g"));
    assert_eq!(kept["consumer.session.timeout.ms"], "50000");
    let list = |version, types: &[i8]| {
        let call = testing::call(&broker, ApiKey::ListConfigResources, version);
        let request = ListConfigResourcesRequestData::default().with_resource_types(types.to_vec());
        let response = list_config_resources::handle(&call, request).unwrap();
        let response = testing::over_the_wire(&call, &response);
        let listed = response.config_resources.into_iter();
        let listed: Vec<_> =
            listed.map(|r| (r.resource_name.to_string(), r.resource_type)).collect();
        (ErrorCode::from(response.error_code), listed)
    };
    let (code, listed) = list(1, &[]);
    let expected = [("g", GROUP), ("m", CLIENT_METRICS), ("1", BROKER_LOGGER), ("1", BROKER)];
    assert_eq!(code, ErrorCode::None);
    assert_eq!(listed, expected.map(|(name, kind)| (name.to_owned(), kind)));
    assert_eq!(list(1, &[GROUP]).1.len(), 1);
    assert_eq!(list(1, &[77]).0, ErrorCode::UnsupportedVersion);
}

#[tokio::test]
async fn wrong_changes_are_told_why_and_change_nothing() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let five = Some("5");
    for (kind, name, ops, code, message) in [
        (
            TOPIC,
            "x",
            [("retention.ms", SET, five)].as_slice(),
            ErrorCode::UnknownTopicOrPartition,
            "The topic 'x' does not exist.",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", APPEND, five)],
            ErrorCode::InvalidConfig,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            TOPIC,
            "t",
            &[("no.such", SET, five)],
            ErrorCode::InvalidConfig,
            "Unknown topic config name: no.such",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", SET, None)],
            ErrorCode::InvalidRequest,
            "Null value not supported for : retention.ms",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", 9, five)],
            ErrorCode::InvalidRequest,
            "Unknown operations type 9",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", SET, five), ("retention.ms", DELETE, None)],
            ErrorCode::InvalidRequest,
            "Error due to duplicate config keys",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", SET, five), ("segment.bytes", SET, five)],
            ErrorCode::InvalidConfig,
            "Invalid value 5 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            BROKER,
            "1",
            &[("num.partitions", SET, five)],
            ErrorCode::InvalidRequest,
            "Cannot update these configs dynamically: [num.partitions]",
        ),
        (
            BROKER,
            "2",
            &[("message.max.bytes", SET, five)],
            ErrorCode::InvalidRequest,
            "Unexpected broker id, expected 1 or empty string, but received 2",
        ),
        (
            BROKER,
            "",
            &[("no.such", SET, five)],
            ErrorCode::InvalidConfig,
            "Unknown broker config name: no.such",
        ),
        (
            BROKER,
            "",
            &[("message.max.bytes", SET, Some("x"))],
            ErrorCode::InvalidRequest,
            "Invalid value x for configuration message.max.bytes: Not a number of type INT",
        ),
        (
            BROKER_LOGGER,
            "1",
            &[("kafka", SET, Some("DEBUG"))],
            ErrorCode::InvalidRequest,
            "log levels are not changed by requests; set the server's log_level",
        ),
        (
            CLIENT_METRICS,
            "m",
            &[("no.such", SET, five)],
            ErrorCode::InvalidRequest,
            "Unknown client metrics config name: no.such",
        ),
        (
            GROUP,
            "g",
            &[("share.heartbeat.interval.ms", SET, five)],
            ErrorCode::InvalidConfig,
            "share.heartbeat.interval.ms must be greater than or equal to group.share.min.heartbeat.interval.ms",
        ),
    ] {
        let answers = alter(&broker, vec![resource(kind, name, ops)], false).await;
        assert_eq!(answers, [(code, message.to_owned())]);
    }
    let twice = vec![resource(TOPIC, "t", &[]), resource(TOPIC, "t", &[])];
    let answers = alter(&broker, twice, false).await;
    let refused = (ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned());
    assert_eq!(answers, [refused.clone(), refused]);
    assert!(broker.topic("t").unwrap().config().overrides().is_empty());
    assert!(broker.config_scopes().is_empty());
}

#[tokio::test]
async fn the_old_request_replaces_all() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let set = [("retention.ms", SET, Some("5")), ("retention.bytes", SET, Some("6"))];
    assert_eq!(alter(&broker, vec![resource(TOPIC, "t", &set)], false).await, [fine()]);
    for version in 0..=2 {
        let call = testing::call(&broker, ApiKey::AlterConfigs, version);
        let config = legacy::AlterableConfig::default()
            .with_name(wire_str("retention.ms"))
            .with_value(Some(wire_str("7")));
        let resource = legacy::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(wire_str("t"))
            .with_configs(vec![config]);
        let request = legacy::AlterConfigsRequestData::default().with_resources(vec![resource]);
        let response = alter_configs::handle(&call, request).await.unwrap();
        assert_eq!(testing::over_the_wire(&call, &response).responses[0].error_code, 0);
        let config = broker.topic("t").unwrap().config();
        assert_eq!((config.retention_ms, config.retention_bytes), (Some(7), None));
    }
}
