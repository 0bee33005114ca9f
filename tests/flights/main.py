"""Runs the flights: README.md beside this file says what happens and what is checked."""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from flights.check import check
from flights.events import Source, write_shares
from harness.clients import FAMILIES, Member, feed
from harness.process import Process, until
from harness.servers import KAFKA_IMPATIENT, ApacheKafka, Millrace

TOPIC, GROUP, WITNESS, PARTITIONS = "flights", "readers", "witness", 12
PRODUCERS = (("confluent-kafka", "zstd"), ("java", "lz4"), ("franz-go", "snappy"))
MEMBERS = ("java", "confluent-kafka", "confluent-kafka")
#: How far the producers are fed ahead of what stands in the topic, as a share of all rows.
AHEAD = 0.15
#: An outage longer than this is a failure of the server, not something to wait for.
PATIENCE_S = 300


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/flights/run", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="how many flights, from the first (default: all 3,000,000)")
    parser.add_argument("--seconds", type=float, default=10, help="spread the writing over at least this time (default: 10)")
    parser.add_argument("--server", choices=("millrace", "kafka"), default="millrace")
    parser.add_argument("--keep", type=Path, help="keep data, logs and what the members read in this folder")
    return parser.parse_args()


class Run:
    """One run: a server, three producers, three members, and what happens to them."""

    def __init__(self, home: Path, server: Millrace | ApacheKafka, rows: int):
        self.started = time.monotonic()
        self.home, self.server, self.rows = home, server, rows
        self.producers: list[Process] = []
        self.fed: dict[Path, float] = {}  # the part of each share that went to its producer
        self.written = 0.0  # the share of all rows that stands in the topic
        self.members: list[Member | None] = []
        self.files: list[Path] = []  # by all members that ever were
        self.feeders: list[threading.Thread] = []
        self.stop = ExitStack()

    def say(self, what: str):
        print(f"{time.monotonic() - self.started:7.1f} s  {what}", flush=True)

    def start_server(self):
        self.server.start()
        self.stop.callback(self.server.stop)
        self._ask_anew()
        self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)

    def start_member(self, number: int):
        family = FAMILIES[MEMBERS[number]]
        out = self.home / f"member-{number}-{len(self.files)}.tsv"
        member = family.member(self.server.bootstrap, TOPIC, GROUP, out)
        self.stop.callback(member.stop)
        self.files.append(out)
        self.members[number:number + 1] = [member]

    def start_producers(self, source: Source, seconds: float):
        for (name, codec), share in zip(PRODUCERS, source.shares, strict=True):
            log = self.home / f"producer-{name}.log"
            producer = FAMILIES[name].pump(
                self.server.bootstrap, TOPIC, log, compression=codec, idempotent="true", timeout_ms=PATIENCE_S * 1000
            )
            self.stop.callback(producer.stop)
            self.producers.append(producer)
            self.feeders.append(feed(producer, self.pieces(share, seconds), lambda share=share: self.may_go(share)))

    def pieces(self, share: Path, seconds: float) -> Iterator[bytes]:
        """A share in small pieces, over at least `seconds`."""
        pause = seconds / share.stat().st_size
        with share.open("rb") as source:
            while data := source.read(16 * 1024):
                time.sleep(pause * len(data))
                self.fed[share] = self.fed.get(share, 0.0) + len(data) / share.stat().st_size
                yield data

    def may_go(self, share: Path) -> bool:
        """Producers are never fed far ahead of what stands in the topic: a slice would lie in their buffers before the first kill."""
        return self.fed[share] <= self.written + AHEAD

    def ends(self) -> dict[int, int] | None:
        """The end offset of each partition; None while the server is away."""
        wanted = {TopicPartition(TOPIC, p): OffsetSpec.latest() for p in range(PARTITIONS)}
        try:
            answers = self.admin.list_offsets(wanted, request_timeout=5)
            return {where.partition: answer.result(10).offset for where, answer in answers.items()}
        except KafkaException:
            self._ask_anew()
            return None

    def _ask_anew(self):
        """A new admin client: librdkafka's goes on asking with the leader epochs that it cached before a kill."""
        self.admin = AdminClient({"bootstrap.servers": self.server.bootstrap, "log_level": 0})

    def reach(self, share: float):
        """Waits until this share of the rows stands in the topic, while all is well with the producers."""
        self._healthy()
        until(lambda: self._healthy() and self.look() >= share, f"{share:.0%} is written", PATIENCE_S)
        self.say(f"{self.written:.0%} is written")

    def look(self) -> float:
        if ends := self.ends():
            self.written = sum(ends.values()) / self.rows
        return self.written

    def _healthy(self) -> bool:
        for process in (self.server.process, *self.producers, *self.members):
            if not process.alive() and process.child.returncode != 0:
                raise SystemExit(f"{process.child.args[:8]} ended with {process.child.returncode}:\n{process.log.read_text()[-2000:]}")
        return True

    def kill_server(self):
        writing = sum(feeder.is_alive() for feeder in self.feeders)
        if not writing:
            raise SystemExit("the writing ended before the server could be killed: ask for more --rows or --seconds")
        self.server.kill()
        killed = time.monotonic()
        self.server.start()
        self.say(f"the server was killed under {writing} producers and serves again after {time.monotonic() - killed:.2f} s")

    def tell_to_leave(self, number: int):
        code = self.members[number].terminate()
        self.say(f"member {number} ({MEMBERS[number]}) was told to leave and exited {code}")

    def kill_member(self, number: int):
        self.members[number].kill()
        self.members[number].child.returncode = 0  # as meant
        self.say(f"member {number} ({MEMBERS[number]}) was killed")

    def come_back(self, number: int):
        self.start_member(number)
        self.say(f"member {number} comes back")

    def finish_writing(self) -> dict[int, int]:
        self.written = 1.0
        for feeder, producer in zip(self.feeders, self.producers, strict=True):
            feeder.join(PATIENCE_S)
            code = producer.child.wait(PATIENCE_S)
            told = producer.log.with_suffix(".out").read_text()
            if code != 0 or json.loads(told)["sent"] != json.loads(told)["acked"]:
                raise SystemExit(f"a producer exited {code}, {told}:\n{producer.log.read_text()[-2000:]}")
        ends = until(self.ends, "end offsets")
        self.say(f"all producers have all their acknowledgements; the partitions hold {sum(ends.values())} records")
        return ends

    def finish_reading(self, ends: dict[int, int]):
        until(lambda: self._healthy() and self.committed() == {p: end for p, end in ends.items() if end}, "the group read all", PATIENCE_S)
        self.say("the group has committed the end of every partition")
        for number in range(len(MEMBERS)):
            self.tell_to_leave(number)

    def read_again(self, ends: dict[int, int]):
        """A member of another family and another group sees every offset a second time, after all that happened."""
        out = self.home / "witness.tsv"
        witness = FAMILIES["franz-go"].member(self.server.bootstrap, TOPIC, WITNESS, out)
        self.stop.callback(witness.stop)
        self.files.append(out)
        until(lambda: witness.alive() and self.committed(WITNESS) == {p: end for p, end in ends.items() if end}, "all is read again", PATIENCE_S)
        witness.terminate()
        self.say("a witness of another group and family (franz-go) has read everything again")

    def committed(self, group: str = GROUP) -> dict[int, int] | None:
        try:
            answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=5)[group].result(10)
        except KafkaException:
            return None
        return {p.partition: p.offset for p in answer.topic_partitions if p.offset >= 0}


def main() -> int:
    options = arguments()
    with ExitStack() as stack:
        home = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flights-")))
        home.mkdir(parents=True, exist_ok=True)
        server = Millrace(home / "server") if options.server == "millrace" else ApacheKafka(home / "server", **KAFKA_IMPATIENT)
        run = Run(home, server, options.rows)
        stack.enter_context(run.stop)
        source = write_shares(home, options.rows, len(PRODUCERS))
        run.say(f"{source.rows} flights from {len(set(source.origins))} airports in {len(source.shares)} shares")
        run.start_server()
        for number in range(len(MEMBERS)):
            run.start_member(number)
        run.start_producers(source, options.seconds)
        run.reach(0.15)
        run.kill_server()
        run.reach(0.3)
        run.tell_to_leave(0)
        run.reach(0.4)
        run.kill_member(1)
        run.reach(0.5)
        run.come_back(0)
        run.kill_server()
        run.reach(0.6)
        run.come_back(1)
        ends = run.finish_writing()
        run.finish_reading(ends)
        run.read_again(ends)
        verdict = check(source, run.files, ends)
    run.say(f"{verdict.lines} lines read by {len(run.files)} members, {verdict.repeated} of them for the second time or more; checksum {verdict.checksum}")
    for complaint in verdict.wrong:
        print(f"WRONG: {complaint}")
    print("FAILED" if verdict.wrong else f"passed: {source.rows} rows, each at exactly one offset, in order, none lost")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
