"""From exec to the first acknowledged record, for a client that is one raw socket: in an empty directory, and after kill -9 under load, with
what the operating system had cached of the log dropped. The load is idempotent producers, each on partitions of its own choice."""

import argparse
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from compare import machine
from harness import raw
from harness.servers import Millrace, free_port, millrace_binary

CREATE_TOPICS = 19
TOPIC = "first-ack"
FILL = ("--producers", 1000, "--partitions-per-producer", 20, "--batch-bytes", 16384, "--in-flight", 1, "--quiet", "--warm-up", "0s")


def create_topic(server: Millrace):
    name = TOPIC.encode()
    topic = struct.pack(">ih", 1, len(name)) + name + struct.pack(">ihii", 1, 1, 0, 0)
    with raw.connect(server) as s:
        s.sendall(raw.framed(raw.header(CREATE_TOPICS, 2) + topic + struct.pack(">i?", 30_000, False)))
        raw.answer(s)


def first_ack(server: Millrace, create: bool) -> float:
    """Starts it; milliseconds from exec until a record is acknowledged."""
    batch = raw.batch()
    started = time.monotonic()
    process = server.spawn()
    while process.alive():
        try:
            if create:
                create_topic(server)
            if raw.produced(server, TOPIC, batch) == 0:
                return (time.monotonic() - started) * 1000
        except (ConnectionError, struct.error):  # it does not listen yet, or closed what it had taken
            continue
    raise SystemExit(f"the server ended:\n{server.log_tail()}")


def drop_caches(folder: Path):
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load(server: Millrace, topic: str, partitions: int, *more) -> subprocess.Popen:
    words = [millrace_binary(), "bench", "--bootstrap", server.bootstrap, "--topic", topic, "--partitions", partitions, *FILL, *more]
    return subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run restart", description=__doc__)
    parser.add_argument("--gb", type=float, default=20, help="what is written before, in 10^9 bytes (default: 20)")
    parser.add_argument("--partitions", type=int, default=10_000, help="partitions of it (default: 10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each kind (default: 3)")
    parser.add_argument("--under-load", type=float, default=5, help="seconds of load before each kill (default: 5)")
    parser.add_argument("--home", type=Path, help="where the data is kept; data of an earlier run there is used (default: a temporary folder)")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="restart-", dir=options.home) as scratch:
        empty = []
        for number in range(options.rounds):
            server = Millrace(Path(scratch) / f"empty-{number}")
            server.bootstrap = f"127.0.0.1:{free_port()}"
            empty.append(first_ack(server, create=True))
            server.stop()
        server = Millrace((options.home or Path(scratch)) / "filled")
        server.bootstrap = f"127.0.0.1:{free_port()}"
        is_new = not server.data.exists()
        after, topic = [], f"filled-{uuid.uuid4().hex[:8]}"
        try:
            server.start()
            if is_new:
                filling = load(server, topic, options.partitions, "--records", round(options.gb * 1e6))
                said, _ = filling.communicate()
                print(said, file=sys.stderr)
                if filling.returncode != 0:
                    return 1
            create_topic(server)
            for _ in range(options.rounds):
                loading = load(server, topic, options.partitions, "--rate", "20MB", "--duration", f"{options.under_load + 60}s")
                try:
                    loading.wait(options.under_load)
                    raise SystemExit(f"the load ended early:\n{loading.stdout.read()}")
                except subprocess.TimeoutExpired:
                    server.kill()
                finally:
                    loading.send_signal(signal.SIGKILL)
                    loading.communicate()
                drop_caches(server.data)
                after.append(first_ack(server, create=False))
                print(f"after kill -9: {after[-1]:.0f} ms; {server.logged().splitlines()[-1]}", file=sys.stderr)
            bytes_ = server.disk_bytes()
        finally:
            server.stop()
    for what, took in (("an empty directory", empty), (f"kill -9 with {bytes_ / 1e9:.1f} GB in {options.partitions} partitions", after)):
        print(f"exec to first ack after {what}: {statistics.median(took):.0f} ms ({min(took):.0f}-{max(took):.0f}, {len(took)} rounds)")
    print(machine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
