"""What was acknowledged is there after kill -9: records, committed offsets, topics, configs, producers' sequences."""

import http.client
import json
import time

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from harness.clients import feed
from harness.process import until
from harness.servers import Millrace


def succeeds(call, *args, **kwargs) -> bool:
    """A Kafka that was just started accepts connections before it coordinates groups and leads partitions."""
    try:
        call(*args, **kwargs)
    except KafkaException:
        return False
    return True


def test_acknowledged_records_survive_kill_9_under_load(own_broker, admin_of, librdkafka, name):
    """A producer that does not retry across the kill: what it was told is written must be there, in that place."""
    admin_of(own_broker.bootstrap).create(name, partitions=3)
    acked: dict[tuple[int, int], bytes] = {}

    def told(error, message):
        if error is None:
            acked[message.partition(), message.offset()] = message.value()

    for round_ in range(3):
        producer = Producer({"bootstrap.servers": own_broker.bootstrap, "message.timeout.ms": 2000, "linger.ms": 1, "log_level": 0})
        enough, number = len(acked) + 3000, 0
        while len(acked) < enough:
            producer.produce(name, b"%d-%d" % (round_, number), on_delivery=told)
            producer.poll(0)
            number += 1
            if number % 10_000 == 0:
                producer.poll(0.05)
        own_broker.restart()  # while records are under way
        producer.flush(10)
    until(lambda: succeeds(admin_of(own_broker.bootstrap).start_and_end, name, 2), "it leads the partitions")
    ends = {p: admin_of(own_broker.bootstrap).start_and_end(name, p)[1] for p in range(3)}
    seen = librdkafka.consume(own_broker.bootstrap, name, sum(ends.values()))
    stands = {(r["partition"], r["offset"]): r["value"].encode() for r in seen}
    assert {place: stands.get(place) for place in acked} == acked
    for partition, end in ends.items():
        assert {o for p, o in stands if p == partition} == set(range(end)), "no gap"


def test_what_a_consumer_has_read_is_there_after_kill_9(own_broker, admin_of, librdkafka, name):
    """A reader at the tail sees no record that a crash could take back."""
    admin_of(own_broker.bootstrap).create(name)
    producer = Producer({"bootstrap.servers": own_broker.bootstrap, "message.timeout.ms": 1000, "linger.ms": 0, "acks": 1, "log_level": 0})
    reader = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": name, "fetch.wait.max.ms": 1, "log_level": 0})
    reader.assign([TopicPartition(name, 0, 0)])
    read: dict[int, bytes] = {}
    number = 0
    while len(read) < 2000:
        for _ in range(20):
            producer.produce(name, b"%d" % number)
            number += 1
        producer.poll(0)
        for message in reader.consume(1000, 0.01):
            if not message.error():
                read[message.offset()] = message.value()
    own_broker.kill()
    for message in reader.consume(100_000, 0.5):  # what had been sent to it
        if not message.error():
            read[message.offset()] = message.value()
    own_broker.start()
    until(lambda: succeeds(admin_of(own_broker.bootstrap).start_and_end, name), "it leads the partition")
    end = admin_of(own_broker.bootstrap).start_and_end(name)[1]
    stands = {r["offset"]: r["value"].encode() for r in librdkafka.consume(own_broker.bootstrap, name, end)}
    assert {offset: stands.get(offset) for offset in read} == read
    reader.close()


def test_committed_offsets_topics_and_configs_survive_kill_9(own_broker, admin_of, librdkafka, name):
    admin = admin_of(own_broker.bootstrap)
    admin.create(name, partitions=3, **{"retention.ms": 123_456})
    admin.create(name + "-deleted")
    admin.delete(name + "-deleted")
    librdkafka.produce(own_broker.bootstrap, name, [{"value": "v", "partition": 1} for _ in range(20)])
    consumer = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": name, "enable.auto.commit": False})
    until(lambda: succeeds(consumer.commit, offsets=[TopicPartition(name, 1, 17, "here")], asynchronous=False), "the offset is committed")
    consumer.close()
    admin.add_partitions(name, 4)
    cluster = admin.client.describe_cluster().result(30).cluster_id
    own_broker.restart()

    admin = admin_of(own_broker.bootstrap)
    assert len(admin.partitions(name)) == 4
    assert name + "-deleted" not in admin.topics()
    assert admin.config(name)["retention.ms"].value == "123456"
    assert admin.client.describe_cluster().result(30).cluster_id == cluster
    group = ConsumerGroupTopicPartitions(name, [TopicPartition(name, 1)])

    def committed():
        [p] = admin.client.list_consumer_group_offsets([group])[name].result(30).topic_partitions
        return (p.offset, p.metadata)

    until(lambda: committed() == (17, "here"), "the offset is committed")


@pytest.mark.millrace  # Kafka writes log starts down once a minute
def test_deleted_records_stay_deleted_after_kill_9(own_broker, admin_of, librdkafka, name):
    admin_of(own_broker.bootstrap).create(name)
    librdkafka.produce(own_broker.bootstrap, name, [{"value": "v", "partition": 0} for _ in range(20)])
    admin_of(own_broker.bootstrap).delete_records(name, before=5)
    own_broker.restart()
    assert admin_of(own_broker.bootstrap).start_and_end(name) == (5, 20)


@pytest.mark.parametrize("family_name", ["confluent-kafka", "java", "franz-go"])
def test_an_idempotent_producer_goes_on_after_kill_9_without_loss_or_doubles(own_broker, admin_of, family, librdkafka, name, family_name, tmp_path):
    admin = admin_of(own_broker.bootstrap)
    admin.create(name, partitions=2)
    pump = family(family_name).pump(own_broker.bootstrap, name, tmp_path / "pump.log", idempotent="true", timeout_ms=120_000)
    total, fed, stands = 20_000, 0, 0

    def pieces():
        nonlocal fed
        while fed < total:
            fed += 100
            yield b"".join(b"key\t%d\n" % n for n in range(fed - 100, fed))

    feeder = feed(pump, pieces(), lambda: fed <= stands + 3000)
    for enough in (4_000, 10_000):

        def written_enough():
            nonlocal stands
            stands = max(stands, written(admin_of, own_broker, name))
            return stands >= enough

        until(written_enough, f"{enough} are written", 60)
        assert feeder.is_alive()
        own_broker.restart()
    stands = total
    feeder.join(60)
    assert pump.child.wait(120) == 0, pump.log.read_text()[-2000:]
    assert json.loads(pump.log.with_suffix(".out").read_text()) == {"sent": total, "acked": total}
    seen = librdkafka.consume(own_broker.bootstrap, name, written(admin_of, own_broker, name))
    assert [r["value"] for r in sorted(seen, key=lambda r: r["offset"])] == [str(n) for n in range(total)]


def written(admin_of, broker, topic) -> int:
    try:
        return sum(admin_of(broker.bootstrap).start_and_end(topic, p)[1] for p in range(2))
    except KafkaException:  # the broker is away
        return 0


@pytest.mark.millrace  # Kafka takes seconds
def test_it_serves_within_a_second_of_kill_9(own_broker, admin_of, librdkafka, name):
    admin_of(own_broker.bootstrap).create(name, partitions=12)
    for _ in range(5):
        librdkafka.produce(own_broker.bootstrap, name, [{"value": "x" * 1000} for _ in range(20_000)])
    own_broker.kill()
    started = time.monotonic()
    own_broker.start()
    assert time.monotonic() - started < 1.5, "a second, and what the test itself takes"


@pytest.mark.millrace
def test_sigterm_drains_and_exits_0(own_broker, admin_of, librdkafka, name):
    librdkafka.produce(own_broker.bootstrap, name, [{"value": "v"} for _ in range(100)])
    assert own_broker.terminate() == 0
    own_broker.start()
    assert len(librdkafka.consume(own_broker.bootstrap, name, 100)) == 100


@pytest.mark.millrace
def test_a_second_process_on_the_same_directory_refuses_to_start(own_broker):
    second = Millrace(own_broker.home)
    with pytest.raises(AssertionError, match="ended with [1-9]"):
        second.start()
    assert own_broker.process.alive()


@pytest.mark.millrace
def test_health_and_metrics_are_served(own_broker, librdkafka, name):
    librdkafka.produce(own_broker.bootstrap, name, [{"value": "v"}])
    connection = http.client.HTTPConnection(own_broker.http)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    assert lines
    assert all(line.startswith(("#", "millrace_")) for line in lines if line)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_kills_under_load(own_broker, admin_of, librdkafka, name, tmp_path):
    """A long loop of what the flights do twice."""
    admin_of(own_broker.bootstrap).create(name, partitions=2)
    pump = librdkafka.pump(own_broker.bootstrap, name, tmp_path / "pump.log", idempotent="true", timeout_ms=300_000, compression="lz4")
    number, written_before = 0, 0
    for _ in range(30):
        for _ in range(50):
            pump.child.stdin.write(b"".join(b"key\t%d\n" % n for n in range(number, number + 100)))
            pump.child.stdin.flush()
            number += 100
        until(lambda: written(admin_of, own_broker, name) > written_before, "it goes on", 60)
        own_broker.restart()
        written_before = written(admin_of, own_broker, name)
    pump.child.stdin.close()
    assert pump.child.wait(120) == 0, pump.log.read_text()[-2000:]
    seen = librdkafka.consume(own_broker.bootstrap, name, written(admin_of, own_broker, name))
    assert [int(r["value"]) for r in sorted(seen, key=lambda r: r["offset"])] == list(range(number))
