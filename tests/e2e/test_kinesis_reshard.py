"""Shards that are split and merged, idle and under load, while Kafka's clients use the same topic."""

import itertools
import os
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import Consumer, Producer, TopicPartition
from harness.process import until
from harness.streams import check_lineage, client, is_open, offset_of, read_shard, shard_id, shard_number, shards

pytestmark = pytest.mark.millrace


@pytest.fixture
def kinesis(broker):
    return client(broker)


def create(kinesis, name, shards):
    kinesis.create_stream(StreamName=name, ShardCount=shards)


def scale(kinesis, name, target):
    return kinesis.update_shard_count(StreamName=name, TargetShardCount=target, ScalingType="UNIFORM_SCALING")


def put(kinesis, name, values):
    """Puts values under keys of their own; the shard and the sequence number of each."""
    entries = [{"Data": value.encode(), "PartitionKey": value} for value in values]
    answer = kinesis.put_records(StreamName=name, Records=entries)
    assert answer["FailedRecordCount"] == 0, answer
    return [(shard_number(record["ShardId"]), record["SequenceNumber"]) for record in answer["Records"]]


def everything(kinesis, name) -> dict[str, list[tuple[int, int]]]:
    """Where each value stands, by all shards and through Kinesis: shards and offsets."""
    found: dict[str, list[tuple[int, int]]] = {}
    for number, shard in shards(kinesis, name).items():
        records, children = read_shard(kinesis, name, number)
        assert (children is None) == is_open(shard), (number, children)
        numbers = [int(record["SequenceNumber"]) for record in records]
        assert numbers == sorted(set(numbers)), f"shard {number}"
        for record in records:
            found.setdefault(record["Data"].decode(), []).append((number, offset_of(record["SequenceNumber"])))
    return found


def everything_by_kafka(bootstrap, name) -> dict[str, list[tuple[int, int]]]:
    """The same through Kafka's protocol."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True})
    partitions = consumer.list_topics(name, 30).topics[name].partitions
    consumer.assign([TopicPartition(name, number, 0) for number in partitions])
    found: dict[str, list[tuple[int, int]]] = {}
    ended = set()
    until_end = time.monotonic() + 60
    while len(ended) < len(partitions):
        assert time.monotonic() < until_end, f"{sorted(ended)} of {len(partitions)} partitions end"
        for message in consumer.consume(10_000, 0.5):
            if message.error():
                ended.add(message.partition())
            else:
                found.setdefault(message.value().decode(), []).append((message.partition(), message.offset()))
    consumer.close()
    return found


def test_a_split_and_a_merge_keep_records_order_and_lineage(broker, kinesis, name):
    create(kinesis, name, 1)
    before = put(kinesis, name, [f"before-{n}" for n in range(50)])
    assert {shard for shard, _ in before} == {0}
    kinesis.split_shard(StreamName=name, ShardToSplit=shard_id(0), NewStartingHashKey=str(2**127))
    between = put(kinesis, name, [f"between-{n}" for n in range(50)])
    assert {shard for shard, _ in between} == {1, 2}
    kinesis.merge_shards(StreamName=name, ShardToMerge=shard_id(1), AdjacentShardToMerge=shard_id(2))
    after = put(kinesis, name, [f"after-{n}" for n in range(50)])
    assert {shard for shard, _ in after} == {3}
    # Within one second, and still each generation's numbers come after the one before.
    last = [max(int(number) for _, number in generation) for generation in (before, between)]
    first = [min(int(number) for _, number in generation) for generation in (between, after)]
    assert last[0] < first[0] and last[1] < first[1]
    listed = shards(kinesis, name)
    check_lineage(listed)
    assert (listed[3]["ParentShardId"], listed[3]["AdjacentParentShardId"]) == (shard_id(1), shard_id(2))
    _, children = read_shard(kinesis, name, 0)
    assert [(child["ShardId"], child["ParentShards"]) for child in children] == [(shard_id(1), [shard_id(0)]), (shard_id(2), [shard_id(0)])]
    found = everything(kinesis, name)
    assert len(found) == 150 and all(len(places) == 1 for places in found.values())
    assert everything_by_kafka(broker.bootstrap, name) == found


@pytest.mark.parametrize("steps", [(4, 8, 4), (3, 5, 4, 2, 1, 2)])
def test_shards_are_scaled_up_and_down(kinesis, name, steps):
    create(kinesis, name, steps[0])
    for present, target in itertools.pairwise(steps):
        put(kinesis, name, [f"{present}-{target}-{n}" for n in range(20)])
        answer = scale(kinesis, name, target)
        assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (present, target)
        listed = shards(kinesis, name)
        check_lineage(listed)
        assert sum(map(is_open, listed.values())) == target
        assert kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"] == target
    assert len(everything(kinesis, name)) == 20 * (len(steps) - 1)


def test_a_subscription_ends_with_the_children_of_its_shard(kinesis, name):
    create(kinesis, name, 1)
    stream = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName="c")["Consumer"]["ConsumerARN"]
    put(kinesis, name, ["last"])
    events = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard_id(0), StartingPosition={"Type": "TRIM_HORIZON"})["EventStream"]
    got = []
    reader = threading.Thread(target=lambda: got.extend(event["SubscribeToShardEvent"] for event in events))
    reader.start()
    until(lambda: any(event["Records"] for event in got), "the record is pushed")
    began = time.monotonic()
    kinesis.split_shard(StreamName=name, ShardToSplit=shard_id(0), NewStartingHashKey=str(2**127))
    reader.join(30)
    assert not reader.is_alive() and time.monotonic() - began < 4, "it hears of the split by itself"
    end = got[-1]
    assert [child["ShardId"] for child in end["ChildShards"]] == [shard_id(1), shard_id(2)]
    assert "ContinuationSequenceNumber" not in end or not end["ContinuationSequenceNumber"]
    assert not any(event.get("ChildShards") for event in got[:-1])


def test_kafka_producers_go_on_to_a_partition_that_was_split(broker, kinesis, name):
    """Idempotent ones by every codec, which know nothing of it: no error, no loss, no duplicate."""
    create(kinesis, name, 2)
    told = {}

    def delivered(error, message):
        assert error is None, error
        told[message.value().decode()] = (message.partition(), message.offset())

    producers = [
        Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "compression.type": codec, "linger.ms": 2})
        for codec in ("none", "gzip", "snappy", "lz4", "zstd")
    ]
    sent = 0
    for target in (4, 8, 4, 2):
        for number, producer in enumerate(producers):
            for _ in range(40):
                producer.produce(name, b"v%d" % sent, key=b"k%d" % (sent % 7) if sent % 3 else None, partition=sent % 2, on_delivery=delivered)
                sent += 1
                producer.poll(0)
            if number == 2:
                scale(kinesis, name, target)
    for producer in producers:
        assert producer.flush(60) == 0
    assert len(told) == sent
    found = everything(kinesis, name)
    assert {value: len(places) for value, places in found.items()} == dict.fromkeys(told, 1)
    rerouted = {value for value, place in told.items() if found[value] != [place]}
    assert rerouted and all(found[value][0][0] not in (0, 1) for value in rerouted), "they stand in those that took over"
    assert any(told[value][1] is None for value in rerouted), "they are told no offset"
    assert everything_by_kafka(broker.bootstrap, name) == found


class Load:
    """Threads that put records without pause, each knowing what it was told and when."""

    def __init__(self, server, name, threads=3, batch=20, patient=False):
        self.server, self.name, self.batch, self.patient = server, name, batch, patient
        self.stopping = threading.Event()
        self.acked: dict[str, tuple[int, int]] = {}
        self.unknown: set[str] = set()
        self.times: list[list[tuple[float, float]]] = [[] for _ in range(threads)]
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.failures, self.failures

    def _run(self, number):
        kinesis, n = client(self.server), 0
        try:
            while not self.stopping.is_set():
                values = [f"{number}-{n}-{m}" for m in range(self.batch)]
                began = time.monotonic()
                try:
                    places = put(kinesis, self.name, values)
                    self.times[number].append((began, time.monotonic()))
                    self.acked |= {value: (shard, offset_of(seq)) for value, (shard, seq) in zip(values, places, strict=True)}
                except (BotoCoreError, ClientError) as error:
                    if not self.patient:
                        raise
                    assert not isinstance(error, ClientError) or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
                    self.unknown.update(values)
                    time.sleep(0.02)
                n += 1
        except BaseException as error:  # noqa: BLE001
            self.failures.append(error)

    def slowest(self, since, until):
        """The longest put, in ms, of those under way between two moments."""
        took = [end - began for times in self.times for began, end in times if began <= until and end >= since]
        return 1000 * max(took, default=0)


def test_puts_go_on_while_shards_are_split(own_broker, name):
    """How long a split stops puts is printed; what is asserted is generous, for machines that do other things too."""
    kinesis = client(own_broker)
    create(kinesis, name, 4)
    with Load(own_broker, name) as load:
        until(lambda: len(load.acked) > 500, "load")
        time.sleep(1)
        quiet = load.slowest(time.monotonic() - 1, time.monotonic())
        stopped = []
        for target in (8, 4, 8, 4):
            began = time.monotonic()
            scale(kinesis, name, target)
            ended = time.monotonic()
            time.sleep(0.3)
            stopped.append((load.slowest(began, ended), 1000 * (ended - began)))
    for longest, took in stopped:
        print(f"the longest put under way during a change: {longest:.1f} ms (the change itself {took:.1f} ms; without one {quiet:.1f} ms)")
    assert max(longest for longest, _ in stopped) < 2000
    found = everything(kinesis, name)
    assert {value: places[0] for value, places in found.items()} == load.acked
    assert all(len(places) == 1 for places in found.values())


@pytest.mark.timeout(300)
def test_kill_9_in_the_midst_of_splits_under_load(own_broker, name):
    """Each change is whole or not begun after the restart; every acknowledged record stands once, Kafka's whatever was retried."""
    chance = random.Random(seed := int(os.environ.get("SEED") or random.randrange(2**32)))
    print(f"SEED={seed}")
    kinesis = client(own_broker)
    create(kinesis, name, 2)
    sent, refused = {}, []

    def delivered(error, message):
        sent[message.value().decode()] = message.offset()
        if error:
            refused.append(error)

    producer = Producer({"bootstrap.servers": own_broker.bootstrap, "enable.idempotence": True, "linger.ms": 1, "delivery.timeout.ms": 240_000, "log_level": 0})
    counter = itertools.count()
    open_count, outcomes = 2, {"whole": 0, "none": 0, "answered": 0}
    with Load(own_broker, name, batch=10, patient=True) as load:
        for _ in range(12):
            acked = len(load.acked)
            for _ in range(200):
                value = next(counter)
                producer.produce(name, b"kafka-%d" % value, key=b"%d" % (value % 13), partition=value % 2, on_delivery=delivered)
                producer.poll(0)
            until(lambda acked=acked: len(load.acked) > acked, "puts go on")
            target = {2: 4, 4: chance.choice([2, 8, 3]), 8: chance.choice([4, 5]), 3: 2, 5: 4}[open_count]
            answer = []

            def change(target=target, answer=answer):
                try:
                    answer.append(scale(client(own_broker), name, target))
                except (BotoCoreError, ClientError) as error:
                    answer.append(error)

            changing = threading.Thread(target=change)
            changing.start()
            time.sleep(chance.uniform(0, 0.12))
            own_broker.restart()
            changing.join(60)
            kinesis = client(own_broker)
            listed = shards(kinesis, name)
            check_lineage(listed)
            now = sum(map(is_open, listed.values()))
            assert now in (open_count, target), f"{open_count} to {target} became {now}"
            if isinstance(answer[0], dict):
                assert now == target, "it was answered"
                outcomes["answered"] += 1
            else:
                outcomes["whole" if now == target else "none"] += 1
            open_count = now
            producer.poll(0)
    assert producer.flush(120) == 0 and not refused, refused[:3]
    print(f"changes: {outcomes}; {len(load.acked)} puts acknowledged, {len(load.unknown)} unknown; {len(sent)} records of Kafka's")
    found = everything(kinesis, name)
    assert everything_by_kafka(own_broker.bootstrap, name) == found
    for value, place in load.acked.items():
        assert found.get(value) == [place], f"{value} was acknowledged at {place}, and stands at {found.get(value)}"
    for value in sent:
        assert len(found[value]) == 1, f"{value} of an idempotent producer stands at {found[value]}"
    assert all(len(places) == 1 for places in found.values())
    assert set(found) <= set(load.acked) | load.unknown | set(sent)
