"""Named figures that Kafka's own tools can't give, measured with `millrace bench`: Kafka (or an emulator of Kinesis) and Millrace in turn,
warmed, in one table.

All servers of a scenario run at once; each round measures every variant on every server, in turn first. CPU, memory and disk are the
server's alone (/proc), commits come from Millrace's /metrics, system calls from strace in an extra run that is not otherwise counted.
"""

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import disk
from compare import DURABILITY, SERVERS, cell, machine
from harness.servers import KinesisLocal, Millrace, millrace_binary

BATCH_16K = ("--batch-bytes", "16384")
#: What every run has unless its variant says otherwise.
COMMON = ("--json", "--quiet")


@dataclass(frozen=True)
class Scenario:
    """Variants of a load, by name, each with options of `millrace bench`."""

    about: str
    variants: dict[str, tuple]
    servers: tuple[str, ...] = ("kafka", "millrace-os", "kafka-sync", "millrace")
    #: What `millrace bench` speaks, unless a variant says otherwise.
    protocol: str = "kafka"
    columns: tuple[str, ...] = ("mb_in", "cpu_in", "p99", "rss", "disk", "commits", "calls")
    seconds: int = 10
    #: Bytes to write before into a topic that the variants then use as {old}.
    old_bytes: int = 0
    #: Measures this rate first, on this server, and uses half of it as {rate}.
    half_of: str | None = None
    #: Measures in each round what the disk alone takes for commits at that rate.
    disk: bool = False
    #: Judges what the variants are to each other, if there are two: (column, what its ratio says).
    between: tuple[str, str] | None = None


SCENARIOS = {
    "small": Scenario(
        "single records of 100 bytes, linger 0, 50 connections: requests for each CPU second of the server",
        {"": ("--producers", 50, "--record-bytes", 100, "--batch-records", 1, "--partitions", 6)},
        columns=("requests", "requests_cpu", "p99", "rss", "disk", "commits", "calls"),
    ),
    "both": Scenario(
        "in and out together in requests of 256 KB",
        {"": ("--producers", 2, "--batch-bytes", "256Ki", "--readers", 1, "--fetch-bytes-min", "256Ki", "--fetch-partition-bytes", "4Mi")},
        columns=("mb_in", "mb_out", "cpu_in", "p99", "rss", "disk", "commits", "calls"),
    ),
    "fanout": Scenario(
        "20 readers at the tail of 10 MB/s: CPU for each GB out",
        {"": (*BATCH_16K, "--rate", "10MB", "--readers", 20)},
        columns=("mb_in", "mb_out", "cpu_out", "p99", "p99_e2e", "rss", "calls"),
    ),
    "in": Scenario(
        "16 KB batches from one producer, as much as goes",
        {"": (*BATCH_16K, "--batches-per-request", 6)},
    ),
    "out": Scenario(
        "one reader of what was written before, as much as goes",
        {"": (*BATCH_16K, "--batches-per-request", 6, "--rate", "80MB", "--readers", 1, "--read", "after")},
        columns=("mb_out", "cpu_out", "rss", "calls"),
    ),
    "p99": Scenario(
        "latency at half of what Kafka takes without syncing (16 KB batches, 2 producers)",
        {"": (*BATCH_16K, "--producers", 2, "--rate", "{rate}")},
        servers=("kafka", "millrace-os", "millrace"),
        columns=("mb_in", "p50", "p99", "p999", "max", "cpu_in", "commits"),
        half_of="kafka",
        disk=True,
    ),
    "p99-sync": Scenario(
        "latency at half of what Kafka takes when it syncs every batch (16 KB batches, 2 producers)",
        {"": (*BATCH_16K, "--producers", 2, "--rate", "{rate}")},
        servers=("kafka-sync", "millrace"),
        columns=("mb_in", "p50", "p99", "p999", "max", "cpu_in", "commits"),
        half_of="kafka-sync",
        disk=True,
    ),
    "partitions": Scenario(
        "the same batches and requests a second in 6 partitions and in 10,000: CPU for each batch",
        {
            "6 partitions": (*BATCH_16K, "--rate", "30MB", "--partitions", 6),
            "10000 partitions": (*BATCH_16K, "--rate", "30MB", "--partitions", 10_000),
        },
        servers=("millrace-os", "millrace"),
        columns=("mb_in", "batches", "cpu_batch", "p99", "rss", "disk", "commits", "calls"),
        between=("cpu_batch", "10,000 partitions against 6: CPU for each batch"),
    ),
    "sync-100": Scenario(
        "100 partitions, every batch synced, 10 producers: records a second",
        {"": (*BATCH_16K, "--producers", 10, "--partitions", 100)},
        servers=("kafka-sync", "millrace"),
        columns=("records", "mb_in", "cpu_in", "p99", "rss", "disk", "commits", "calls"),
    ),
    "cold": Scenario(
        "producers at 20 MB/s without and with a cold reader at 100 MB/s beside them: the shift of their p99",
        {
            "alone": (*BATCH_16K, "--topic", "{old}", "--rate", "20MB"),
            "cold reader": (*BATCH_16K, "--topic", "{old}", "--rate", "20MB", "--readers", 1, "--read", "old", "--read-rate", "100MB"),
        },
        columns=("mb_in", "mb_out", "p50", "p99", "p999", "cpu_in", "rss"),
        old_bytes=1_500_000_000,
        between=("p99", "with a cold reader against without: p99"),
    ),
    "kinesis": Scenario(
        "PutRecords of 500 x 1 KB into 4 shards from 4 connections, as much as goes, and what was written read by GetRecords",
        {"put": ("--producers", 4), "put and read": ("--producers", 4, "--readers", 1, "--fetch-wait", "200ms")},
        servers=("kinesis-local", "millrace"),
        columns=("records", "mb_in", "mb_out", "cpu_in", "p50", "p99", "rss", "disk"),
        seconds=20,
        protocol="kinesis",
    ),
    "kinesis-push": Scenario(
        "1,000 records/s of 1 KB, by 5 producers with a request on the way each, pushed to readers by SubscribeToShard, and fetched by Kafka's: "
        "from a record's being due to each reader",
        {
            f"{consumers}, {name}": (*how, "--rate", 1000, "--producers", 5, "--in-flight", 1, "--linger", "0ms", "--partitions", 4, "--readers", readers)
            for consumers, readers in (("1 consumer", 1), ("20 consumers", 20))
            for name, how in (("a waiting fetch", ("--protocol", "kafka")), ("SubscribeToShard", ("--fan-out",)))
        },
        servers=("millrace",),
        columns=("mb_in", "mb_out", "p50", "p99", "p50_e2e", "p99_e2e", "cpu_out", "rss"),
        protocol="kinesis",
    ),
    "memory": Scenario(
        "1,000 producers of 20 partitions each, 10,000 partitions, 5 MB/s: anonymous memory",
        {"": (*BATCH_16K, "--producers", 1000, "--partitions", 10_000, "--partitions-per-producer", 20, "--rate", "5MB", "--in-flight", 1)},
        servers=("millrace",),
        columns=("mb_in", "rss", "disk", "cpu_in", "p99", "commits"),
    ),
}  # fmt: skip


@dataclass
class Run:
    """One run of the generator: the JSON that it printed, and what changed in the server's metrics meanwhile."""

    server: str
    variant: str
    report: dict
    metrics: dict[str, float]
    calls_per_gb: float | None = None

    def phase(self) -> dict:
        return self.report["phases"][-1]

    def get(self, column: str) -> float | None:
        return COLUMNS[column][2](self)


def _of(phase: str, *path: str) -> Callable[[Run], float | None]:
    def get(run: Run) -> float | None:
        value = run.phase().get(phase)
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    return get


def _commits(run: Run) -> float | None:
    """Commits of the whole run (its warm-up too) for each GB of batches appended meanwhile."""
    appended = run.metrics.get("millrace_log_appended_bytes_total", 0)
    return run.metrics["millrace_log_commits_total"] / appended * 1e9 if appended else None


#: name: (title, digits, where it is)
COLUMNS = {
    "mb_in": ("in, MB/s", 0, _of("mb_in_per_s")),
    "mb_out": ("out, MB/s", 0, _of("mb_out_per_s")),
    "records": ("records/s", 0, _of("records_in_per_s")),
    "requests": ("requests/s", 0, lambda run: run.phase()["produce_requests"] / run.phase()["seconds"]),
    "batches": ("batches/s", 0, lambda run: run.phase()["batches_in"] / run.phase()["seconds"]),
    "cpu_in": ("CPU s/GB in", 2, _of("server", "cpu_s_per_gb_in")),
    "cpu_out": ("CPU s/GB out", 3, _of("server", "cpu_s_per_gb_out")),
    "cpu_batch": ("CPU µs/batch", 1, _of("server", "cpu_us_per_batch_in")),
    "requests_cpu": ("requests/CPU s", 0, _of("server", "requests_per_cpu_s")),
    "p50": ("p50, ms", 2, _of("latency_ms", "p50")),
    "p99": ("p99, ms", 2, _of("latency_ms", "p99")),
    "p999": ("p99.9, ms", 2, _of("latency_ms", "p999")),
    "max": ("max, ms", 1, _of("latency_ms", "max")),
    "p50_e2e": ("p50 to readers, ms", 2, _of("end_to_end_ms", "p50")),
    "p99_e2e": ("p99 to readers, ms", 2, _of("end_to_end_ms", "p99")),
    "rss": ("peak anon., MB", 0, lambda run: run.phase()["server"]["anonymous_peak_bytes"] / 1e6),
    "disk": ("written/byte", 2, _of("server", "disk_bytes_per_byte_in")),
    "commits": ("commits/GB", 0, _commits),
    "calls": ("system calls/GB", 0, lambda run: run.calls_per_gb),
}


def arguments() -> argparse.Namespace:
    scenarios = "\n".join(f"  {name:<12}{scenario.about}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="bench/run", description=f"{__doc__}\nscenarios:\n{scenarios}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="NAME", help="one of the above")
    parser.add_argument("--servers", help="which of kafka, millrace-os, kafka-sync, millrace, kinesis-local (default: the scenario's)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are measured (default: 3)")
    parser.add_argument("--warm", type=int, default=2, help="rounds before them that are not (default: 2)")
    parser.add_argument("--seconds", type=float, help="length of a measurement (default: the scenario's)")
    parser.add_argument("--strace", action="store_true", help="count system calls in one more, shorter run of each")
    parser.add_argument("--option", action="append", default=[], metavar="NAME[=VALUE]", help="an option of `millrace bench` for all, as rate=20MB")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of Millrace, as in `millrace serve --set`")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as JSON")
    parser.add_argument("--home", type=Path, help="where the servers keep their data (default: a temporary folder)")
    return parser.parse_args()


def metrics(server) -> dict[str, float]:
    """Millrace's counters that have no labels; nothing for others."""
    if not isinstance(server, Millrace):
        return {}
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.split() for line in lines if re.match(r"[a-z_]+_total \S+$", line))
    return {name: float(value) for name, value in pairs}


def generate(server, *options) -> dict:
    """Runs the generator to its end; what it printed."""
    bootstrap = server.http if "kinesis" in options else server.bootstrap
    command = [millrace_binary(), "bench", "--bootstrap", bootstrap, "--server-pid", server.process.pid, *COMMON, *options]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def measure(name: str, server, variant: str, options: tuple) -> Run:
    before = metrics(server)
    report = generate(server, *options)
    after = metrics(server)
    return Run(name, variant, report, {key: value - before.get(key, 0) for key, value in after.items()})


def system_calls(server, options: tuple) -> float:
    """System calls of the server for each GB that it took in (or, where nothing is written, gave out), by strace."""
    with tempfile.NamedTemporaryFile(prefix="strace-") as summary:
        strace = subprocess.Popen(
            ["strace", "-c", "-f", "-q", "-o", summary.name, "-p", str(server.process.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            phases = generate(server, *options, "--warm-up", "0s")["phases"]
        finally:
            strace.terminate()
            strace.wait()
        total = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total", Path(summary.name).read_text(), re.MULTILINE)
    moved = sum(phase["bytes_in"] for phase in phases) or sum(phase["bytes_out"] for phase in phases)
    return int(total[1]) / moved * 1e9 if total and moved else float("nan")


class Session:
    """The servers of a scenario, and what its variants' options become on each."""

    def __init__(self, scenario: Scenario, servers: dict, options: argparse.Namespace, home: Path):
        self.scenario, self.servers, self.given, self.home = scenario, servers, options, home
        self.seconds = options.seconds or scenario.seconds
        self.extra = [word for option in options.option for word in _flag(option)]
        self.values: dict[str, str] = {}
        self.old: dict[str, str] = {}
        #: p50 and p99 of the disk alone, in ms, a round each.
        self.disk: list[tuple[float, float]] = []

    def prepare(self):
        for name, server in self.servers.items():
            if self.scenario.old_bytes:
                self.old[name] = f"old-{uuid.uuid4().hex[:8]}"
                records = self.scenario.old_bytes // 1000
                generate(server, "--topic", self.old[name], "--records", records, "--batches-per-request", 6, "--warm-up", "0s")
                print(f"{name}: wrote {records} records to read", file=sys.stderr)
        if self.scenario.half_of:
            self.values["rate"] = "1k"
            server = self.servers[self.scenario.half_of]
            options = (*BATCH_16K, "--producers", 2, "--duration", f"{self.seconds}s")
            best = 0.0
            for _ in range(10):  # until it is warm: the rate grows no more
                rate = generate(server, *options)["phases"][0]["records_in_per_s"]
                print(f"{self.scenario.half_of} takes {rate:.0f} records/s", file=sys.stderr)
                is_warm, best = rate < best * 1.05, max(rate, best)
                if is_warm:
                    break
            self.values["rate"] = str(round(best / 2))

    def options(self, name: str, variant: str, seconds: float) -> tuple:
        values = {**self.values, "old": self.old.get(name, "")}
        words = [str(word).format(**values) for word in self.scenario.variants[variant]]
        protocol = () if "--protocol" in words else ("--protocol", self.scenario.protocol)
        return (*protocol, *words, "--duration", f"{seconds}s", *self.extra)

    def rounds(self) -> list[Run]:
        runs = []
        names = list(self.servers)
        for number in range(-self.given.warm, self.given.rounds):
            if self.scenario.disk and number >= 0:
                took = disk.commits(self.home, float(self.values["rate"]) * 1000, min(self.seconds, 3))
                self.disk.append((took[len(took) // 2], took[len(took) * 99 // 100]))
                print(f"the disk alone: p50 {self.disk[-1][0]:.2f}, p99 {self.disk[-1][1]:.2f} ms", file=sys.stderr)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                for variant in self.scenario.variants:
                    run = measure(name, self.servers[name], variant, self.options(name, variant, self.seconds))
                    kind = "warming" if number < 0 else f"round {number + 1}"
                    shown = ", ".join(f"{COLUMNS[c][0]} {v:.{COLUMNS[c][1]}f}" for c in self.scenario.columns if (v := run.get(c)) is not None)
                    print(f"{kind}: {name} {variant}: {shown}{_trouble(run)}", file=sys.stderr)
                    if number >= 0:
                        runs.append(run)
        if self.given.strace:
            for name, server in self.servers.items():
                for variant in self.scenario.variants:
                    calls = system_calls(server, self.options(name, variant, min(self.seconds, 5)))
                    for run in runs:
                        if (run.server, run.variant) == (name, variant):
                            run.calls_per_gb = calls
        return runs


def _flag(option: str) -> list[str]:
    name, _, value = option.partition("=")
    return [f"--{name}", value] if value else [f"--{name}"]


def _trouble(run: Run) -> str:
    unsent = run.report["unsent_records"]
    return f"; {unsent} RECORDS WERE DUE AND NOT SENT" if unsent else ""


def table(scenario: Scenario, names: list[str], runs: list[Run]) -> str:
    """Markdown: medians with their spread; ratios of Millrace to Kafka where both are of one durability."""
    columns = [c for c in scenario.columns if any(run.get(c) is not None for run in runs)]
    lines = [f"| server | {' | '.join(COLUMNS[c][0] for c in columns)} |", "|---|" + "---:|" * len(columns)]
    series = {}
    for variant in scenario.variants:
        for name in names:
            own = [run for run in runs if (run.server, run.variant) == (name, variant)]
            values = {c: [v for run in own if (v := run.get(c)) is not None] for c in columns}
            series[name, variant] = values
            cells = (cell(values[c], COLUMNS[c][1]) if values[c] else "-" for c in columns)
            lines.append(f"| {name}{' ' if variant else ''}{variant} | " + " | ".join(cells) + " |")
        for durability in DURABILITY:
            of = [n for n in names if n in SERVERS and SERVERS[n][0] == durability]
            if len(of) == 2:
                kafka, ours = (series[n, variant] for n in of)
                lines.append(f"| {of[1]} / {of[0]} | " + " | ".join(_ratio(ours[c], kafka[c]) for c in columns) + " |")
    if scenario.between:
        column, what = scenario.between
        before, after = scenario.variants
        for name in names:
            lines.append(f"\n{name}: {what}: {_ratio(series[name, after][column], series[name, before][column])}")
    return "\n".join(lines)


def _ratio(of: list[float], to: list[float]) -> str:
    return f"{statistics.median(of) / statistics.median(to):.2f}" if of and to and statistics.median(to) else "-"


def start(name: str, home: Path, sets: list[str]):
    if name.startswith("millrace"):
        settings = dict(pair.split("=", 1) for pair in sets)
        return Millrace(home, **({"flush": "os"} if SERVERS[name][0] == "os" else {}), **settings)
    return KinesisLocal(home) if name == "kinesis-local" else SERVERS[name][1](home)


def main() -> int:
    options = arguments()
    scenario = SCENARIOS[options.scenario]
    names = options.servers.split(",") if options.servers else list(scenario.servers)
    if scenario.half_of and scenario.half_of not in names:
        raise SystemExit(f"{options.scenario} needs the server {scenario.half_of}: its rate is half of what that takes")
    with contextlib.ExitStack() as stack:
        home = options.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        servers = {}
        for name in names:
            servers[name] = start(name, home / name, options.set)
            stack.callback(servers[name].stop)
            started = time.monotonic()
            servers[name].start()
            print(f"{name} serves after {time.monotonic() - started:.1f} s", file=sys.stderr)
        session = Session(scenario, servers, options, home)
        session.prepare()
        runs = session.rounds()
    load = " ".join(str(word) for words in scenario.variants.values() for word in ("", *words)).format(**session.values, old="OLD").strip()
    what = (f"{options.scenario}: {scenario.about}. `millrace bench {load}`; {options.rounds} rounds of {session.seconds} s after "
            f"{options.warm} to warm; {machine()}")  # fmt: skip
    print(f"{what}.\n\n{table(scenario, names, runs)}")
    if session.disk:
        p50, p99 = ([round[column] for round in session.disk] for column in (0, 1))
        print(f"\nThe disk alone, a direct write and fdatasync at the same bytes a second: p50 {cell(p50, 2)} ms, p99 {cell(p99, 2)} ms")
    if options.json:
        results = [{"server": r.server, "variant": r.variant, "metrics": r.metrics, "calls_per_gb": r.calls_per_gb, "report": r.report} for r in runs]
        options.json.write_text(json.dumps({"what": what, "disk_ms": session.disk, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
