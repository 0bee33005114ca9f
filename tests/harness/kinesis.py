"""AWS's SDKs and CLI, each behind the same calls, so that a test is written once for all.

    PROGRAM ENDPOINT REGION     reads one JSON object a line from stdin, and answers each by a line on stdout

    {"do": "create", stream, shards}            {"arn"}; the SDK's own waiter has seen it
    {"do": "delete", stream}                    {}
    {"do": "put", stream, key, data, hash?}     {"shard", "sequence"}; data is in base64 everywhere
    {"do": "put_many", stream, records}         {"failed", "records": [{"shard", "sequence"}]}
    {"do": "shards", stream}                    {"shards": [{"id", "first", "last"}]}, by pages of two
    {"do": "read", stream, shard, type, sequence?, timestamp_ms?}
                                                {"records": [{"sequence", "key", "data", "arrived_ms"}]}: pages of 30 up to the tip
    {"do": "retain", stream, hours}             {"hours"}, as the stream is described after the increase
    {"do": "tag", stream, tags}                 {"tags"}, as they are listed after the change
    {"do": "register", arn, consumer}           {"arn"} of the consumer
    {"do": "subscribe", arn, shard, type, sequence?, timestamp_ms?, count}
                                                {"subscribed": true}, then {"records", "continuation"} when there are as many
    where the service refuses                   {"error": its name of the error, "message"}
"""

import base64
import json
import os
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.clients import JAVA_SHORT
from harness.process import TESTS, TOOLS, Process, until
from harness.servers import free_port

REGION = "eu-west-1"


@dataclass(frozen=True)
class Sdk:
    """A client family: the command that starts its program."""

    name: str
    command: tuple[str, ...]
    part: str  # of tests/setup
    fan_out: bool = True
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name

    def available(self) -> bool:
        return (TOOLS / f"{self.part}.stamp").exists()

    @contextmanager
    def session(self, http: str):
        """A running program that talks to the server at this address."""
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(
                [*self.command, f"http://{http}", REGION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, **dict(self.environment)}, text=True, bufsize=1,
            )  # fmt: skip
            try:
                yield Session(child, log)
            finally:
                child.kill()
                child.communicate()


class Session:
    """The calls of a program that runs."""

    def __init__(self, child: subprocess.Popen, log):
        self.child, self.log = child, log

    def ask(self, do: str, **call) -> dict:
        """Its answer, which may be a refusal."""
        self.say(do, **call)
        return self.answer()

    def call(self, do: str, **call) -> dict:
        """Its answer, which is no refusal."""
        said = self.ask(do, **call)
        assert "error" not in said, (do, call, said)
        return said

    def say(self, do: str, **call):
        self.child.stdin.write(json.dumps({"do": do, **call}) + "\n")

    def answer(self) -> dict:
        line = self.child.stdout.readline()
        if not line:
            self.log.seek(0)
            raise AssertionError(f"{self.child.args} ended:\n{self.log.read().decode(errors='replace')[-4000:]}")
        return json.loads(line)


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unpacked(data: str) -> bytes:
    return base64.b64decode(data)


@contextmanager
def dynamodb(log: Path):
    """moto's server, for its DynamoDB: where it is."""
    port = free_port()
    child = Process([f"{TOOLS}/moto/venv/bin/moto_server", "--host", "127.0.0.1", "--port", str(port)], log)

    def serves() -> bool:
        assert child.alive(), log.read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    try:
        until(serves, "moto's server answers", 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


def python_program(name: str) -> tuple[str, ...]:
    """A program of tests/aws/python."""
    return (f"{TOOLS}/aws-python/bin/python", f"{TESTS}/aws/python/{name}")


SDKS = {
    s.name: s
    for s in [
        Sdk("aws-sdk-java", (*JAVA_SHORT, "-cp", f"{TOOLS}/aws-java:{TOOLS}/aws-jars/*", "KinesisClient"), "aws-java"),
        Sdk("aws-sdk-go", (f"{TOOLS}/aws-go/client",), "aws-go"),
        Sdk("aws-sdk-js", ("node", f"{TESTS}/aws/node/client.js"), "aws-node",
            environment=(("NODE_PATH", f"{TOOLS}/aws-node/node_modules"),)),
        Sdk("aws-sdk-rust", (f"{TOOLS}/aws-rust/release/millrace-test-aws",), "aws-rust"),
        Sdk("aws-cli", python_program("cli.py"), "aws-python", fan_out=False),
    ]
}  # fmt: skip
