"""kinesis.enforce_limits: what a shard takes and gives, and how often operations may be called, as AWS counts it."""

import time

import pytest
from botocore.config import Config
from test_kinesis import client, create, error, iterator, read

pytestmark = pytest.mark.millrace

EXCEEDED = "ProvisionedThroughputExceededException"


@pytest.fixture
def server(start_millrace):
    return start_millrace(**{"kinesis.enforce_limits": "true"})


#: boto3's own retries would hide what is refused.
ONCE = Config(retries={"total_max_attempts": 1})


def said(name, shard=0):
    return f"Rate exceeded for shard shardId-{shard:012} in stream {name} under account 123456789012."


def records(n, size):
    return [{"Data": b"%06d" % k + b"x" * (size - 6), "PartitionKey": "k"} for k in range(n)]


def test_records_above_the_rate_are_told_each_and_may_be_put_again(server, name):
    kinesis = client(server, config=ONCE)
    create(kinesis, name)
    left, rounds, begun = records(400, 10_000), 0, time.monotonic()
    while left:
        put = kinesis.put_records(StreamName=name, Records=left)
        failed = [result.get("ErrorCode") for result in put["Records"]]
        assert put["FailedRecordCount"] == len([code for code in failed if code]) and set(failed) <= {None, EXCEEDED}
        for result in put["Records"]:
            assert ("SequenceNumber" in result) != ("ErrorCode" in result)
            assert result.get("ErrorMessage") in (None, said(name))
        left = [record for record, code in zip(left, failed) if code]
        rounds += 1
        assert rounds < 10_000
    # Four megabytes, of which the first comes at once.
    assert time.monotonic() - begun > 2.5 and rounds > 2
    assert server.metric("millrace_front_requests_total") > rounds


def test_a_thousand_records_a_second(server, name):
    kinesis = client(server, config=ONCE)
    create(kinesis, name)
    failed = [kinesis.put_records(StreamName=name, Records=records(500, 10))["FailedRecordCount"] for _ in range(4)]
    assert failed[:2] == [0, 0] and sum(failed) > 200


def test_put_record_is_an_error_that_sdks_retry(server, name):
    patient = client(server, config=Config(retries={"total_max_attempts": 10, "mode": "standard"}))
    impatient = client(server, config=ONCE)
    create(patient, name, 2)
    large = {"StreamName": name, "Data": b"x" * 1_000_000, "PartitionKey": "k", "ExplicitHashKey": str(2**127)}
    impatient.put_record(**large)
    assert error(impatient.put_record, **large) == (EXCEEDED, said(name, 1))
    impatient.put_record(**{**large, "ExplicitHashKey": "0"})
    assert patient.put_record(**large)["ShardId"] == "shardId-000000000001"


def test_ten_megabytes_are_paid_by_five_seconds(server, name):
    kinesis = client(server, config=ONCE)
    create(kinesis, name)
    kinesis.update_max_record_size(StreamARN=f"arn:aws:kinesis:eu-west-1:123456789012:stream/{name}", MaxRecordSizeInKiB=10240)
    kinesis.put_record(StreamName=name, Data=b"x" * 10_000_000, PartitionKey="k")
    at = iterator(kinesis, name)
    # The server counts from when it has answered, which a slow client hears of late.
    begun = time.monotonic()
    page = kinesis.get_records(ShardIterator=at)
    assert len(page["Records"]) == 1
    again = page["NextShardIterator"]
    assert error(kinesis.get_records, ShardIterator=again) == (EXCEEDED, said(name))
    while True:
        try:
            kinesis.get_records(ShardIterator=again)
            break
        except kinesis.exceptions.ProvisionedThroughputExceededException:
            assert time.monotonic() - begun < 60
    assert time.monotonic() - begun > 4


def test_five_calls_a_second(server, name):
    kinesis = client(server, config=ONCE)
    create(kinesis, name)
    at = iterator(kinesis, name)
    codes = []
    for _ in range(12):
        try:
            kinesis.get_records(ShardIterator=at)
            codes.append(None)
        except kinesis.exceptions.ProvisionedThroughputExceededException:
            codes.append(EXCEEDED)
    assert codes[:5] == [None] * 5 and EXCEEDED in codes
    limit = [error_or_none(lambda: kinesis.describe_limits()) for _ in range(3)]
    assert limit[0] is None and limit[1] == ("LimitExceededException", "Rate exceeded for account 123456789012.")
    for _ in range(20):
        kinesis.list_shards(StreamName=name)


def error_or_none(call):
    try:
        call()
    except Exception as raised:
        return raised.response["Error"]["Code"], raised.response["Error"]["Message"]


def test_off_by_default(broker, name):
    kinesis = client(broker)
    create(kinesis, name)
    for _ in range(3):
        assert kinesis.put_records(StreamName=name, Records=records(500, 10_000))["FailedRecordCount"] == 0
    for _ in range(3):
        kinesis.describe_limits()
    assert len(read(kinesis, name, limit=100)) == 1500
