"""Enhanced fan-out through boto3 over HTTP/1.1: records of both protocols, pushed to consumers that subscribe."""

import contextlib
import json
import socket
import threading
import time

import pytest
from botocore.exceptions import ClientError
from confluent_kafka import Producer
from test_kinesis import client, create, error, iterator

pytestmark = pytest.mark.millrace

SHARD = "shardId-000000000000"


def arn(name):
    return f"arn:aws:kinesis:eu-west-1:123456789012:stream/{name}"


def register(kinesis, name, consumer="c"):
    registered = kinesis.register_stream_consumer(StreamARN=arn(name), ConsumerName=consumer)["Consumer"]
    assert registered["ConsumerStatus"] == "ACTIVE"
    return registered["ConsumerARN"]


def subscribe(kinesis, consumer, kind, shard=SHARD, **more):
    position = {"Type": kind, **more}
    return kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=position)["EventStream"]


def records(events, n):
    """The next `n` records, and the event that brought the last."""
    found = []
    for event in events:
        event = event["SubscribeToShardEvent"]
        found += event["Records"]
        assert event["ContinuationSequenceNumber"] and not event.get("ChildShards")
        if len(found) >= n:
            return found, event
    raise AssertionError(f"the subscription ended after {len(found)} of {n} records")


def test_records_of_both_protocols_are_pushed_as_they_are_put(broker, name):
    kinesis = client(broker)
    create(kinesis, name)
    old = [kinesis.put_record(StreamName=name, Data=b"old-%d" % n, PartitionKey="k")["SequenceNumber"] for n in range(3)]
    all_of_it = subscribe(kinesis, register(kinesis, name, "all"), "TRIM_HORIZON")
    latest = subscribe(kinesis, register(kinesis, name, "latest"), "LATEST")
    found, _ = records(all_of_it, 3)
    assert [(r["Data"], r["PartitionKey"], r["SequenceNumber"]) for r in found] == [
        (b"old-%d" % n, "k", number) for n, number in enumerate(old)
    ]
    # A reader that waits gets what is put while it does.
    waiting = {}
    reader = threading.Thread(target=lambda: waiting.update(found=records(latest, 2)))
    reader.start()
    new = kinesis.put_record(StreamName=name, Data=b"by-kinesis", PartitionKey="k")["SequenceNumber"]
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(name, b"by-kafka", b"key", partition=0)
    assert producer.flush(30) == 0
    reader.join(30)
    found, last = waiting["found"]
    assert [(r["Data"], r["PartitionKey"]) for r in found] == [(b"by-kinesis", "k"), (b"by-kafka", "key")]
    assert found[0]["SequenceNumber"] == new and last["MillisBehindLatest"] == 0
    assert last["ContinuationSequenceNumber"] == found[1]["SequenceNumber"]
    same, _ = records(all_of_it, 2)
    assert [r["SequenceNumber"] for r in same] == [r["SequenceNumber"] for r in found]
    for events in (all_of_it, latest):
        events.close()


def test_a_backlog_comes_whole_and_in_order(broker, name):
    kinesis = client(broker)
    create(kinesis, name)
    for batch in range(4):
        rows = [{"Data": b"%05d" % (batch * 500 + n) * 800, "PartitionKey": "k"} for n in range(500)]
        assert kinesis.put_records(StreamName=name, Records=rows)["FailedRecordCount"] == 0
    events = subscribe(kinesis, register(kinesis, name), "TRIM_HORIZON")
    found, last = records(events, 2000)
    assert [int(r["Data"][:5]) for r in found] == list(range(2000)) and last["MillisBehindLatest"] == 0
    events.close()


def test_a_second_call_is_refused_while_the_first_is_young(broker, name):
    kinesis = client(broker)
    create(kinesis, name)
    consumer = register(kinesis, name)
    events = subscribe(kinesis, consumer, "LATEST")
    with pytest.raises(ClientError) as raised:
        subscribe(kinesis, consumer, "LATEST")
    assert raised.value.response["Error"]["Code"] == "ResourceInUseException"
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    assert error(kinesis.describe_stream_consumer, ConsumerARN=consumer)[0] == "ResourceNotFoundException"
    events.close()


def test_consumers_are_there_after_a_restart(own_broker, name):
    kinesis = client(own_broker)
    create(kinesis, name)
    consumer = register(kinesis, name)
    kinesis.put_record(StreamName=name, Data=b"one", PartitionKey="k")
    own_broker.restart()
    kinesis = client(own_broker)
    assert [c["ConsumerARN"] for c in kinesis.list_stream_consumers(StreamARN=arn(name))["Consumers"]] == [consumer]
    events = subscribe(kinesis, consumer, "TRIM_HORIZON")
    found, last = records(events, 1)
    assert [r["Data"] for r in found] == [b"one"]
    events.close()
    # Where one subscription stops another goes on.
    kinesis.put_record(StreamName=name, Data=b"two", PartitionKey="k")
    other = register(kinesis, name, "d")
    number = last["ContinuationSequenceNumber"]
    events = subscribe(kinesis, other, "AFTER_SEQUENCE_NUMBER", SequenceNumber=number)
    assert [r["Data"] for r in records(events, 1)[0]] == [b"two"]
    events.close()


def test_subscribers_that_read_nothing_delay_nobody(start_millrace, name):
    """A hundred of them, each with megabytes before it: more than the memory for answers or events, in full ones, has room for."""
    broker = start_millrace()
    kinesis = client(broker)
    create(kinesis, name, 5)
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=name)["Shards"]]
    rows = [{"Data": b"x" * 20_000, "PartitionKey": "k", "ExplicitHashKey": str(n * 2**128 // 5 + 1)} for n in range(5) for _ in range(50)]
    for _ in range(10):
        assert kinesis.put_records(StreamName=name, Records=rows)["FailedRecordCount"] == 0
    with contextlib.ExitStack() as unread:
        for n in range(20):
            consumer = register(kinesis, name, f"c{n}")
            for shard in shards:
                asked = json.dumps({"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": {"Type": "TRIM_HORIZON"}})
                connection = unread.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                host, port = broker.http.split(":")
                connection.connect((host, int(port)))
                connection.sendall(
                    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\n"
                    b"Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/kinesis/aws4_request\r\n"
                    b"X-Amz-Target: Kinesis_20131202.SubscribeToShard\r\nContent-Length: %d\r\n\r\n%s" % (len(asked), asked.encode())
                )
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
        at = [iterator(kinesis, name, n) for n in range(5)]
        begun = time.monotonic()
        for shard in at:
            assert len(kinesis.get_records(ShardIterator=shard)["Records"]) == 500
        kinesis.deregister_stream_consumer(ConsumerARN=consumer)
        found, _ = records(subscribe(kinesis, register(kinesis, name, "reader"), "TRIM_HORIZON"), 500)
        assert len(found) == 500 and time.monotonic() - begun < 20


def test_get_records_may_wait_at_the_tip(start_millrace, name):
    broker = start_millrace(**{"kinesis.get_records_wait_ms": "10000"})
    kinesis, other = client(broker), client(broker)
    create(kinesis, name)
    at, found = iterator(kinesis, name, kind="LATEST"), {}

    def wait():
        found.update(kinesis.get_records(ShardIterator=at), at=time.monotonic())

    reader = threading.Thread(target=wait)
    reader.start()
    other.list_streams()
    begun = time.monotonic()
    other.put_record(StreamName=name, Data=b"x", PartitionKey="k")
    reader.join(30)
    assert [record["Data"] for record in found["Records"]] == [b"x"] and found["at"] - begun < 5
