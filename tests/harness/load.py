"""A producer that goes on through whatever happens to the server, and knows afterwards what must stand in the log."""

import json
import threading
from itertools import islice

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from harness.process import until


class Load:
    """Records 0, 1, 2, … round the partitions of a topic, by an idempotent producer of librdkafka in a thread of its own."""

    def __init__(self, bootstrap: str, topic: str, partitions: int = 1, size: int = 100, under_way_max: int = 1000, **config):
        self.bootstrap, self.topic, self.partitions, self.size = bootstrap, topic, partitions, size
        #: Partition and offset of each number that was acknowledged.
        self.acked: dict[int, tuple[int, int]] = {}
        self.failed: dict[int, KafkaError] = {}
        #: Requests that the server didn't answer in time.
        self.timed_out = 0
        self.sent = 0
        self._under_way_max = under_way_max
        self._stopping = threading.Event()
        self._producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": 300_000,
            "retry.backoff.ms": 20, "retry.backoff.max.ms": 200, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
            "log_level": 0, "statistics.interval.ms": 200, "stats_cb": self._counted, "error_cb": lambda _: None, **config,
        })  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopping.is_set():
            if self.sent - len(self.acked) - len(self.failed) >= self._under_way_max:
                self._producer.poll(0.01)
                continue
            number = self.sent
            self.sent += 1
            self._producer.produce(
                self.topic, str(number).encode().ljust(self.size), partition=number % self.partitions,
                on_delivery=lambda error, message, number=number: self._told(number, error, message),
            )  # fmt: skip
            self._producer.poll(0)

    def _told(self, number: int, error: KafkaError | None, message):
        if error is None:
            self.acked[number] = (message.partition(), message.offset())
        else:
            self.failed[number] = error

    def _counted(self, statistics: str):
        self.timed_out = sum(broker["req_timeouts"] for broker in json.loads(statistics)["brokers"].values())

    def goes_on(self, more: int = 200, seconds: float = 60):
        """Waits until `more` records are acknowledged that were not yet."""
        enough = len(self.acked) + more
        until(lambda: len(self.acked) >= enough or self.failed, f"{more} more records are acknowledged", seconds)
        assert not self.failed, next(iter(self.failed.items()))

    def stop(self):
        """No more records; those under way end in one way or the other. Call it in any case."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush(0)

    def end(self):
        """No more records; those under way wait for `finish`."""
        self._stopping.set()
        self._thread.join()

    def finish(self, seconds: float = 90):
        """No more records; each that is under way is acknowledged."""
        self.end()
        self._producer.flush(seconds)
        assert not self.failed, next(iter(self.failed.items()))
        assert len(self.acked) == self.sent, "all are acknowledged"

    def check(self, deleted: bool = False):
        """After `finish`: every record stands once, where it was told to stand, and each partition in the order of sending.

        With `deleted`, a partition's first ones may be gone.
        """
        ends = {p: 1 + max(o for where, o in self.acked.values() if where == p) for p in range(self.partitions)}
        for partition, rows in read(self.bootstrap, self.topic, ends).items():
            numbers = [int(value) for _, value in rows]
            first = numbers[0] if deleted else partition
            assert numbers == list(range(first, self.sent, self.partitions)), f"partition {partition}: {wrong(numbers)}"
            for (offset, _), number in zip(rows, numbers, strict=True):
                assert self.acked[number] == (partition, offset)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_):
        self.stop()


def wrong(numbers: list[int]) -> str:
    """Where a sequence leaves its order, for a message."""
    steps = ((a, b) for a, b in zip(numbers, numbers[1:]) if b <= a or b - a != numbers[1] - numbers[0])
    return f"{len(numbers)} records; steps that should not be: {list(islice(steps, 5))}"


def read(bootstrap: str, topic: str, ends: dict[int, int], seconds: float = 60) -> dict[int, list[tuple[int, bytes]]]:
    """Offset and value of all records below `ends`, by partition."""
    rows: dict[int, list[tuple[int, bytes]]] = {p: [] for p in ends}
    consumer = reader(bootstrap)
    consumer.assign([TopicPartition(topic, p, 0) for p in ends])

    def done() -> bool:
        for message in consumer.consume(10_000, 0.1):
            if not message.error() and message.offset() < ends[message.partition()]:
                rows[message.partition()].append((message.offset(), message.value()))
        return all(place.offset >= ends[place.partition] for place in consumer.position([TopicPartition(topic, p) for p in ends]))

    try:
        until(done, f"{topic} is read up to {ends}", seconds)
    finally:
        consumer.close()
    return rows


def reader(bootstrap: str) -> Consumer:
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 0,
    })  # fmt: skip


