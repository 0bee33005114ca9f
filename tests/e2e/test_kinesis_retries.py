"""A put whose answer is lost: SDKs send it again by themselves, and its records stand twice, as they would at AWS."""

import socket
import threading
from contextlib import contextmanager, suppress

import boto3
import pytest
from botocore.config import Config
from harness.kinesis import REGION, SDKS, packed
from harness.process import until
from harness.streams import client, offset_of

pytestmark = pytest.mark.millrace

#: What is sent before this many bytes is no put: it reaches the server, and its answer the client.
PUT_BYTES = 32 << 10


class Way:
    """A way to the server on which one connection breaks when the server has done what a large request asked for."""

    def __init__(self, server, done):
        self.done = done
        self.server = server.http.split(":")
        self.breaks = 1
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.http = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self):
        while True:
            try:
                socket_of_client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(socket_of_client,), daemon=True).start()

    def carry(self, near: socket.socket):
        host, port = self.server
        with near, socket.create_connection((host, int(port))) as far:
            sent = [0]
            up = threading.Thread(target=self.pump, args=(near, far, sent), daemon=True)
            up.start()
            with suppress(OSError):
                while answer := far.recv(1 << 16):
                    if self.breaks and sent[0] > PUT_BYTES:
                        until(self.done, "the server has done what was asked")
                        self.breaks = 0
                        break
                    near.sendall(answer)
            for end in (near, far):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            up.join()

    @staticmethod
    def pump(near: socket.socket, far: socket.socket, sent: list[int]):
        with suppress(OSError):
            while request := near.recv(1 << 16):
                sent[0] += len(request)
                far.sendall(request)
            far.shutdown(socket.SHUT_WR)


@contextmanager
def way(server, stream: str, records: int):
    """A way on which the answer to a put of so many records is lost once."""
    direct = client(server, REGION)
    made = Way(server, lambda: len(stored(direct, stream)) == records)
    threading.Thread(target=made.serve, daemon=True).start()
    try:
        yield made
    finally:
        made.listener.shutdown(socket.SHUT_RDWR)
        made.listener.close()


def stored(kinesis, stream: str) -> list[tuple[int, str]]:
    """Offset and key of each record."""
    at = kinesis.get_shard_iterator(StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
    found = kinesis.get_records(ShardIterator=at["ShardIterator"])["Records"]
    return [(offset_of(record["SequenceNumber"]), record["PartitionKey"]) for record in found]


KEYS = [f"key-{n}" for n in range(5)]
#: With all of them a put fits the window that HTTP/2 begins with: what the server says of its own is held back.
DATA = b"x" * 8_000


def test_boto3_sends_a_put_again_whose_answer_was_lost(broker, name):
    direct = client(broker, REGION)
    direct.create_stream(StreamName=name, ShardCount=1)
    records = [{"PartitionKey": key, "Data": DATA} for key in KEYS]
    with way(broker, name, len(KEYS)) as lossy:
        retrying = boto3.client(
            "kinesis", endpoint_url=f"http://{lossy.http}", region_name=REGION, aws_access_key_id="key",
            aws_secret_access_key="secret", config=Config(retries={"mode": "standard"}),
        )  # fmt: skip
        answer = retrying.put_records(StreamName=name, Records=records)
    assert answer["FailedRecordCount"] == 0 and answer["ResponseMetadata"]["RetryAttempts"] == 1
    assert stored(direct, name) == list(enumerate(KEYS * 2))
    assert [offset_of(record["SequenceNumber"]) for record in answer["Records"]] == [5, 6, 7, 8, 9], "those of the second"


#: The CLI is botocore, and is told to try once in tests.
@pytest.mark.parametrize("sdk", [sdk for sdk in SDKS if sdk != "aws-cli"])
def test_the_sdks_do_so_without_a_word(broker, name, sdk):
    if not SDKS[sdk].available():
        pytest.skip(f"{sdk} is not set up: see tests/setup")
    direct = client(broker, REGION)
    direct.create_stream(StreamName=name, ShardCount=1)
    with way(broker, name, len(KEYS)) as lossy, SDKS[sdk].session(lossy.http) as session:
        put = session.call("put_many", stream=name, records=[{"key": key, "data": packed(DATA)} for key in KEYS])
    assert put["failed"] == 0
    assert stored(direct, name) == list(enumerate(KEYS * 2))
