"""One record, both protocols: everyone writes and reads one topic at once while its shards are split and merged and its server is
killed; the history checker judges what they saw (docs/history.md)."""

import itertools
import json
import os
import random
import subprocess
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from harness.process import until
from harness.servers import Millrace, millrace_binary
from harness.streams import check_lineage, client, is_open, iterator, offset_of, read_shard, shard_id, shard_number, shards

pytestmark = pytest.mark.millrace

LABEL = "both#1"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Histories:
    """What every process did and saw. Where a record stands whose sender was not told is filled in at the end, from what was read."""

    def __init__(self):
        self.lock = threading.Lock()
        self.lines: dict[str, list[dict]] = {}
        self.ops = itertools.count(1)

    def add(self, process: str, event: str, **fields) -> dict:
        with self.lock:
            line = {"time": time.monotonic_ns(), "process": process, "event": event, **fields}
            self.lines.setdefault(process, []).append(line)
            return line

    def send(self, process: str, value: str) -> dict:
        return self.add(process, "send", op=next(self.ops), topic=LABEL, value=value, idempotent=True)

    def polled(self, process: str, records: list[tuple[int, int, str]]):
        if records:
            self.add(process, "polled", records=[[LABEL, partition, offset, value] for partition, offset, value in records])

    def places(self) -> dict[str, tuple[int, int]]:
        """Where each value was read; more than once in the same place."""
        found: dict[str, tuple[int, int]] = {}
        for line in itertools.chain.from_iterable(self.lines.values()):
            for _, partition, offset, value in line.get("records", ()):
                assert found.setdefault(value, (partition, offset)) == (partition, offset), f"{value} at {found[value]} and {partition, offset}"
        return found

    def write(self, folder) -> list:
        places, ops, files = self.places(), {}, []
        for line in itertools.chain.from_iterable(self.lines.values()):
            if line["event"] == "send":
                ops[line["op"]] = line
                if line["value"] in places:
                    line["partition"] = places[line["value"]][0]
        for line in itertools.chain.from_iterable(self.lines.values()):
            if line["event"] == "sent":
                settle(ops[line["op"]], line, places)
        for process, lines in self.lines.items():
            files.append(folder / f"{process}.jsonl")
            files[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
        return files


def settle(send: dict, sent: dict, places: dict):
    """A record of Kafka's that came to a sealed partition stands in another one, and its sender was told no offset."""
    place = places.get(send["value"])
    if place is None:
        send["partition"] = sent["partition"]
    elif place != (sent["partition"], sent["offset"]):
        assert sent.pop("by_kafka", False) and place[0] != sent["partition"], f"{send} was told {sent}, and stands at {place}"
        del sent["offset"]
        sent["partition"] = place[0]
    sent.pop("by_kafka", None)


class World:
    def __init__(self, server: Millrace, name: str, chance: random.Random):
        self.server, self.name, self.chance = server, name, chance
        self.histories = Histories()
        self.stopping = threading.Event()
        self.counter = itertools.count()
        self.failures: list[BaseException] = []
        self.threads: list[threading.Thread] = []
        self.acked = 0

    def start(self, work, *args):
        def guarded():
            try:
                work(*args)
            except BaseException as error:  # noqa: BLE001
                self.failures.append(error)
                self.stopping.set()

        self.threads.append(threading.Thread(target=guarded))
        self.threads[-1].start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        assert not self.failures, self.failures

    def value(self) -> str:
        return f"v{next(self.counter)}"

    def put(self, process: str):
        """A producer by Kinesis: one call after the other, none sent again."""
        kinesis, chance, add = client(self.server), random.Random(process), self.histories.add
        while not self.stopping.is_set():
            sends = [self.histories.send(process, self.value()) for _ in range(chance.randint(1, 12))]
            records = [{"Data": send["value"].encode(), "PartitionKey": f"k{chance.randrange(50)}"} for send in sends]
            try:
                answer = kinesis.put_records(StreamName=self.name, Records=records)
                assert answer["FailedRecordCount"] == 0, answer
            except (BotoCoreError, ClientError) as error:
                assert not isinstance(error, ClientError) or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
                for send in sends:
                    add(process, "info", op=send["op"])
                self.stopping.wait(0.05)
                continue
            for send, record in zip(sends, answer["Records"], strict=True):
                add(process, "sent", op=send["op"], partition=shard_number(record["ShardId"]), offset=offset_of(record["SequenceNumber"]))
            self.acked += len(sends)

    def produce(self, process: str, codec: str, partitions: list[int]):
        """An idempotent producer by Kafka. What it sends to one partition is in order: each is a process of the history."""
        chance, add = random.Random(process), self.histories.add
        producer = Producer({
            "bootstrap.servers": self.server.bootstrap, "enable.idempotence": True, "compression.type": codec, "linger.ms": 1,
            "delivery.timeout.ms": 240_000, "log_level": 0,
        })  # fmt: skip
        while not self.stopping.is_set():
            partition = chance.choice(partitions)
            named = f"{process}-{partition}"
            send = self.histories.send(named, self.value())

            def delivered(error, message, named=named, send=send, partition=partition):
                assert not error, error
                offset = -1 if message.offset() is None else message.offset()
                add(named, "sent", op=send["op"], partition=partition, offset=offset, by_kafka=True)
                self.acked += 1

            key = f"k{chance.randrange(50)}" if chance.random() < 0.8 else None
            headers = [("h", b"1")] if chance.random() < 0.2 else None
            producer.produce(self.name, send["value"], key, partition, headers=headers, on_delivery=delivered)
            producer.poll(0.002)
        assert producer.flush(120) == 0

    def get(self, process: str):
        """A reader by Kinesis of all shards, parents and children alike."""
        kinesis, at = client(self.server), {}
        self.histories.add(process, "subscribed")
        while not self.stopping.is_set():
            try:
                for shard in shards(kinesis, self.name):
                    if shard not in at:
                        at[shard] = iterator(kinesis, self.name, shard)
                        self.histories.add(process, "rebalanced", assigned=[[LABEL, shard, 0]], revoked=[])
                for shard in [shard for shard, token in at.items() if token]:
                    page = kinesis.get_records(ShardIterator=at[shard])
                    self.histories.polled(process, [(shard, offset_of(r["SequenceNumber"]), r["Data"].decode()) for r in page["Records"]])
                    at[shard] = page.get("NextShardIterator")
                    assert at[shard] or page["ChildShards"]
            except (BotoCoreError, ClientError) as error:
                assert not isinstance(error, ClientError) or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
                self.stopping.wait(0.05)

    def consume(self, process: str):
        """A reader by Kafka of all partitions, without a group."""
        consumer, assigned = Consumer({"bootstrap.servers": self.server.bootstrap, "group.id": "none", "enable.auto.commit": False, "log_level": 0}), set()
        self.histories.add(process, "subscribed")
        while not self.stopping.is_set():
            try:
                found = set(consumer.list_topics(self.name, 5).topics[self.name].partitions)
            except KafkaException:
                continue
            if new := sorted(found - assigned):
                self.histories.add(process, "rebalanced", assigned=[[LABEL, partition, 0] for partition in new], revoked=[])
                consumer.incremental_assign([TopicPartition(self.name, partition, OFFSET_BEGINNING) for partition in new])
                assigned |= found
            messages = [message for message in consumer.consume(1000, 0.2) if not message.error()]
            self.histories.polled(process, [(m.partition(), m.offset(), m.value().decode()) for m in messages])
        consumer.close()

    def change(self) -> str:
        """Splits, merges or scales at random; what became of it."""
        kinesis, chance = client(self.server), self.chance
        try:
            listed = {number: shard for number, shard in shards(kinesis, self.name).items() if is_open(shard)}
            ranges = sorted((int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"]), n) for n, s in listed.items())
            kind = chance.choice(["split", "merge", "scale", "scale"])
            if kind == "split" and len(ranges) < 10:
                first, last, number = chance.choice(ranges)
                kinesis.split_shard(StreamName=self.name, ShardToSplit=shard_id(number), NewStartingHashKey=str(chance.randrange(first + 2, last)))
            elif kind == "merge" and len(ranges) > 1:
                n = chance.randrange(len(ranges) - 1)
                lower, upper = shard_id(ranges[n][2]), shard_id(ranges[n + 1][2])
                kinesis.merge_shards(StreamName=self.name, ShardToMerge=lower, AdjacentShardToMerge=upper)
            else:
                target = chance.randint(-(-len(ranges) // 2), min(8, 2 * len(ranges)))
                kinesis.update_shard_count(StreamName=self.name, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
            return f"{kind} done"
        except (BotoCoreError, ClientError) as error:
            assert not isinstance(error, ClientError) or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
            return f"{kind if 'kind' in locals() else 'list'} unknown"

    def kill(self):
        self.server.kill()
        self.histories.add("nemesis", "server_killed")
        self.server.start()
        self.histories.add("nemesis", "server_started")

    def read_all(self):
        """A full read of every partition by each protocol."""
        kinesis = client(self.server)
        listed = shards(kinesis, self.name)
        for number in listed:
            self.histories.add("kinesis-full", "assigned", logs=[[LABEL, number, 0]])
            self.histories.add("kinesis-full", "full_read_begun", topic=LABEL, partition=number)
            records, children = read_shard(kinesis, self.name, number)
            assert (children is None) == is_open(listed[number])
            self.histories.polled("kinesis-full", [(number, offset_of(r["SequenceNumber"]), r["Data"].decode()) for r in records])
            self.histories.add("kinesis-full", "full_read_ended", topic=LABEL, partition=number)
        consumer = Consumer({"bootstrap.servers": self.server.bootstrap, "group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True})
        for number in listed:
            self.histories.add("kafka-full", "assigned", logs=[[LABEL, number, 0]])
            self.histories.add("kafka-full", "full_read_begun", topic=LABEL, partition=number)
            consumer.assign([TopicPartition(self.name, number, 0)])
            ended, patience = False, time.monotonic() + 60
            while not ended:
                assert time.monotonic() < patience, f"partition {number} has no end"
                messages = consumer.consume(10_000, 0.2)
                ended = any(message.error() for message in messages)
                self.histories.polled("kafka-full", [(m.partition(), m.offset(), m.value().decode()) for m in messages if not m.error()])
            self.histories.add("kafka-full", "full_read_ended", topic=LABEL, partition=number)
        consumer.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_both_protocols_see_one_log_through_reshards_and_kills(own_broker, name, tmp_path, rounds):
    chance = random.Random(seed := int(os.environ.get("SEED") or random.randrange(2**32)))
    print(f"SEED={seed}")
    client(own_broker).create_stream(StreamName=name, ShardCount=2)
    world = World(own_broker, name, chance)
    try:
        for number in range(2):
            world.start(world.put, f"kinesis-put-{number}")
        for codec in chance.sample(CODECS, 3):
            world.start(world.produce, f"kafka-{codec}", codec, [0, 1])
        world.start(world.get, "kinesis-get")
        world.start(world.consume, "kafka-consume")
        said = []
        for _ in range(rounds):
            acked = world.acked
            until(lambda acked=acked: world.acked > acked + 100 or world.failures, "records are acknowledged", 60)
            if world.failures:
                break
            if chance.random() < 0.5:
                said.append(world.change())
            else:
                changing = threading.Thread(target=lambda: said.append(world.change()))
                changing.start()
                time.sleep(chance.uniform(0, 0.15))
                world.kill()
                changing.join(60)
        acked = world.acked
        until(lambda: world.acked > acked or world.failures, "records are acknowledged after all that", 60)
    finally:
        world.stop()
    check_lineage(shards(client(own_broker), name))
    world.read_all()
    files = world.histories.write(tmp_path)
    done = subprocess.run([millrace_binary(), "history", "check", *files], capture_output=True, text=True)
    print(f"{', '.join(said)}\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    read = {process: {r[3] for line in lines for r in line.get("records", ())} for process, lines in world.histories.lines.items()}
    assert read["kinesis-full"] == read["kafka-full"]
