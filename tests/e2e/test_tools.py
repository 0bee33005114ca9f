"""Kafka's own command line tools, as people and scripts use them."""

import json
import re

import pytest
from harness import tools
from harness.process import until
from harness.tools import kafka

pytestmark = pytest.mark.usefixtures("kafka_tools")


@pytest.fixture
def topic(admin, name):
    admin.create(name, partitions=2)
    return name


@pytest.fixture
def at(broker):
    return ("--bootstrap-server", broker.bootstrap)


def test_topics(at, name):
    kafka("topics", *at, "--create", "--topic", name, "--partitions", 3, "--replication-factor", 1, "--config", "retention.ms=60000")
    assert name in kafka("topics", *at, "--list").splitlines()
    described = kafka("topics", *at, "--describe", "--topic", name)
    assert "PartitionCount: 3" in described
    assert "ReplicationFactor: 1" in described
    assert "retention.ms=60000" in described
    kafka("topics", *at, "--alter", "--topic", name, "--partitions", 6)
    assert "PartitionCount: 6" in kafka("topics", *at, "--describe", "--topic", name)
    assert "already exists" in kafka("topics", *at, "--create", "--topic", name, fails=True)
    assert "Unknown topic config" in kafka("topics", *at, "--create", "--topic", name + "-x", "--config", "a=b", fails=True)
    kafka("topics", *at, "--delete", "--topic", name)
    assert name not in kafka("topics", *at, "--list").splitlines()
    assert "does not exist" in kafka("topics", *at, "--describe", "--topic", name, fails=True)


def test_configs_of_topics(at, topic):
    entity = ("--entity-type", "topics", "--entity-name", topic)
    kafka("configs", *at, *entity, "--alter", "--add-config", "retention.ms=1234,max.message.bytes=5678")
    shown = until(lambda: _if("retention.ms=1234", kafka("configs", *at, *entity, "--describe")), "the change shows")
    assert "max.message.bytes=5678" in shown
    assert "DYNAMIC_TOPIC_CONFIG:retention.ms=1234" in shown
    assert "DEFAULT_CONFIG:message.max.bytes=1048588" in shown, "a synonym: what would be without it"
    kafka("configs", *at, *entity, "--alter", "--delete-config", "retention.ms")
    everything = kafka("configs", *at, *entity, "--describe", "--all")
    assert "cleanup.policy=delete" in everything
    assert "retention.ms=604800000" in everything


def _if(part: str, text: str) -> str | None:
    return text if part in text else None


def test_configs_of_brokers(at, admin):
    broker = next(iter(admin.client.list_topics(timeout=10).brokers))
    everything = kafka("configs", *at, "--entity-type", "brokers", "--entity-name", broker, "--describe", "--all")
    assert "num.partitions=1" in everything
    assert "log.retention.hours=168" in everything
    defaults = kafka("configs", *at, "--entity-type", "brokers", "--entity-default", "--describe")
    assert "Default configs for brokers" in defaults


def test_configs_of_groups(at, name):
    entity = ("--entity-type", "groups", "--entity-name", name)
    kafka("configs", *at, *entity, "--alter", "--add-config", "consumer.session.timeout.ms=50000")
    until(lambda: "consumer.session.timeout.ms=50000" in kafka("configs", *at, *entity, "--describe"), "the change shows")


def test_consumer_groups(at, broker, topic, librdkafka, tmp_path, request):
    librdkafka.produce(broker.bootstrap, topic, [{"value": str(n), "partition": n % 2} for n in range(20)])
    member = librdkafka.member(broker.bootstrap, topic, topic, tmp_path / "member.tsv")
    request.addfinalizer(member.stop)
    until(lambda: len(member.rows()) == 20, "all is read")
    group = ("--group", topic)
    assert topic in kafka("consumer-groups", *at, "--list").splitlines()
    described = kafka("consumer-groups", *at, *group, "--describe")
    assert sum(line.split()[:3:2] == [topic, "0"] for line in described.splitlines()) == 1
    assert "Stable" in kafka("consumer-groups", *at, *group, "--describe", "--state")
    assert "range" in kafka("consumer-groups", *at, *group, "--describe", "--state")
    assert "rdkafka" in kafka("consumer-groups", *at, *group, "--describe", "--members", "--verbose")
    reset = ("--reset-offsets", "--to-offset", 3, "--topic", f"{topic}:0", "--execute")
    assert "only be reset if the group" in kafka("consumer-groups", *at, *group, *reset)
    member.terminate()
    until(lambda: "Empty" in kafka("consumer-groups", *at, *group, "--describe", "--state"), "the group is empty")
    assert "3" in kafka("consumer-groups", *at, *group, *reset)
    kafka("consumer-groups", *at, *group, "--delete-offsets", "--topic", f"{topic}:1")
    described = [line.split() for line in kafka("consumer-groups", *at, *group, "--describe", "--offsets").splitlines()]
    assert {(d[2], d[3]) for d in described if d[:2] == [topic, topic]} == {("0", "3")}
    kafka("consumer-groups", *at, *group, "--delete")
    assert topic not in kafka("consumer-groups", *at, "--list").splitlines()


def test_get_offsets_and_delete_records(at, broker, topic, librdkafka, tmp_path):
    librdkafka.produce(broker.bootstrap, topic, [{"value": "v", "partition": 0} for _ in range(10)])
    assert kafka("get-offsets", *at, "--topic", topic).split() == [f"{topic}:0:10", f"{topic}:1:0"]
    wanted = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 4}]}
    (tmp_path / "wanted.json").write_text(json.dumps(wanted))
    assert "low_watermark: 4" in kafka("delete-records", *at, "--offset-json-file", tmp_path / "wanted.json")
    assert kafka("get-offsets", *at, "--topic", topic, "--time", "earliest").split() == [f"{topic}:0:4", f"{topic}:1:0"]


def test_log_dirs(at, broker, topic, librdkafka):
    librdkafka.produce(broker.bootstrap, topic, [{"value": "v" * 1000, "partition": 0} for _ in range(10)])
    said = kafka("log-dirs", *at, "--describe", "--topic-list", topic)
    [answer] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    [directory] = answer["brokers"][0]["logDirs"]
    sizes = {p["partition"]: p["size"] for p in directory["partitions"]}
    assert directory["error"] is None
    assert sizes[f"{topic}-0"] > 1000
    assert sizes[f"{topic}-1"] == 0


def test_verifiable_producer_and_consumer(at, topic, tmp_path):
    said = kafka("verifiable-producer", *at, "--topic", topic, "--max-messages", 500, "--acks", -1)
    done = [json.loads(line) for line in said.splitlines() if line.startswith("{")][-1]
    assert (done["name"], done["sent"], done["acked"]) == ("tool_data", 500, 500)
    log = tmp_path / "consumer.log"
    options = ("--group-id", topic, "--reset-policy", "earliest", "--group-protocol", "classic", "--max-messages", 500)
    consumer = tools.start("verifiable-consumer", *at, "--topic", topic, *options, log=log)
    consumer.child.wait(60)
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert sum(e["count"] for e in events if e["name"] == "records_consumed") >= 500
    assert all(e["success"] for e in events if e["name"] == "offsets_committed")
    assert consumer.child.returncode == 0


def test_performance_tools(at, broker, topic):
    said = kafka("producer-perf-test", *at, "--topic", topic, "--num-records", 20_000, "--record-size", 1000, "--throughput", -1,
                 "--command-property", "acks=all")  # fmt: skip
    assert "20000 records sent" in said
    assert "errored" not in said.replace("0 errored", "")
    said = kafka("consumer-perf-test", *at, "--topic", topic, "--num-records", 20_000, "--timeout", 20_000)
    assert any(line.split(", ")[4:5] and int(line.split(", ")[4]) >= 20_000 for line in said.splitlines() if line[:2] == "20")


def test_tools_that_ask_about_the_cluster(at, topic, tmp_path):
    assert "(id: " in kafka("broker-api-versions", *at)
    assert "Cluster ID: " in kafka("cluster", "cluster-id", *at)
    status = dict(re.findall(r"^(\w+): +(.*)$", kafka("metadata-quorum", *at, "describe", "--status"), re.MULTILINE))
    assert int(status["LeaderEpoch"]) > 0
    assert int(status["HighWatermark"]) > 0
    assert status["MaxFollowerLag"] == "0"
    assert status["CurrentObservers"] == "[]"
    names, voter = (line.split("\t") for line in kafka("metadata-quorum", *at, "describe", "--replication", "--human-readable").splitlines()[:2])
    voter = dict(zip(map(str.strip, names), map(str.strip, voter), strict=True))
    assert voter["NodeId"] == status["LeaderId"]
    assert (voter["Lag"], voter["Status"]) == ("0", "Leader")
    assert voter["LastCaughtUpTimestamp"].endswith("ms ago")
    assert "No partition reassignments" in kafka("reassign-partitions", *at, "--list")
    elected = kafka("leader-election", *at, "--election-type", "preferred", "--topic", topic, "--partition", 0)
    assert "Valid replica already elected" in elected
