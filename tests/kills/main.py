"""Kills the server again and again under three client families, and checks what they saw: README.md beside this file."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from harness.clients import FAMILIES, Family
from harness.process import Process, until
from harness.servers import Millrace, millrace_binary
from python.history import History, triples

TOPIC, LABEL, PARTITIONS, GROUP = "kills", "kills#1", 4, "readers"
WITH_HISTORY = ("confluent-kafka", "java", "franz-go")
#: An outage longer than this is a failure of the server, not something to wait for.
PATIENCE_S = 120


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/kills/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often the server is killed under load (default: 20)")
    parser.add_argument("--rate", type=int, default=1000, help="records a second of each of the three producers (default: 1000)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills (default: a new one)")
    parser.add_argument("--keep", type=Path, help="keep data, logs and histories in this folder")
    return parser.parse_args()


class Client(Process):
    """A client that writes its history."""

    def __init__(self, home: Path, family: Family, command: str, bootstrap: str, number: int = 0, **options):
        self.name = f"{family.name}-{command}-{number}"
        self.history = home / f"{self.name}.jsonl"
        self.told = home / f"{self.name}.told"
        args = family.args(
            command, bootstrap=bootstrap, topic=TOPIC, label=LABEL, partitions=PARTITIONS, process=self.name, history=self.history, **options
        )
        with self.told.open("wb") as told:
            super().__init__(args, home / f"{self.name}.log", stdout=told, env=family.env())

    def acked(self) -> int:
        """How many records it knows to be acknowledged, to the last fifty."""
        with self.told.open("rb") as told:
            told.seek(max(0, self.told.stat().st_size - 40))
            lines = [line for line in told.read().split(b"\n")[:-1] if line.startswith(b"acked ")]
        return int(lines[-1].split()[1]) if lines else 0

    def healthy(self) -> bool:
        if not self.alive():
            raise SystemExit(f"FAILED: {self.name} ended with {self.child.returncode}:\n{self.log.read_text()[-3000:]}")
        return True

    def ends(self):
        """SIGTERM, and its orderly end."""
        if code := self.terminate(PATIENCE_S):
            raise SystemExit(f"FAILED: {self.name} ended with {code}:\n{self.log.read_text()[-3000:]}")


class Run:
    def __init__(self, home: Path, chance: random.Random, rate: int):
        self.started = time.monotonic()
        self.home, self.chance, self.rate = home, chance, rate
        self.server = Millrace(home / "server", **{"kafka.group.initial.rebalance.delay.ms": 0})
        self.stop = ExitStack()
        self.clients: list[Client] = []
        self.early = 0
        self.history = home / "harness.jsonl"
        self.nemesis = History(self.history, "nemesis")

    def say(self, what: str):
        print(f"{time.monotonic() - self.started:7.1f} s  {what}", flush=True)

    def client(self, name: str, command: str, number: int = 0, **options) -> Client:
        client = Client(self.home, FAMILIES[name], command, self.server.bootstrap, number, **options)
        self.stop.callback(client.stop)
        self.clients.append(client)
        return client

    def ask_anew(self):
        """A new admin client after each start: librdkafka's goes on asking with what it cached before a kill."""
        self.admin = AdminClient({"bootstrap.servers": self.server.bootstrap, "log_level": 0})

    def begin(self):
        self.server.start()
        self.stop.callback(self.server.stop)
        self.ask_anew()
        self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        self.nemesis.add("topic_created", topic=LABEL, name=TOPIC)
        self.writers = [self.client(name, "write", rate=self.rate) for name in WITH_HISTORY]
        self.tails = [self.client(name, "tail") for name in WITH_HISTORY]
        self.members = [self.client(name, "group", group=GROUP) for name in WITH_HISTORY]
        self.progress(1)

    def progress(self, records: int):
        """Waits until each producer has this many more acknowledged."""
        before = {writer: writer.acked() for writer in self.writers}
        until(
            lambda: all(c.healthy() for c in self.clients) and all(w.acked() - n >= records for w, n in before.items()),
            f"each producer goes on for {records} records", PATIENCE_S,
        )  # fmt: skip

    def round(self):
        """Load until a random moment, a kill, and perhaps more kills while it recovers."""
        self.progress(self.chance.choice((1, 1, 100, 400)))
        time.sleep(self.chance.uniform(0, 0.05))  # which moment of a commit it is, is chance
        self.kill()
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            self.server.spawn()
            time.sleep(self.chance.uniform(0.001, 0.08))
            self.kill()
            self.early += 1
        self.server.start()
        self.nemesis.add("server_started")
        self.ask()

    def kill(self):
        self.server.kill()
        self.nemesis.add("server_killed")

    def ask(self):
        """Where the logs begin and end, and what the group has, as somebody sees it who asks right now."""
        self.ask_anew()
        where = {TopicPartition(TOPIC, p): OffsetSpec.latest() for p in range(PARTITIONS)}
        ops = {p: self.nemesis.begin("list_offsets", topic=LABEL, partition=p) for p in range(PARTITIONS)}
        for log, answer in self.admin.list_offsets(where, request_timeout=PATIENCE_S).items():
            try:
                self.nemesis.add("offsets_listed", op=ops[log.partition], end=answer.result().offset)
            except KafkaException as error:
                self.nemesis.add("info", op=ops[log.partition], text=str(error))
        op = self.nemesis.begin("fetch_commits", group=GROUP)
        if (committed := self.committed()) is None:
            self.nemesis.add("info", op=op)
        else:
            self.nemesis.add("commits_fetched", op=op, offsets=triples(LABEL, committed.items()))

    def committed(self) -> dict[int, int | None] | None:
        logs = [TopicPartition(TOPIC, p) for p in range(PARTITIONS)]
        try:
            answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, logs)], request_timeout=10)[GROUP].result(15)
        except KafkaException:
            return None
        return {p.partition: p.offset if p.offset >= 0 else None for p in answer.topic_partitions}

    def end(self) -> list[Path]:
        """Everybody comes to an end; a last kill; and everything is read once more, by each family."""
        for writer in self.writers:
            writer.ends()
        self.say(f"the producers have all their acknowledgements: about {sum(w.acked() for w in self.writers)} records")
        for tail in self.tails:
            tail.ends()
        where = {TopicPartition(TOPIC, p): OffsetSpec.latest() for p in range(PARTITIONS)}
        ends = {log.partition: answer.result().offset for log, answer in self.admin.list_offsets(where).items()}
        self.say("the readers have read to the ends")
        until(lambda: all(m.healthy() for m in self.members) and self.committed() == ends, "the group has committed the ends", PATIENCE_S)
        for member in self.members:
            member.ends()
        self.kill()
        self.server.start()
        self.nemesis.add("server_started")
        self.ask()
        self.say("all is read; the server was killed once more")
        for full in [self.client(name, "tail", number=1, full="true") for name in WITH_HISTORY]:
            if code := full.child.wait(PATIENCE_S + 600):
                raise SystemExit(f"FAILED: {full.name} ended with {code}:\n{full.log.read_text()[-3000:]}")
        self.nemesis.close()
        self.say(f"{sum(ends.values())} records are read again by three families")
        return [self.history, *(client.history for client in self.clients)]


def main() -> int:
    options = arguments()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    with ExitStack() as stack:
        home = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        home.mkdir(parents=True, exist_ok=True)
        run = Run(home, random.Random(seed), options.rate)
        stack.enter_context(run.stop)
        run.say(f"seed {seed}")
        run.begin()
        for number in range(1, options.rounds + 1):
            run.round()
            if number % 10 == 0 or number == options.rounds:
                run.say(f"{number} kills under load, {run.early} more during recovery")
        histories = run.end()
        checked = subprocess.run([str(word) for word in (millrace_binary(), "history", "check", "--dense", *histories)], check=False)
        failed = checked.returncode != 0
        if failed and not options.keep:
            os.mkdir(kept := f"{home}-kept")
            for history in (*histories, home / "server" / "server.log"):
                history.rename(Path(kept) / history.name)
            run.say(f"the histories and the server's log are in {kept}")
    print("FAILED" if failed else f"passed: {options.rounds} rounds")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
