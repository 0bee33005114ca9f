"""The two servers that the tests run against: Millrace, and Apache Kafka to prove the tests and to measure beside."""

import json
import os
import socket
import subprocess
import urllib.request
import uuid
from pathlib import Path

from harness.process import ROOT, TESTS, TOOLS, Process, until


def millrace_binary() -> Path:
    """$MILLRACE_BIN, or what `cargo build --release` leaves."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return Path(os.environ.get("MILLRACE_BIN") or target / "release/millrace")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Millrace:
    """`millrace serve` on a data directory. The first start picks free ports, later ones keep them."""

    name = "millrace"

    def __init__(
        self, home: Path, data: Path | None = None, environment: dict[str, str] | None = None, tls: tuple[Path, Path] | None = None, **settings
    ):
        """`tls`, a certificate and its key, adds an address for https."""
        self.home = home
        self.data = data or home / "data"
        self.environment = {**os.environ, **(environment or {})}
        self.settings = settings
        self.bootstrap = self.http = self.https = "127.0.0.1:0"
        self.tls = tls
        self.process: Process | None = None
        home.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Millrace":
        """Starts it and returns once it serves: endpoints.json then holds this process's id."""
        process = self.spawn()
        endpoints = until(lambda: self._endpoints(process), "millrace serves", 60)
        self.bootstrap, self.http = endpoints["kafka"][0]["address"], endpoints["http"][0]
        if self.tls:
            self.https = endpoints["https"][0]
        return self

    def spawn(self, under: tuple[str, ...] = ()) -> Process:
        """Starts it, by a command that runs it where `under` names one, and doesn't wait."""
        sets = [word for name, value in self.settings.items() for word in ("--set", f"{name}={value}")]
        addresses = ["--kafka-listen", self.bootstrap, "--http-listen", self.http]
        if self.tls:
            addresses += ["--http-listen", f"https://{self.https}", "--tls-cert", self.tls[0], "--tls-key", self.tls[1]]
        self.process = Process(
            [*under, millrace_binary(), "serve", "--data-dir", self.data, *addresses, *sets],
            self.home / "server.log",
            env=self.environment,
        )
        return self.process

    def _endpoints(self, process: Process) -> dict | None:
        assert process.alive(), f"millrace ended with {process.child.returncode}:\n{self.log_tail()}"
        try:
            endpoints = json.loads((self.data / "endpoints.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return endpoints if endpoints["pid"] == process.pid else None

    def kill(self):
        self.process.kill()

    def restart(self) -> "Millrace":
        """Kill -9, and start again on the same address and data."""
        self.kill()
        return self.start()

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        return self.process.terminate()

    def stop(self):
        if self.process:
            self.process.stop()

    def metric(self, name: str) -> float:
        """What /metrics says now, summed over the labels."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        said = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert said, f"no metric is named {name}"
        return sum(said)

    def disk_bytes(self) -> int:
        """What its data directory takes on the disk."""
        return sum(file.stat().st_blocks * 512 for file in self.data.iterdir())

    def logged(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    def log_tail(self, lines: int = 60) -> str:
        log = self.home / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


#: What tests would only wait for: the first member's rebalance delay, and Kafka's belief that a killed broker still lives.
KAFKA_IMPATIENT = {"group.initial.rebalance.delay.ms": 0, "broker.session.timeout.ms": 1500, "broker.heartbeat.interval.ms": 300}


class ApacheKafka:
    """Apache Kafka from the jars of tests/java: one node, KRaft, with the defaults of its own server.properties."""

    name = "kafka"

    def __init__(self, home: Path, heap: str = "1g", **settings):
        self.home = home
        self.heap = heap
        port, controller = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self.settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": home / "data",
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            **settings,
        }
        self.process: Process | None = None
        home.mkdir(parents=True, exist_ok=True)

    def _java(self, *args) -> list:
        return ["java", "-cp", f"{TOOLS}/jars/*:{TESTS}/java", f"-Xmx{self.heap}", f"-Xms{self.heap}", "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-Dmillrace.log=warn", *args]  # fmt: skip

    def start(self) -> "ApacheKafka":
        properties = self.home / "server.properties"
        if not properties.exists():
            properties.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
            cluster = str(uuid.uuid4())
            subprocess.run(
                [str(a) for a in self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", properties)],
                check=True, capture_output=True,
            )  # fmt: skip
        self.process = process = Process(self._java("kafka.Kafka", properties), self.home / "server.log")
        until(lambda: self._serves(process), "Kafka serves", 120)
        return self

    def _serves(self, process: Process) -> bool:
        assert process.alive(), f"Kafka ended with {process.child.returncode}:\n{self.log_tail()}"
        host, port = self.bootstrap.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    kill = Millrace.kill
    restart = Millrace.restart
    terminate = Millrace.terminate
    stop = Millrace.stop
    log_tail = Millrace.log_tail


class KinesisLocal:
    """kinesis-local, an emulator of Kinesis in memory, from the npm packages of tests/aws/node: to measure beside."""

    name = "kinesis-local"

    def __init__(self, home: Path):
        self.home = home
        port = free_port()
        self.http = f"127.0.0.1:{port}"
        self.environment = {
            **os.environ, "KINESIS_MOCK_PLAIN_PORT": str(port), "KINESIS_MOCK_TLS_PORT": str(free_port()), "LOG_LEVEL": "ERROR",
            "SHARD_LIMIT": "1000",
        }  # fmt: skip
        self.process: Process | None = None
        home.mkdir(parents=True, exist_ok=True)

    def start(self) -> "KinesisLocal":
        package = TOOLS / "aws-node/node_modules/kinesis-local"
        self.process = process = Process(["node", "main.js"], self.home / "server.log", cwd=package, env=self.environment)
        until(lambda: self._serves(process), "kinesis-local serves", 60)
        return self

    def _serves(self, process: Process) -> bool:
        assert process.alive(), f"kinesis-local ended with {process.child.returncode}:\n{self.log_tail()}"
        host, port = self.http.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    stop = Millrace.stop
    log_tail = Millrace.log_tail


class External:
    """A broker that somebody else runs: it can be used, not stopped."""

    name = "external"
    process = None

    def __init__(self, bootstrap: str):
        self.bootstrap = bootstrap

    def start(self) -> "External":
        return self

    def stop(self):
        pass

    def log_tail(self) -> str:
        return ""
