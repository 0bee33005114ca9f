"""Streams through AWS's SDKs and CLI, each as it comes but for the endpoint: what is asked of one is asked of all."""

import hashlib
import os

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from harness.kinesis import REGION, SDKS, packed, unpacked

pytestmark = pytest.mark.millrace

FIRST = "shardId-000000000000"


@pytest.fixture(scope="module", params=SDKS)
def sdk(request):
    sdk = SDKS[request.param]
    if not sdk.available():
        pytest.skip(f"{sdk} is not set up: see tests/setup")
    return sdk


@pytest.fixture(scope="module")
def program(sdk, shared_broker):
    with sdk.session(shared_broker.http) as session:
        yield session


@pytest.fixture
def session(program, broker):
    """One program of each family serves all tests."""
    return program


def create(session, name, shards=1) -> str:
    return session.call("create", stream=name, shards=shards)["arn"]


def values(answer) -> list[bytes]:
    return [unpacked(record["data"]) for record in answer["records"]]


def test_a_stream_is_made_described_and_deleted(session, name):
    assert create(session, name, 5) == f"arn:aws:kinesis:{REGION}:123456789012:stream/{name}"
    shards = session.call("shards", stream=name)["shards"]
    assert [shard["id"] for shard in shards] == [f"shardId-{n:012}" for n in range(5)]
    assert [int(shard["first"]) for shard in shards] == [n * (2**128 // 5) for n in range(5)]
    assert int(shards[-1]["last"]) == 2**128 - 1
    assert session.call("retain", stream=name, hours=48) == {"hours": 48}
    tags = {"team": "müller", "empty": "", "a.b/c=d+e-f@g": "x y"}
    assert session.call("tag", stream=name, tags=tags) == {"tags": tags}
    session.call("delete", stream=name)
    assert session.ask("shards", stream=name)["error"] == "ResourceNotFoundException"


def test_records_come_back_in_their_order_at_their_shards(session, name):
    create(session, name, 4)
    one = session.call("put", stream=name, key="ключ", data=packed(bytes(range(256))))
    last = session.call("put", stream=name, key="k", data=packed(b"last"), hash=str(2**128 - 1))
    assert last["shard"] == "shardId-000000000003"
    rows = [(f"key-{n % 17}", b"%d-" % n + os.urandom(250).hex().encode()) for n in range(200)]
    put = session.call("put_many", stream=name, records=[{"key": key, "data": packed(data)} for key, data in rows])
    assert put["failed"] == 0
    expected = {f"shardId-{n:012}": [] for n in range(4)}
    expected[one["shard"]].append(("ключ", bytes(range(256)), one["sequence"]))
    expected[last["shard"]].append(("k", b"last", last["sequence"]))
    for (key, data), stored in zip(rows, put["records"], strict=True):
        assert stored["shard"] == f"shardId-{int(hashlib.md5(key.encode()).hexdigest(), 16) >> 126:012}"
        expected[stored["shard"]].append((key, data, stored["sequence"]))
    for shard, mine in expected.items():
        found = session.call("read", stream=name, shard=shard, type="TRIM_HORIZON")["records"]
        assert [(r["key"], unpacked(r["data"]), r["sequence"]) for r in found] == mine


def test_every_type_of_iterator_begins_where_it_says(session, name):
    create(session, name)
    put = [session.call("put", stream=name, key="k", data=packed(b"%d" % n))["sequence"] for n in range(5)]

    def read(kind, **more):
        return [int(value) for value in values(session.call("read", stream=name, shard=FIRST, type=kind, **more))]

    assert read("TRIM_HORIZON") == [0, 1, 2, 3, 4]
    assert read("LATEST") == []
    assert read("AT_SEQUENCE_NUMBER", sequence=put[2]) == [2, 3, 4]
    assert read("AFTER_SEQUENCE_NUMBER", sequence=put[2]) == [3, 4]
    arrived = session.call("read", stream=name, shard=FIRST, type="TRIM_HORIZON")["records"][3]["arrived_ms"]
    assert 3 in read("AT_TIMESTAMP", timestamp_ms=arrived)
    assert read("AT_TIMESTAMP", timestamp_ms=0) == [0, 1, 2, 3, 4]


def test_refusals_have_their_names(session, name):
    missing = session.ask("put", stream=name, key="k", data="")
    assert missing == {"error": "ResourceNotFoundException", "message": f"Stream {name} under account 123456789012 not found."}
    create(session, name)
    again = session.ask("create", stream=name, shards=1)
    assert again == {
        "error": "ResourceInUseException",
        "message": f"Stream {name} under account 123456789012 already exists.",
    }
    assert session.ask("retain", stream=name, hours=9000)["error"] == "InvalidArgumentException"
    assert session.ask("put", stream=name, key="k" * 257, data="")["error"] == "ValidationException"


def test_records_cross_between_the_protocols(session, broker, name):
    create(session, name)
    session.call("put", stream=name, key="by-kinesis", data=packed(b"\x00\xff kinesis"))
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": "lz4"})
    producer.produce(name, b"\x00\xff kafka", "by-kafka", partition=0)
    assert producer.flush(30) == 0
    found = session.call("read", stream=name, shard=FIRST, type="TRIM_HORIZON")["records"]
    both = [("by-kinesis", b"\x00\xff kinesis"), ("by-kafka", b"\x00\xff kafka")]
    assert [(r["key"], unpacked(r["data"])) for r in found] == both
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name})
    consumer.assign([TopicPartition(name, 0, 0)])
    seen = [consumer.poll(30) for _ in both]
    assert [(message.key().decode(), message.value()) for message in seen] == both
    consumer.close()


def test_records_are_pushed_to_who_subscribes(session, sdk, broker, name):
    if not sdk.fan_out:
        pytest.skip(f"{sdk} has no SubscribeToShard")
    arn = create(session, name)
    session.call("put", stream=name, key="k", data=packed(b"old"))
    latest = session.call("register", arn=arn, consumer="latest")["arn"]
    session.say("subscribe", arn=latest, shard=FIRST, type="LATEST", count=2)
    assert session.answer() == {"subscribed": True}
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for n in range(2):
        producer.produce(name, b"new-%d" % n, "k", partition=0)
        assert producer.flush(30) == 0
    pushed = session.answer()
    assert values(pushed) == [b"new-0", b"new-1"]
    # Where one subscription ended, another goes on.
    rows = [{"key": "k", "data": packed(b"%04d" % n * 1000)} for n in range(300)]
    assert session.call("put_many", stream=name, records=rows)["failed"] == 0
    behind = session.call("register", arn=arn, consumer="behind")["arn"]
    session.say("subscribe", arn=behind, shard=FIRST, type="AFTER_SEQUENCE_NUMBER", sequence=pushed["continuation"], count=300)
    assert session.answer() == {"subscribed": True}
    assert values(session.answer()) == [unpacked(row["data"]) for row in rows]
    whole = session.call("register", arn=arn, consumer="whole")["arn"]
    session.say("subscribe", arn=whole, shard=FIRST, type="TRIM_HORIZON", count=303)
    assert session.answer() == {"subscribed": True}
    assert [len(value) for value in values(session.answer())] == [3, 5, 5] + [4000] * 300
    refused = session.ask("subscribe", arn=f"{arn}/consumer/nobody:1", shard=FIRST, type="LATEST", count=1)
    assert refused["error"] == "ResourceNotFoundException"
