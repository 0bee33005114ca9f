"""Topics, partitions and configs through librdkafka's admin client: what is accepted, refused, shown, and with which source."""

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewTopic
from harness.process import until


def refused(call, *args, **kwargs) -> KafkaError:
    with pytest.raises(KafkaException) as raised:
        call(*args, **kwargs)
    return raised.value.args[0]


def shows(admin, topic: str, config: str, value: str):
    """Kafka answers a change before its metadata cache knows of it."""
    until(lambda: admin.config(topic)[config].value == value, f"{config} is {value}", 10)


def test_a_created_topic_has_its_partitions_and_configs(admin, name):
    admin.create(name, partitions=5, **{"retention.ms": 3_600_000})
    assert admin.partitions(name) == [0, 1, 2, 3, 4]
    retention = admin.config(name)["retention.ms"]
    assert (retention.value, retention.source) == ("3600000", ConfigSource.DYNAMIC_TOPIC_CONFIG.value)


def test_validate_only_creates_nothing(admin, name):
    admin.create(name, partitions=3, validate_only=True)
    assert name not in admin.topics()


@pytest.mark.parametrize("bad", ["", ".", "..", "a" * 250, "spa ce", "sla/sh", "ünï"])
def test_invalid_names_are_refused(admin, bad):
    assert refused(admin.create, bad).code() == KafkaError.TOPIC_EXCEPTION


@pytest.mark.parametrize("good", ["a", "a" * 240, "A.b", "a_b-c.d", "..."])
def test_valid_names_are_accepted(admin, name, good):
    admin.create(good + name[-8:])


def test_names_that_differ_in_dot_and_underscore_collide(admin, name):
    admin.create(name + ".a_b")
    assert refused(admin.create, name + "_a.b").code() == KafkaError.TOPIC_EXCEPTION


def test_an_existing_topic_is_not_created_again(admin, name):
    admin.create(name)
    assert refused(admin.create, name).code() == KafkaError.TOPIC_ALREADY_EXISTS


def test_a_topic_without_partitions_is_refused(admin, name):
    assert refused(admin.create, name, partitions=0, validate_only=True).code() == KafkaError.INVALID_PARTITIONS


def test_minus_one_asks_for_the_default_partition_count(admin, name):
    admin.client.create_topics([NewTopic(name, -1)])[name].result(30)
    until(lambda: admin.partitions(name) == [0], "the topic is there")


@pytest.mark.millrace  # one machine keeps the data, whatever a manifest asks for
@pytest.mark.parametrize("replication", [-1, 1, 3])
def test_any_replication_factor_is_accepted_and_shown_as_one(admin, name, replication):
    admin.create(name, replication=replication)
    partition = admin.client.list_topics(name, timeout=10).topics[name].partitions[0]
    assert len(partition.replicas) == len(partition.isrs) == 1


def test_replica_assignments_may_name_only_brokers_that_exist(admin, name):
    broker = next(iter(admin.client.list_topics(timeout=10).brokers))
    ours = NewTopic(name, 2, replica_assignment=[[broker], [broker]])
    admin.client.create_topics([ours])[name].result(30)
    until(lambda: admin.partitions(name) == [0, 1], "the topic is there")
    others = NewTopic(name + "-x", 1, replica_assignment=[[broker + 77]])
    error = refused(admin.client.create_topics([others])[name + "-x"].result, 30)
    assert error.code() == KafkaError.INVALID_REPLICA_ASSIGNMENT


def test_partitions_can_be_added_never_removed(admin, name):
    admin.create(name, partitions=2)
    admin.add_partitions(name, 5)
    for wrong in (5, 3):
        assert refused(admin.add_partitions, name, wrong).code() == KafkaError.INVALID_PARTITIONS
    assert refused(admin.add_partitions, name + "-none", 2).code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize(
    ("config", "value"),
    [
        ("retention.ms", "soon"),
        ("no.such.config", "1"),
        ("cleanup.policy", "shred"),
        ("message.timestamp.type", "Never"),
        ("max.message.bytes", "-1"),
        ("min.insync.replicas", "0"),
    ],
)
def test_configs_that_do_not_exist_or_make_no_sense_are_refused(admin, name, config, value):
    assert refused(admin.create, name, **{config: value}).code() == KafkaError.INVALID_CONFIG
    admin.create(name)
    assert refused(admin.set_config, name, **{config: value}).code() == KafkaError.INVALID_CONFIG


def test_configs_show_defaults_and_come_back_when_deleted(admin, name):
    admin.create(name)
    before = admin.config(name)["retention.ms"]
    assert (before.value, before.is_default) == ("604800000", True)
    admin.set_config(name, **{"retention.ms": 1000})
    shows(admin, name, "retention.ms", "1000")
    changed = admin.config(name)["retention.ms"]
    assert (changed.source, changed.is_default) == (ConfigSource.DYNAMIC_TOPIC_CONFIG.value, False)
    admin.set_config(name, "DELETE", **{"retention.ms": ""})
    shows(admin, name, "retention.ms", "604800000")


def test_list_configs_are_appended_to_and_subtracted_from(admin, name):
    admin.create(name)
    admin.set_config(name, "APPEND", **{"cleanup.policy": "compact"})
    shows(admin, name, "cleanup.policy", "delete,compact")
    admin.set_config(name, "SUBTRACT", **{"cleanup.policy": "delete"})
    shows(admin, name, "cleanup.policy", "compact")


#: Topic configs of Kafka 4.3 that programs and manifests set, with their defaults.
DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": "9223372036854775807",
    "flush.ms": "9223372036854775807",
    "index.interval.bytes": "4096",
    "max.compaction.lag.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "remote.storage.enable": "false",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}


def test_every_topic_config_of_kafka_is_shown_with_its_default(admin, name):
    admin.create(name)
    shown = {n: e.value for n, e in admin.config(name).items()}
    assert {n: shown.get(n) for n in DEFAULTS} == DEFAULTS


def test_configs_without_a_meaning_here_are_kept_and_shown(admin, name):
    kept = {"flush.messages": "7", "flush.ms": "8", "segment.bytes": "1048576", "segment.ms": "60000", "index.interval.bytes": "100"}
    admin.create(name, **kept)
    shown = admin.config(name)
    assert {n: shown[n].value for n in kept} == kept


def test_broker_configs_are_shown_with_synonyms(admin):
    broker = next(iter(admin.client.list_topics(timeout=10).brokers))
    resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
    shown = admin.client.describe_configs([resource])[resource].result(30)
    assert shown["num.partitions"].value == "1"
    assert shown["log.retention.hours"].value == "168"
    for setting in ("listeners", "advertised.listeners", "log.dirs", "message.max.bytes", "auto.create.topics.enable"):
        assert setting in shown


@pytest.mark.filterwarnings("ignore:alter_configs has been deprecated")
def test_the_old_alter_configs_replaces_all(admin, name):
    admin.create(name, **{"retention.ms": 1000, "retention.bytes": 2000})
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, set_config={"retention.ms": "5000"})
    admin.client.alter_configs([resource])[resource].result(30)
    shows(admin, name, "retention.ms", "5000")
    shows(admin, name, "retention.bytes", "-1")


def test_validate_only_alters_nothing(admin, name):
    admin.create(name)
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    admin.client.incremental_alter_configs([resource], validate_only=True)[resource].result(30)
    assert admin.config(name)["retention.ms"].value == "604800000"


def test_configs_of_unknown_topics_are_an_error(admin, name):
    assert refused(admin.config, name).code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_deleted_topics_are_gone_and_unknown_ones_are_an_error(admin, name):
    admin.create(name)
    admin.delete(name)
    assert refused(admin.delete, name).code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_created_again_has_another_id(admin, name):
    ids = []
    for _ in range(2):
        admin.create(name)
        described = admin.client.describe_topics(TopicCollection([name]))[name].result(30)
        ids.append(str(described.topic_id))
        admin.delete(name)
    assert ids[0] != ids[1]


def test_the_cluster_describes_itself(admin):
    cluster = admin.client.describe_cluster().result(30)
    assert cluster.cluster_id
    assert cluster.controller.id in {node.id for node in cluster.nodes}


def test_metadata_about_unknown_topics_creates_them_unless_told_not_to(broker, admin, name):
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(name, b"made")
    assert producer.flush(30) == 0
    assert name in admin.topics()


@pytest.mark.settings(auto_create_topics_enable="false")
def test_topics_are_not_created_by_use_when_that_is_off(own_broker, admin_of, name):
    reports = []
    producer = Producer({"bootstrap.servers": own_broker.bootstrap, "message.timeout.ms": 3000})
    producer.produce(name, b"lost", on_delivery=lambda error, _: reports.append(error.code()))
    producer.flush(30)
    assert reports in ([KafkaError.UNKNOWN_TOPIC_OR_PART], [KafkaError._UNKNOWN_TOPIC], [KafkaError._MSG_TIMED_OUT])
    assert name not in admin_of(own_broker.bootstrap).topics()
