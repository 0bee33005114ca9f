"""Millrace beside Apache Kafka 4.3.1 on this machine, in one run, with Kafka's own performance tools as clients.

All servers run at once and are warmed; then each round measures them one after the other, in turn first. A measurement writes records into
a new topic with ProducerPerformance and reads them all with ConsumerPerformance. CPU is the server's alone (user and system, from
/proc/PID/stat); memory is its highest anonymous resident set, sampled ten times a second. Only like is compared with like: servers that
acknowledge after a sync with each other, and servers that acknowledge after a write with each other.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic
from harness import tools
from harness.process import Process
from harness.servers import ApacheKafka, Millrace

CLIENT = ["java", "-Xmx512m", "-Xms512m", "-XX:+UseG1GC", "-Xshare:auto"]
#: name: (durability, how it is made)
SERVERS = {
    "kafka": ("os", lambda home: ApacheKafka(home)),
    "millrace-os": ("os", lambda home: Millrace(home, flush="os")),
    "kafka-sync": ("sync", lambda home: ApacheKafka(home, **{"log.flush.interval.messages": 1})),
    "millrace": ("sync", lambda home: Millrace(home)),
}
DURABILITY = {"os": "acknowledged after the write", "sync": "acknowledged after a sync to disk"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run", description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--servers", default=",".join(SERVERS), help=f"which (default: {','.join(SERVERS)})")
    parser.add_argument("--records", type=int, default=1_000_000, help="records of a measurement (default: 1,000,000)")
    parser.add_argument("--record-bytes", type=int, default=1000, help="size of a record's value (default: 1000)")
    parser.add_argument("--partitions", type=int, default=6, help="partitions of the topic (default: 6)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are measured (default: 3)")
    parser.add_argument("--warm", type=int, default=2, help="rounds before them that are not (default: 2)")
    parser.add_argument("--producer", action="append", default=[], metavar="NAME=VALUE", help="a producer setting, as batch.size=1000000")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as JSON")
    parser.add_argument("--home", type=Path, help="where the servers keep their data (default: a temporary folder)")
    return parser.parse_args()


@dataclass
class Measurement:
    """One write and one read of a topic. CPU is in seconds of the server per 10^9 bytes of values."""

    server: str
    in_mb_s: float
    in_records_s: float
    in_cpu_s_per_gb: float
    in_p50_ms: float
    in_p99_ms: float
    out_mb_s: float
    out_cpu_s_per_gb: float
    rss_anon_peak_mb: float


class PeakMemory(contextlib.AbstractContextManager):
    """The highest RssAnon of a process while it is entered."""

    def __init__(self, process: Process):
        self.process, self.peak, self.done = process, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        while not self.done.wait(0.1):
            self.peak = max(self.peak, self.process.memory())

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def tool(name: str, *args) -> str:
    done = subprocess.run(tools.command(name, *args, java=CLIENT), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"{name} {args} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def measure(name: str, server, topic: str, options: argparse.Namespace) -> Measurement:
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    admin.create_topics([NewTopic(topic, options.partitions, 1)])[topic].result(30)
    gigabytes = options.records * options.record_bytes / 1e9
    at = ("--bootstrap-server", server.bootstrap, "--topic", topic)
    with PeakMemory(server.process) as memory:
        before = server.process.cpu_seconds()
        said = tool("producer-perf-test", *at, "--num-records", options.records, "--record-size", options.record_bytes, "--throughput", -1,
                    "--command-property", "acks=all", *options.producer)  # fmt: skip
        written = server.process.cpu_seconds()
        last = said.strip().splitlines()[-1]
        rate = float(re.search(r"([\d.]+) records/sec", last)[1])
        p50, p99 = (float(re.search(rf"([\d.]+) ms {p}th", last)[1]) for p in (50, 99))
        said = tool("consumer-perf-test", *at, "--num-records", options.records, "--timeout", 60_000)
        read = server.process.cpu_seconds()
    fields = said.strip().splitlines()[-1].split(", ")
    fetch_seconds, megabytes = float(fields[7]) / 1000, float(fields[2]) * 1.048576
    admin.delete_topics([topic])[topic].result(30)
    return Measurement(
        name, rate * options.record_bytes / 1e6, rate, (written - before) / gigabytes, p50, p99,
        megabytes / fetch_seconds, (read - written) / gigabytes, memory.peak / 1e6,
    )  # fmt: skip


COLUMNS = {
    "in_mb_s": ("in, MB/s", 0),
    "in_cpu_s_per_gb": ("CPU s/GB in", 2),
    "in_p50_ms": ("p50, ms", 0),
    "in_p99_ms": ("p99, ms", 0),
    "out_mb_s": ("out, MB/s", 0),
    "out_cpu_s_per_gb": ("CPU s/GB out", 2),
    "rss_anon_peak_mb": ("peak RSS, MB", 0),
}


def cell(values: list[float], digits: int) -> str:
    """The median, and from where to where the rounds went."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(results: list[Measurement]) -> str:
    """Markdown: a table for each durability, medians with their spread, and Millrace's ratios to Kafka."""
    lines = []
    for durability, title in DURABILITY.items():
        names = [n for n, (d, _) in SERVERS.items() if d == durability and any(r.server == n for r in results)]
        if not names:
            continue
        lines += ["", f"{title[0].upper()}{title[1:]}:", "", f"| server | {' | '.join(t for t, _ in COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
        series = {n: {c: [getattr(r, c) for r in results if r.server == n] for c in COLUMNS} for n in names}
        for name in names:
            lines.append(f"| {name} | " + " | ".join(cell(series[name][c], digits) for c, (_, digits) in COLUMNS.items()) + " |")
        if len(names) == 2:
            kafka, ours = (series[n] for n in names)
            ratios = (statistics.median(ours[c]) / max(statistics.median(kafka[c]), 1e-9) for c in COLUMNS)
            lines.append("| ratio | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    return "\n".join(lines).strip()


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    release = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {memory:.0f} GB, Linux {release}"


def main() -> int:
    options = arguments()
    names = options.servers.split(",")
    with contextlib.ExitStack() as stack:
        home = options.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        servers = {}
        for name in names:
            servers[name] = SERVERS[name][1](home / name)
            stack.callback(servers[name].stop)
            started = time.monotonic()
            servers[name].start()
            print(f"{name} serves after {time.monotonic() - started:.1f} s", file=sys.stderr)
        results: list[Measurement] = []
        for number in range(-options.warm, options.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                m = measure(name, servers[name], f"bench-{number + options.warm}", options)
                kind = "warming" if number < 0 else f"round {number + 1}"
                print(f"{kind}: {name}: " + ", ".join(f"{t} {getattr(m, c):.{d}f}" for c, (t, d) in COLUMNS.items()), file=sys.stderr)
                if number >= 0:
                    results.append(m)
    what = (f"{options.records} records of {options.record_bytes} bytes, {options.partitions} partitions, acks=all"
            f"{''.join(', ' + p for p in options.producer)}; {options.rounds} rounds after {options.warm} to warm; {machine()}")  # fmt: skip
    print(f"{what}.\n\n{table(results)}")
    if options.json:
        options.json.write_text(json.dumps({"what": what, "results": [asdict(r) for r in results]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
