"""Streams through boto3, and the same records through Kafka's clients: one log under two protocols."""

import datetime
import gzip
import hashlib
import http.client
import json
import zlib

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from confluent_kafka import Consumer, Producer, TopicPartition
from harness.streams import checked

pytestmark = pytest.mark.millrace


def client(server, region="eu-west-1", config=None, **more):
    """boto3 against `server`, with settings of its own where they are given."""
    plain = Config(retries={"max_attempts": 1}, parameter_validation=False)
    with_defaults = {
        "endpoint_url": f"http://{server.http}",
        "region_name": region,
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "config": config.merge(Config(parameter_validation=False)) if config else plain,
        **more,
    }
    return checked(boto3.client("kinesis", **with_defaults))


@pytest.fixture
def kinesis(broker):
    return client(broker)


def create(kinesis, name, shards=1, **more):
    kinesis.create_stream(StreamName=name, ShardCount=shards, **more)
    kinesis.get_waiter("stream_exists").wait(StreamName=name)


def iterator(kinesis, name, shard=0, kind="TRIM_HORIZON", **more):
    shard = f"shardId-{shard:012}"
    return kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]


def read(kinesis, name, shard=0, kind="TRIM_HORIZON", limit=10_000, **more):
    """All records from there on."""
    at, records = iterator(kinesis, name, shard, kind, **more), []
    while True:
        page = kinesis.get_records(ShardIterator=at, Limit=limit)
        records += page["Records"]
        if page["MillisBehindLatest"] == 0:
            return records
        at = page["NextShardIterator"]


def error(call, **arguments) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    said = raised.value.response
    assert said["ResponseMetadata"]["RequestId"]
    return said["Error"]["Code"], said["Error"]["Message"]


def test_a_stream_is_described_as_it_was_made(kinesis, name):
    create(kinesis, name, 4, Tags={"team": "a"})
    arn = f"arn:aws:kinesis:eu-west-1:123456789012:stream/{name}"
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert (described["StreamARN"], described["StreamStatus"], described["RetentionPeriodHours"]) == (arn, "ACTIVE", 24)
    assert described["EncryptionType"] == "NONE" and described["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    starts = [int(shard["HashKeyRange"]["StartingHashKey"]) for shard in described["Shards"]]
    assert starts == [n << 126 for n in range(4)]
    assert described["Shards"][3]["HashKeyRange"]["EndingHashKey"] == str(2**128 - 1)
    summary = kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["ConsumerCount"], summary["MaxRecordSizeInKiB"]) == (4, 0, 1024)
    assert kinesis.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "team", "Value": "a"}]
    age = datetime.datetime.now(datetime.timezone.utc) - described["StreamCreationTimestamp"]
    assert abs(age.total_seconds()) < 60
    kinesis.delete_stream(StreamName=name)
    assert error(kinesis.describe_stream, StreamName=name) == (
        "ResourceNotFoundException",
        f"Stream {name} under account 123456789012 not found.",
    )


def test_records_come_back_in_their_order_at_their_shards(kinesis, name):
    create(kinesis, name, 4)
    records = [{"Data": b"%d" % n, "PartitionKey": f"key-{n % 37}"} for n in range(500)]
    put = kinesis.put_records(StreamName=name, Records=records)
    assert put["FailedRecordCount"] == 0
    for record, stored in zip(records, put["Records"]):
        shard = int(hashlib.md5(record["PartitionKey"].encode()).hexdigest(), 16) >> 126
        assert stored["ShardId"] == f"shardId-{shard:012}"
    for shard in range(4):
        found = read(kinesis, name, shard, limit=70)
        mine = [(r, s) for r, s in zip(records, put["Records"]) if s["ShardId"] == f"shardId-{shard:012}"]
        assert [(f["Data"], f["PartitionKey"]) for f in found] == [(r["Data"], r["PartitionKey"]) for r, _ in mine]
        numbers = [f["SequenceNumber"] for f in found]
        assert numbers == [s["SequenceNumber"] for _, s in mine]
        assert numbers == sorted(numbers, key=int) and {len(number) for number in numbers} == {56}
        arrivals = [f["ApproximateArrivalTimestamp"] for f in found]
        assert arrivals == sorted(arrivals)


def test_every_type_of_iterator_begins_where_it_says(kinesis, name):
    create(kinesis, name)
    latest = iterator(kinesis, name, kind="LATEST")
    numbers = [kinesis.put_record(StreamName=name, Data=b"%d" % n, PartitionKey="k")["SequenceNumber"] for n in range(5)]

    def values(kind, **more):
        return [int(record["Data"]) for record in read(kinesis, name, kind=kind, **more)]

    assert values("TRIM_HORIZON") == [0, 1, 2, 3, 4]
    assert values("LATEST") == []
    assert [int(r["Data"]) for r in kinesis.get_records(ShardIterator=latest)["Records"]] == [0, 1, 2, 3, 4]
    assert values("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[2]) == [2, 3, 4]
    assert values("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[2]) == [3, 4]
    start = kinesis.list_shards(StreamName=name)["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"]
    assert values("AT_SEQUENCE_NUMBER", StartingSequenceNumber=start) == [0, 1, 2, 3, 4]
    assert values("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=start) == [0, 1, 2, 3, 4]
    arrived = read(kinesis, name)[3]["ApproximateArrivalTimestamp"]
    assert 3 in values("AT_TIMESTAMP", Timestamp=arrived)
    assert values("AT_TIMESTAMP", Timestamp=0) == [0, 1, 2, 3, 4]
    page = kinesis.get_records(ShardIterator=iterator(kinesis, name), Limit=2)
    assert page["MillisBehindLatest"] >= 0 and "ChildShards" not in page
    assert [int(r["Data"]) for r in kinesis.get_records(ShardIterator=page["NextShardIterator"])["Records"]] == [2, 3, 4]


def test_a_stream_is_found_by_its_id_at_the_endpoint_that_was_given(kinesis, name):
    """botocore leaves an endpoint override for ids in AWS's form, which have a hyphen."""
    create(kinesis, name)
    told = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamId"]
    put = kinesis.put_record(StreamId=told, Data=b"d", PartitionKey="k")
    first = {"ShardId": put["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    at = kinesis.get_shard_iterator(StreamId=told, **first)["ShardIterator"]
    [record] = kinesis.get_records(StreamId=told, ShardIterator=at)["Records"]
    assert record["SequenceNumber"] == put["SequenceNumber"]
    assert kinesis.describe_stream(StreamId=told)["StreamDescription"]["StreamName"] == name
    assert kinesis.list_shards(StreamId=told)["Shards"][0]["ShardId"] == put["ShardId"]


def test_both_protocols_see_one_log_over_a_restart(own_broker, name):
    kinesis = client(own_broker)
    create(kinesis, name, 2)
    for n in range(20):
        kinesis.put_record(StreamName=name, Data=b"kinesis-%d" % n, PartitionKey=f"k{n}")
    explicit = kinesis.put_record(StreamName=name, Data=b"explicit", PartitionKey="k", ExplicitHashKey=str(2**128 - 1))
    assert explicit["ShardId"] == "shardId-000000000001"
    half = [iterator(kinesis, name, shard) for shard in (0, 1)]
    own_broker.restart()

    consumer = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": name, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(name, shard, 0) for shard in (0, 1)])
    seen = {}
    while len(seen) < 21:
        message = consumer.poll(30)
        assert message is not None and message.error() is None
        seen[message.partition(), message.offset()] = message
    consumer.close()
    kinesis = client(own_broker)
    for shard, at in enumerate(half):
        found = kinesis.get_records(ShardIterator=at)["Records"]
        mine = [seen[key] for key in sorted(seen) if key[0] == shard]
        assert [(f["Data"], f["PartitionKey"].encode()) for f in found] == [(m.value(), m.key()) for m in mine]
    assert [m.headers() for m in seen.values() if m.value() == b"explicit"] == [
        [("millrace.explicit-hash-key", str(2**128 - 1).encode())]
    ]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_kafka_produces_kinesis_reads(broker, kinesis, admin_of, name, codec):
    admin_of(broker.bootstrap).create(name)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": codec, "linger.ms": 50})
    long = b"x" * 257
    for key, value in [(b"plain", b"1" * 500), (None, b"2"), (b"\xff\xfe", b"3"), (b"", b"4"), (b"gone", None), (long, b"6")]:
        producer.produce(name, value, key, headers=[("h", b"v")])
    assert producer.flush(30) == 0
    found = read(kinesis, name)
    assert [record["Data"] for record in found] == [b"1" * 500, b"2", b"3", b"4", b"", b"6"]
    keys = [record["PartitionKey"] for record in found]
    assert keys == ["plain", "null:1", "b64://4=", "b64:", "gone", "sha256:" + hashlib.sha256(long).hexdigest()]
    middle = read(kinesis, name, kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=found[3]["SequenceNumber"])
    assert middle == found[3:]
    assert kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"] == 1


def test_a_stream_grows_by_kinesis_alone_and_a_topic_by_kafka(broker, kinesis, admin_of, name):
    admin = admin_of(broker.bootstrap)
    create(kinesis, name)
    with pytest.raises(Exception, match="UpdateShardCount"):
        admin.add_partitions(name, 2)
    admin.create(f"{name}-k")
    admin.add_partitions(f"{name}-k", 2)
    shards = kinesis.list_shards(StreamName=f"{name}-k")["Shards"]
    assert [shard["HashKeyRange"]["StartingHashKey"] for shard in shards] == ["0", str(2**127)]


def test_retention_is_the_topics(broker, kinesis, admin_of, name):
    create(kinesis, name)
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=48)
    assert admin_of(broker.bootstrap).config(name)["retention.ms"].value == str(48 * 3_600_000)
    admin_of(broker.bootstrap).set_config(name, **{"retention.ms": 100 * 3_600_000 + 1})
    hours = kinesis.describe_stream(StreamName=name)["StreamDescription"]["RetentionPeriodHours"]
    assert hours == 101
    code, message = error(kinesis.increase_stream_retention_period, StreamName=name, RetentionPeriodHours=24)
    assert (code, "Use DecreaseRetentionPeriod API" in message) == ("InvalidArgumentException", True)
    kinesis.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=24)
    assert error(kinesis.decrease_stream_retention_period, StreamName=name, RetentionPeriodHours=23)[0] == "InvalidArgumentException"


def test_lists_go_on_by_tokens(kinesis, name):
    create(kinesis, name, 10)
    shards, page = [], kinesis.list_shards(StreamName=name, MaxResults=4)
    while True:
        shards += [shard["ShardId"] for shard in page["Shards"]]
        if "NextToken" not in page:
            break
        page = kinesis.list_shards(NextToken=page["NextToken"], MaxResults=4)
    assert shards == [f"shardId-{n:012}" for n in range(10)]
    after = kinesis.list_shards(StreamName=name, ExclusiveStartShardId=shards[6])["Shards"]
    assert [shard["ShardId"] for shard in after] == shards[7:]
    latest = kinesis.list_shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert len(latest) == 10
    names = [stream for page in kinesis.get_paginator("list_streams").paginate(Limit=1) for stream in page["StreamNames"]]
    assert names == sorted(names) and name in names
    assert error(kinesis.list_shards, NextToken="bm9uZQ==")[0] == "InvalidArgumentException"


def test_tags_are_kept_over_a_restart(own_broker, name):
    kinesis = client(own_broker)
    create(kinesis, name)
    kinesis.add_tags_to_stream(StreamName=name, Tags={"a": "1", "b": "2"})
    arn = kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamARN"]
    kinesis.tag_resource(ResourceARN=arn, Tags={"c": ""})
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=["a"])
    own_broker.restart()
    kinesis = client(own_broker)
    assert kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "2"}, {"Key": "c", "Value": ""}]
    page = kinesis.list_tags_for_stream(StreamName=name, Limit=1)
    assert (page["Tags"], page["HasMoreTags"]) == ([{"Key": "b", "Value": "2"}], True)
    assert error(kinesis.add_tags_to_stream, StreamName=name, Tags={f"t{n}": "" for n in range(60)})[0] == "InvalidArgumentException"


def test_errors_are_awss(kinesis, name):
    create(kinesis, name)
    assert error(kinesis.create_stream, StreamName=name, ShardCount=1) == (
        "ResourceInUseException",
        f"Stream {name} under account 123456789012 already exists.",
    )
    assert error(kinesis.put_record, StreamName="", Data=b"", PartitionKey="x" * 257) == (
        "ValidationException",
        "3 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression "
        "pattern: [a-zA-Z0-9_.-]+; Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal "
        f"to 1; Value '{'x' * 257}' at 'partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256",
    )
    assert error(kinesis.get_records, ShardIterator="AAAA") == ("InvalidArgumentException", "Invalid ShardIterator.")
    assert error(kinesis.create_stream, StreamName="..", ShardCount=1)[0] == "InvalidArgumentException"
    assert error(kinesis.put_record, StreamName=name, Data=b"x" * (1024 * 1024 + 1), PartitionKey="k")[0] == "ValidationException"
    assert error(kinesis.put_record, StreamName=name, Data=b"", PartitionKey="k", DryRun=True)[0] == "DryRunOperationException"
    elsewhere = f"arn:aws:kinesis:eu-west-1:000000000000:stream/{name}"
    assert error(kinesis.describe_stream, StreamARN=elsewhere)[0] == "ResourceNotFoundException"
    assert error(kinesis.describe_stream) == ("InvalidArgumentException", "Either StreamName or StreamARN must be provided.")
    assert error(kinesis.start_stream_encryption, StreamName=name, EncryptionType="KMS", KeyId="k")[1] == (
        "Millrace does not serve StartStreamEncryption yet."
    )
    assert read(kinesis, name) == []


def test_what_has_no_engine_yet_is_empty_or_refused(kinesis, name):
    create(kinesis, name)
    assert kinesis.list_channels()["ChannelSummaries"] == []
    assert kinesis.list_queues()["QueueSummaries"] == []
    queue = "arn:aws:kinesis:eu-west-1:123456789012:queue/q"
    assert error(kinesis.describe_queue, QueueARN=queue) == (
        "InvalidArgumentException",
        "Millrace does not serve DescribeQueue yet.",
    )


def test_a_full_put_is_read_whole(kinesis, name):
    create(kinesis, name)
    records = [{"Data": bytes([n]) * 1_000_000, "PartitionKey": "k"} for n in range(10)]
    assert kinesis.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0
    assert [zlib.crc32(r["Data"]) for r in read(kinesis, name)] == [zlib.crc32(r["Data"]) for r in records]
    records.append({"Data": b"x" * 500_000, "PartitionKey": "k"})
    assert error(kinesis.put_records, StreamName=name, Records=records)[0] == "InvalidArgumentException"


def test_compressed_and_oversized_bodies(broker, kinesis, name):
    create(kinesis, name)
    body = json.dumps({"StreamName": name, "Data": "aGk=", "PartitionKey": "k"}).encode()

    def post(body, **headers):
        connection = http.client.HTTPConnection(broker.http, timeout=30)
        target = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecord"}
        connection.request("POST", "/", body, {**target, **headers})
        return connection.getresponse().status

    assert post(gzip.compress(body), **{"Content-Encoding": "gzip"}) == 200
    assert post(gzip.compress(b" " * (17 << 20) + body), **{"Content-Encoding": "gzip"}) == 413
    assert post(body[:-1]) == 400
    assert [record["Data"] for record in read(kinesis, name)] == [b"hi"]


def test_the_model_in_the_tree_is_botocores():
    import subprocess
    import sys

    from harness.process import ROOT

    script = ROOT / "crates/kinesis/model/reduce.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
