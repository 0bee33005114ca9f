"""ListOffsets, DeleteRecords, retention, and what a topic's deletion takes away."""

import time

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from harness.process import until

T0 = 1_700_000_000_000


def fill(librdkafka, broker, topic, count, **fields):
    records = [{"value": f"v{n}", "partition": 0, "timestamp": T0 + 1000 * n, **fields} for n in range(count)]
    assert [a["offset"] for a in librdkafka.produce(broker.bootstrap, topic, records)] == list(range(count))


def test_offsets_by_time_are_those_of_the_first_record_at_or_after_it(broker, admin, librdkafka, name):
    admin.create(name)
    fill(librdkafka, broker, name, 10)
    for timestamp, offset in [(0, 0), (T0, 0), (T0 + 1, 1), (T0 + 5000, 5), (T0 + 9000, 9), (T0 + 9001, -1)]:
        assert admin.offsets(name, OffsetSpec.for_timestamp(timestamp)).offset == offset, timestamp


def test_offsets_by_time_with_timestamps_out_of_order(broker, admin, librdkafka, name):
    admin.create(name)
    times = [T0 + 5000, T0 + 1000, T0 + 9000, T0 + 2000]
    librdkafka.produce(broker.bootstrap, name, [{"value": "v", "partition": 0, "timestamp": t} for t in times])
    assert admin.offsets(name, OffsetSpec.for_timestamp(T0)).offset == 0
    assert admin.offsets(name, OffsetSpec.for_timestamp(T0 + 5001)).offset == 2
    newest = admin.offsets(name, OffsetSpec.max_timestamp())
    assert (newest.offset, newest.timestamp) == (2, T0 + 9000)


def test_earliest_latest_and_an_empty_partition(broker, admin, librdkafka, name):
    admin.create(name)
    assert admin.start_and_end(name) == (0, 0)
    assert admin.offsets(name, OffsetSpec.max_timestamp()).offset == -1
    fill(librdkafka, broker, name, 4)
    assert admin.start_and_end(name) == (0, 4)


def test_read_committed_ends_where_read_uncommitted_does_without_transactions(broker, admin, librdkafka, name):
    admin.create(name)
    fill(librdkafka, broker, name, 4)
    where = TopicPartition(name, 0)
    for isolation in IsolationLevel:
        answer = admin.client.list_offsets({where: OffsetSpec.latest()}, isolation_level=isolation)[where].result(30)
        assert answer.offset == 4


def test_offsets_of_unknown_topics_are_an_error(admin, name):
    with pytest.raises(KafkaException):
        admin.offsets(name, OffsetSpec.latest())


def test_deleted_records_are_gone_and_offsets_stay(broker, admin, librdkafka, name):
    admin.create(name)
    fill(librdkafka, broker, name, 10)
    assert admin.delete_records(name, before=6) == 6
    assert admin.start_and_end(name) == (6, 10)
    assert [r["offset"] for r in librdkafka.consume(broker.bootstrap, name, 4)] == [6, 7, 8, 9]
    assert admin.delete_records(name, before=3) == 6  # lower than the start: nothing to do
    assert admin.delete_records(name, before=-1) == 10  # all
    assert admin.start_and_end(name) == (10, 10)
    with pytest.raises(KafkaException) as raised:
        admin.delete_records(name, before=11)
    assert raised.value.args[0].code() == KafkaError.OFFSET_OUT_OF_RANGE


def test_consumers_below_the_log_start_are_out_of_range(broker, admin, librdkafka, name):
    admin.create(name)
    fill(librdkafka, broker, name, 5)
    admin.delete_records(name, before=3)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(name, 0, 1)])
    errors = []

    def told():
        message = consumer.poll(0.2)
        if message is not None and message.error():
            errors.append(message.error().code())
        return errors

    until(told, "the consumer is told")
    consumer.close()
    assert errors[0] == KafkaError._AUTO_OFFSET_RESET


@pytest.mark.settings(log_retention_check_interval_ms=300, log_segment_bytes=1_048_576, log_initial_task_delay_ms=100)
def test_retention_by_bytes_and_by_time(own_broker, admin_of, librdkafka, name):
    admin = admin_of(own_broker.bootstrap)
    admin.create(name + "-bytes", **{"retention.bytes": 2_000_000, "segment.bytes": 1_048_576})
    admin.create(name + "-time", **{"retention.ms": 1000, "segment.ms": 1000})
    admin.create(name + "-kept")
    kilobyte = "x" * 1000
    for topic in ("-bytes", "-time", "-kept"):
        librdkafka.produce(own_broker.bootstrap, name + topic, [{"value": kilobyte, "partition": 0} for _ in range(6000)])
    until(lambda: admin.start_and_end(name + "-time")[0] == 6000, "time has passed", 60)
    until(lambda: 0 < admin.start_and_end(name + "-bytes")[0], "bytes are over", 60)
    start, end = admin.start_and_end(name + "-bytes")
    assert end == 6000
    assert end - start >= 1900, "retention.bytes must be left"
    assert admin.start_and_end(name + "-kept") == (0, 6000)
    seen = librdkafka.consume(own_broker.bootstrap, name + "-bytes", end - start)
    assert len(seen) >= 1900


def test_a_topic_created_again_brings_nothing_back(broker, admin, librdkafka, name):
    """Neither records, nor the offsets that groups committed, nor what its producers had sent."""
    admin.create(name)
    fill(librdkafka, broker, name, 10)
    group = name + "-group"
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(name, 0, 7)], asynchronous=False)
    assert consumer.committed([TopicPartition(name, 0)], timeout=10)[0].offset == 7
    admin.delete(name)
    admin.create(name)
    assert admin.start_and_end(name) == (0, 0)
    until(lambda: _committed(admin, group) == {}, "the group's offsets are gone", 60)
    consumer.close()
    librdkafka.produce(broker.bootstrap, name, [{"value": "new", "partition": 0}])
    assert [(r["offset"], r["value"]) for r in librdkafka.consume(broker.bootstrap, name, 1)] == [(0, "new")]


def _committed(admin, group):
    answer = admin.client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    return {(p.topic, p.partition): p.offset for p in answer.topic_partitions if p.offset >= 0}


def test_a_fetch_waits_for_records_and_is_woken_by_them(broker, admin, librdkafka, name):
    """A consumer with a long fetch.wait.max.ms gets a record when it is written, not when the wait ends."""
    admin.create(name)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "fetch.wait.max.ms": 20_000,
                         "socket.timeout.ms": 60_000, "auto.offset.reset": "earliest"})  # fmt: skip
    consumer.assign([TopicPartition(name, 0, 0)])
    assert consumer.poll(1.0) is None  # the fetch is under way
    librdkafka.produce(broker.bootstrap, name, [{"value": "wake", "partition": 0}])
    written = time.monotonic()
    message = consumer.poll(15)
    assert message is not None and message.value() == b"wake"
    assert time.monotonic() - written < 5
    consumer.close()
