"""The Kinesis Client Library: leases, fan-out and polling, checkpoints over a restart, and the end of a shard.

It keeps its leases in DynamoDB, for which moto's server stands in.
"""

import subprocess
from contextlib import contextmanager

import boto3
import pytest
from botocore.exceptions import ClientError
from confluent_kafka import Producer
from harness.clients import JAVA_SHORT
from harness.kinesis import REGION, dynamodb
from harness.process import TOOLS, Process, until

pytestmark = [pytest.mark.millrace, pytest.mark.timeout(300)]

PARTS = ("aws-kcl", "moto")
#: A worker starts after its tables are made, it leads, and it has taken its leases.
PATIENCE = 120


@pytest.fixture(scope="module")
def leases(tmp_path_factory):
    for part in PARTS:
        if not (TOOLS / f"{part}.stamp").exists():
            pytest.skip(f"{part} is not set up: see tests/setup")
    with dynamodb(tmp_path_factory.mktemp("dynamodb") / "log") as url:
        yield url


class Worker(Process):
    """A worker that runs; what it says goes to a file."""

    def __init__(self, folder, broker, leases, name, retrieval):
        self.out = folder / "out"
        where = [f"http://{broker.http}", leases, REGION, name, f"{name}-app", retrieval]
        with self.out.open("ab") as out:
            super().__init__(
                [*JAVA_SHORT, "-cp", f"{TOOLS}/aws-kcl:{TOOLS}/aws-kcl-jars/*", "Kcl", *where],
                folder / "log", stdin=subprocess.PIPE, stdout=out,
            )  # fmt: skip

    def said(self, what: str) -> list[str]:
        """The rest of the lines that begin with this word."""
        assert self.alive(), self.log.read_text(errors="replace")[-4000:]
        lines = self.out.read_text().split("\n")[:-1]
        return [line.removeprefix(f"{what} ") for line in lines if line.startswith(f"{what} ")]

    def values(self) -> set[str]:
        return {line.split(" ", 2)[2] for line in self.said("record")}

    def leave(self):
        """Asks it to end, and waits: what it was given is then checkpointed."""
        self.child.stdin.close()
        assert self.child.wait(60) == 0


@pytest.fixture
def work(tmp_path, broker, leases, name):
    """Runs a worker on the test's stream, in a folder of its own."""
    runs = []

    @contextmanager
    def run(retrieval: str):
        folder = tmp_path / f"worker-{len(runs)}"
        folder.mkdir()
        runs.append(folder)
        worker = Worker(folder, broker, leases, name, retrieval)
        try:
            yield worker
        finally:
            worker.stop()

    return run


@pytest.fixture
def kinesis(broker):
    where = {"endpoint_url": f"http://{broker.http}", "region_name": REGION}
    return boto3.client("kinesis", aws_access_key_id="key", aws_secret_access_key="secret", **where)


def put(kinesis, name, values):
    rows = [{"PartitionKey": value, "Data": value.encode()} for value in values]
    assert kinesis.put_records(StreamName=name, Records=rows)["FailedRecordCount"] == 0


@pytest.mark.parametrize("retrieval", ["fan-out", pytest.param("polling", marks=pytest.mark.slow)])
def test_a_worker_reads_all_and_goes_on_where_it_stopped(work, kinesis, broker, name, retrieval):
    kinesis.create_stream(StreamName=name, ShardCount=2)
    first = {f"kinesis-{n}" for n in range(50)}
    put(kinesis, name, first)
    with work(retrieval) as worker:
        until(lambda: worker.values() == first, "the worker has read all", PATIENCE)
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        more = {f"kafka-{n}" for n in range(50)}
        for value in more:
            producer.produce(name, value, value)
        assert producer.flush(30) == 0
        until(lambda: worker.values() == first | more, "the worker has read what Kafka's client wrote")
        worker.leave()
    last = {f"last-{n}" for n in range(10)}
    put(kinesis, name, last)
    with work(retrieval) as worker:
        until(lambda: worker.values() >= last, "the next worker has gone on", PATIENCE)
        assert worker.values() == last
        worker.leave()


def test_a_worker_reads_children_after_their_parent(work, kinesis, name):
    kinesis.create_stream(StreamName=name, ShardCount=1)
    before = {f"before-{n}" for n in range(20)}
    put(kinesis, name, before)
    try:
        kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    except ClientError as refused:
        pytest.skip(refused.response["Error"]["Message"])
    after = {f"after-{n}" for n in range(20)}
    put(kinesis, name, after)
    with work("fan-out") as worker:
        until(lambda: worker.values() == before | after, "the worker has read all", PATIENCE)
        assert worker.said("ended") == ["shardId-000000000000"]
        shards = [line.split(" ", 1)[0] for line in worker.said("record")]
        assert shards[:20] == ["shardId-000000000000"] * 20 and "shardId-000000000000" not in shards[20:]
        worker.leave()
