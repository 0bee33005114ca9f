"""The flights through PutRecords into shards that are split under way, read by both protocols: README.md beside this file."""

import argparse
import sys
import tempfile
import threading
import time
from array import array
from collections import defaultdict
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from flights.check import check
from flights.events import Source, write_shares
from harness.clients import FAMILIES
from harness.process import until
from harness.servers import Millrace
from harness.streams import check_lineage, client, is_open, iterator, offset_of, shard_id, shard_number, shards

STREAM, GROUP, SHARES, BEFORE, AFTER = "flights", "witness", 3, 4, 8
PUT, OFFSETS = 500, (1 << 40) - 1
PATIENCE_S = 600


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/flights/run --kinesis", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="how many flights, from the first (default: all 3,000,000)")
    parser.add_argument("--keep", type=Path, help="keep data, logs and what was read in this folder")
    return parser.parse_args()


class Sink:
    """What one reader read, as check.py reads it. One file a reader, whichever thread writes."""

    def __init__(self, path: Path):
        self.path, self.file, self.lock = path, path.open("wb"), threading.Lock()
        self.count, self.seen = 0, defaultdict(bytearray)  # by partition, a byte for each offset

    def add(self, partition: int, records: list[tuple[int, bytes, bytes]]):
        with self.lock:
            self.file.writelines(b"%d\t%d\t%s\t%s\n" % (partition, offset, key, value) for offset, key, value in records)
            seen = self.seen[partition]
            for offset, _, _ in records:
                seen.extend(bytes(max(0, offset + 1 - len(seen))))
                self.count += not seen[offset]
                seen[offset] = 1


class Run:
    def __init__(self, home: Path, rows: int):
        self.started, self.home, self.rows = time.monotonic(), home, rows
        self.server = Millrace(home / "server", **{"kafka.group.initial.rebalance.delay.ms": 0})
        self.told = array("q", [-1]) * rows  # where PutRecords said that each row stands: its shard and its offset
        self.acknowledged = 0
        self.written, self.lock, self.failures, self.threads = threading.Event(), threading.Lock(), [], []
        self.sinks: list[Sink] = []

    def say(self, what: str):
        print(f"{time.monotonic() - self.started:7.1f} s  {what}", flush=True)

    def start(self, work, *args) -> threading.Thread:
        def guarded():
            try:
                work(*args)
            except BaseException as error:  # noqa: BLE001
                self.failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def sink(self, name: str) -> Sink:
        self.sinks.append(Sink(self.home / f"{name}.tsv"))
        return self.sinks[-1]

    def healthy(self) -> bool:
        assert not self.failures, self.failures
        return True

    def write(self, share: Path):
        """Puts a share in its order: a call is answered before the next one is made."""
        kinesis = client(self.server)
        with share.open("rb") as lines:
            while events := [line.rstrip(b"\n").split(b"\t", 1) for line in islice(lines, PUT)]:
                records = [{"Data": value, "PartitionKey": key.decode()} for key, value in events]
                answer = kinesis.put_records(StreamName=STREAM, Records=records)
                assert answer["FailedRecordCount"] == 0, answer
                for (_, value), record in zip(events, answer["Records"], strict=True):
                    row = int(value[7 : value.index(b",")])
                    self.told[row] = shard_number(record["ShardId"]) << 40 | offset_of(record["SequenceNumber"])
                with self.lock:
                    self.acknowledged += len(records)

    def get(self, sink: Sink):
        """Reads shards by GetRecords: parents first, then the children that their ends name."""
        kinesis = client(self.server)
        at = {shard: iterator(kinesis, STREAM, shard) for shard in range(BEFORE)}
        while at and self.reads_on(sink):
            for shard, token in list(at.items()):
                page = kinesis.get_records(ShardIterator=token)
                sink.add(shard, [(offset_of(r["SequenceNumber"]), r["PartitionKey"].encode(), r["Data"]) for r in page["Records"]])
                del at[shard]
                if token := page.get("NextShardIterator"):
                    at[shard] = token
                for child in page.get("ChildShards", ()):
                    number = shard_number(child["ShardId"])
                    at[number] = iterator(kinesis, STREAM, number)

    def subscribe(self, sink: Sink, consumer: str, shard: int):
        """Reads a shard by SubscribeToShard, and starts a reader for each child at its end."""
        kinesis, position = client(self.server), {"Type": "TRIM_HORIZON"}
        while self.reads_on(sink):
            stream = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard_id(shard), StartingPosition=position)["EventStream"]
            for event in stream:
                event = event["SubscribeToShardEvent"]
                sink.add(shard, [(offset_of(r["SequenceNumber"]), r["PartitionKey"].encode(), r["Data"]) for r in event["Records"]])
                for child in event.get("ChildShards") or ():
                    self.start(self.subscribe, sink, consumer, shard_number(child["ShardId"]))
                if event.get("ChildShards"):
                    return
                position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": event["ContinuationSequenceNumber"]}
                if not self.reads_on(sink):
                    return

    def consume(self, sink: Sink):
        """Reads all partitions by Kafka's protocol."""
        consumer, assigned = Consumer({"bootstrap.servers": self.server.bootstrap, "group.id": "none", "enable.auto.commit": False}), set()
        while self.reads_on(sink):
            if new := sorted(set(consumer.list_topics(STREAM, 30).topics[STREAM].partitions) - assigned):
                consumer.incremental_assign([TopicPartition(STREAM, partition, OFFSET_BEGINNING) for partition in new])
                assigned |= set(new)
            for message in consumer.consume(10_000, 0.2):
                assert not message.error(), message.error()
                sink.add(message.partition(), [(message.offset(), message.key(), message.value())])
        consumer.close()

    def reads_on(self, sink: Sink) -> bool:
        return not self.failures and not (self.written.is_set() and sink.count >= self.rows)

    def write_all(self, source: Source):
        writers = [self.start(self.write, share) for share in source.shares]
        until(lambda: self.healthy() and self.acknowledged >= 0.4 * self.rows, "40% is written", PATIENCE_S)
        began = time.monotonic()
        client(self.server).update_shard_count(StreamName=STREAM, TargetShardCount=AFTER, ScalingType="UNIFORM_SCALING")
        self.say(f"{BEFORE} shards are {AFTER} after {1000 * (time.monotonic() - began):.0f} ms, with {sum(w.is_alive() for w in writers)} writers at work")
        assert any(writer.is_alive() for writer in writers), "the writing ended before the shards were split: ask for more --rows"
        until(lambda: self.healthy() and not any(writer.is_alive() for writer in writers), "all is written", PATIENCE_S)
        assert self.acknowledged == self.rows
        self.written.set()
        self.say(f"all {self.rows} rows are acknowledged")

    def witness(self, ends: dict[int, int]) -> Path:
        """A group of Kafka's, of another family, reads everything once more."""
        out = self.home / "witness.tsv"
        member = FAMILIES["franz-go"].member(self.server.bootstrap, STREAM, GROUP, out)
        admin = AdminClient({"bootstrap.servers": self.server.bootstrap})

        def committed() -> dict[int, int]:
            answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP)])[GROUP].result(30)
            return {p.partition: p.offset for p in answer.topic_partitions if p.offset > 0}

        try:
            until(lambda: member.alive() and committed() == {p: end for p, end in ends.items() if end}, "the group read all", PATIENCE_S)
            member.terminate()
        finally:
            member.stop()
        return out


def main() -> int:
    options = arguments()
    with ExitStack() as stack:
        home = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flights-")))
        home.mkdir(parents=True, exist_ok=True)
        run = Run(home, options.rows)
        source = write_shares(home, options.rows, SHARES)
        run.server.start()
        stack.callback(run.server.stop)
        kinesis = client(run.server)
        kinesis.create_stream(StreamName=STREAM, ShardCount=BEFORE)
        arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
        consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
        run.start(run.get, run.sink("get-records"))
        pushed = run.sink("subscribe-to-shard")
        for shard in range(BEFORE):
            run.start(run.subscribe, pushed, consumer, shard)
        run.start(run.consume, run.sink("kafka"))
        run.write_all(source)
        until(lambda: run.healthy() and not any(run.reads_on(sink) for sink in run.sinks), "all readers have read all", PATIENCE_S)
        for thread in run.threads:
            thread.join(60)
        run.healthy()
        for sink in run.sinks:
            sink.file.close()
            run.say(f"{sink.path.stem} has read {sink.count} records")
        listed = shards(kinesis, STREAM)
        check_lineage(listed)
        ends: dict[int, int] = dict.fromkeys(listed, 0)
        for place in run.told:
            ends[place >> 40] = max(ends[place >> 40], 1 + (place & OFFSETS))
        generation = {number: 0 if number < BEFORE else 1 for number in listed}
        assert sum(map(is_open, listed.values())) == AFTER and all(is_open(listed[number]) == bool(born) for number, born in generation.items())
        files = [sink.path for sink in run.sinks] + [run.witness(ends)]
        run.say("a group of another family (franz-go) has read everything again")
        verdict = check(source, files, ends, generation)
        for sink in run.sinks:
            if sink.count != source.rows or not all(sink.seen[place >> 40][place & OFFSETS] for place in run.told):
                verdict.complain(f"{sink.path.stem} and PutRecords do not agree on where the rows stand")
    run.say(f"{verdict.lines} lines read by {len(files)} readers, {verdict.repeated} of them for the second time or more; checksum {verdict.checksum}")
    for complaint in verdict.wrong:
        print(f"WRONG: {complaint}")
    print("FAILED" if verdict.wrong else f"passed: {source.rows} rows, each at exactly one sequence number, in order, none lost")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
