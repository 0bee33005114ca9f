"""Fixtures: a broker, and the client families. See tests/README.md."""

import os
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.clients import FAMILIES, Family  # noqa: E402
from harness.process import TOOLS, until  # noqa: E402
from harness.servers import KAFKA_IMPATIENT, ApacheKafka, External, Millrace  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--bootstrap", help="run against this broker, which the tests can't stop, instead of Millrace")
    parser.addoption("--kafka", action="store_true", help="run against Apache Kafka from tests/java's jars: proves the tests")
    parser.addoption("--slow", action="store_true", help="run the long tests too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; runs with --slow")
    config.addinivalue_line("markers", "millrace: asserts what Millrace alone promises; skipped against other brokers")
    config.addinivalue_line("markers", "settings(**kafka): settings of the broker under Kafka's names, dots as underscores")


def pytest_collection_modifyitems(config, items):
    other = config.getoption("--bootstrap") or config.getoption("--kafka")
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))
        if item.get_closest_marker("millrace") and other:
            item.add_marker(pytest.mark.skip(reason="asserts what Millrace alone promises"))


class Admin:
    """confluent-kafka's AdminClient with the waiting done: each call returns when the broker has answered, or raises."""

    def __init__(self, bootstrap: str):
        self.client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def create(self, topic: str, partitions: int = 1, replication: int = 1, validate_only: bool = False, **config):
        new = NewTopic(topic, partitions, replication, config={name: str(value) for name, value in config.items()})
        self.client.create_topics([new], validate_only=validate_only)[topic].result(30)
        if not validate_only:  # Kafka answers before its metadata cache knows
            until(lambda: len(self.partitions(topic)) == partitions, f"{topic} has {partitions} partitions")

    def delete(self, topic: str):
        self.client.delete_topics([topic])[topic].result(30)
        until(lambda: topic not in self.topics(), f"{topic} is gone")

    def add_partitions(self, topic: str, total: int):
        self.client.create_partitions([NewPartitions(topic, total)])[topic].result(30)
        until(lambda: len(self.partitions(topic)) == total, f"{topic} has {total} partitions")

    def topics(self) -> set[str]:
        return set(self.client.list_topics(timeout=10).topics)

    def partitions(self, topic: str) -> list[int]:
        """Its partitions; none when it doesn't exist."""
        metadata = self.client.list_topics(timeout=10).topics.get(topic)
        return sorted(metadata.partitions) if metadata else []

    def config(self, topic: str):
        """Its configs as ConfigEntry by name."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        return self.client.describe_configs([resource])[resource].result(30)

    def set_config(self, topic: str, operation: str = "SET", **config):
        entries = [ConfigEntry(n, str(v), incremental_operation=AlterConfigOpType[operation]) for n, v in config.items()]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        self.client.incremental_alter_configs([resource])[resource].result(30)

    def offsets(self, topic: str, spec: OffsetSpec, partition: int = 0):
        """What ListOffsets answers for one partition."""
        where = TopicPartition(topic, partition)
        return self.client.list_offsets({where: spec})[where].result(30)

    def start_and_end(self, topic: str, partition: int = 0) -> tuple[int, int]:
        return tuple(self.offsets(topic, spec, partition).offset for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))

    def delete_records(self, topic: str, before: int, partition: int = 0) -> int:
        """Deletes what stands below `before`; the new log start offset."""
        where = TopicPartition(topic, partition, before)
        return self.client.delete_records([where])[where].result(30).low_watermark


def new_server(config, home: Path, **settings):
    """A server of the kind that the command line asks for, with settings under Kafka's names."""
    if config.getoption("--bootstrap"):
        if settings:
            pytest.skip("needs a broker with its own settings")
        return External(config.getoption("--bootstrap"))
    if config.getoption("--kafka"):
        return ApacheKafka(home, heap="512m", **{**KAFKA_IMPATIENT, **settings})
    return Millrace(home, **{f"kafka.{name}": value for name, value in {"group.initial.rebalance.delay.ms": 0, **settings}.items()})


@pytest.fixture(scope="session")
def shared_broker(pytestconfig, tmp_path_factory):
    server = new_server(pytestconfig, tmp_path_factory.mktemp("shared"))
    yield server.start()
    server.stop()


@pytest.fixture
def broker(shared_broker, request):
    """The broker that most tests share: each uses topics and groups of its own."""
    if shared_broker.process and not shared_broker.process.alive():
        shared_broker.start()  # a test before this one ended it, and failed for that
    yield shared_broker
    _show_log_of(shared_broker, request)
    assert not shared_broker.process or shared_broker.process.alive(), "the server ended during this test"


@pytest.fixture
def own_broker(pytestconfig, tmp_path, request):
    """A broker of the test's own, which it may kill and restart."""
    marker = request.node.get_closest_marker("settings")
    settings = {name.replace("_", "."): value for name, value in marker.kwargs.items()} if marker else {}
    server = new_server(pytestconfig, tmp_path / "server", **settings)
    if isinstance(server, External):
        pytest.skip("needs a broker that it may stop")
    yield server.start()
    _show_log_of(server, request)
    server.stop()


@pytest.fixture
def start_millrace(tmp_path, request):
    """Starts a Millrace of the test's own with settings under our names, Kafka's as `kafka`; for tests marked `millrace`."""
    started = []

    def start(data: Path | None = None, environment: dict[str, str] | None = None, kafka: dict | None = None, **settings):
        named = {f"kafka.{name}": value for name, value in {"group.initial.rebalance.delay.ms": 0, **(kafka or {})}.items()}
        server = Millrace(tmp_path / f"server-{len(started)}", data=data, environment=environment, **named, **settings)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        _show_log_of(server, request)
        server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


FAILED = pytest.StashKey[bool]()


def _show_log_of(server, request):
    if request.node.stash.get(FAILED, False):
        print(f"--- the end of the log of {server.name}\n{server.log_tail()}")


@pytest.fixture
def admin(broker) -> Admin:
    """Administers the shared broker."""
    return Admin(broker.bootstrap)


@pytest.fixture
def admin_of():
    """Administers any broker."""
    return Admin


@pytest.fixture
def name():
    """A topic's or group's name that no other test has."""
    test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0].split("[")[0].removeprefix("test_")
    return f"{test[:40]}-{uuid.uuid4().hex[:8]}"


def _client(name: str) -> Family:
    family = FAMILIES[name]
    if not family.available():
        pytest.skip(f"{family} is not set up: see tests/setup")
    return family


@pytest.fixture(params=FAMILIES)
def client(request) -> Family:
    """Each client family in turn."""
    return _client(request.param)


@pytest.fixture
def family():
    """A client family by its name."""
    return _client


@pytest.fixture
def librdkafka() -> Family:
    return _client("confluent-kafka")


@pytest.fixture
def java() -> Family:
    return _client("java")


@pytest.fixture
def kafka_tools():
    """Kafka's command line tools can be started."""
    if not (TOOLS / "jars.stamp").exists():
        pytest.skip("Kafka's tools are not set up: see tests/setup")
