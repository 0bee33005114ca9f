//! What the registry promises: Kafka's names, types and defaults, and Kafka's
//! answers about where a value comes from.

mod page;

use millrace_log::compression::Codec;

use super::*;

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn started(pairs: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::new(&Given::default(), overrides(pairs)).unwrap()
}

fn change(name: &str, operation: Operation, value: &str) -> Change {
    Change { name: name.into(), operation, value: value.into() }
}

fn entry<'a>(entries: &'a [ConfigEntry], name: &str) -> &'a ConfigEntry {
    entries.iter().find(|entry| entry.name == name).unwrap()
}

/// `value <- SOURCE:name=value …`, as a line to compare.
fn shown(entry: &ConfigEntry) -> String {
    let value = entry.value.as_deref().unwrap_or("null");
    let synonyms = entry.synonyms.iter().map(|synonym| {
        format!(
            " {}:{}={}",
            synonym.source.id(),
            synonym.name,
            synonym.value.as_deref().unwrap_or("null")
        )
    });
    format!("{value} <- {}{}", entry.source.id(), synonyms.collect::<String>())
}

#[test]
fn the_tables_are_kafkas() {
    let scopes = [
        ("topic", Scope::Topic),
        ("broker", Scope::Broker),
        ("group", Scope::Group),
        ("clientmetrics", Scope::ClientMetrics),
    ];
    let golden = include_str!("table/golden.tsv");
    let mut rows = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let [scope, name, kind, default, update, visibility, valid] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let (_, scope) = scopes.iter().find(|(word, _)| *word == scope).unwrap();
        let setting = setting(*scope, name).unwrap();
        rows += 1;
        assert_eq!(setting.kind.name(), kind, "{name}");
        let ours =
            setting.default.unwrap_or(if default == "<required>" { default } else { "<null>" });
        assert_eq!(ours, default, "{name}");
        assert_eq!(setting.internal, visibility == "internal", "{name}");
        if *scope == Scope::Broker && !matches!(setting.meaning, Meaning::Given(_)) {
            let update = if update == "dynamic" { Update::Dynamic } else { Update::ReadOnly };
            // The connection limits are read at the start here, and no class
            // of security is ever loaded.
            let fixed = ["max.connections", "max.connections.per.ip", "principal.builder.class"];
            let expected = if fixed.contains(&name) { Update::ReadOnly } else { update };
            assert_eq!(setting.update, expected, "{name}");
        }
        // Rules that Kafka states elsewhere than in the row.
        let elsewhere = [
            "interval.ms",
            "authorizer.class.name",
            "controller.quorum.bootstrap.servers",
            "controller.quorum.voters",
        ];
        assert!(elsewhere.contains(&name) || setting.check.to_string() == valid, "{name}: {valid}");
    }
    let ours: usize = scopes.iter().map(|(_, scope)| settings(*scope).len()).sum();
    assert_eq!(rows, ours);
}

#[test]
fn every_default_is_valid_and_prints_as_it_is_written() {
    for scope in [Scope::Topic, Scope::Broker, Scope::Group, Scope::ClientMetrics] {
        for setting in settings(scope) {
            assert!(!setting.doc.is_empty(), "{}", setting.name);
            if let Some(default) = setting.default {
                assert_eq!(
                    setting.parse(default).unwrap().to_string(),
                    default,
                    "{}",
                    setting.name
                );
            }
            if let Some(broker) = setting.broker {
                assert!(is_broker_setting(broker), "{}", setting.name);
            }
        }
    }
}

#[test]
fn every_setting_is_found_and_stands_once() {
    for scope in [Scope::Topic, Scope::Broker, Scope::Group, Scope::ClientMetrics] {
        let mut names: Vec<_> = settings(scope).iter().map(|setting| setting.name).collect();
        // A table that is not sorted would hide rows from the search.
        assert!(names.iter().all(|name| setting(scope, name).is_ok_and(|s| s.name == *name)));
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn a_topic_without_settings_has_kafkas_defaults() {
    let topic = TopicConfig::resolve(&Overrides::new(), &BrokerConfig::default()).unwrap();
    assert_eq!(topic, TopicConfig::default());
    assert_eq!(topic.retention_ms, Some(604_800_000));
    assert_eq!(topic.retention_bytes, None);
    assert_eq!(topic.message_bytes_max, 1_048_588);
    assert_eq!(topic.timestamp_kind, TimestampKind::CreateTime);
    assert_eq!(topic.timestamp_after_max_ms, 3_600_000);
    assert!(topic.cleanup_policy.delete && !topic.cleanup_policy.compact);
}

#[test]
fn a_broker_without_settings_has_kafkas_defaults() {
    let broker = BrokerConfig::default();
    assert!(broker.auto_create_topics);
    assert_eq!(broker.partitions, 1);
    assert_eq!(broker.connections_max_idle_ms, Some(600_000));
    assert_eq!(broker.request_bytes_max, 104_857_600);
    assert_eq!(broker.offsets_retention_ms, 7 * 24 * 3_600_000);
    assert_eq!(broker.group_initial_rebalance_delay_ms, 3000);
    assert_eq!(broker.rack, None);
}

#[test]
fn retention_comes_from_the_first_that_is_set() {
    let retention = |broker: &BrokerConfig, own: &[(&str, &str)]| {
        TopicConfig::resolve(&overrides(own), broker).unwrap().retention_ms
    };
    assert_eq!(retention(&started(&[("log.retention.hours", "1")]), &[]), Some(3_600_000));
    let minutes = started(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]);
    assert_eq!(retention(&minutes, &[]), Some(120_000));
    assert_eq!(retention(&started(&[("log.retention.hours", "-1")]), &[]), None);
    let dynamic = minutes.with_dynamic(overrides(&[("log.retention.ms", "7")]), Overrides::new());
    assert_eq!(retention(&dynamic.unwrap(), &[]), Some(7));
    assert_eq!(retention(&minutes, &[("retention.ms", "-1")]), None);
}

#[test]
fn sources_and_synonyms_are_kafkas() {
    let broker = BrokerConfig::default();
    let topic = describe::topic(
        &overrides(&[("retention.ms", " 05 "), ("cleanup.policy", "compact , delete")]),
        &broker,
    );
    assert_eq!(shown(entry(&topic, "retention.ms")), "5 <- 1 1:retention.ms=5");
    assert_eq!(
        shown(entry(&topic, "cleanup.policy")),
        "compact,delete <- 1 1:cleanup.policy=compact,delete 5:log.cleanup.policy=delete"
    );
    assert_eq!(
        shown(entry(&topic, "max.message.bytes")),
        "1048588 <- 5 5:message.max.bytes=1048588"
    );
    assert_eq!(shown(entry(&topic, "segment.ms")), "604800000 <- 5");
    assert_eq!(shown(entry(&topic, "flush.ms")), "9223372036854775807 <- 5");
    assert_eq!(shown(entry(&topic, "leader.replication.throttled.replicas")), " <- 5");
    assert_eq!(topic.len(), 33, "the internal one is hidden");

    let group = describe::group(&overrides(&[("consumer.session.timeout.ms", "50000")]), &broker);
    assert_eq!(
        shown(entry(&group, "share.auto.offset.reset")),
        "latest <- 5 5:share.auto.offset.reset=latest"
    );
    assert_eq!(
        shown(entry(&group, "consumer.session.timeout.ms")),
        "50000 <- 8 8:consumer.session.timeout.ms=50000 5:group.consumer.session.timeout.ms=45000"
    );
    let metrics = describe::client_metrics(&Overrides::new(), &broker);
    assert_eq!(shown(entry(&metrics, "interval.ms")), "300000 <- 5");
}

#[test]
fn a_brokers_values_name_all_their_layers() {
    let given = Given {
        node_id: 1,
        data_dir: "/data".into(),
        listeners: vec!["PLAINTEXT://127.0.0.1:9092".into()],
        advertised_listeners: vec!["PLAINTEXT://127.0.0.1:9092".into()],
    };
    let start = overrides(&[("log.retention.hours", "2"), ("num.partitions", "4")]);
    let broker = BrokerConfig::new(&given, start).unwrap();
    let broker = broker
        .with_dynamic(
            overrides(&[("log.retention.ms", "9")]),
            overrides(&[("log.retention.ms", "8")]),
        )
        .unwrap();
    let entries = describe::broker(&broker);
    assert_eq!(
        shown(entry(&entries, "log.retention.ms")),
        "8 <- 2 2:log.retention.ms=8 3:log.retention.ms=9 4:log.retention.hours=2 5:log.retention.hours=168"
    );
    assert_eq!(
        shown(entry(&entries, "num.partitions")),
        "4 <- 4 4:num.partitions=4 5:num.partitions=1"
    );
    assert_eq!(shown(entry(&entries, "node.id")), "1 <- 4 4:node.id=1");
    assert_eq!(shown(entry(&entries, "broker.id")), "1 <- 4 4:broker.id=1 5:broker.id=-1");
    assert_eq!(shown(entry(&entries, "log.dirs")), "/data <- 4 4:log.dirs=/data");
    assert_eq!(shown(entry(&entries, "log.retention.minutes")), "null <- 5");
    assert!(
        entry(&entries, "listeners").read_only && !entry(&entries, "message.max.bytes").read_only
    );
    assert!(entries.iter().all(|entry| entry.name != "leader.replication.throttled.rate"));

    let default = describe::broker_default(&broker);
    assert_eq!(default.len(), 1);
    assert_eq!(shown(&default[0]), "9 <- 3 3:log.retention.ms=9");
    let topic = describe::topic(&Overrides::new(), &broker);
    assert_eq!(
        shown(entry(&topic, "retention.ms")),
        "8 <- 2 2:log.retention.ms=8 3:log.retention.ms=9 4:log.retention.hours=2 5:log.retention.hours=168"
    );
}

#[test]
fn a_topics_codec_has_its_level_and_falls_back_on_the_brokers() {
    let broker = |pairs: &[(&str, &str)]| {
        BrokerConfig::default().with_dynamic(overrides(pairs), Overrides::new()).unwrap()
    };
    let codec = |topic: &[(&str, &str)], broker: &BrokerConfig| {
        TopicConfig::resolve(&overrides(topic), broker).unwrap().compression
    };
    let bare = BrokerConfig::default();
    assert_eq!(codec(&[], &bare), None);
    assert_eq!(codec(&[("compression.type", "producer")], &bare), None);
    for (name, expected) in [
        ("uncompressed", Codec::None),
        ("gzip", Codec::Gzip { level: 6 }),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd { level: 3 }),
    ] {
        assert_eq!(codec(&[("compression.type", name)], &bare), Some(expected));
    }
    let levels = broker(&[
        ("compression.type", "gzip"),
        ("compression.gzip.level", "9"),
        ("compression.zstd.level", "-7"),
    ]);
    assert_eq!(codec(&[], &levels), Some(Codec::Gzip { level: 9 }));
    assert_eq!(codec(&[("compression.gzip.level", "1")], &levels), Some(Codec::Gzip { level: 1 }));
    let zstd = ("compression.type", "zstd");
    assert_eq!(codec(&[zstd], &levels), Some(Codec::Zstd { level: -7 }));
    assert_eq!(codec(&[("compression.type", "producer")], &levels), None);
}

#[test]
fn refusals_say_what_and_why() {
    let refusal = |scope, name: &str, value: &str| {
        check(scope, &overrides(&[(name, value)]), &BrokerConfig::default())
            .unwrap_err()
            .to_string()
    };
    for (scope, name, value, text) in [
        (Scope::Topic, "retention", "1", "Unknown topic config name: retention"),
        (
            Scope::Topic,
            "retenton.ms",
            "1",
            "Unknown topic config name: retenton.ms (did you mean retention.ms?)",
        ),
        (
            Scope::Topic,
            "retention.ms",
            "x",
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            Scope::Topic,
            "retention.ms",
            "-2",
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        ),
        (
            Scope::Topic,
            "compression.type",
            "zip",
            "Invalid value zip for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            Scope::Topic,
            "remote.storage.enable",
            "true",
            "Invalid value true for configuration remote.storage.enable: only false works: there is no tiered storage",
        ),
        (
            Scope::Broker,
            "num.partitions",
            "3",
            "Cannot update these configs dynamically: [num.partitions]",
        ),
        (
            Scope::Broker,
            "listeners",
            "PLAINTEXT://:1",
            "listeners can't be set here: it shows kafka_listen (--kafka-listen)",
        ),
        (
            Scope::Group,
            "consumer.session.timeout.ms",
            "1",
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            Scope::ClientMetrics,
            "match",
            "colour=red",
            "Illegal client matching pattern: colour=red",
        ),
    ] {
        assert_eq!(refusal(scope, name, value), text);
    }
    let both = overrides(&[("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "4")]);
    assert_eq!(
        check(Scope::Topic, &both, &BrokerConfig::default()).unwrap_err().to_string(),
        "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)"
    );
}

#[test]
fn a_start_refuses_what_a_flag_decides_and_what_is_unknown() {
    assert!(check_started("num.partitions", "4").is_ok());
    assert!(matches!(check_started("log.dirs", "/x"), Err(ConfigError::Given { .. })));
    assert!(matches!(
        check_started("ssl.keystore.location", "/x"),
        Err(ConfigError::Unknown { .. })
    ));
    assert_eq!(suggest("num.partition"), Some("num.partitions"));
}

#[test]
fn list_operations_follow_kafka() {
    let broker = BrokerConfig::default();
    let run = |overrides: &Overrides, name: &str, operation, value: &str| {
        apply(Scope::Topic, overrides, &[change(name, operation, value)], &broker)
    };
    let none = Overrides::new();
    let set = run(&none, "cleanup.policy", Operation::Set, "compact").unwrap();
    let both = run(&set, "cleanup.policy", Operation::Append, "delete").unwrap();
    assert_eq!(both["cleanup.policy"], "compact,delete");
    assert_eq!(run(&both, "cleanup.policy", Operation::Append, "delete").unwrap(), both);
    let one = run(&both, "cleanup.policy", Operation::Subtract, "compact").unwrap();
    assert_eq!(one["cleanup.policy"], "delete");
    assert_eq!(run(&one, "cleanup.policy", Operation::Delete, "").unwrap(), none);
    let refused = run(&none, "retention.ms", Operation::Append, "1").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Can't APPEND to key retention.ms because its type is not LIST."
    );
    assert!(run(&none, "no.such.thing", Operation::Set, "1").is_err());
}

#[test]
fn what_another_version_stored_is_left_out_and_told() {
    let stored = overrides(&[("retention.ms", "7"), ("of.the.future", "1")]);
    let (topic, refused) = TopicConfig::resolve_stored(&stored, &BrokerConfig::default());
    assert_eq!((topic.retention_ms, refused.len()), (Some(7), 1));
    let stored = overrides(&[("message.max.bytes", "77"), ("num.partitions", "9")]);
    let (broker, refused) = BrokerConfig::default().with_stored(stored, Overrides::new());
    assert_eq!(refused.len(), 1);
    let topic = TopicConfig::resolve(&Overrides::new(), &broker).unwrap();
    assert_eq!(topic.message_bytes_max, 77);
}
