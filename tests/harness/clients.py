"""The client families, each behind one small program with the same commands, so that a test is written once for all.

    CLIENT produce --bootstrap B --topic T [--compression C] [--acks 0|1|all] [--idempotent true] [--timeout-ms N]
        stdin: one JSON object a record (key, value, headers, timestamp, partition; all optional), produced in order.
        stdout: for each, in order, {"partition": p, "offset": o} or {"error": Kafka's code, "message": …}.
    CLIENT consume --bootstrap B --topic T --count N [--isolation read_committed]
        stdout: N records from the beginning, one JSON object each (partition, offset, key, value, headers, timestamp).
    CLIENT pump --bootstrap B --topic T --file F [--compression C] [--idempotent true] [--timeout-ms N]
        produces `key TAB value` lines as fast as it can; {"sent": n, "acked": n} when all is acknowledged, else exits 1.
    CLIENT member --bootstrap B --topic T --group G --out F [--instance I] [--assignor A] [--session-ms N]
        consumes as a member of a group, appends `partition TAB offset TAB key TAB value` lines to F, then commits them;
        says "assigned 0,1" and "revoked 0,1" on stdout; leaves the group at SIGTERM.

Three families (confluent-kafka, java, franz-go) also write histories (docs/history.md), until SIGTERM; each takes
--bootstrap B --topic T --label L --history F --process P --partitions N:

    CLIENT write … --rate N     sends unique values as an idempotent producer, N a second; says "acked N" every 50;
                                ends when all that it sent is acknowledged
    CLIENT tail … [--full true] reads all partitions from their start, to the end that there is when it is told to stop;
                                full: to the end that there is when it starts, marked as a full read
    CLIENT group … --group G    reads as a member of a group and commits what it read
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.process import TESTS, TOOLS, Process, until

ALL_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
#: JVM flags of programs that live for seconds: the second compiler would not pay for itself.
JAVA_SHORT = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]


@dataclass(frozen=True)
class Family:
    """A client: the command that starts its program, and what it can't do."""

    name: str
    command: tuple[str, ...]
    part: str  # of tests/setup
    codecs: tuple[str, ...] = ALL_CODECS
    assignors: tuple[str, ...] = ("range", "cooperative-sticky")
    static_members: bool = True
    idempotent: bool = True
    repeated_headers: bool = True
    environment: dict[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.name

    def available(self) -> bool:
        return (TOOLS / f"{self.part}.stamp").exists()

    def args(self, command: str, **options) -> list[str]:
        words = [w for name, value in options.items() for w in (f"--{name.replace('_', '-')}", str(value))]
        return [*self.command, command, *words]

    def run(self, command: str, *, stdin: str = "", seconds: float = 90, **options) -> list[dict]:
        """Runs a command to its end and returns the JSON lines that it printed."""
        done = subprocess.run(
            self.args(command, **options), input=stdin, capture_output=True, text=True, timeout=seconds, env=self.env()
        )
        assert done.returncode == 0, f"{self} {command} exited {done.returncode}:\n{done.stderr[-4000:]}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def produce(self, bootstrap: str, topic: str, records: list[dict], **options) -> list[dict]:
        lines = "".join(json.dumps(r) + "\n" for r in records)
        return self.run("produce", stdin=lines, bootstrap=bootstrap, topic=topic, **options)

    def consume(self, bootstrap: str, topic: str, count: int, **options) -> list[dict]:
        return self.run("consume", bootstrap=bootstrap, topic=topic, count=count, **options)

    def pump(self, bootstrap: str, topic: str, log: Path, **options) -> Process:
        """Starts a pump that is fed through its stdin; stdout goes to `log`.out, stderr to `log`."""
        args = self.args("pump", bootstrap=bootstrap, topic=topic, file="/dev/stdin", **options)
        with log.with_suffix(".out").open("wb") as out:
            return Process(args, log, stdin=subprocess.PIPE, stdout=out, env=self.env())

    def member(self, bootstrap: str, topic: str, group: str, out: Path, **options) -> "Member":
        return Member(self, bootstrap, topic, group, out, **options)


def feed(pump: Process, pieces: Iterable[bytes], may_go: Callable[[], bool]) -> threading.Thread:
    """Writes pieces to a pump's stdin in a thread, each when `may_go`, and closes it after the last."""

    def run():
        with pump.child.stdin as sink:
            for piece in pieces:
                until(lambda: may_go() or not pump.alive(), "the pump may go on", 300)
                try:
                    sink.write(piece)
                    sink.flush()
                except BrokenPipeError:
                    return  # it ended: its exit code says why

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class Member(Process):
    """A running member of a consumer group."""

    def __init__(self, family: Family, bootstrap: str, topic: str, group: str, out: Path, **options):
        self.family = family
        self.out = out
        self.told = out.with_suffix(".told")
        args = family.args("member", bootstrap=bootstrap, topic=topic, group=group, out=out, **options)
        with self.told.open("wb") as told:
            super().__init__(args, out.with_suffix(".log"), stdout=told, env=family.env())

    def events(self) -> list[tuple[str, set[int]]]:
        """What it was told so far: ("assigned" | "revoked" | "lost", partitions)."""
        lines = [line.partition(" ") for line in self.told.read_text().splitlines()]
        return [(what, {int(p) for p in ps.split(",") if p}) for what, _, ps in lines]

    def partitions(self) -> set[int]:
        """What it holds now. kafkajs tells only whole assignments, so there the last one counts."""
        held: set[int] = set()
        for what, partitions in self.events():
            if what != "assigned":
                held -= partitions
            elif self.family.name == "kafkajs":
                held = partitions
            else:
                held |= partitions
        return held

    def rows(self) -> list[tuple[int, int, str, str]]:
        """The whole lines that it wrote: partition, offset, key, value."""
        if not self.out.exists():
            return []
        lines = self.out.read_text().split("\n")[:-1]
        return [(int(p), int(o), k, v) for p, o, k, v in (line.split("\t", 3) for line in lines)]


_PYTHON = sys.executable
FAMILIES = {
    f.name: f
    for f in [
        Family("confluent-kafka", (_PYTHON, f"{TESTS}/python/confluent_client.py"), "python"),
        Family("java", (*JAVA_SHORT, "-Xmx1g", "-cp", f"{TOOLS}/java:{TOOLS}/jars/*:{TESTS}/java", "Client"), "java"),
        Family("franz-go", (f"{TOOLS}/go/client",), "go"),
        Family("aiokafka", (_PYTHON, f"{TESTS}/python/aiokafka_client.py"), "python", assignors=("range",)),
        Family("kafka-python", (_PYTHON, f"{TESTS}/python/kafka_python_client.py"), "python"),
        Family("kafkajs", ("node", f"{TESTS}/node/client.js"), "node", codecs=("none", "gzip", "snappy"), assignors=(),
               static_members=False, repeated_headers=False, environment={"NODE_PATH": f"{TOOLS}/node/node_modules"}),
        Family("rdkafka-rs", (f"{TOOLS}/rust-target/release/millrace-test-rdkafka",), "rust"),
    ]
}  # fmt: skip
